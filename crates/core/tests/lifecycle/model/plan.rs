//! What a random life consists of, and how a plan becomes people, a request and events.

use std::collections::BTreeSet;

use countersign_core::{
    absence::Absence,
    approval::{
        ApprovalRule,
        rule::{Approver, Assurance, Emergency, Escalation, ReasonRequirement, Stage as RuleStage},
        vote::{Credential, Verdict},
    },
    decision::{Decision, DenyReason},
    directory::{Directory, Machine, Membership, Person},
    id::{CredentialId, GroupId, MessageId, PermitId, PersonId, RequestId, RuleName},
    lifecycle::{Ballot, Claim, Event, satisfied_rules},
    request::{Amends, Case, Message, MessageKind, Outcome, Phase, Request},
    subject::{Subject, SubjectChain, SubjectId},
    time::{Span, Timestamp},
};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use crate::scene::{self, Town, asked_by, bot, decided, permit};

/// How many people there are.
const PEOPLE: u8 = 6;
const GROUPS: u8 = 3;
const MINUTE: i64 = 60_000;

pub(super) fn who(number: u8) -> PersonId {
    format!("p{}", number % PEOPLE).parse().unwrap()
}

fn group(number: u8) -> GroupId {
    format!("g{}", number % GROUPS).parse().unwrap()
}

fn rule_name(number: u8) -> RuleName {
    format!("r{}", number % 2).parse().unwrap()
}

/// A life: who is there, what is asked, and what happens.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    memberships: Vec<u8>,
    /// Who is away from the beginning, and who stands in.
    away: Option<(u8, u8)>,
    managers: Vec<Option<u8>>,
    rules: Vec<ApprovalRule>,
    by_person: bool,
    on_behalf_of: Option<u8>,
    editor: Option<u8>,
    resource_owner: Option<u8>,
    administrative: bool,
    complete: bool,
    pub(super) acts: Vec<Act>,
}

/// Something that happens after a while.
#[derive(Debug, Clone)]
pub(super) struct Act {
    pub(super) wait: i64,
    pub(super) word: Word,
}

#[derive(Debug, Clone)]
pub(super) struct Slip {
    voter: u8,
    issuer: Option<u8>,
    shared: bool,
    assurance: Assurance,
    deny: bool,
    reason: bool,
    stale: bool,
    typed: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Word {
    Vote(Slip),
    Withdraw(u8),
    Say {
        by: Option<u8>,
        kind: u8,
    },
    Amend(u8),
    Cancel(Option<u8>),
    Claim {
        by: Option<u8>,
        answer: u8,
        lie: bool,
    },
    Ended {
        other: bool,
        outcome: Outcome,
    },
    Tick,
    Restart,
    Told,
    SelfGrew(u8),
    BreakGlass(u8, Slip),
    Review(u8, u8),
    Again,
    Group {
        who: u8,
        group: u8,
        countersigned: bool,
        told: bool,
    },
    Disable {
        who: u8,
        told: bool,
    },
    Owner {
        who: u8,
        told: bool,
    },
    Away {
        who: u8,
        stand_in: u8,
        wait: i64,
        minutes: i64,
        countersigned: bool,
        told: bool,
    },
    Rule(Box<ApprovalRule>),
    RuleGone(u8),
    Suspend(u8),
    Tamper,
}

fn approvers() -> impl Strategy<Value = Approver> {
    prop_oneof![
        6 => (0..GROUPS).prop_map(|number| Approver::Group(group(number))),
        3 => (0..PEOPLE).prop_map(|number| Approver::User(who(number))),
        1 => Just(Approver::OwnerOfResource),
        1 => Just(Approver::ManagerOfRequester),
    ]
}

fn assurances() -> impl Strategy<Value = Assurance> {
    prop_oneof![
        1 => Just(Assurance::Chat),
        3 => Just(Assurance::Session),
        8 => Just(Assurance::Passkey),
    ]
}

fn rules() -> impl Strategy<Value = ApprovalRule> {
    let stage = || {
        let parts = (prop::collection::vec(approvers(), 1..3), 0u32..3);
        parts.prop_map(|(from, count)| RuleStage { from, count })
    };
    let stages = prop_oneof![
        3 => prop::collection::vec(stage(), 1..2),
        2 => prop::collection::vec(stage(), 2..3),
    ];
    let escalation = (0i64..20, approvers()).prop_map(|(minutes, to)| Escalation {
        after: Span::from_millis(minutes * MINUTE),
        to: vec![to],
    });
    let emergency = approvers().prop_map(|from| Emergency {
        from: vec![from],
        review_within: Span::minutes(60),
    });
    let times = (10i64..60, 3i64..20, 0u8..2);
    let options = (
        assurances(),
        prop::option::weighted(0.3, escalation),
        prop::option::weighted(0.4, emergency),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.15),
    );
    (times, stages, options).prop_map(|((expires, valid, name), stages, options)| {
        let (assurance, escalate, emergency, reason, confirmation) = options;
        let stages = if confirmation { Vec::new() } else { stages };
        let mut rule = ApprovalRule::new(rule_name(name), stages);
        rule.expires = Span::from_millis(expires * MINUTE);
        rule.valid_for = Span::from_millis(valid * MINUTE);
        rule.assurance = assurance;
        rule.escalate = escalate.into_iter().collect();
        rule.emergency = emergency;
        rule.confirmation = confirmation;
        if reason {
            rule.reason = ReasonRequirement::Required;
        }
        rule
    })
}

