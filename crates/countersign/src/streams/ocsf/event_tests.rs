//! Events held against the schema's own tables.
//!
//! `schema-1.8.0.json` has, of both classes and of the objects that our events use, every attribute
//! with its type, whether it is required, and the numbers it can have. It was made from the
//! repository of the schema (<https://github.com/ocsf/ocsf-schema>, tag 1.8.0), with inheritance
//! resolved and without profiles.

use std::sync::Arc;

use countersign_core::{
    canonical::Hash,
    digest::ActionDigest,
    directory::{Directory, Machine, Person},
    id::{CredentialId, PermitId, RequestId},
    subject::SubjectId,
    time::{Span, Timestamp},
};
use countersign_evidence::{
    body::{self, ActivatedBy, Assurance, CloseReason, CredentialKind, KeyPurpose},
    evidence::{Evidence, sealing::NoKeys},
    leaf::{InRequest, Leaf, NO_PREVIOUS, VERSION as LEAF},
    reference::Pseudonyms,
};
use countersign_policy::Details;

use super::*;
use crate::streams::{follow::Place, ocsf::about::Open};

/// What must not be found where it was not asked for.
const SECRETS: [&str; 4] = ["dana@example.com", "--force", "because", "\"nonce\""];

fn schema() -> Value {
    serde_json::from_str(include_str!("schema-1.8.0.json")).unwrap()
}

/// What in `value` is not as the schema has it.
fn check(schema: &Value, table: &Value, value: &Value, path: &str, wrong: &mut Vec<String>) {
    let attributes = table["attributes"].as_object().unwrap();
    let fields = value.as_object().unwrap();
    for (name, attribute) in attributes {
        if attribute["required"] == json!(true) && !fields.contains_key(name) {
            wrong.push(format!("{path}.{name} is missing"));
        }
    }
    if let Some(some) = table["at_least_one"].as_array()
        && !some
            .iter()
            .any(|name| fields.contains_key(name.as_str().unwrap()))
    {
        wrong.push(format!("{path} has none of {some:?}"));
    }
    for (name, value) in fields {
        let at = format!("{path}.{name}");
        let Some(attribute) = attributes.get(name) else {
            wrong.push(format!("{at} is no attribute"));
            continue;
        };
        let values = match value.as_array() {
            Some(values) if attribute["array"] == json!(true) => values.clone(),
            _ if attribute["array"] == json!(true) => {
                wrong.push(format!("{at} is no list"));
                continue;
            }
            _ => vec![value.clone()],
        };
        for value in &values {
            one(schema, attribute, value, &at, wrong);
        }
    }
}

fn one(schema: &Value, attribute: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    if let Some(object) = attribute["object"].as_str() {
        match schema["objects"].get(object) {
            Some(table) => check(schema, table, value, at, wrong),
            // Anything goes there.
            None if object == "object" && value.is_object() => {}
            None => wrong.push(format!("{at}: the table of `{object}` is missing")),
        }
        return;
    }
    let kind = attribute["type"].as_str().unwrap();
    let fits = match kind {
        "integer_t" | "long_t" => value.is_i64() || value.is_u64(),
        "string_t" => value.is_string(),
        other => panic!("{at}: type {other}"),
    };
    if !fits {
        wrong.push(format!("{at} is no {kind}: {value}"));
    }
    if let Some(numbers) = attribute.get("enum").and_then(Value::as_array)
        && !numbers.contains(value)
    {
        wrong.push(format!("{at} can't be {value}"));
    }
}

fn dana() -> SubjectId {
    SubjectId::Person("dana@example.com".parse().unwrap())
}

fn entry(index: u64, body: Body, evidence: &Value) -> Entry {
    let request = body.needs_request().then(|| InRequest {
        id: RequestId::from_bits(3),
        seq: index,
    });
    let evidence = Evidence::open_details([1; 32], evidence).unwrap();
    let leaf = Leaf {
        at: Timestamp(1_790_000_000_000),
        digest: request.is_some().then(|| ActionDigest(Hash::of(b"d"))),
        body,
        evidence: Some(evidence.commitment()),
        instance: "i-1".into(),
        prev: NO_PREVIOUS,
        request,
        seq: index,
        v: LEAF,
    };
    Entry {
        at: Place {
            index,
            offset: index * 1_000,
        },
        hash: Hash::of(&leaf.to_bytes().unwrap()),
        leaf,
        evidence: evidence.to_bytes(),
        keys: Arc::new(NoKeys),
    }
}

