//! Cases and stores for the tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use countersign_core::{
    action::Action,
    approval::{
        ApprovalRule, Vote,
        rule::{Approver, Assurance, Stage},
        vote::{Credential, Verdict},
    },
    canonical::Hash,
    decision::{Decided, Decision},
    digest::{AttachKey, Nonce, action_digest},
    directory::{Directory, Membership, Person},
    id::{CredentialId, PermitId, PersonId, RequestId},
    lifecycle::{self, World},
    request::{Case, Closure, Outcome, Phase, Presentation, Request},
    subject::{Subject, SubjectChain, SubjectId},
    time::Timestamp,
};
use countersign_store::{CaseWrite, Store, StoreError, Write};
use serde_json::json;

/// A store behind the trait, as everybody uses it.
pub(crate) type Any = Arc<dyn Store>;

/// Runs every named test of a topic against every kind of store.
macro_rules! stores {
    ($($test:ident),* $(,)?) => {
        mod memory {$(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $test() {
                super::$test(std::sync::Arc::new(countersign_store::MemoryStore::new())).await;
            }
        )*}
        mod sqlite {$(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $test() {
                let directory = tempfile::tempdir().unwrap();
                let path = directory.path().join("store.db");
                let store = countersign_store::SqliteStore::open(&path).await.unwrap();
                super::$test(std::sync::Arc::new(store)).await;
            }
        )*}
    };
}
pub(crate) use stores;

pub(crate) fn person(name: &str) -> PersonId {
    PersonId::new(format!("{name}@example.com")).unwrap()
}

pub(crate) fn request_id(number: u128) -> RequestId {
    RequestId::from_bits(number)
}

pub(crate) fn permit_id(number: u128) -> PermitId {
    PermitId::from_bits(number)
}

pub(crate) fn key(name: &str) -> AttachKey {
    AttachKey(Hash::of(name.as_bytes()))
}

/// What differs between the cases of a test.
#[derive(Clone)]
pub(crate) struct Ask<'a> {
    pub(crate) number: u128,
    pub(crate) key: &'a str,
    pub(crate) agent: &'a str,
    pub(crate) owner: &'a str,
    pub(crate) behalf: Option<&'a str>,
    pub(crate) target: &'a str,
    pub(crate) title: &'a str,
    pub(crate) reason: Option<&'a str>,
    pub(crate) at: i64,
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Self {
            number: 1,
            key: "a",
            agent: "deploy-bot",
            owner: "olga",
            behalf: None,
            target: "orders",
            title: "DELETE FROM orders",
            reason: None,
            at: 1_000,
        }
    }
}

fn presentation(title: &str) -> Presentation {
    Presentation {
        title: title.into(),
        body: title.into(),
        blast_radius: "unknown".into(),
        complete: true,
    }
}

/// A held case, which expires half an hour after it was asked.
pub(crate) fn held(ask: &Ask<'_>) -> Case {
    let stage = Stage {
        from: vec![Approver::Group("dba".parse().unwrap())],
        count: 1,
    };
    let rule = ApprovalRule::new("dba".parse().unwrap(), vec![stage]);
    let decision = Decision::Hold {
        rules: BTreeSet::from([rule.name.clone()]),
        policies: BTreeSet::from(["prod-writes".parse().unwrap()]),
    };
    let requester = Subject {
        id: SubjectId::Agent(ask.agent.parse().unwrap()),
        owner: Some(person(ask.owner)),
    };
    let mut chain = SubjectChain::of(requester);
    let behalf = ask.behalf.map(person).map(Subject::person);
    chain.on_behalf_of.extend(behalf);
    let action = Action {
        gate: "exec".into(),
        target: ask.target.parse().unwrap(),
        operation: "run".into(),
        arguments: json!({ "argv": ["psql", "-c", ask.title], "share": 0.1 }),
        session: json!(null),
        masked: Vec::new(),
    };
    let (id, nonce) = (request_id(ask.number), Nonce(Hash::of(b"nonce")));
    let request = Request {
        digest: action_digest(&chain, &action, &id, &nonce).unwrap(),
        id,
        chain,
        action,
        effects: Vec::new(),
        captures: BTreeMap::new(),
        reason: ask.reason.map(Into::into),
        nonce,
        attach_key: key(ask.key),
        repeat_key: None,
        at: Timestamp(ask.at),
        decided: Decided {
            decision,
            bundle: Hash::of(b"bundle"),
            approvals: BTreeSet::new(),
        },
        rules: vec![rule.clone()],
        grants: None,
        resource_owners: BTreeSet::new(),
        issuers: BTreeSet::new(),
        behind: BTreeSet::new(),
        administrative: false,
        amends: None,
        trace: None,
        presentation: presentation(ask.title),
    };
    let directory = of_dana();
    let world = World {
        directory: &directory,
        rules: &BTreeMap::from([(rule.name.clone(), rule)]),
        due_reviews: None,
    };
    lifecycle::open(request, world).unwrap()
}

