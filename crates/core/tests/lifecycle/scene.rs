//! A small town, one request, and a language for what happens to it: `bob+ +5m cat+ claim`.
//!
//! Every word gives one result: the phase afterwards, or the code of the refusal, or both as
//! `code/phase` when a refused event changed the case.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::{
    action::Action,
    approval::{
        ApprovalRule,
        rule::{Approver, Assurance, Emergency, Escalation, GrantLimits, ReasonRequirement, Stage},
        vote::{Credential, Verdict},
    },
    canonical::Hash,
    decision::{Decided, Decision, DenyReason},
    digest::{AttachKey, Nonce, action_digest},
    directory::{Directory, Machine, Membership, Person},
    id::{CredentialId, GroupId, MessageId, PermitId, PersonId, RequestId, RuleName},
    lifecycle::{Ballot, Claim, Event, Fact, Refusal, World, open, satisfied_rules, step},
    permit::Intent,
    request::{Amends, Case, Message, MessageKind, Outcome, Presentation, Request},
    subject::{Subject, SubjectChain, SubjectId},
    time::{Span, Timestamp},
};

/// 2026-11-20 12:00 UTC, a Friday.
pub(crate) const START: Timestamp = Timestamp(1_795_176_000_000);

/// Who is in which groups at the start.
const PEOPLE: [(&str, &[&str]); 10] = [
    ("ann", &["dba"]),
    ("bob", &["dba", "security"]),
    ("cat", &["security"]),
    ("dan", &["dba"]),
    ("eve", &["oncall"]),
    ("sam", &["sre"]),
    ("mia", &[]),
    ("rita", &["dba", "sre"]),
    ("olga", &["dba"]),
    ("zoe", &[]),
];

pub(crate) fn person(name: &str) -> PersonId {
    name.parse().unwrap()
}

pub(crate) fn someone(name: &str) -> SubjectId {
    SubjectId::Person(person(name))
}

pub(crate) fn bot() -> SubjectId {
    SubjectId::Agent("bot".parse().unwrap())
}

/// Reads `dba: 2 group:dba > 1 group:security user:dan | reason | valid 5m`.
pub(crate) fn rule(text: &str) -> ApprovalRule {
    let mut parts = text.split(" | ");
    let (name, stages) = parts.next().unwrap().split_once(':').unwrap();
    let stages = stages.split('>').filter(|stage| !stage.trim().is_empty());
    let mut rule = ApprovalRule::new(name.parse().unwrap(), stages.map(stage).collect());
    for part in parts {
        let (option, rest) = part.split_once(' ').unwrap_or((part, ""));
        match option {
            "confirm" => rule.confirmation = true,
            "reason" => rule.reason = ReasonRequirement::Required,
            "passkey" => rule.assurance = Assurance::Passkey,
            "expires" => rule.expires = rest.parse().unwrap(),
            "valid" => rule.valid_for = rest.parse().unwrap(),
            "hours" => rule.hours = Some(rest.to_owned().try_into().unwrap()),
            "escalate" => {
                let (after, to) = rest.split_once(' ').unwrap();
                let after = after.parse().unwrap();
                rule.escalate.push(Escalation {
                    after,
                    to: approvers(to),
                });
            }
            "grants" => {
                let (max, uses) = rest.split_once(' ').unwrap();
                rule.grants = Some(GrantLimits {
                    max: max.parse().unwrap(),
                    uses: uses.parse().unwrap(),
                });
            }
            "emergency" => {
                rule.emergency = Some(Emergency {
                    from: approvers(rest),
                    review_within: "24h".parse().unwrap(),
                });
            }
            other => panic!("no option {other}"),
        }
    }
    rule
}

fn stage(text: &str) -> Stage {
    let (count, from) = text.trim().split_once(' ').unwrap();
    Stage {
        from: approvers(from),
        count: count.parse().unwrap(),
    }
}

fn approvers(text: &str) -> Vec<Approver> {
    let words = text.split_ascii_whitespace();
    words
        .map(|word| word.to_owned().try_into().unwrap())
        .collect()
}

/// People, rules and reviews that are due.
#[derive(Clone)]
pub(crate) struct Town {
    pub(crate) directory: Directory,
    pub(crate) rules: BTreeMap<RuleName, ApprovalRule>,
    pub(crate) due: BTreeMap<RuleName, Timestamp>,
}

impl Town {
    pub(crate) fn new(rules: &[ApprovalRule]) -> Self {
        let mut directory = Directory::default();
        for (name, groups) in PEOPLE {
            let member = Membership {
                since: Timestamp(0),
                countersigned: true,
                provided: false,
            };
            let groups = groups.iter().map(|group| (group.parse().unwrap(), member));
            let found = Person {
                groups: groups.collect(),
                ..Person::default()
            };
            directory.people.insert(person(name), found);
        }
        let machine = Machine {
            owner: Some(person("olga")),
            ..Machine::default()
        };
        directory.agents.insert("bot".parse().unwrap(), machine);
        Self {
            directory,
            rules: rules.iter().map(|r| (r.name.clone(), r.clone())).collect(),
            due: BTreeMap::new(),
        }
    }