fn slips() -> impl Strategy<Value = Slip> {
    let rarely = || prop::bool::weighted(0.05);
    (
        0..PEOPLE,
        prop::option::weighted(0.15, 0..PEOPLE),
        rarely(),
        assurances(),
        rarely(),
        (
            prop::bool::weighted(0.8),
            rarely(),
            prop::bool::weighted(0.8),
        ),
    )
        .prop_map(|(voter, issuer, shared, assurance, deny, rest)| Slip {
            voter,
            issuer,
            shared,
            assurance,
            deny,
            reason: rest.0,
            stale: rest.1,
            typed: rest.2,
        })
}

fn words() -> impl Strategy<Value = Word> {
    let who = || 0..PEOPLE;
    let asker = || prop::option::weighted(0.2, 0..PEOPLE);
    let outcomes = prop_oneof![
        Just(Outcome::Succeeded),
        Just(Outcome::Failed),
        Just(Outcome::Unknown)
    ];
    let (yes, mostly) = (prop::bool::weighted(0.1), prop::bool::weighted(0.7));
    let people = prop_oneof![
        40 => slips().prop_map(Word::Vote),
        4 => who().prop_map(Word::Withdraw),
        2 => (asker(), 0u8..4).prop_map(|(by, kind)| Word::Say { by, kind }),
        1 => who().prop_map(Word::Amend),
        1 => asker().prop_map(Word::Cancel),
        14 => (asker(), 0u8..10, yes)
            .prop_map(|(by, answer, lie)| Word::Claim { by, answer, lie }),
        2 => who().prop_map(Word::SelfGrew),
        4 => (0u8..2, slips()).prop_map(|(rule, slip)| Word::BreakGlass(rule, slip)),
        1 => (0u8..2, who()).prop_map(|(rule, by)| Word::Review(rule, by)),
    ];
    let machinery = prop_oneof![
        4 => (prop::bool::weighted(0.2), outcomes)
            .prop_map(|(other, outcome)| Word::Ended { other, outcome }),
        4 => Just(Word::Tick),
        3 => Just(Word::Restart),
        3 => Just(Word::Told),
        3 => Just(Word::Again),
        4 => (who(), 0..GROUPS, any::<bool>(), mostly).prop_map(
            |(who, group, countersigned, told)| Word::Group { who, group, countersigned, told }
        ),
        2 => (who(), mostly).prop_map(|(who, told)| Word::Disable { who, told }),
        2 => (who(), mostly).prop_map(|(who, told)| Word::Owner { who, told }),
        3 => (who(), who(), 0i64..10, 1i64..30, any::<bool>(), mostly).prop_map(
            |(who, stand_in, wait, minutes, countersigned, told)| {
                Word::Away { who, stand_in, wait, minutes, countersigned, told }
            }
        ),
        2 => rules().prop_map(|rule| Word::Rule(Box::new(rule))),
        1 => (0u8..2).prop_map(Word::RuleGone),
        1 => (0u8..2).prop_map(Word::Suspend),
        1 => Just(Word::Tamper),
    ];
    prop_oneof![7 => people, 3 => machinery]
}

fn acts() -> impl Strategy<Value = Act> {
    let waits = prop_oneof![
        10 => 0i64..MINUTE,
        6 => (0i64..6).prop_map(|minutes| minutes * MINUTE),
        1 => (10i64..50).prop_map(|minutes| minutes * MINUTE),
    ];
    (waits, words()).prop_map(|(wait, word)| Act { wait, word })
}

