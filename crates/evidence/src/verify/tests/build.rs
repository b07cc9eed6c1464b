//! Builds logs: drafts that are sealed with every sequence, chain, commitment and signature right.
//!
//! In scope: what somebody who holds the log's key and the gateway can write.
//! Out of scope: votes with a forged signature, which need the vote key.

use std::collections::HashMap;

use countersign_core::{
    action::Action,
    canonical::Hash,
    digest::{ActionDigest, Nonce, action_digest},
    id::{CredentialId, PermitId, RequestId, RuleName},
    subject::{Subject, SubjectChain, SubjectId},
    time::{Span, Timestamp},
};
use serde_json::{Value, json};

use crate::{
    body::*,
    checkpoint::Checkpoint,
    evidence::Evidence,
    frame::{self, Frame},
    key::SigningKey,
    leaf::{InRequest, Leaf, NO_PREVIOUS, VERSION},
    merkle::{Tree, leaf_hash},
    reference::{Pseudonyms, Ref},
    verify::{Report, Trust, verify_journal},
    vote::VoteStatement,
};

/// The requests of [`good`].
pub(super) const PERMITTED: u128 = 1;
pub(super) const HELD: u128 = 2;
pub(super) const DENIED: u128 = 3;
pub(super) const EXPIRED: u128 = 4;
pub(super) const FORBIDDEN: u128 = 5;
pub(super) const CONFIRMED: u128 = 6;

pub(super) const MINUTE: i64 = 60_000;

pub(super) fn log_key() -> SigningKey {
    SigningKey::from_seed("log.example", &[1; 32]).unwrap()
}

pub(super) fn vote_key() -> SigningKey {
    SigningKey::from_seed("votes.example", &[2; 32]).unwrap()
}

pub(super) fn person(name: &str) -> Ref {
    Pseudonyms::new([3; 32]).of_person(&name.parse().unwrap())
}

pub(super) fn digest(request: u128) -> ActionDigest {
    let id = RequestId::from_bits(request);
    action_digest(&chain(), &action(), &id, &nonce()).unwrap()
}

fn chain() -> SubjectChain {
    SubjectChain::of(Subject {
        id: SubjectId::Person("bot@example.com".parse().unwrap()),
        owner: None,
    })
}

fn action() -> Action {
    Action {
        gate: "exec".into(),
        target: "release".parse().unwrap(),
        operation: "run".into(),
        arguments: json!({ "argv": ["deploy", "--to", "production"] }),
        session: json!(null),
        masked: Vec::new(),
    }
}

fn nonce() -> Nonce {
    Nonce(Hash::of(b"nonce"))
}

/// The session by which somebody votes.
pub(super) fn session(name: &str) -> CredentialId {
    let Hash(hash) = Hash::of(name.as_bytes());
    CredentialId::from_bits(u128::from(hash[0]) << 8 | u128::from(hash[1]))
}

pub(super) fn issued(name: &str) -> Draft {
    control(Body::CredentialIssued(CredentialIssued {
        credential: session(name),
        holder: person(name),
        issuer: None,
        kind: CredentialKind::Session,
        passkey: None,
    }))
}

pub(super) fn activated(bundle: &[u8]) -> Draft {
    control(Body::PolicyActivated(PolicyActivated {
        bundle: Hash::of(bundle),
        by: ActivatedBy::FirstStart,
        previous: None,
    }))
}

/// A record before it has its place in the log.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) at: i64,
    pub(super) body: Body,
    pub(super) digest: Option<ActionDigest>,
    pub(super) instance: &'static str,
    pub(super) request: Option<u128>,
    pub(super) value: Option<Value>,
}

impl Draft {
    /// Whether it issued somebody's session.
    pub(super) fn is_session_of(&self, name: &str) -> bool {
        matches!(&self.body, Body::CredentialIssued(issued) if issued.credential == session(name))
    }
}

pub(super) fn control(body: Body) -> Draft {
    Draft {
        at: 0,
        body,
        digest: None,
        instance: "gw-1",
        request: None,
        value: None,
    }
}

/// A record of a request, `at` milliseconds after the start of the log.
pub(super) fn of(request: u128, at: i64, body: Body) -> Draft {
    let value = Some(json!({"kind": "test"}));
    Draft {
        at,
        digest: Some(digest(request)),
        request: Some(request),
        value,
        ..control(body)
    }
}

