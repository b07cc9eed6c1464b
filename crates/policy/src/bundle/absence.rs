//! That somebody is away, and who signs in their place.
//!
//! In scope: what may be said of it.
//! Out of scope: what a stand-in may sign, which the core judges at every vote.
//! Invariant: nobody stands in for themselves, and nobody is away for ever.

use countersign_core::{
    absence::{Absence, LONGEST},
    directory::Directory,
    id::PersonId,
};

use super::people::{DirectoryChange, RefusedChange, find};

/// Makes a change that says so, or not any more; no other one.
///
/// # Errors
/// [`RefusedChange`] when one of the two is unknown, both are one, or the time is none or too long; or
/// nobody said that they are away.
pub(super) fn apply(
    change: &DirectoryChange,
    directory: &mut Directory,
    countersigned: bool,
) -> Result<(), RefusedChange> {
    match change {
        DirectoryChange::SetAbsence {
            person,
            stand_in,
            from,
            until,
        } => {
            let absence = Absence {
                stand_in: stand_in.clone(),
                from: *from,
                until: *until,
                countersigned,
            };
            set(directory, person, absence)
        }
        DirectoryChange::EndAbsence { person } => end(directory, person),
        _ => Ok(()),
    }
}

/// In place of what was said of them before.
fn set(
    directory: &mut Directory,
    person: &PersonId,
    absence: Absence,
) -> Result<(), RefusedChange> {
    find(&mut directory.people, person, "person")?;
    find(&mut directory.people, &absence.stand_in, "person")?;
    if person
        .as_str()
        .eq_ignore_ascii_case(absence.stand_in.as_str())
    {
        return Err(RefusedChange::StandsInForThemselves(person.clone()));
    }
    let length = absence.until.millis_since(absence.from);
    if length <= 0 || length > LONGEST.as_millis() {
        return Err(RefusedChange::AbsenceTime);
    }
    directory.absences.insert(person.clone(), absence);
    Ok(())
}

fn end(directory: &mut Directory, person: &PersonId) -> Result<(), RefusedChange> {
    let ended = directory.absences.remove(person).map(drop);
    ended.ok_or_else(|| RefusedChange::NotAway(person.clone()))
}