pub(super) fn plans() -> impl Strategy<Value = Plan> {
    let count = usize::from(PEOPLE);
    let someone = |chance| prop::option::weighted(chance, 0..PEOPLE);
    (
        (
            prop::collection::vec(0u8..8, count),
            prop::option::weighted(0.4, (0..PEOPLE, 0..PEOPLE)),
        ),
        prop::collection::vec(prop::option::weighted(0.5, 0..PEOPLE), count),
        prop_oneof![2 => prop::collection::vec(rules(), 1..2), 1 => prop::collection::vec(rules(), 2..3)],
        (prop::bool::weighted(0.4), someone(0.2), someone(0.2), someone(0.5)),
        (prop::bool::weighted(0.1), prop::bool::weighted(0.9)),
        prop::collection::vec(acts(), 1..40),
    )
        .prop_map(|(memberships, managers, rules, people, flags, acts)| Plan {
            memberships: memberships.0,
            away: memberships.1,
            managers,
            rules,
            by_person: people.0,
            on_behalf_of: people.1,
            editor: people.2,
            resource_owner: people.3,
            administrative: flags.0,
            complete: flags.1,
            acts,
        })
}

/// One plan of a runner's sequence.
pub(super) fn sample(runner: &mut TestRunner) -> Plan {
    plans().new_tree(runner).unwrap().current()
}

/// The town and the request of a plan.
pub(super) struct Stage {
    pub(super) town: Town,
    pub(super) request: Request,
    pub(super) last: Option<Event>,
}

impl Stage {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut town = Town::new(&plan.rules);
        town.directory = directory(plan);
        let mut request = scene::request(&plan.rules);
        let requester = if plan.by_person {
            Subject::person(who(0))
        } else {
            let owner = Some(who(0));
            Subject { id: bot(), owner }
        };
        let mut chain = SubjectChain::of(requester);
        chain.on_behalf_of = plan
            .on_behalf_of
            .iter()
            .map(|one| Subject::person(who(*one)))
            .collect();
        asked_by(&mut request, chain);
        request.amends = plan.editor.map(|editor| Amends {
            request: RequestId::from_bits(0),
            editor: who(editor),
        });
        request.resource_owners = plan.resource_owner.map(who).into_iter().collect();
        request.administrative = plan.administrative;
        request.presentation.complete = plan.complete;
        Self {
            town,
            request,
            last: None,
        }
    }

    /// Changes the town or the stored case; `true` when the stored action was tampered with.
    pub(super) fn change(&mut self, word: &Word, case: &mut Case, now: Timestamp) -> bool {
        let people = &mut self.town.directory.people;
        match word {
            Word::Group {
                who: one,
                group: number,
                countersigned,
                ..
            } => {
                let groups = &mut people.get_mut(&who(*one)).unwrap().groups;
                if groups.remove(&group(*number)).is_none() {
                    let countersigned = *countersigned;
                    groups.insert(
                        group(*number),
                        Membership {
                            since: now,
                            countersigned,
                            provided: false,
                        },
                    );
                }
            }
            Word::Disable { who: one, .. } => people.get_mut(&who(*one)).unwrap().disabled ^= true,
            Word::Owner { who: one, .. } => {
                let machine = self.town.directory.agents.values_mut().next().unwrap();
                machine.owner = Some(who(*one));
            }
            Word::Away {
                who: one,
                stand_in,
                wait,
                minutes,
                countersigned,
                ..
            } => {
                let absences = &mut self.town.directory.absences;
                // Nobody stands in for themselves.
                if absences.remove(&who(*one)).is_none() && one != stand_in {
                    let from = Timestamp(now.0 + wait * MINUTE);
                    let absence = Absence {
                        stand_in: who(*stand_in),
                        from,
                        until: Timestamp(from.0 + minutes * MINUTE),
                        countersigned: *countersigned,
                    };
                    absences.insert(who(*one), absence);
                }
            }
            Word::Rule(rule) => drop(self.town.rules.insert(rule.name.clone(), (**rule).clone())),
            Word::RuleGone(number) => drop(self.town.rules.remove(&rule_name(*number))),
            Word::Suspend(number) => drop(self.town.due.insert(rule_name(*number), Timestamp(0))),
            Word::Tamper => {
                case.request.action.operation.push('x');
                return true;
            }
            _ => {}
        }
        false
    }

    /// The event of a word, if it has one.
    pub(super) fn event(&self, word: &Word, case: &Case, now: Timestamp) -> Option<Event> {
        let subject = |by: Option<u8>| match by {
            None => self.request.chain.requester.id.clone(),
            Some(number) => SubjectId::Person(who(number)),
        };
        Some(match word {
            Word::Vote(slip) => Event::Vote(self.ballot(slip)),
            Word::Withdraw(voter) => Event::Withdraw { voter: who(*voter) },
            Word::Say { by, kind } => Event::Say(message(case, subject(*by), *kind, now)),
            Word::Amend(editor) => Event::Amend {
                editor: who(*editor),
                into: RequestId::from_bits(9),
                message: message(case, subject(Some(*editor)), 3, now),
            },
            Word::Cancel(by) => Event::Cancel { by: subject(*by) },
            Word::Claim { by, answer, lie } => Event::Claim(Claim {
                by: subject(*by),
                permit: PermitId::from_bits(u128::from(case.version)),
                decided: decided(decision(*answer), self.approvals(case, *lie)),
            }),
            Word::Ended { other, outcome } => Event::Ended {
                permit: match &case.phase {
                    Phase::Running { permit, .. } if !other => permit.clone(),
                    _ => PermitId::from_bits(99),
                },
                outcome: *outcome,
            },
            Word::Tick => Event::Tick,
            Word::Restart => Event::Restarted,
            Word::SelfGrew(one) => Event::SelfGrew {
                people: [who(*one)].into(),
            },
            Word::BreakGlass(rule, slip) => Event::BreakGlass {
                rule: rule_name(*rule),
                ballot: self.ballot(slip),
            },
            Word::Review(rule, by) => Event::Review {
                rule: rule_name(*rule),
                by: who(*by),
                credential: Credential {
                    id: CredentialId::from_bits(u128::from(*by)),
                    issued_by: None,
                    lineage: BTreeSet::new(),
                    assurance: Assurance::Session,
                },
                note: "as they say".into(),
            },
            Word::Again => return self.last.clone(),
            Word::Group { told, .. }
            | Word::Disable { told, .. }
            | Word::Owner { told, .. }
            | Word::Away { told, .. } => {
                return told.then_some(Event::WorldChanged);
            }
            Word::Told | Word::Rule(_) | Word::RuleGone(_) => Event::WorldChanged,
            Word::Suspend(_) | Word::Tamper => return None,
        })
    }

    fn approvals(&self, case: &Case, lie: bool) -> BTreeSet<RuleName> {
        let mut approvals = satisfied_rules(case, self.town.world());
        if lie {
            approvals.insert("made-up".parse().unwrap());
        }
        approvals
    }

    fn ballot(&self, slip: &Slip) -> Ballot {
        let mut digest = self.request.digest;
        digest.0.0[0] ^= u8::from(slip.stale);
        let session = if slip.shared {
            "shared".into()
        } else {
            format!("s{}", slip.voter)
        };
        Ballot {
            voter: who(slip.voter),
            credential: Credential {
                id: session.parse().unwrap(),
                issued_by: slip.issuer.map(who),
                lineage: BTreeSet::new(),
                assurance: slip.assurance,
            },
            verdict: if slip.deny {
                Verdict::Deny
            } else {
                Verdict::Approve
            },
            reason: slip.reason.then(|| "because".into()),
            digest,
            typed_digest: slip
                .typed
                .then(|| self.request.digest.to_string()[..8].into()),
            grant: None,
            signature: None,
        }
    }
}

