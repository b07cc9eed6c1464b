//! Requests as spans.

use std::sync::Arc;

use countersign_core::{
    directory::{Directory, Person},
    subject::SubjectId,
};
use countersign_evidence::body::{CloseReason, Verdict};
use countersign_policy::Details;
use serde_json::json;

use super::*;
use crate::streams::otlp::testing::{
    TRACE, asked, closed, dana, decided, entry, names, outcome, permitted, request, said, vote,
};

/// What must not be found where it was not asked for.
const SECRETS: [&str; 4] = ["dana@example.com", "--force", "because", "nonce"];

fn view(details: Details) -> View {
    let mut directory = Directory::default();
    let SubjectId::Person(dana) = dana() else {
        unreachable!()
    };
    directory.people.insert(dana, Person::default());
    let mut view = View::new(details);
    view.refresh(&Arc::new(directory), &names());
    view
}

fn evidence() -> Value {
    json!({
        "action": { "gate": "exec", "target": "repo", "argv": ["git", "push", "--force"] },
        "reason": "because",
        "nonce": "n",
        "traceparent": TRACE,
    })
}

fn tell(entries: &[Entry], details: Details) -> Option<(String, Vec<Value>)> {
    let mut records = entries.iter().cloned().map(Ok);
    of(&mut records, "gw.example/log", &view(details)).unwrap()
}

fn spans(entries: &[Entry]) -> Vec<Value> {
    tell(entries, Details::Refs).unwrap().1
}

/// The value of an attribute, as it is written.
fn attribute<'a>(of: &'a Value, key: &str) -> Option<&'a Value> {
    let all = of["attributes"].as_array().unwrap();
    let found = all.iter().find(|one| one["key"] == key)?;
    found["value"].as_object()?.values().next()
}

fn event_names(span: &Value) -> Vec<&str> {
    let events = span["events"].as_array().unwrap().iter();
    events
        .map(|event| event["name"].as_str().unwrap())
        .collect()
}

fn held(evidence: &Value, end: OutcomeStatus) -> Vec<Entry> {
    request(
        7,
        evidence,
        vec![
            asked(),
            decided(Decision::Hold, Phase::Request),
            said(),
            vote(Verdict::Approve),
            decided(Decision::Permit, Phase::Claim),
            permitted(),
            outcome(end, Some(3)),
        ],
    )
}

