//! The page of emergencies, and how many of them nobody has reviewed.
//!
//! In scope: what of the viewer's sight is overdue, due and reviewed.
//! Out of scope: reviewing, which is done on the request's page.
//! Invariant: only requests that the viewer may see are listed or counted.

use axum::{extract::State, http::StatusCode, response::Response};
use countersign_console::{
    emergencies::{EmergenciesPage, EmergencyRow, Review},
    part::Moment,
    shell::Place,
};

use super::{answer, fields::Asked, session::Session, viewer::Viewer};
use crate::api::{
    Api,
    emergencies::{EmergencyQuery, list},
    problem::ApiError,
    types::{EmergencyLine, LiftLine},
};

/// The address of the page.
const PATH: &str = "/emergencies";
/// The most that is counted, and listed of what nobody has reviewed.
const SHOWN: usize = 200;
/// How much of what was reviewed stands on one page.
const PAGE: u32 = 50;

pub(super) async fn show(State(api): State<Api>, session: Session, asked: Asked) -> Response {
    match page(&Viewer::new(&api, &session), &asked).await {
        Ok(page) => answer::page(StatusCode::OK, &page),
        Err(error) => answer::error(&api, &session, &error).await,
    }
}

/// How many emergencies that the viewer may see nobody has reviewed, and whether one is overdue.
pub(super) async fn unreviewed(viewer: &Viewer<'_>) -> (usize, bool) {
    let (gateway, caller) = (&viewer.api.gateway, &viewer.session.caller);
    let (mut count, mut overdue) = (0, false);
    let requests = gateway.engine.emergencies().requests();
    for id in requests.iter().take(SHOWN) {
        let Ok(case) = gateway.case_of(caller, id).await else {
            continue;
        };
        let lifted = case.lifted.iter();
        let due: Vec<_> = lifted.filter(|lift| lift.reviewed.is_none()).collect();
        count += due.len();
        overdue |= due.iter().any(|lift| lift.is_overdue(viewer.now));
    }
    (count, overdue)
}

async fn page(viewer: &Viewer<'_>, asked: &Asked) -> Result<EmergenciesPage, ApiError> {
    let after = asked.0.name("after");
    let further = !after.is_empty();
    let query = |state: &str, limit| EmergencyQuery {
        state: Some(state.into()),
        limit: Some(limit),
        ..EmergencyQuery::default()
    };
    let (api, caller) = (viewer.api, &viewer.session.caller);
    let all = u32::try_from(SHOWN).unwrap_or(u32::MAX);
    let mut open = Vec::new();
    if !further {
        for state in ["overdue", "due"] {
            open.extend(list(api, caller, query(state, all)).await?.items);
        }
    }
    let reviewed = EmergencyQuery {
        after: after.parse().ok(),
        ..query("reviewed", PAGE)
    };
    let reviewed = list(api, caller, reviewed).await?;
    let of = |lines: &[EmergencyLine], standing: &str| -> Vec<EmergencyRow> {
        let each = lines.iter().flat_map(|line| rows(viewer, line));
        let wanted = each.filter(|(stands, _)| stands == standing);
        wanted.map(|(_, row)| row).collect()
    };
    let mut done = of(&open, "reviewed");
    done.extend(of(&reviewed.items, "reviewed"));
    Ok(EmergenciesPage {
        shell: viewer.counted_shell(Place::Emergencies, PATH).await,
        overdue: of(&open, "overdue"),
        due: of(&open, "due"),
        reviewed: done,
        next: reviewed.next.map(String::from),
        further,
    })
}

/// What was lifted of one request, each with how its review stands.
fn rows(viewer: &Viewer<'_>, line: &EmergencyLine) -> Vec<(String, EmergencyRow)> {
    let row = |lift: &LiftLine| {
        let row = EmergencyRow {
            id: line.line.id.to_string(),
            title: line.line.title.clone(),
            rule: lift.rule.clone(),
            by: lift.by.clone(),
            reason: lift.reason.clone(),
            at: viewer.moment(lift.at),
            review_by: Moment::new(lift.review_by.to_string()),
            mine: lift.reviewed.is_none() && line.can_review.contains(&lift.rule),
            reviewed: lift.reviewed.as_ref().map(|review| Review {
                by: review.by.clone(),
                at: viewer.moment(review.at),
                note: review.note.clone(),
            }),
        };
        (lift.review.clone(), row)
    };
    line.lifted.iter().map(row).collect()
}