    pub(crate) fn world(&self) -> World<'_> {
        World {
            directory: &self.directory,
            rules: &self.rules,
            due_reviews: Some(&self.due),
        }
    }

    pub(crate) fn person(&mut self, name: &str) -> &mut Person {
        self.directory.people.get_mut(&person(name)).unwrap()
    }

    /// How `ann` is in `dba` since long ago.
    pub(crate) fn old_membership(&self) -> Membership {
        self.directory.people[&person("ann")].groups[&"dba".parse().unwrap()]
    }

    pub(crate) fn give_bot_to(&mut self, owner: &str) {
        let machine = self.directory.agents.values_mut().next().unwrap();
        machine.owner = Some(person(owner));
    }
}

/// A request by the agent `bot`, which `olga` owns.
pub(crate) fn request(rules: &[ApprovalRule]) -> Request {
    let chain = SubjectChain::of(Subject {
        id: bot(),
        owner: Some(person("olga")),
    });
    let action = Action {
        gate: "exec".into(),
        target: "orders".parse().unwrap(),
        operation: "run".into(),
        arguments: serde_json::json!({ "argv": ["drop", "orders"] }),
        session: serde_json::Value::Null,
        masked: Vec::new(),
    };
    let (id, nonce) = (RequestId::from_bits(1), Nonce(Hash::of(b"nonce")));
    let digest = action_digest(&chain, &action, &id, &nonce).unwrap();
    Request {
        id,
        chain,
        action,
        effects: Vec::new(),
        captures: BTreeMap::new(),
        reason: None,
        nonce,
        digest,
        attach_key: AttachKey(Hash::of(b"key")),
        repeat_key: None,
        at: START,
        decided: decided(permit(), BTreeSet::new()),
        rules: rules.to_vec(),
        grants: None,
        resource_owners: BTreeSet::new(),
        issuers: BTreeSet::new(),
        behind: BTreeSet::new(),
        administrative: false,
        amends: None,
        trace: None,
        presentation: Presentation {
            complete: true,
            ..Presentation::default()
        },
    }
}

/// Gives a request another chain and the digest that belongs to it.
pub(crate) fn asked_by(request: &mut Request, chain: SubjectChain) {
    request.chain = chain;
    request.digest =
        action_digest(&request.chain, &request.action, &request.id, &request.nonce).unwrap();
}

pub(crate) fn permit() -> Decision {
    Decision::Permit {
        policies: BTreeSet::new(),
    }
}

pub(crate) fn decided(decision: Decision, approvals: BTreeSet<RuleName>) -> Decided {
    Decided {
        decision,
        bundle: Hash::of(b"bundle"),
        approvals,
    }
}

/// A town, the case of one request, and the time.
pub(crate) struct Scene {
    pub(crate) town: Town,
    pub(crate) case: Case,
    pub(crate) now: Timestamp,
    pub(crate) facts: Vec<Fact>,
    pub(crate) intents: Vec<Intent>,
}

impl Scene {
    pub(crate) fn new(rules: &[&str]) -> Self {
        Self::with(rules, |_, _| ())
    }

    /// A scene whose town and request `change` prepares.
    pub(crate) fn with(rules: &[&str], change: impl FnOnce(&mut Town, &mut Request)) -> Self {
        Self::try_with(rules, change).unwrap()
    }

    pub(crate) fn try_with(
        rules: &[&str],
        change: impl FnOnce(&mut Town, &mut Request),
    ) -> Result<Self, DenyReason> {
        let rules: Vec<_> = rules.iter().map(|text| rule(text)).collect();
        let (mut town, mut request) = (Town::new(&rules), request(&rules));
        change(&mut town, &mut request);
        let case = open(request, town.world())?;
        Ok(Self {
            town,
            case,
            now: START,
            facts: Vec::new(),
            intents: Vec::new(),
        })
    }

    /// A scene in which `rita` asks for herself.
    pub(crate) fn by_rita(rules: &[&str]) -> Self {
        Self::with(rules, |_, request| {
            asked_by(request, SubjectChain::of(Subject::person(person("rita"))));
        })
    }

    pub(crate) fn edited_by(rules: &[&str], editor: &str) -> Self {
        Self::with(rules, |_, request| {
            request.amends = Some(Amends {
                request: RequestId::from_bits(0),
                editor: person(editor),
            });
        })
    }

    /// Plays words and returns their results.
    pub(crate) fn play(&mut self, script: &str) -> String {
        let words = script.split_ascii_whitespace();
        let results: Vec<_> = words.map(|word| self.word(word)).collect();
        results.join(" ")
    }

    fn word(&mut self, word: &str) -> String {
        if let Some(span) = word.strip_prefix('+') {
            self.now = self.now.after(span.parse::<Span>().unwrap());
            return self.tell(Event::Tick);
        }
        if let Some((name, change)) = word.split_once('=') {
            self.change(name, change);
            return self.tell(Event::WorldChanged);
        }
        let event = self.event(word);
        self.tell(event)
    }