pub(super) fn requested(request: u128) -> Draft {
    let body = ActionRequested {
        actions: vec!["write".parse().unwrap()],
        amends: None,
        gate: "exec".into(),
        requester: person("bot@example.com"),
        self_refs: vec![person(OLGA)],
    };
    let value = json!({ "action": action(), "chain": chain(), "nonce": nonce() });
    Draft {
        value: Some(value),
        ..of(request, 0, Body::ActionRequested(body))
    }
}

pub(super) fn decided(request: u128, at: i64, phase: Phase, decision: Decision) -> Draft {
    let body = PolicyDecided {
        approvals: Vec::new(),
        bundle: Hash::of(b"bundle"),
        decision,
        phase,
        policies: vec!["prod-writes".parse().unwrap()],
        rules: Vec::new(),
    };
    of(request, at, Body::PolicyDecided(body))
}

pub(super) fn rule(name: &str, stages: &[u32]) -> RuleShape {
    RuleShape {
        assurance: Assurance::Session,
        confirmation: false,
        emergency: false,
        expires: Span::minutes(30),
        name: name.parse().unwrap(),
        reason_required: true,
        review_within: None,
        stages: stages.to_vec(),
        valid_for: Span::minutes(10),
    }
}

pub(super) fn held(request: u128, rule: RuleShape) -> Draft {
    let mut draft = decided(request, 0, Phase::Request, Decision::Hold);
    draft.decision().rules.push(rule);
    draft
}

pub(super) fn claimed(request: u128, at: i64, rule: &str) -> Draft {
    let mut draft = decided(request, at, Phase::Claim, Decision::Permit);
    draft.decision().approvals.push(rule.parse().unwrap());
    draft
}

pub(super) fn statement(
    request: u128,
    at: i64,
    voter: &str,
    rule: &str,
    stage: u32,
) -> VoteStatement {
    VoteStatement {
        assurance: Assurance::Session,
        at: start_plus(at),
        credential: session(voter),
        digest: digest(request),
        emergency: false,
        grant: None,
        in_place_of: None,
        lineage: Vec::new(),
        issuer: None,
        reason: Some("checked".into()),
        request: RequestId::from_bits(request),
        shown: Some(Hash::of(b"git push")),
        signature: None,
        slots: vec![Slot {
            rule: rule.parse().unwrap(),
            stage,
        }],
        verdict: Verdict::Approve,
        voter: person(voter),
    }
}

/// A signed vote, as only the holder of the vote key makes it.
pub(super) fn vote(request: u128, at: i64, statement: &VoteStatement) -> Draft {
    let envelope = statement.sign(&vote_key()).unwrap();
    let body = Body::ApprovalDecided(statement.record(&envelope));
    Draft {
        value: Some(json!({"envelope": envelope})),
        ..of(request, at, body)
    }
}

pub(super) fn fill(rule: &str, stage: u32, voter: &str) -> Fill {
    Fill {
        rule: rule.parse().unwrap(),
        stage,
        voter: person(voter),
    }
}

pub(super) fn permitted(request: u128, at: i64, approvals: &[&str], fills: Vec<Fill>) -> Draft {
    let body = ActionPermitted {
        approvals: approvals.iter().map(|name| name.parse().unwrap()).collect(),
        bundle: Hash::of(b"bundle"),
        digest: digest(request),
        expires: start_plus(at + 30_000),
        fills,
        permit: PermitId::from_bits(request),
        recovered: false,
    };
    of(request, at, Body::ActionPermitted(body))
}

pub(super) fn outcome(request: u128, at: i64) -> Draft {
    let body = ActionOutcome {
        exit: Some(0),
        permit: PermitId::from_bits(request),
        status: OutcomeStatus::Succeeded,
    };
    of(request, at, Body::ActionOutcome(body))
}

pub(super) fn closed(request: u128, at: i64, why: CloseReason) -> Draft {
    of(
        request,
        at,
        Body::RequestClosed(RequestClosed { by: None, why }),
    )
}

pub(super) fn start_plus(millis: i64) -> Timestamp {
    Timestamp(1_790_000_000_000 + millis)
}