/// Whoever can decide it.
fn of_dana() -> Directory {
    let joined = Membership {
        since: Timestamp(0),
        countersigned: true,
        provided: false,
    };
    let dana = Person {
        groups: BTreeMap::from([("dba".parse().unwrap(), joined)]),
        ..Person::default()
    };
    Directory {
        people: BTreeMap::from([(person("dana"), dana)]),
        ..Directory::default()
    }
}

pub(crate) fn deadline(case: &Case) -> Timestamp {
    lifecycle::deadline(case).unwrap()
}

/// The case one version later in another phase.
pub(crate) fn stepped(case: &Case, phase: Phase) -> Case {
    Case {
        phase,
        version: case.version + 1,
        ..case.clone()
    }
}

pub(crate) fn approved(case: &Case, until: i64) -> Case {
    let until = Timestamp(until);
    stepped(case, Phase::Approved { until })
}

pub(crate) fn running(case: &Case, permit: u128) -> Case {
    let (permit, since) = (permit_id(permit), Timestamp(5_000));
    stepped(case, Phase::Running { permit, since })
}

pub(crate) fn finished(case: &Case, permit: u128, outcome: Outcome) -> Case {
    let (permit, at) = (permit_id(permit), Timestamp(6_000));
    let phase = Phase::Finished {
        permit,
        outcome,
        at,
    };
    stepped(case, phase)
}

pub(crate) fn closed(case: &Case, closure: Closure, refuse_until: i64) -> Case {
    let phase = Phase::Closed {
        closure,
        at: Timestamp(4_000),
        refuse_until: Timestamp(refuse_until),
    };
    stepped(case, phase)
}

pub(crate) fn denied() -> Closure {
    Closure::Denied {
        by: person("dana"),
        reason: Some("no".into()),
    }
}

pub(crate) fn vote(case: &Case, voter: &str) -> Vote {
    Vote {
        in_place_of: None,
        voter: person(voter),
        credential: Credential {
            id: CredentialId::from_bits(9),
            issued_by: None,
            lineage: BTreeSet::new(),
            assurance: Assurance::Session,
        },
        verdict: Verdict::Approve,
        reason: None,
        digest: case.request.digest,
        at: Timestamp(3_000),
        grant: None,
        signature: None,
    }
}

/// The case one version later with exactly these voters.
pub(crate) fn voted(case: &Case, voters: &[&str]) -> Case {
    Case {
        votes: voters.iter().map(|voter| vote(case, voter)).collect(),
        version: case.version + 1,
        ..case.clone()
    }
}

pub(crate) fn insert(case: &Case) -> Write {
    Write::InsertCase(Box::new(CaseWrite {
        case: case.clone(),
        envelopes: Vec::new(),
    }))
}

pub(crate) fn swap(case: &Case) -> Write {
    swap_with(case, &[])
}

pub(crate) fn swap_with(case: &Case, envelopes: &[(&str, &[u8])]) -> Write {
    let envelopes = envelopes
        .iter()
        .map(|(voter, bytes)| (person(voter), bytes.to_vec()));
    Write::SwapCase(Box::new(CaseWrite {
        case: case.clone(),
        envelopes: envelopes.collect(),
    }))
}

pub(crate) fn permit(number: u128, request: &Case) -> Write {
    Write::InsertPermit {
        permit: permit_id(number),
        request: request.request.id.clone(),
        at: Timestamp(5_000),
    }
}

/// Stores a held case and approves it.
pub(crate) async fn store_approved(store: &Any, ask: &Ask<'_>) -> Case {
    let case = held(ask);
    let approved = approved(&case, 9_000);
    store
        .commit(vec![insert(&case), swap(&approved)])
        .await
        .unwrap();
    approved
}

/// Stores a case and runs it.
pub(crate) async fn store_running(store: &Any, ask: &Ask<'_>, number: u128) -> Case {
    let approved = store_approved(store, ask).await;
    let running = running(&approved, number);
    let writes = vec![permit(number, &running), swap(&running)];
    store.commit(writes).await.unwrap();
    running
}

pub(crate) async fn stored(store: &Any, id: &RequestId) -> Case {
    store.case(id).await.unwrap().unwrap().case
}

pub(crate) fn assert_conflict<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Conflict)), "{result:?}");
}

pub(crate) fn assert_refused<T: std::fmt::Debug>(result: Result<T, StoreError>, name: &str) {
    match result {
        Err(StoreError::Refused(said)) => assert!(said.starts_with(name), "{said} is not {name}"),
        other => panic!("{other:?} instead of {name}"),
    }
}