/// One record of every kind that is told of, in the order of a request's life.
#[expect(
    clippy::too_many_lines,
    reason = "a list is one idea, however many lines it takes"
)]
fn bodies() -> Vec<Body> {
    let names = Pseudonyms::new([1; 32]);
    let (by, bundle) = (names.of(&dana()), Hash::of(b"bundle"));
    let rule = || "dba".parse().unwrap();
    let (permit, credential) = (PermitId::from_bits(2), CredentialId::from_bits(1));
    let digest = ActionDigest(Hash::of(b"d"));
    let decided = |decision, phase| {
        Body::PolicyDecided(body::PolicyDecided {
            approvals: vec![rule()],
            bundle,
            decision,
            phase,
            policies: vec!["p".parse().unwrap()],
            rules: vec![body::RuleShape {
                assurance: Assurance::Session,
                confirmation: false,
                emergency: true,
                expires: Span::minutes(30),
                name: rule(),
                reason_required: false,
                review_within: Some(Span::minutes(60)),
                stages: vec![1],
                valid_for: Span::minutes(10),
            }],
        })
    };
    let vote = |verdict, emergency| {
        Body::ApprovalDecided(body::ApprovalDecided {
            assurance: Assurance::Session,
            credential: credential.clone(),
            digest,
            emergency,
            envelope: bundle,
            in_place_of: None,
            lineage: Vec::new(),
            issuer: Some(by),
            slots: Vec::new(),
            verdict,
            voter: by,
        })
    };
    let outcome = |exit, status| {
        Body::ActionOutcome(body::ActionOutcome {
            exit,
            permit: permit.clone(),
            status,
        })
    };
    let changed = |what: &str| {
        Body::DirectoryChanged(body::DirectoryChanged {
            subject: by,
            what: what.into(),
        })
    };
    let code = || "code".to_owned();
    let request = vec![
        Body::ActionRequested(body::ActionRequested {
            actions: vec!["exec:git-push".parse().unwrap()],
            amends: None,
            gate: "exec".into(),
            requester: by,
            self_refs: vec![by],
        }),
        decided(Decision::Hold, Phase::Request),
        vote(Verdict::Approve, false),
        vote(Verdict::Deny, false),
        Body::ApprovalWithdrawn(body::ApprovalWithdrawn { voter: by }),
        vote(Verdict::Approve, true),
        Body::EmergencyReviewed(body::EmergencyReviewed {
            by,
            credential: credential.clone(),
            rule: rule(),
        }),
        Body::EmergencyOverdue(body::EmergencyOverdue {
            review_by: Timestamp(1),
            rule: rule(),
        }),
        Body::GrantGiven(body::GrantGiven {
            until: Timestamp(1),
            uses: 20,
        }),
        Body::GrantUsed(body::GrantUsed {
            grant: countersign_core::id::RequestId::from_bits(7),
        }),
        Body::GrantEnded(body::GrantEnded { by }),
        decided(Decision::Permit, Phase::Claim),
        decided(Decision::Deny, Phase::Claim),
        Body::ActionPermitted(body::ActionPermitted {
            approvals: vec![rule()],
            bundle,
            digest,
            expires: Timestamp(1),
            fills: vec![body::Fill {
                rule: rule(),
                stage: 0,
                voter: by,
            }],
            permit: permit.clone(),
            recovered: false,
        }),
        outcome(Some(3), OutcomeStatus::Failed),
        outcome(None, OutcomeStatus::Unknown),
        outcome(Some(0), OutcomeStatus::Succeeded),
        Body::RequestClosed(body::RequestClosed {
            by: Some(by),
            why: CloseReason::Cancelled,
        }),
    ];
    let control = vec![
        Body::Refused(body::Refused {
            by: Some(by),
            code: code(),
        }),
        Body::Refused(body::Refused {
            by: None,
            code: code(),
        }),
        Body::PolicyActivated(body::PolicyActivated {
            bundle,
            by: ActivatedBy::Request,
            previous: Some(bundle),
        }),
        Body::CredentialIssued(body::CredentialIssued {
            credential: credential.clone(),
            holder: by,
            issuer: None,
            kind: CredentialKind::Token,
            passkey: None,
        }),
        Body::CredentialRevoked(body::CredentialRevoked { credential }),
        changed("add_person"),
        changed("add_membership"),
        changed("disable_person"),
        changed("enable_person"),
        changed("stop_agent"),
        changed("start_agent"),
        Body::KeyRotated(body::KeyRotated {
            current: "k".into(),
            previous: None,
            purpose: KeyPurpose::Log,
        }),
        Body::EpochStarted(body::EpochStarted {
            checkpoint: None,
            dropped: 2,
            former: "countersign/0123456789abcdef".into(),
            found: "short".into(),
            kept: body::Head {
                root: bundle,
                size: 40,
            },
            missing: 10,
            unknown: 1,
            unrecorded: 0,
        }),
        Body::Recovered(body::Recovered { what: code() }),
        Body::EvidenceErased(body::EvidenceErased {
            keys: Vec::new(),
            subject: Some(by),
            why: body::Erasure::Person,
        }),
        Body::SecurityEvent(body::SecurityEvent { code: code() }),
    ];
    [request, control].concat()
}