/// One of everything: permitted, held and approved in two stages, denied, expired, forbidden and
/// confirmed.
pub(super) fn good() -> Log {
    let started = |checkpoint_size| {
        let build = "0.1.0".into();
        Body::InstanceStarted(InstanceStarted {
            build,
            checkpoint_size,
        })
    };
    let counters = Counters {
        denied: 1,
        executed: 3,
        held: 4,
        permitted: 1,
        seen: 6,
    };
    let mut drafts = vec![control(started(0)), activated(b"bundle")];
    drafts.extend([DANA, ERIN, FINN, OLGA, BOT].map(issued));
    drafts.extend(permitted_and_approved());
    drafts.extend(ended_without_running());
    drafts.extend(confirmed());
    drafts.push(control(Body::Heartbeat(counters)));
    for body in [started(10), Body::Heartbeat(Counters::default())] {
        drafts.push(Draft {
            instance: "gw-2",
            ..control(body)
        });
    }
    Log(drafts)
}

/// Three requests, one of them denied, whose records stand between each other's.
fn permitted_and_approved() -> Vec<Draft> {
    let at = MINUTE;
    let mut no = statement(DENIED, at, DANA, "dba", 0);
    no.verdict = Verdict::Deny;
    let opened = Opened {
        by: person(DANA),
        page: "request".into(),
    };
    let fills = vec![fill("dba", 0, DANA), fill("dba", 1, ERIN)];
    vec![
        requested(PERMITTED),
        decided(PERMITTED, 0, Phase::Request, Decision::Permit),
        permitted(PERMITTED, 0, &[], vec![]),
        requested(HELD),
        held(HELD, rule("dba", &[1, 1])),
        requested(DENIED),
        outcome(PERMITTED, 5),
        vote(HELD, at, &statement(HELD, at, DANA, "dba", 0)),
        held(DENIED, rule("dba", &[1])),
        vote(HELD, 2 * at, &statement(HELD, 2 * at, ERIN, "dba", 1)),
        of(DENIED, at, Body::Opened(opened)),
        vote(DENIED, at, &no),
        claimed(HELD, 3 * at, "dba"),
        permitted(HELD, 3 * at, &["dba"], fills),
        closed(DENIED, at, CloseReason::Denied),
        outcome(HELD, 4 * at),
    ]
}

fn ended_without_running() -> Vec<Draft> {
    let refused = Body::Refused(Refused {
        by: None,
        code: "not_open".into(),
    });
    vec![
        requested(EXPIRED),
        held(EXPIRED, rule("dba", &[2])),
        closed(EXPIRED, 30 * MINUTE, CloseReason::Expired),
        of(EXPIRED, 30 * MINUTE, refused),
        requested(FORBIDDEN),
        decided(FORBIDDEN, 0, Phase::Request, Decision::Deny),
    ]
}

fn confirmed() -> Vec<Draft> {
    let at = MINUTE;
    let mut confirm = rule("confirm", &[]);
    confirm.confirmation = true;
    vec![
        requested(CONFIRMED),
        held(CONFIRMED, confirm),
        vote(CONFIRMED, at, &statement(CONFIRMED, at, OLGA, "confirm", 0)),
        claimed(CONFIRMED, at, "confirm"),
        permitted(CONFIRMED, at, &["confirm"], vec![fill("confirm", 0, OLGA)]),
        outcome(CONFIRMED, at),
    ]
}

/// A log in the making.
#[derive(Debug, Clone)]
pub(super) struct Log(pub(super) Vec<Draft>);

impl Log {
    /// Where the `nth` record of a request stands.
    pub(super) fn place(&self, request: u128, nth: usize) -> usize {
        let mine =
            |(place, draft): (usize, &Draft)| (draft.request == Some(request)).then_some(place);
        self.0.iter().enumerate().filter_map(mine).nth(nth).unwrap()
    }

    pub(super) fn draft(&mut self, request: u128, nth: usize) -> &mut Draft {
        let place = self.place(request, nth);
        &mut self.0[place]
    }

    pub(super) fn remove(&mut self, request: u128, nth: usize) -> Draft {
        self.0.remove(self.place(request, nth))
    }

    /// Puts a record directly before the `nth` of a request.
    pub(super) fn before(&mut self, request: u128, nth: usize, draft: Draft) {
        self.0.insert(self.place(request, nth), draft);
    }

