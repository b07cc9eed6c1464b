//! Who could countersign a request now.

use std::{collections::BTreeMap, fmt};

use countersign_core::count::counted;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who could countersign a request now, as the caller may hear it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Approvers {
    /// How many can. Somebody who is away and whoever stands in for them count once: one of the two signs.
    pub count: u64,
    /// Some of them by name, ten at most; none for callers who are machines.
    pub people: Vec<String>,
    /// Of those, who would sign in the place of somebody who is away, and of whom.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub standing_in: BTreeMap<String, String>,
    /// Whom the rules name, such as `group:dba`.
    pub from: Vec<String>,
    /// Why others that the rules name can't with what they have, a sentence each; people only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hindered: Vec<String>,
}

/// As a list in a sentence.
impl fmt::Display for Approvers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = u64::try_from(self.people.len()).unwrap_or(u64::MAX);
        let from = self.from.join(", ");
        self.able(f, named, &from)?;
        match self.hindered.is_empty() {
            true => Ok(()),
            false => write!(f, "; not now: {}", self.hindered.join("; ")),
        }
    }
}

impl Approvers {
    fn able(&self, f: &mut fmt::Formatter<'_>, named: u64, from: &str) -> fmt::Result {
        match (self.count, named) {
            (0, _) => write!(f, "nobody now (the rules name {from})"),
            (many, 0) => write!(f, "{from} ({} now)", counted(many, "person", "people")),
            (many, _) => {
                let said = |person: &String| match self.standing_in.get(person) {
                    Some(away) => format!("{person} in the place of {away}"),
                    None => person.clone(),
                };
                let people: Vec<_> = self.people.iter().map(said).collect();
                f.write_str(&people.join(", "))?;
                match many.saturating_sub(named) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_says_who() {
        let who = |count, people: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let (people, from) = (owned(people), owned(&["group:dba", "group:ops"]));
            Approvers {
                count,
                people,
                from,
                ..Approvers::default()
            }
            .to_string()
        };
        assert_eq!(
            who(0, &[]),
            "nobody now (the rules name group:dba, group:ops)"
        );
        assert_eq!(who(1, &[]), "group:dba, group:ops (1 person now)");
        assert_eq!(who(5, &[]), "group:dba, group:ops (5 people now)");
        assert_eq!(who(2, &["ann", "bob"]), "ann, bob");
        assert_eq!(who(5, &["ann", "bob"]), "ann, bob and 3 more");
        let hindered = Approvers {
            from: vec!["group:dba".into()],
            hindered: vec!["needs a passkey; ann has none that signs here".into()],
            ..Approvers::default()
        };
        assert_eq!(
            hindered.to_string(),
            "nobody now (the rules name group:dba); not now: needs a passkey; ann has none that \
             signs here"
        );
    }
}
