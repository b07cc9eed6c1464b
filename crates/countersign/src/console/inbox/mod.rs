//! The inbox: its tabs, filter and pages.
//!
//! In scope: from an address to the requests it shows.
//! Out of scope: one line ([`row`]), who may see what (the gateway).
//! Invariant: a tab shows only what its viewer may see, and a filter never widens it.

mod row;

use axum::{extract::State, http::StatusCode, response::Response};
use countersign_console::{
    inbox::{Counts, Filter, InboxPage, Tab},
    part::Phase,
    shell::{Place, Shell},
};
use countersign_core::{directory::Directory, id::RequestId, request::Case, time::Timestamp};
use countersign_store::CaseFilter;

use super::{answer, fields::Asked, flash, session::Session, viewer::Viewer, waiting};
use crate::{
    admin,
    api::{Api, problem::ApiError, requests::visible},
    engine::EngineError,
    identity::parse_subject,
};

/// Requests on one page.
const PAGE: usize = 50;
/// The most open requests that are counted.
const COUNTED: u32 = 200;
/// A day in milliseconds.
const DAY: i64 = 86_400_000;

pub(super) async fn show(State(api): State<Api>, session: Session, asked: Asked) -> Response {
    match page(&Viewer::new(&api, &session), &asked).await {
        Ok(page) => answer::page(StatusCode::OK, &page),
        Err(error) => answer::error(&api, &session, &error).await,
    }
}

async fn page(viewer: &Viewer<'_>, asked: &Asked) -> Result<InboxPage, ApiError> {
    let tab = Tab::from_name(asked.0.name("tab"));
    let filter = filter(asked);
    let after = cursor(viewer, asked).await;
    let mut narrowed = narrow(&filter, &viewer.active.directory);
    narrowed.after = after.clone();
    let all_waiting = waiting::count(viewer).await?;
    let (cases, next) = match phases(tab, &filter) {
        Some(phases) => {
            narrowed.phases = phases;
            cases(viewer, tab, narrowed).await?
        }
        None => (Vec::new(), None),
    };
    let further = after.is_some();
    let here = filter.query(tab, after.as_ref().map(RequestId::as_str));
    let shell = viewer
        .shell(Place::Inbox, &format!("/inbox{here}"), all_waiting)
        .await;
    let shell = Shell {
        flash: flash::read(viewer.api, viewer.session, asked, None),
        ..shell
    };
    let directory = &viewer.active.directory;
    let agents = directory.agents.keys().map(ToString::to_string);
    let workloads = directory.workloads.keys().map(ToString::to_string);
    let targets = viewer
        .active
        .bundle
        .targets()
        .keys()
        .map(ToString::to_string);
    Ok(InboxPage {
        shell,
        tab,
        counts: counts(viewer, all_waiting).await?,
        filter,
        agents: agents.chain(workloads).collect(),
        targets: targets.chain([admin::TARGET.to_owned()]).collect(),
        rows: cases
            .iter()
            .map(|case| row::row(viewer, case, tab))
            .collect(),
        next: next.map(String::from),
        further,
    })
}

/// The cases of one page, and the last one where there are more.
async fn cases(
    viewer: &Viewer<'_>,
    tab: Tab,
    mut filter: CaseFilter,
) -> Result<(Vec<Case>, Option<RequestId>), ApiError> {
    if tab == Tab::Waiting {
        let mut cases = waiting::find(viewer, filter).await?;
        let more = cases.len() > PAGE;
        cases.truncate(PAGE);
        let last = cases.last().map(|case| case.request.id.clone());
        return Ok((cases, last.filter(|_| more)));
    }
    if tab == Tab::Mine {
        filter.side_of = Some(viewer.session.person.clone());
    }
    filter.limit = super::words::count(PAGE);
    let (api, caller) = (viewer.api, &viewer.session.caller);
    let list = visible(api, caller, filter).await?;
    let mut cases = Vec::new();
    for line in &list.items {
        // One that is gone from sight since it was listed is left out.
        cases.extend(api.gateway.case_of(caller, &line.id).await.ok());
    }
    Ok((cases, list.next))
}