/// The events of all of these under some details.
fn events(details: Details) -> Vec<Value> {
    let dana = dana();
    let evidence = json!({
        "action": {
            "gate": "exec", "target": "release", "operation": "run",
            "arguments": { "argv": ["git", "push", "--force"] }, "session": null,
        },
        "chain": { "requester": dana, "links": [] },
        "reason": "because",
        "nonce": "00",
    });
    let directory = Arc::new(Directory {
        people: [("dana@example.com".parse().unwrap(), Person::default())].into(),
        agents: [("bot".parse().unwrap(), Machine::default())].into(),
        ..Directory::default()
    });
    let mut view = View::new(details);
    view.refresh(&directory, &Pseudonyms::new([1; 32]));
    let groups = BTreeMap::from([("exec:git-push".to_owned(), "write".to_owned())]);
    let mut open = Open::default();
    let all = bodies().into_iter().enumerate();
    all.map(|(index, body)| {
        let entry = entry(index as u64, body, &evidence);
        open.begin(&entry);
        let around = Around {
            origin: "countersign/0123456789abcdef",
            view: &view,
            groups: &groups,
            about: open.of(&entry),
        };
        event(&entry, &around).unwrap()
    })
    .collect()
}

#[test]
fn events_are_those_of_the_schema() {
    let schema = schema();
    for details in [Details::Refs, Details::Names, Details::All] {
        let mut wrong = Vec::new();
        for event in events(details) {
            let class = event["class_uid"].as_u64().unwrap();
            let table = &schema["classes"][class.to_string()];
            check(&schema, table, &event, &class.to_string(), &mut wrong);
            let expected = class * 100 + event["activity_id"].as_u64().unwrap();
            assert_eq!(event["type_uid"], json!(expected));
            assert_eq!(event["category_uid"], json!(class / 1_000));
            assert_eq!(event["metadata"]["version"], schema["version"]);
            // Fixed words where the number is a fixed one.
            let word = ["Unknown", "Success", "Failure"];
            let number = usize::try_from(event["status_id"].as_u64().unwrap()).unwrap();
            if let Some(word) = word.get(number) {
                assert_eq!(event["status"], json!(word));
            }
        }
        assert!(wrong.is_empty(), "{details:?}: {wrong:#?}");
    }
}

