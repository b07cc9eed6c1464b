//! Lists of records on disk.

use std::fs;

use countersign_core::canonical::Hash;
use countersign_evidence::{
    body::{
        ActionOutcome, ActionRequested, Erasure, EvidenceErased, Opened, OutcomeStatus, Refused,
        RequestClosed,
    },
    leaf::{InRequest, NO_PREVIOUS, VERSION},
};
use expect_test::{Expect, expect};

use super::*;
use crate::cli::{
    log::testing::{self, data},
    output::capture::captured,
};

fn reference(digit: char) -> Ref {
    digit.to_string().repeat(32).parse().unwrap()
}

fn asked(name: &str) -> (Body, Value) {
    let body = Body::ActionRequested(ActionRequested {
        actions: vec!["exec:deploy".parse().unwrap()],
        amends: None,
        gate: "exec".into(),
        requester: reference('a'),
        self_refs: Vec::new(),
    });
    let evidence = json!({
        "chain": { "requester": { "type": "agent", "id": name, "owner": "olga@example.com" } },
        "action": { "target": "release" },
    });
    (body, evidence)
}

fn decided(decision: body::Decision, evidence: Value) -> (Body, Value) {
    let body = Body::PolicyDecided(PolicyDecided {
        approvals: Vec::new(),
        bundle: Hash([0; 32]),
        decision,
        phase: body::Phase::Request,
        policies: Vec::new(),
        rules: Vec::new(),
    });
    (body, json!({ "decision": evidence }))
}

/// Entries a second apart, of the requests named; no name is no request.
fn entries(records: Vec<(&str, (Body, Value))>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let encode = |(seq, (request, (body, evidence))): (u64, (&str, (Body, Value)))| {
        let evidence = Evidence::open_details([1; 32], &evidence).unwrap();
        let leaf = Leaf {
            at: Timestamp(i64::try_from(seq).unwrap() * 1_000),
            body,
            digest: None,
            evidence: Some(evidence.commitment()),
            instance: "gw-1".into(),
            prev: NO_PREVIOUS,
            request: request.parse().ok().map(|id| InRequest { id, seq }),
            seq,
            v: VERSION,
        };
        (leaf.to_bytes().unwrap(), evidence.to_bytes())
    };
    (0..).zip(records).map(encode).collect()
}

fn story() -> Vec<(Vec<u8>, Vec<u8>)> {
    let permit = "permit_1".parse().unwrap();
    let outcome = Body::ActionOutcome(ActionOutcome {
        exit: Some(3),
        permit,
        status: OutcomeStatus::Failed,
    });
    let closed = Body::RequestClosed(RequestClosed {
        by: None,
        why: body::CloseReason::RequesterStopped,
    });
    let refused = Body::Refused(Refused {
        by: Some(reference('b')),
        code: "own_request".into(),
    });
    let opened = Body::Opened(Opened {
        by: reference('c'),
        page: "\u{202e}\u{1b}".into(),
    });
    entries(vec![
        ("req_1", asked("bot")),
        (
            "req_1",
            decided(
                body::Decision::Deny,
                json!({ "decision": "deny", "reason": { "why": "forbidden" }, "policies": [] }),
            ),
        ),
        ("req_2", asked("twin")),
        ("req_2", decided(body::Decision::Permit, json!({}))),
        ("req_2", (outcome, json!({}))),
        ("req_3", (closed, json!({}))),
        ("req_2", (opened, json!({ "person": "dana@example.com" }))),
        ("", (refused, json!({}))),
    ])
}

fn args(path: &std::path::Path) -> Args {
    Args {
        path: path.to_owned(),
        kinds: Vec::new(),
        request: None,
        since: None,
        last: 50,
    }
}

fn check(args: &Args, expected: Expect) {
    let (mut output, out, err) = captured(false, true);
    assert_eq!(list(args, &mut output), Ok(0));
    // Columns would make the lines here too long.
    let text = out.text();
    let narrow = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<_> = text.lines().map(narrow).collect();
    expected.assert_eq(&format!("{}\n{}", lines.join("\n"), err.text()));
}