#[test]
fn a_request_is_one_trace_from_asking_to_the_outcome() {
    let entries = held(&evidence(), OutcomeStatus::Succeeded);
    let (trace, spans) = tell(&entries, Details::Refs).unwrap();
    assert_eq!(trace, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert!(spans.iter().all(|span| span["traceId"] == trace.as_str()));
    let [root, wait, execution] = spans.as_slice() else {
        panic!("{spans:?}");
    };
    assert_eq!(root["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!(
        (&root["name"], &root["kind"]),
        (&json!("exec request"), &json!(2))
    );
    assert_eq!(
        (&root["flags"], &wait["flags"]),
        (&json!(0x301), &json!(0x101))
    );
    for child in [wait, execution] {
        assert_eq!(child["parentSpanId"], root["spanId"]);
    }
    let times = |span: &Value| {
        let read = |key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
        let start = 1_790_000_000_000_000_000;
        let since = |key| (read(key) - start) / 1_000_000_000;
        (since("startTimeUnixNano"), since("endTimeUnixNano"))
    };
    assert_eq!(
        (times(root), times(wait), times(execution)),
        ((0, 6), (1, 5), (5, 6))
    );
    assert_eq!(
        event_names(root),
        [
            "countersign.policy.decided",
            "countersign.policy.decided",
            "countersign.action.permitted",
            "countersign.action.outcome"
        ]
    );
    assert_eq!(
        event_names(wait),
        ["countersign.commented", "countersign.approval.decided"]
    );
    for (key, value) in [
        ("countersign.target", json!("repo")),
        ("countersign.decision", json!("hold")),
        ("countersign.result", json!("succeeded")),
        ("user.hash", json!(names().of(&dana()).to_string())),
        ("user.name", Value::Null),
        ("error.type", Value::Null),
    ] {
        let found = attribute(root, key).cloned().unwrap_or_default();
        assert_eq!(found, value, "{key}");
    }
    assert_eq!(attribute(execution, "process.exit.code"), Some(&json!("3")));
    assert!(spans.iter().all(|span| span["status"] == json!({})));
    assert_eq!(
        tell(&entries, Details::Refs).unwrap().1,
        spans,
        "told again"
    );
}

#[test]
fn without_a_callers_trace_each_request_has_its_own() {
    let mut without = evidence();
    without.as_object_mut().unwrap().remove("traceparent");
    let one = |id, origin: &str| {
        let entries = request(
            id,
            &without,
            vec![asked(), decided(Decision::Deny, Phase::Request)],
        );
        let mut records = entries.into_iter().map(Ok);
        let view = view(Details::Refs);
        let (trace, spans) = of(&mut records, origin, &view).unwrap().unwrap();
        assert_eq!(spans[0].get("parentSpanId"), None);
        (trace, spans[0]["spanId"].as_str().unwrap().to_owned())
    };
    let all = [one(1, "a"), one(2, "a"), one(1, "b")];
    assert_eq!(one(1, "a"), all[0]);
    let traces: std::collections::BTreeSet<_> = all.iter().map(|one| &one.0).collect();
    let ids: std::collections::BTreeSet<_> = all.iter().map(|one| &one.1).collect();
    assert_eq!((traces.len(), ids.len()), (3, 3));
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    for (trace, span) in &all {
        assert_eq!((trace.len(), span.len()), (32, 16));
        assert!(trace.chars().chain(span.chars()).all(hex));
    }
    // Whoever has a request's id can find its trace: sha256sum has the same.
    assert_eq!(one(1, "a").0, "d04fe9ab16422049e8167d5ae1805773");
}

#[test]
fn only_what_failed_is_an_error() {
    let hold = || decided(Decision::Hold, Phase::Request);
    let end = |body| vec![asked(), hold(), body];
    let denied = vec![asked(), decided(Decision::Deny, Phase::Request)];
    let ran = |status| {
        let permit = decided(Decision::Permit, Phase::Request);
        vec![asked(), permit, permitted(), outcome(status, None)]
    };
    for (bodies, result, error, parts) in [
        (denied, "denied_by_policy", None, 1),
        (end(closed(CloseReason::Denied)), "denied", None, 2),
        (end(closed(CloseReason::Expired)), "expired", None, 2),
        (ran(OutcomeStatus::Succeeded), "succeeded", None, 2),
        (ran(OutcomeStatus::Failed), "failed", Some("failed"), 2),
        (ran(OutcomeStatus::Unknown), "unknown", Some("unknown"), 2),
    ] {
        let spans = spans(&request(1, &evidence(), bodies));
        assert_eq!(spans.len(), parts, "{result}");
        assert_eq!(
            attribute(&spans[0], "countersign.result"),
            Some(&json!(result))
        );
        let expected =
            error.map_or_else(|| json!({}), |error| json!({ "code": 2, "message": error }));
        assert_eq!(spans[0]["status"], expected, "{result}");
        let kind = attribute(&spans[0], "error.type").and_then(Value::as_str);
        assert_eq!(kind, error, "{result}");
    }
}

#[test]
fn details_say_how_much_is_said() {
    let entries = held(&evidence(), OutcomeStatus::Succeeded);
    for (details, there) in [
        (Details::Refs, &[][..]),
        (Details::Names, &["dana@example.com"][..]),
        (
            Details::All,
            &["dana@example.com", "--force", "because"][..],
        ),
    ] {
        let text = json!(tell(&entries, details).unwrap().1).to_string();
        for secret in SECRETS {
            assert_eq!(
                text.contains(secret),
                there.contains(&secret),
                "{details:?} {secret}"
            );
        }
    }
}

/// The evidence of a trace has a limit, and so have its records; what is left out is counted.
#[test]
fn what_is_left_out_is_counted() {
    let large = json!({ "action": "x".repeat(200 << 10) });
    let mut entries: Vec<Entry> = (0..9)
        .map(|seq| {
            let body = if seq == 0 { asked() } else { said() };
            entry(seq, 5, Some((7, seq)), body, large.clone())
        })
        .collect();
    let end = closed(CloseReason::Expired);
    entries.push(entry(20, 6, Some((7, 20)), end, json!({})));
    // Somebody else's, and one of nobody.
    entries.insert(3, entry(4, 5, Some((8, 4)), said(), large.clone()));
    entries.insert(3, entry(4, 5, None, said(), large));
    let (_, spans) = tell(&entries, Details::All).unwrap();
    let text = json!(spans).to_string();
    assert!(text.len() < MAX_EVIDENCE + (64 << 10));
    assert_eq!(text.matches("left_out_bytes").count(), 4);
    assert_eq!(spans[0]["events"].as_array().unwrap().len(), 9);
    assert_eq!(spans[0]["droppedEventsCount"], 11);
}

/// Records that a damaged file of places leads to, and times that can't be.
#[test]
fn what_is_no_request_is_not_told() {
    let entries = held(&evidence(), OutcomeStatus::Succeeded);
    assert!(tell(&[], Details::All).is_none());
    assert!(tell(&entries[1..], Details::All).is_none());
    assert!(tell(&entries[..6], Details::All).is_none());
    let foreign = [
        entries[0].clone(),
        entry(9, 1, Some((1, 1)), closed(CloseReason::Denied), json!({})),
    ];
    assert!(tell(&foreign, Details::All).is_none());
    for (start, end) in [(-5, 3), (9, 3), (i64::MAX >> 11, i64::MAX >> 11)] {
        let entries = [
            entry(
                0,
                start,
                Some((1, 0)),
                asked(),
                json!({ "traceparent": "00-é\u{0}", "action": [] }),
            ),
            entry(
                1,
                end,
                Some((1, 1)),
                decided(Decision::Deny, Phase::Request),
                Value::Null,
            ),
        ];
        let spans = spans(&entries);
        let read = |key: &str| spans[0][key].as_str().unwrap().parse::<u64>().unwrap();
        assert!(read("startTimeUnixNano") <= read("endTimeUnixNano"));
        assert_eq!(spans[0].get("parentSpanId"), None);
    }
}