    pub(crate) fn event(&self, word: &str) -> Event {
        let (who, verb) = word.split_at(word.len() - 1);
        match (word, verb) {
            ("restart", _) => Event::Restarted,
            ("done", _) => self.ended(Outcome::Succeeded),
            ("failed", _) => self.ended(Outcome::Failed),
            ("claim", _) => self.claim(bot(), permit()),
            ("claim:rita", _) => self.claim(someone("rita"), permit()),
            ("claim:olga", _) => self.claim(someone("olga"), permit()),
            ("claim:deny", _) => self.claim(bot(), Decision::deny(DenyReason::Forbidden)),
            ("claim:hold", _) => {
                let rules = BTreeSet::from(["new".parse().unwrap()]);
                let policies = BTreeSet::new();
                self.claim(bot(), Decision::Hold { rules, policies })
            }
            (_, "+") => Event::Vote(self.ballot(who, Verdict::Approve)),
            (_, "-") => Event::Vote(self.ballot(who, Verdict::Deny)),
            (_, "~") => Event::Withdraw { voter: person(who) },
            (_, "!") => Event::BreakGlass {
                rule: self.case.request.rules[0].name.clone(),
                ballot: self.ballot(who, Verdict::Approve),
            },
            (_, "?") => Event::Review {
                rule: self.case.request.rules[0].name.clone(),
                by: person(who),
                credential: self.ballot(who, Verdict::Approve).credential,
                note: "as they say".into(),
            },
            (_, "^") => Event::SelfGrew {
                people: BTreeSet::from([person(who)]),
            },
            (_, "x") => Event::Cancel { by: someone(who) },
            _ => panic!("no word {word}"),
        }
    }

    fn change(&mut self, name: &str, change: &str) {
        let now = self.now;
        let (sign, group) = change.split_at(1);
        let group = || group.parse::<GroupId>().unwrap();
        let join = |countersigned| Membership {
            since: now,
            countersigned,
            provided: false,
        };
        let town = &mut self.town;
        match (name, sign) {
            ("bot", _) => town.give_bot_to(change),
            (_, "-") => drop(town.person(name).groups.remove(&group())),
            (_, "+") => drop(town.person(name).groups.insert(group(), join(false))),
            (_, "*") => drop(town.person(name).groups.insert(group(), join(true))),
            (_, "0") => town.person(name).disabled = true,
            (_, "1") => town.person(name).disabled = false,
            _ => panic!("no change {change}"),
        }
    }

    pub(crate) fn ballot(&self, who: &str, verdict: Verdict) -> Ballot {
        Ballot {
            voter: person(who),
            credential: Credential {
                id: CredentialId::new(format!("session-of-{who}")).unwrap(),
                issued_by: None,
                lineage: BTreeSet::new(),
                assurance: Assurance::Passkey,
            },
            verdict,
            reason: Some("looked at it".into()),
            digest: self.case.request.digest,
            typed_digest: None,
            grant: None,
            signature: None,
        }
    }

    /// An approval by `who`, changed by `change`.
    pub(crate) fn approve(&mut self, who: &str, change: impl FnOnce(&mut Ballot)) -> String {
        let mut ballot = self.ballot(who, Verdict::Approve);
        change(&mut ballot);
        self.tell(Event::Vote(ballot))
    }

    pub(crate) fn claim(&self, by: SubjectId, decision: Decision) -> Event {
        let approvals = satisfied_rules(&self.case, self.town.world());
        Event::Claim(Claim {
            by,
            permit: PermitId::from_bits(7),
            decided: decided(decision, approvals),
        })
    }

    fn ended(&self, outcome: Outcome) -> Event {
        let permit = PermitId::from_bits(7);
        Event::Ended { permit, outcome }
    }

    pub(crate) fn say(&mut self, by: SubjectId, kind: MessageKind, text: &str) -> String {
        let message = self.message(by, kind, text);
        self.tell(Event::Say(message))
    }

    pub(crate) fn message(&self, by: SubjectId, kind: MessageKind, text: &str) -> Message {
        let count = u128::try_from(self.case.conversation.len()).unwrap();
        Message {
            id: MessageId::from_bits(count),
            by,
            at: self.now,
            kind,
            text: text.into(),
        }
    }

    pub(crate) fn try_step(&mut self, event: Event) -> Result<Option<Refusal>, Refusal> {
        let done = step(self.case.clone(), event, self.town.world(), self.now)?;
        self.case = done.case;
        self.facts.extend(done.facts);
        self.intents.extend(done.intent);
        Ok(done.refused)
    }

    /// Handles an event and names what came of it.
    pub(crate) fn tell(&mut self, event: Event) -> String {
        match self.try_step(event) {
            Ok(None) => self.case.phase.name().into(),
            Ok(Some(refusal)) => format!("{}/{}", refusal.code(), self.case.phase.name()),
            Err(refusal) => refusal.code().into(),
        }
    }
}

/// Plays every script in a fresh scene and compares.
pub(crate) fn check(table: &[(&[&str], &str, &str)]) {
    for (rules, script, expected) in table {
        assert_eq!(
            Scene::new(rules).play(script),
            *expected,
            "{rules:?}: {script}"
        );
    }
}