/// The phases that a tab shows under a filter; `None` when it can show nothing.
fn phases(tab: Tab, filter: &Filter) -> Option<Vec<String>> {
    let fits = |phase: &Phase| match tab {
        Tab::Waiting => *phase == Phase::Held,
        Tab::Mine => true,
        Tab::Decided => *phase != Phase::Held,
    };
    let chosen = |phase: &Phase| filter.state.is_empty() || filter.state == phase.name();
    let shown = Phase::ALL
        .iter()
        .filter(|phase| fits(phase) && chosen(phase));
    let names: Vec<_> = shown.map(|phase| phase.name().to_owned()).collect();
    (!names.is_empty()).then_some(names)
}

async fn counts(viewer: &Viewer<'_>, waiting: usize) -> Result<Counts, ApiError> {
    let open = CaseFilter {
        phases: ["held", "approved", "running"].map(String::from).into(),
        side_of: Some(viewer.session.person.clone()),
        limit: COUNTED,
        ..CaseFilter::default()
    };
    let mine = viewer
        .api
        .gateway
        .store
        .list(&open)
        .await
        .map_err(EngineError::from)?;
    let count = |items: usize| u64::try_from(items).unwrap_or(u64::MAX);
    Ok(Counts {
        waiting: count(waiting),
        mine: count(mine.items.len()),
        decided: None,
    })
}

/// The filter of an address. What can't be meant is left out.
fn filter(asked: &Asked) -> Filter {
    let text = |name: &str| asked.0.name(name).chars().take(200).collect::<String>();
    let day = |name: &str| Some(text(name)).filter(|day| start_of(day).is_some());
    Filter {
        state: Phase::from_name(&text("state"))
            .map(|phase| phase.name().into())
            .unwrap_or_default(),
        agent: text("agent"),
        target: text("target"),
        from: day("from").unwrap_or_default(),
        to: day("to").unwrap_or_default(),
        text: text("q"),
    }
}

/// The request after which a page begins, if the viewer may see it.
async fn cursor(viewer: &Viewer<'_>, asked: &Asked) -> Option<RequestId> {
    let after: RequestId = asked.0.name("after").parse().ok()?;
    let seen = viewer
        .api
        .gateway
        .case_of(&viewer.session.caller, &after)
        .await;
    seen.is_ok().then_some(after)
}

fn narrow(filter: &Filter, directory: &Directory) -> CaseFilter {
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    CaseFilter {
        requester: text(&filter.agent).map(|name| requester(name, directory)),
        target: text(&filter.target),
        text: text(&filter.text),
        since: start_of(&filter.from),
        until: start_of(&filter.to).map(|start| Timestamp(start.0.saturating_add(DAY))),
        ..CaseFilter::default()
    }
}

/// A requester by the name alone, or with its kind before it.
fn requester(name: String, directory: &Directory) -> String {
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

/// The first moment of a day in UTC.
fn start_of(day: &str) -> Option<Timestamp> {
    let date: jiff::civil::Date = day.parse().ok()?;
    let start = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp(start.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tab_shows_its_own_phases_only() {
        let shown = |tab, state: &str| {
            phases(
                tab,
                &Filter {
                    state: state.into(),
                    ..Filter::default()
                },
            )
        };
        assert_eq!(shown(Tab::Waiting, ""), Some(vec!["held".into()]));
        assert_eq!(shown(Tab::Waiting, "denied"), None);
        assert_eq!(shown(Tab::Decided, "held"), None);
        assert_eq!(shown(Tab::Decided, "denied"), Some(vec!["denied".into()]));
        assert_eq!(
            shown(Tab::Mine, "").map(|all| all.len()),
            Some(Phase::ALL.len())
        );
    }

    #[test]
    fn days_begin_at_midnight_in_utc() {
        assert_eq!(start_of("1970-01-02"), Some(Timestamp(DAY)));
        for bad in ["", "1970-02-30", "yesterday"] {
            assert_eq!(start_of(bad), None, "{bad}");
        }
    }
}