#[test]
fn every_record_is_one_line() {
    let data = data(&story());
    check(
        &args(data.path()),
        expect![[r#"
        0 1970-01-01T00:00:00.000Z action.requested agent:bot exec:deploy at release asked req_1
        1 1970-01-01T00:00:01.000Z policy.decided agent:bot exec:deploy at release deny (a policy forbids it) req_1
        2 1970-01-01T00:00:02.000Z action.requested agent:twin exec:deploy at release asked req_2
        3 1970-01-01T00:00:03.000Z policy.decided agent:twin exec:deploy at release permit req_2
        4 1970-01-01T00:00:04.000Z action.outcome agent:twin exec:deploy at release failed (exit status 3) req_2
        5 1970-01-01T00:00:05.000Z request.closed - - requester_stopped req_3
        6 1970-01-01T00:00:06.000Z opened person:dana@example.com exec:deploy at release opened (⟨U+202E⟩⟨U+001B⟩) req_2
        7 1970-01-01T00:00:07.000Z refused ref:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb - own_request -
    "#]],
    );
}

#[test]
fn records_are_chosen_by_kind_request_time_and_number() {
    let data = data(&story());
    let all = || args(data.path());
    let listed = |args: Args| {
        let (mut output, out, _) = captured(true, false);
        assert_eq!(list(&args, &mut output), Ok(0));
        let text = out.text();
        let mut lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let counted = lines.pop().unwrap();
        let entries: Vec<_> = lines
            .iter()
            .map(|line| line["entry"].as_u64().unwrap())
            .collect();
        assert_eq!(counted["listed"], entries.len());
        (entries, counted["left_out"].as_u64().unwrap())
    };
    let kinds = || vec!["policy.decided".to_owned(), "refused".to_owned()];
    for (args, expected) in [
        (all(), (vec![0, 1, 2, 3, 4, 5, 6, 7], 0)),
        (Args { last: 0, ..all() }, (vec![0, 1, 2, 3, 4, 5, 6, 7], 0)),
        (Args { last: 3, ..all() }, (vec![5, 6, 7], 5)),
        (
            Args {
                kinds: kinds(),
                ..all()
            },
            (vec![1, 3, 7], 0),
        ),
        (
            Args {
                kinds: kinds(),
                last: 1,
                ..all()
            },
            (vec![7], 2),
        ),
        (
            Args {
                request: "req_2".parse().ok(),
                ..all()
            },
            (vec![2, 3, 4, 6], 0),
        ),
        (
            Args {
                since: Some(Timestamp(6_000)),
                ..all()
            },
            (vec![6, 7], 0),
        ),
        (
            Args {
                request: "req_9".parse().ok(),
                ..all()
            },
            (vec![], 0),
        ),
    ] {
        assert_eq!(listed(args), expected);
    }
}

/// Several erasures of one kind are told apart, without a word about whom they were of but the
/// reference that the leaf has.
#[test]
fn what_was_erased_is_said() {
    let erased = |keys: &[u8], subject: Option<Ref>, why| {
        let body = Body::EvidenceErased(EvidenceErased {
            keys: keys.iter().map(|digit| KeyId([*digit; 8])).collect(),
            subject,
            why,
        });
        ("", (body, json!({ "person": "dana@example.com" })))
    };
    let data = data(&entries(vec![
        erased(&[1], None, Erasure::Retention),
        erased(&[2, 3, 4, 5], None, Erasure::Retention),
        erased(&[6, 7], Some(reference('d')), Erasure::Person),
    ]));
    let (mut output, out, _) = captured(false, true);
    assert_eq!(list(&args(data.path()), &mut output), Ok(0));
    let text = out.text();
    let keys = |line: &str| line.split_once(" destroyed: ").unwrap().1.to_owned();
    let said: Vec<_> = text.lines().map(keys).collect();
    let some = "0202020202020202, 0303030303030303, and 2 more)";
    assert!(said[0].starts_with("0101010101010101)"), "{text}");
    assert!(said[1].starts_with(some), "{text}");
    assert!(
        text.contains("ref:dddddddddddddddddddddddddddddddd"),
        "{text}"
    );
    assert!(text.contains("retention (1 key destroyed"), "{text}");
    assert!(text.contains("person (2 keys destroyed"), "{text}");
    let (mut output, out, _) = captured(true, false);
    assert_eq!(list(&args(data.path()), &mut output), Ok(0));
    let line: Value = serde_json::from_str(out.text().lines().nth(1).unwrap()).unwrap();
    let keys: Vec<_> = [2_u8, 3, 4, 5]
        .map(|digit| KeyId([digit; 8]).to_string())
        .into();
    assert_eq!(line["keys"], json!(keys));
    assert!(!out.text().contains("dana"));
}

/// One object for each record, with the whole names.
#[test]
fn records_have_a_form_for_programs() {
    let data = data(&story());
    let (mut output, out, err) = captured(true, false);
    let some = Args {
        kinds: vec!["action.outcome".into(), "refused".into()],
        ..args(data.path())
    };
    assert_eq!(list(&some, &mut output), Ok(0));
    expect![[r#"
        {"entry":4,"at":4000,"kind":"action.outcome","who":"agent:twin","action":"exec:deploy at release","outcome":"failed","detail":"exit status 3","request":"req_2"}
        {"entry":7,"at":7000,"kind":"refused","who":"ref:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","action":null,"outcome":"own_request","detail":null,"request":null}
        {"listed":2,"left_out":0}
    "#]].assert_eq(&out.text());
    assert_eq!(err.text(), "");
}

/// Evidence that is not the leaf's is not believed; the rest of the line stays.
#[test]
fn exchanged_evidence_names_nobody() {
    let mut entries = story();
    let other = entries[2].1.clone();
    entries[0].1 = other;
    entries[2].1.clear();
    let data = data(&entries);
    let some = Args {
        kinds: vec!["action.requested".into()],
        ..args(data.path())
    };
    check(
        &some,
        expect![[r#"
        0 1970-01-01T00:00:00.000Z action.requested ref:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa exec:deploy asked req_1
        2 1970-01-01T00:00:02.000Z action.requested ref:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa exec:deploy asked req_2
    "#]],
    );
}

#[test]
fn what_can_not_be_read_is_said() {
    let mut entries = story();
    entries[1].0 = b"no leaf".to_vec();
    let data = data(&entries);
    let (mut output, out, _) = captured(false, false);
    let failure = list(&args(data.path()), &mut output).unwrap_err();
    assert_eq!((failure.exit, failure.kind.as_str()), (1, "damaged"));
    assert!(failure.detail.unwrap().contains("countersign log verify"));
    assert_eq!(out.text().lines().count(), 8);
    assert!(out.text().contains("unreadable"));

    // A torn tail is what a crash leaves; a damaged frame ends the list with what was before it.
    let data = testing::data(&story());
    let journal = data.path().join("log/journal");
    let whole = fs::read(&journal).unwrap();
    for (end, is_damage) in [(&[0xC1, 0][..], false), (b"garbage", true)] {
        fs::write(&journal, [&whole, end].concat()).unwrap();
        let (mut output, out, _) = captured(false, false);
        let result = list(&args(data.path()), &mut output);
        assert_eq!(
            result.is_err_and(|failure| failure.kind == "damaged"),
            is_damage
        );
        assert_eq!(out.text().lines().count(), 8);
    }
    let (mut output, _, _) = captured(false, false);
    let nowhere = list(&args(&data.path().join("nowhere")), &mut output).unwrap_err();
    assert_eq!(nowhere.exit, 64);
}

/// However many requests there were, only the latest are remembered.
#[test]
fn memory_does_not_grow() {
    let mut memory = Asked::default();
    let (body, evidence) = asked("bot");
    let mut leaf = Leaf::parse(&entries(vec![("req_1", (body, evidence.clone()))])[0].0).unwrap();
    for number in 0..=REMEMBERED {
        let id = format!("req_{number}").parse().unwrap();
        leaf.request = Some(InRequest { id, seq: 0 });
        memory.note(&leaf, &evidence);
    }
    assert_eq!(
        (memory.order.len(), memory.by_request.len()),
        (REMEMBERED, REMEMBERED)
    );
    assert_eq!(memory.of("req_0".parse().ok().as_ref()), (None, None));
    let (who, _) = memory.of(Some(&format!("req_{REMEMBERED}").parse().unwrap()));
    assert_eq!(who.as_deref(), Some("agent:bot"));
}