fn directory(plan: &Plan) -> Directory {
    let mut directory = Directory::default();
    for (number, (mask, manager)) in (0u8..).zip(plan.memberships.iter().zip(&plan.managers)) {
        let member = Membership {
            since: Timestamp(0),
            countersigned: false,
            provided: false,
        };
        let groups = (0..GROUPS).filter(|bit| mask >> bit & 1 == 1);
        let found = Person {
            groups: groups.map(|bit| (group(bit), member)).collect(),
            manager: manager.map(who),
            disabled: false,
            ..Person::default()
        };
        directory.people.insert(who(number), found);
    }
    if let Some((one, stand_in)) = plan.away.filter(|(one, stand_in)| one != stand_in) {
        let absence = Absence {
            stand_in: who(stand_in),
            from: Timestamp(0),
            until: scene::START.after(Span::minutes(40)),
            countersigned: true,
        };
        directory.absences.insert(who(one), absence);
    }
    let machine = Machine {
        owner: Some(who(0)),
        ..Machine::default()
    };
    directory.agents.insert("bot".parse().unwrap(), machine);
    directory
}

fn decision(answer: u8) -> Decision {
    match answer {
        0 => Decision::deny(DenyReason::Forbidden),
        1 => Decision::Hold {
            rules: [rule_name(0)].into(),
            policies: BTreeSet::new(),
        },
        _ => permit(),
    }
}

fn message(case: &Case, by: SubjectId, kind: u8, at: Timestamp) -> Message {
    let count = u128::try_from(case.conversation.len()).unwrap();
    Message {
        id: MessageId::from_bits(count),
        by,
        at,
        kind: match kind {
            0 => MessageKind::Comment,
            1 => MessageKind::Question,
            2 => MessageKind::Answer {
                to: MessageId::from_bits(0),
            },
            _ => MessageKind::Amendment {
                request: RequestId::from_bits(9),
            },
        },
        text: "text".into(),
    }
}
