//! The inbox: its tabs, filter and pages.
//!
//! In scope: from an address to the requests it shows.
//! Out of scope: one line ([`row`]), who may see what (the gateway).
//! Invariant: a tab shows only what its viewer may see, and a filter never widens it.

mod row;

use std::collections::BTreeSet;

use axum::{extract::State, http::StatusCode, response::Response};
use countersign_console::{
    inbox::{Counts, Filter, InboxPage, Tab},
    part::Phase,
    shell::{Place, Shell},
};
use countersign_core::{
    directory::Directory,
    id::RequestId,
    request::{Case, GOING_ON},
};
use countersign_store::CaseFilter;

use super::{
    answer,
    fields::Asked,
    flash,
    session::Session,
    viewer::Viewer,
    waiting::{self, Wanted},
};
use crate::{
    admin,
    api::{Api, narrowing::requester, problem::ApiError, requests::visible},
    days::{DAY, start_of},
    engine::EngineError,
};

/// Requests on one page.
const PAGE: usize = 50;
/// The most open requests that are counted.
const COUNTED: u32 = 200;
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
    let waiting = waiting::find(viewer).await?;
    let all_waiting = waiting::able(&waiting);
    let (cases, next) = match phases(tab, &filter) {
        None => (Vec::new(), None),
        Some(phases) => {
            narrowed.phases = phases;
            match tab {
                Tab::Waiting => for_viewer(viewer, waiting, &filter, narrowed).await?,
                Tab::Mine | Tab::Decided => cases(viewer, tab, narrowed).await?,
            }
        }
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

/// One page of what waits for the viewer, and its last one where there are more.
async fn for_viewer(
    viewer: &Viewer<'_>,
    waiting: Vec<(RequestId, Wanted)>,
    filter: &Filter,
    narrowed: CaseFilter,
) -> Result<(Vec<Case>, Option<RequestId>), ApiError> {
    let mut ids: Vec<RequestId> = waiting.into_iter().map(|(id, _)| id).collect();
    let before = narrowed.after.as_ref();
    let start = before.and_then(|after| ids.iter().position(|id| id == after));
    ids.drain(..start.map_or(0, |at| at + 1));
    if filter.is_set() {
        let matching = matching(viewer, narrowed).await?;
        ids.retain(|id| matching.contains(id));
    }
    let last = ids.get(PAGE - 1).filter(|_| ids.len() > PAGE).cloned();
    ids.truncate(PAGE);
    let mut cases = Vec::new();
    for id in &ids {
        let (gateway, caller) = (&viewer.api.gateway, &viewer.session.caller);
        // One that is gone from sight since it was found is left out.
        cases.extend(gateway.case_of(caller, id).await.ok());
    }
    Ok((cases, last))
}

/// The names of all requests within a filter.
async fn matching(
    viewer: &Viewer<'_>,
    mut filter: CaseFilter,
) -> Result<BTreeSet<RequestId>, ApiError> {
    (filter.after, filter.limit) = (None, COUNTED);
    let mut found = BTreeSet::new();
    loop {
        let store = &viewer.api.gateway.store;
        let page = store.list(&filter).await.map_err(EngineError::from)?;
        found.extend(page.items.into_iter().map(|line| line.id));
        match page.next {
            Some(next) => filter.after = Some(next),
            None => return Ok(found),
        }
    }
}

/// The cases of one page of another tab, and the last one where there are more.
async fn cases(
    viewer: &Viewer<'_>,
    tab: Tab,
    mut filter: CaseFilter,
) -> Result<(Vec<Case>, Option<RequestId>), ApiError> {
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
        Tab::Waiting => phase.is_open(),
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
        phases: GOING_ON.map(String::from).into(),
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
        until: start_of(&filter.to).map(|start| start.after(DAY)),
        ..CaseFilter::default()
    }
}

#[cfg(test)]
mod tests {
    use countersign_core::time::Timestamp;

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
        let open = Some(vec!["held".into(), "approved".into()]);
        assert_eq!(shown(Tab::Waiting, ""), open);
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
        assert_eq!(start_of("1970-01-02"), Some(Timestamp(DAY.as_millis())));
        for bad in ["", "1970-02-30", "yesterday"] {
            assert_eq!(start_of(bad), None, "{bad}");
        }
    }
}