#[test]
fn the_check_finds_what_is_wrong() {
    type Change = fn(&mut Value);
    let schema = schema();
    let good = events(Details::Refs).remove(0);
    let table = &schema["classes"]["6003"];
    let break_it = |change: Change| {
        let (mut event, mut wrong) = (good.clone(), Vec::new());
        change(&mut event);
        check(&schema, table, &event, "6003", &mut wrong);
        wrong.join("; ")
    };
    let cases: [(Change, &str); 6] = [
        (|event| event["colour"] = json!(1), "no attribute"),
        (|event| event["time"] = json!("now"), "no long_t"),
        (|event| event["severity_id"] = json!(9), "can't be 9"),
        (|event| event["actor"] = json!({}), "has none of"),
        (
            |event| drop(event.as_object_mut().unwrap().remove("api")),
            "api is missing",
        ),
        (|event| event["resources"] = json!({}), "no list"),
    ];
    for (change, expected) in cases {
        let found = break_it(change);
        assert!(found.contains(expected), "{expected}: {found}");
    }
}

/// P11: nothing leaves but what the details allow.
#[test]
fn details_bound_what_is_said() {
    for (details, allowed) in [
        (Details::Refs, &[][..]),
        (Details::Names, &["dana@example.com"][..]),
        (
            Details::All,
            &["dana@example.com", "--force", "because"][..],
        ),
    ] {
        let text = json!(events(details)).to_string();
        for secret in SECRETS {
            let found = text.contains(secret);
            assert_eq!(found, allowed.contains(&secret), "{details:?}: {secret}");
        }
        assert!(text.contains("\"release\"") && text.contains("exec:git-push"));
    }
}

#[test]
fn successes_are_what_ran() {
    let found: Vec<String> = events(Details::Refs)
        .iter()
        .filter(|event| event["class_uid"] == json!(6003))
        .map(|event| {
            let actor = match event["actor"].get("user") {
                Some(_) => "user",
                None => "app",
            };
            format!(
                "{} {} {} {} {actor}",
                event["metadata"]["event_code"].as_str().unwrap(),
                event["activity_name"].as_str().unwrap(),
                event["status"].as_str().unwrap(),
                event["severity_id"],
            )
        })
        .collect();
    expect_test::expect![[r#"
        action.requested Update Requested 1 user
        policy.decided Update Hold 1 user
        approval.decided Update Countersigned 1 user
        approval.decided Update Denied 1 user
        approval.withdrawn Update Withdrawn 1 user
        approval.decided Update Lifted in an emergency 4 user
        emergency.reviewed Update Reviewed 1 user
        emergency.overdue Update Review overdue 4 user
        grant.given Update Granted 2 user
        grant.used Update Under a grant 1 user
        grant.ended Update Grant ended 1 user
        policy.decided Update Permit 1 user
        policy.decided Update Failure 2 user
        action.permitted Update Permitted 1 user
        action.outcome Update Failure 2 user
        action.outcome Update Unknown 3 user
        action.outcome Update Success 1 user
        request.closed Update Failure 2 user
        refused Unknown Failure 2 user
        refused Unknown Failure 2 app
    "#]]
    .assert_eq(&(found.join("\n") + "\n"));
}

/// The manual's table has every kind of record, with what its events are.
#[test]
fn the_manual_lists_every_kind() {
    let manual = include_str!("../../../../../docs/operations.md");
    let (_, table) = manual.split_once("### Records as OCSF").unwrap();
    let (table, _) = table.split_once("\n### ").unwrap();
    let all = events(Details::Refs);
    for kind in Body::KINDS {
        let row = table
            .lines()
            .find(|line| line.contains(&format!("`{kind}`")));
        let row = row.unwrap_or_else(|| panic!("`{kind}` is not in the manual"));
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let (class, activities, status) = (cells[2], cells[3], cells[4]);
        let of_kind = |event: &&Value| event["metadata"]["event_code"] == json!(kind);
        let told: Vec<_> = all.iter().filter(of_kind).collect();
        assert_eq!(told.is_empty(), class == "none", "{kind}");
        for event in told {
            let says = |cell: &str, name: &str| cell.contains(event[name].as_str().unwrap());
            assert!(class.starts_with(&event["class_uid"].to_string()), "{row}");
            assert!(says(status, "status"), "{row} {}", event["status"]);
            let by_group = class == "6003" && activities.starts_with("what the action does");
            assert!(by_group || says(activities, "activity_name"), "{row}");
        }
    }
}
