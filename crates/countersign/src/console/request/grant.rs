//! Grants on a request's page: the part of the approval's form, and what was granted.
//!
//! In scope: what to start the form with, what to show.
//! Out of scope: reading the form, which [`acts`](super::acts) does.
//! Invariant: the form offers only what the request's rules offer.

use countersign_console::{
    part::Moment,
    request::{GrantForm, GrantShown, OpenPlace},
};
use countersign_core::{approval::grant::GrantTerms, count::counted, request::Case, time::Span};

use crate::{
    api::{granting, types::RequestDetail},
    console::viewer::Viewer,
};

/// The times that are offered where the rules allow them, in minutes.
const TIMES: [u32; 6] = [5, 15, 30, 60, 240, 480];

/// What an approval can grant beside the action.
pub(super) fn form(case: &Case) -> Option<GrantForm> {
    let offered = granting::offers(case)?;
    let votes = case.votes.iter();
    let others = votes.filter_map(|vote| Some((&vote.voter, vote.grant.as_ref()?)));
    let proposed: Vec<_> = others
        .clone()
        .map(|(voter, terms)| format!("{voter} grants {}", granting::words(case, terms)))
        .collect();
    let first: Option<&GrantTerms> = others.clone().map(|(_, terms)| terms).next();
    let times = TIMES.into_iter().map(Span::minutes);
    let mut times: Vec<_> = times.filter(|time| *time < offered.max).collect();
    times.push(offered.max);
    times.extend(first.map(|terms| terms.time));
    times.sort_unstable();
    times.dedup();
    let open = |place: &str| first.is_some_and(|terms| terms.open.contains(place));
    Some(GrantForm {
        time: first.map_or(offered.max, |terms| terms.time).to_string(),
        times: times.iter().map(ToString::to_string).collect(),
        most: offered.uses,
        uses: first.map_or(offered.uses, |terms| terms.uses),
        places: offered
            .places
            .into_iter()
            .map(|at| OpenPlace {
                open: open(&at.place),
                place: at.place,
                name: at.name,
                value: at.value,
            })
            .collect(),
        proposed,
    })
}

/// What was granted.
pub(super) fn shown(
    viewer: &Viewer<'_>,
    case: &Case,
    detail: &RequestDetail,
) -> Option<GrantShown> {
    let line = detail.grant.as_ref()?;
    let now = viewer.now;
    let uses = counted(line.uses, "use", "uses");
    Some(GrantShown {
        words: line.words.clone(),
        cedar: line.cedar.clone(),
        until: Moment::new(line.until.to_string()),
        used: format!("{} of {uses}", line.used),
        live: line.live,
        ended_by: line.ended_by.clone().unwrap_or_default(),
        can_end: granting::can_end(case, &viewer.active, now, &viewer.session.caller),
    })
}
