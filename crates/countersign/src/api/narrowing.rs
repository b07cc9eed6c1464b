//! What narrows a list of requests, for the interface and the console alike.
//!
//! In scope: from the parameters of an address to the store's filter.
//! Invariant: what can't be meant is refused and never left out, so that a misspelt filter does not
//! read as "there is nothing".

use countersign_core::{directory::Directory, id::RequestId, time::Timestamp};
use countersign_store::{CaseFilter, PHASES};
use serde::Deserialize;

use super::problem::ApiError;
use crate::{active::Active, admin, identity::parse_subject};

/// Lines a page has when nobody says.
const PAGE: u32 = 50;
/// The most lines a page can have.
const MAX_PAGE: u32 = 200;

/// What narrows a list.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// A state.
    #[serde(default)]
    pub state: Option<String>,
    /// A requester's name.
    #[serde(default)]
    pub agent: Option<String>,
    /// A target.
    #[serde(default)]
    pub target: Option<String>,
    /// Text in title, reason or requester.
    #[serde(default)]
    pub text: Option<String>,
    /// Asked at or after, in milliseconds since 1970.
    #[serde(default)]
    pub since: Option<i64>,
    /// Asked before.
    #[serde(default)]
    pub until: Option<i64>,
    /// The last request of the page before.
    #[serde(default)]
    pub after: Option<RequestId>,
    /// How many.
    #[serde(default)]
    pub limit: Option<u32>,
    /// Only what the caller's side asked.
    #[serde(default)]
    pub mine: Option<bool>,
}

impl ListQuery {
    /// The store's filter.
    ///
    /// # Errors
    /// 400 for what can't be meant, with what can.
    pub fn filter(&self, directory: &Directory) -> Result<CaseFilter, ApiError> {
        let text = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
        let state = text(&self.state);
        if let Some(state) = state
            .as_ref()
            .filter(|state| !PHASES.contains(&state.as_str()))
        {
            return Err(wrong(
                "state",
                state,
                &format!("use one of {}", PHASES.join(", ")),
            ));
        }
        let limit = self.limit.unwrap_or(PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(wrong("limit", &limit, &format!("use 1 to {MAX_PAGE}")));
        }
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since >= until
        {
            return Err(wrong("since", &since, "it has to be before `until`"));
        }
        Ok(CaseFilter {
            phases: state.into_iter().collect(),
            requester: text(&self.agent).map(|name| requester(name, directory)),
            side_of: None,
            emergency: None,
            target: text(&self.target),
            text: text(&self.text),
            since: self.since.map(Timestamp),
            until: self.until.map(Timestamp),
            after: self.after.clone(),
            limit,
        })
    }
}

/// Refuses a filter that found nothing because of a name that nobody and nothing has. Names that
/// were taken away stay good for what they asked.
///
/// # Errors
/// 400 with the name.
pub fn check_names(filter: &CaseFilter, active: &Active) -> Result<(), ApiError> {
    if let Some(target) = &filter.target {
        let known = active
            .bundle
            .targets()
            .keys()
            .any(|one| one.as_str() == target);
        if !known && target != admin::TARGET {
            return Err(wrong(
                "target",
                target,
                "there is no such target and nothing was asked of one",
            ));
        }
    }
    if let Some(name) = &filter.requester {
        let subject = parse_subject(name);
        if subject.is_none_or(|subject| !is_known(&subject, &active.directory)) {
            let next = "nobody has that name; write `deploy-bot`, or with its kind \
                        `agent:deploy-bot`, `workload:ci`, `person:dana@example.com`";
            return Err(wrong("agent", name, next));
        }
    }
    Ok(())
}

fn is_known(subject: &countersign_core::subject::SubjectId, directory: &Directory) -> bool {
    use countersign_core::subject::SubjectId;
    match subject {
        SubjectId::Person(id) => directory.people.contains_key(id),
        machine => directory.machine(machine).is_some(),
    }
}

fn wrong(name: &str, value: &dyn std::fmt::Display, next: &str) -> ApiError {
    ApiError::invalid(format!("`{name}` can't be `{value}`")).with_detail(next)
}

/// A requester by the name alone, or with its kind before it.
#[must_use]
pub fn requester(name: String, directory: &Directory) -> String {
    if parse_subject(&name).is_some() {
        return name;
    }
    let person = name
        .parse()
        .is_ok_and(|id| directory.people.contains_key(&id));
    let workload = name
        .parse()
        .is_ok_and(|id| directory.workloads.contains_key(&id));
    let kind = match (person, workload) {
        (true, _) => "person",
        (_, true) => "workload",
        _ => "agent",
    };
    format!("{kind}:{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_meant_is_refused_with_what_can() {
        let refused = |query: ListQuery| {
            let refused = query.filter(&Directory::default()).unwrap_err();
            let problem = refused.problem().clone();
            (
                problem.status,
                format!("{}; {}", problem.title, problem.detail.unwrap_or_default()),
            )
        };
        let state = |state: &str| ListQuery {
            state: Some(state.into()),
            ..ListQuery::default()
        };
        let (status, text) = refused(state("hold"));
        assert_eq!(status, 400);
        assert!(
            text.contains("`hold`") && text.contains("held, approved"),
            "{text}"
        );
        for limit in [0, 201] {
            let query = ListQuery {
                limit: Some(limit),
                ..ListQuery::default()
            };
            assert_eq!(refused(query).0, 400);
        }
        let query = ListQuery {
            since: Some(2),
            until: Some(2),
            ..ListQuery::default()
        };
        assert_eq!(refused(query).0, 400);
        for phase in PHASES {
            let filter = state(phase).filter(&Directory::default()).unwrap();
            assert_eq!(filter.phases, [phase]);
        }
        assert_eq!(
            state("").filter(&Directory::default()).unwrap().phases,
            [""; 0]
        );
    }
}