    /// Puts a record directly behind the `nth` of a request.
    pub(super) fn behind(&mut self, request: u128, nth: usize, draft: Draft) {
        self.0.insert(self.place(request, nth) + 1, draft);
    }

    /// The record that issued somebody's session.
    pub(super) fn session_of(&mut self, name: &str) -> &mut CredentialIssued {
        let of = |draft: &&mut Draft| draft.is_session_of(name);
        self.0.iter_mut().find(of).unwrap().credential()
    }

    /// Leaf and evidence bytes of every entry, with every sequence and chain right.
    pub(super) fn frames(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut instances: HashMap<&str, (u64, Hash)> = HashMap::new();
        let mut requests: HashMap<u128, u64> = HashMap::new();
        let mut frames = Vec::new();
        for draft in &self.0 {
            let (seq, prev) = instances.entry(draft.instance).or_insert((0, NO_PREVIOUS));
            let salt = Hash::of(&frames.len().to_be_bytes()).0;
            let evidence = draft
                .value
                .as_ref()
                .map(|value| Evidence::open_details(salt, value).unwrap());
            let request = draft.request.map(|bits| {
                let next = requests.entry(bits).or_default();
                *next += 1;
                InRequest {
                    id: RequestId::from_bits(bits),
                    seq: *next - 1,
                }
            });
            let leaf = Leaf {
                at: start_plus(draft.at),
                body: draft.body.clone(),
                digest: draft.digest,
                evidence: evidence.as_ref().map(Evidence::commitment),
                instance: draft.instance.into(),
                prev: *prev,
                request,
                seq: *seq,
                v: VERSION,
            };
            let leaf = leaf.to_bytes().unwrap();
            (*seq, *prev) = (*seq + 1, leaf_hash(&leaf));
            frames.push((
                leaf,
                evidence.map(|found| found.to_bytes()).unwrap_or_default(),
            ));
        }
        frames
    }

    /// Seals with the log's key and verifies.
    pub(super) fn verify(&self) -> Report {
        let frames = self.frames();
        verify_journal(
            &journal(&frames),
            trust(),
            checkpoint(&frames).as_bytes(),
            &[],
        )
    }
}

pub(super) fn trust() -> Trust {
    let votes = Some(vec![vote_key().verifying().clone()]);
    Trust {
        log: log_key().verifying().clone(),
        votes,
    }
}

pub(super) fn journal(frames: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (leaf, evidence) in frames {
        frame::encode(Frame { leaf, evidence }, &mut bytes).unwrap();
    }
    bytes
}

/// The signed checkpoint over these frames.
pub(super) fn checkpoint(frames: &[(Vec<u8>, Vec<u8>)]) -> String {
    let mut tree = Tree::new();
    for (leaf, _) in frames {
        tree.push(leaf_hash(leaf));
    }
    Checkpoint::of("log.example", &tree)
        .sign(&log_key())
        .unwrap()
}

macro_rules! accessors {
    ($($name:ident: $kind:ident = $type:ident;)*) => {
        impl Draft {$(
            pub(super) fn $name(&mut self) -> &mut $type {
                match &mut self.body {
                    Body::$kind(body) => body,
                    other => panic!("{other:?}"),
                }
            }
        )*}
    };
}

accessors! {
    asked: ActionRequested = ActionRequested;
    decision: PolicyDecided = PolicyDecided;
    approval: ApprovalDecided = ApprovalDecided;
    permission: ActionPermitted = ActionPermitted;
    ending: ActionOutcome = ActionOutcome;
    heartbeat: Heartbeat = Counters;
    start: InstanceStarted = InstanceStarted;
    credential: CredentialIssued = CredentialIssued;
}

pub(super) const DANA: &str = "dana@example.com";
pub(super) const ERIN: &str = "erin@example.com";
pub(super) const FINN: &str = "finn@example.com";
/// The owner of the agent that asks.
pub(super) const OLGA: &str = "olga@example.com";

/// Who asks.
pub(super) const BOT: &str = "bot@example.com";

pub(super) fn dba() -> RuleName {
    "dba".parse().unwrap()
}

pub(super) fn id(bits: u128) -> RequestId {
    RequestId::from_bits(bits)
}
