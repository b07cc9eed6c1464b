//! Votes: what somebody without the vote key tries, and votes that are signed and do not count.
//!
//! The held request is asked (0), held (1), voted on (2, 3), claimed (4), permitted (5), ended (6).

use countersign_core::{canonical::Hash, id::CredentialId};
use serde_json::json;

use super::{
    build::*,
    check,
    passkeys::{enrolment, passkey, vote_with},
    *,
};
use crate::{
    approval::tests::signed,
    body::*,
    envelope::InvalidEnvelope,
    key::SigningKey,
    vote::{InvalidVote, VoteStatement},
    webauthn::tests::Key,
};

fn without_vote(stage: u32, voter: &str) -> Problem {
    Problem::FillWithoutVote {
        rule: dba(),
        stage,
        voter: person(voter),
    }
}

/// Replaces Dana's vote by a differently stated one, properly signed.
fn dana_votes(log: &mut Log, change: impl Fn(&mut VoteStatement)) {
    let mut stated = statement(HELD, MINUTE, DANA, "dba", 0);
    change(&mut stated);
    if let Some(issuer) = stated.issuer {
        let mut session = issued(DANA);
        session.credential().issuer = Some(issuer);
        session.credential().credential = CredentialId::from_bits(1);
        log.0.insert(2, session);
        stated.credential = CredentialId::from_bits(1);
    }
    *log.draft(HELD, 2) = vote(HELD, MINUTE, &stated);
}

#[test]
fn votes_cannot_be_changed_without_the_vote_key() {
    let differs = |field| Problem::VoteDiffers { field };
    check(
        "a denial turned",
        |log| {
            log.draft(DENIED, 3).approval().verdict = Verdict::Approve;
        },
        &[differs("verdict")],
    );
    check(
        "reattributed",
        |log| {
            log.draft(HELD, 2).approval().voter = person(FINN);
            log.draft(HELD, 5).permission().fills[0].voter = person(FINN);
        },
        &[
            Problem::CredentialOfOther {
                credential: session(DANA),
            },
            differs("voter"),
        ],
    );
    check(
        "made timely",
        |log| log.draft(HELD, 3).at = MINUTE,
        &[differs("at")],
    );
    check(
        "for another slot",
        |log| log.draft(HELD, 2).approval().slots[0].stage = 1,
        &[differs("slots"), without_vote(0, DANA)],
    );
    check(
        "made stronger",
        |log| {
            dana_votes(log, |stated| stated.assurance = Assurance::Chat);
            log.draft(HELD, 2).approval().assurance = Assurance::Passkey;
        },
        &[
            Problem::CredentialTooWeak {
                credential: session(DANA),
            },
            differs("assurance"),
        ],
    );
    check(
        "issuer hidden",
        |log| {
            dana_votes(log, |stated| stated.issuer = Some(person(OLGA)));
            log.draft(HELD, 2).approval().issuer = None;
        },
        &[
            Problem::CredentialIssuerDiffers {
                credential: CredentialId::from_bits(1),
            },
            differs("issuer"),
        ],
    );
    check(
        "for another action",
        |log| log.draft(HELD, 2).approval().digest = digest(9),
        &[differs("digest"), Problem::DigestMismatch { what: "vote" }],
    );
}

#[test]
fn votes_cannot_be_exchanged() {
    let differs = |field| Problem::VoteDiffers { field };
    check(
        "a vote of another request replayed",
        |log| {
            let mut stated = statement(HELD, MINUTE, DANA, "dba", 0);
            stated.request = id(PERMITTED);
            *log.draft(HELD, 2) = vote(HELD, MINUTE, &stated);
        },
        &[differs("request")],
    );
    check(
        "another envelope",
        |log| log.draft(HELD, 2).approval().envelope = Hash::of(b"x"),
        &[Problem::EnvelopeMismatch],
    );
    check(
        "no envelope",
        |log| log.draft(HELD, 2).value = Some(json!({})),
        &[
            Problem::EnvelopeMissing,
            Problem::ReasonMissing {
                rule: dba(),
                voter: person(DANA),
            },
        ],
    );
    let stated = statement(HELD, MINUTE, DANA, "dba", 0);
    let forge = |key: SigningKey| {
        let (stated, envelope) = (&stated, stated.sign(&key).unwrap());
        move |log: &mut Log| {
            log.draft(HELD, 2).body = Body::ApprovalDecided(stated.record(&envelope));
            log.draft(HELD, 2).value = Some(json!({ "envelope": envelope }));
        }
    };
    let refused = |error| Problem::VoteRefused(InvalidVote::Envelope(error));
    let label = log_key().verifying().label();
    check(
        "signed with the log's key",
        forge(log_key()),
        &[
            refused(InvalidEnvelope::UnknownKey(label)),
            Problem::ReasonMissing {
                rule: dba(),
                voter: person(DANA),
            },
        ],
    );
    let impostor = SigningKey::from_seed("votes.example", &[9; 32]).unwrap();
    let label = impostor.verifying().label();
    check(
        "signed with a key of the same name",
        forge(impostor),
        &[
            refused(InvalidEnvelope::UnknownKey(label)),
            Problem::ReasonMissing {
                rule: dba(),
                voter: person(DANA),
            },
        ],
    );
}

#[test]
fn votes_that_do_not_count() {
    let voter = person(DANA);
    check(
        "voted before it was held",
        |log| {
            let early = log.remove(HELD, 2);
            log.before(HELD, 1, Draft { at: 0, ..early });
        },
        &[
            Problem::VoteDiffers { field: "at" },
            Problem::VoteWithoutHold,
        ],
    );
    check(
        "voted twice",
        |log| {
            let again = log.draft(HELD, 2).clone();
            log.behind(HELD, 2, again);
        },
        &[Problem::VotedTwice { voter }],
    );
    let withdraw = |who: &str| {
        let body = ApprovalWithdrawn { voter: person(who) };
        of(HELD, 2 * MINUTE, Body::ApprovalWithdrawn(body))
    };
    check(
        "withdrawn",
        |log| log.behind(HELD, 3, withdraw(DANA)),
        &[without_vote(0, DANA)],
    );
    check(
        "withdrawn and given again",
        |log| {
            log.behind(HELD, 2, withdraw(DANA));
            let again = statement(HELD, 2 * MINUTE, DANA, "dba", 0);
            log.behind(HELD, 3, vote(HELD, 2 * MINUTE, &again));
        },
        &[],
    );
    check(
        "nothing to withdraw",
        |log| log.behind(HELD, 3, withdraw(OLGA)),
        &[Problem::NothingToWithdraw {
            voter: person(OLGA),
        }],
    );
    check(
        "withdrawn too late",
        |log| {
            log.behind(
                HELD,
                5,
                Draft {
                    at: 3 * MINUTE,
                    ..withdraw(DANA)
                },
            );
        },
        &[
            Problem::VoteAfterPermit,
            Problem::NothingToWithdraw { voter },
        ],
    );
}

#[test]
fn votes_that_are_not_good_enough() {
    let voter = person(DANA);
    check(
        "denied by a third person",
        |log| {
            let mut no = statement(HELD, 2 * MINUTE, FINN, "dba", 0);
            no.verdict = Verdict::Deny;
            log.behind(HELD, 3, vote(HELD, 2 * MINUTE, &no));
        },
        &[Problem::PermittedDespiteDenial {
            voter: person(FINN),
        }],
    );
    check(
        "for another action",
        |log| dana_votes(log, |stated| stated.digest = digest(9)),
        &[Problem::DigestMismatch { what: "vote" }],
    );
    check(
        "too weak",
        |log| dana_votes(log, |stated| stated.assurance = Assurance::Chat),
        &[Problem::AssuranceTooLow { rule: dba(), voter }],
    );
    for reason in [None, Some(" \n".to_owned())] {
        check(
            "no reason",
            |log| dana_votes(log, |stated| stated.reason.clone_from(&reason)),
            &[Problem::ReasonMissing { rule: dba(), voter }],
        );
    }
}

#[test]
fn never_yourself() {
    let by_self = |who: &str| Problem::SelfApproval { voter: person(who) };
    check(
        "the voter is self",
        |log| {
            log.draft(HELD, 0).asked().self_refs.push(person(DANA));
        },
        &[by_self(DANA)],
    );
    check(
        "the requester votes",
        |log| log.draft(HELD, 0).asked().requester = person(DANA),
        &[by_self(DANA)],
    );
    let grown = || {
        let body = SelfGrew {
            refs: vec![person(ERIN)],
            why: "proposed_policy".into(),
        };
        of(HELD, 2 * MINUTE, Body::SelfGrew(body))
    };
    check(
        "became self after voting",
        |log| log.behind(HELD, 3, grown()),
        &[by_self(ERIN)],
    );
    check(
        "became self after the permit",
        |log| {
            log.behind(
                HELD,
                5,
                Draft {
                    at: 3 * MINUTE,
                    ..grown()
                },
            );
        },
        &[],
    );
    check(
        "a session from self",
        |log| {
            dana_votes(log, |stated| stated.issuer = Some(person(OLGA)));
        },
        &[Problem::SelfIssuedCredential {
            voter: person(DANA),
        }],
    );
    check(
        "a session from the other voter",
        |log| {
            dana_votes(log, |stated| stated.issuer = Some(person(ERIN)));
        },
        &[Problem::SharedCredential {
            voter: person(ERIN),
        }],
    );
    check(
        "confirmed by somebody else",
        |log| {
            log.draft(CONFIRMED, 0).asked().self_refs.clear();
        },
        &[Problem::ConfirmedByOther {
            voter: person(OLGA),
        }],
    );
}

#[test]
fn quorum() {
    check(
        "one person in two slots",
        |log| {
            dana_votes(log, |stated| {
                stated.slots.push(Slot {
                    rule: dba(),
                    stage: 1,
                })
            });
            log.draft(HELD, 5).permission().fills[1].voter = person(DANA);
        },
        &[Problem::VoterCountedTwice {
            voter: person(DANA),
        }],
    );
    check(
        "a vote invented",
        |log| drop(log.remove(HELD, 3)),
        &[without_vote(1, ERIN)],
    );
    check(
        "a denial counted",
        |log| {
            let mut no = statement(HELD, 2 * MINUTE, ERIN, "dba", 1);
            no.verdict = Verdict::Deny;
            *log.draft(HELD, 3) = vote(HELD, 2 * MINUTE, &no);
        },
        &[
            Problem::PermittedDespiteDenial {
                voter: person(ERIN),
            },
            without_vote(1, ERIN),
        ],
    );
    check(
        "too few",
        |log| log.draft(HELD, 5).permission().fills.truncate(1),
        &[Problem::StageNotFilled {
            rule: dba(),
            stage: 1,
            needed: 1,
            found: 0,
        }],
    );
    check(
        "for another stage",
        |log| log.draft(HELD, 5).permission().fills[1].stage = 0,
        &[
            Problem::StageNotFilled {
                rule: dba(),
                stage: 1,
                needed: 1,
                found: 0,
            },
            without_vote(0, ERIN),
        ],
    );
    check(
        "a stage that is not there",
        |log| {
            log.draft(HELD, 5)
                .permission()
                .fills
                .push(fill("dba", 2, FINN));
        },
        &[Problem::FillOutsideRule {
            rule: dba(),
            stage: 2,
        }],
    );
}

#[test]
fn approvals_are_those_of_the_hold() {
    check(
        "a rule left out",
        |log| {
            log.draft(HELD, 1)
                .decision()
                .rules
                .push(rule("security", &[1]));
        },
        &[
            Problem::RuleNotApproved {
                rule: "security".parse().unwrap(),
            },
            Problem::StageNotFilled {
                rule: "security".parse().unwrap(),
                stage: 0,
                needed: 1,
                found: 0,
            },
        ],
    );
    check(
        "a rule invented",
        |log| {
            let name = || "security".parse().unwrap();
            log.draft(HELD, 4).decision().approvals.push(name());
            log.draft(HELD, 5).permission().approvals.push(name());
        },
        &[Problem::RuleUnknown {
            rule: "security".parse().unwrap(),
        }],
    );
    check(
        "other approvals than policy was given",
        |log| {
            log.draft(HELD, 4).decision().approvals.clear();
        },
        &[Problem::ApprovalsMismatch],
    );
    check(
        "approvals for what policy permits without",
        |log| {
            log.draft(PERMITTED, 1).decision().approvals.push(dba());
            log.draft(PERMITTED, 2).permission().approvals.push(dba());
        },
        &[Problem::RuleUnknown { rule: dba() }],
    );
}

#[test]
fn holds_need_somebody() {
    let empty = |rule: &str| Problem::EmptyRule { rule: rule.into() };
    for (stages, expected) in [(vec![], "dba"), (vec![1, 0], "dba")] {
        check(
            "a rule that needs nobody",
            |log| {
                log.draft(EXPIRED, 1).decision().rules[0]
                    .stages
                    .clone_from(&stages);
            },
            &[empty(expected)],
        );
    }
    check(
        "held for nothing",
        |log| log.draft(EXPIRED, 1).decision().rules.clear(),
        &[empty("")],
    );
}

/// Finn lifts the rule of the held request, differently stated.
pub(super) fn lift(log: &mut Log, change: &dyn Fn(&mut VoteStatement)) {
    log.draft(HELD, 1).decision().rules[0].emergency = true;
    let mut stated = statement(HELD, 2 * MINUTE, FINN, "dba", 0);
    stated.emergency = true;
    stated.assurance = Assurance::Passkey;
    change(&mut stated);
    *log.draft(HELD, 3) = match stated.assurance {
        Assurance::Passkey => {
            let key = &Key::all()[0];
            stated.credential = passkey();
            log.0.insert(1, enrolment(key, stated.voter));
            let (signature, stated) = signed(key, stated);
            vote_with(HELD, 2 * MINUTE, &signature, &stated)
        }
        _ => {
            log.session_of(FINN).issuer = stated.issuer;
            vote(HELD, 2 * MINUTE, &stated)
        }
    };
    log.draft(HELD, 5).permission().fills.clear();
}

#[test]
fn emergencies() {
    let by = |name: &'static str| {
        move |stated: &mut VoteStatement| {
            (stated.voter, stated.credential) = (person(name), session(name));
        }
    };
    let missing = |stage| Problem::StageNotFilled {
        rule: dba(),
        stage,
        needed: 1,
        found: 0,
    };
    check("lifted", |log| lift(log, &|_| {}), &[]);
    check(
        "lifted without passkey",
        |log| {
            lift(log, &|stated| stated.assurance = Assurance::Session);
        },
        &[missing(0), missing(1)],
    );
    check(
        "lifted by self",
        |log| lift(log, &by(OLGA)),
        &[Problem::SelfApproval {
            voter: person(OLGA),
        }],
    );
    check("lifted by the one who asks", |log| lift(log, &by(BOT)), &[]);
    check(
        "lifted by a session that the requester's side issued",
        |log| lift(log, &|stated| stated.issuer = Some(person(OLGA))),
        &[Problem::SelfIssuedCredential {
            voter: person(FINN),
        }],
    );
    check(
        "a rule that has no emergency",
        |log| {
            lift(log, &|_| {});
            log.draft(HELD, 1).decision().rules[0].emergency = false;
        },
        &[missing(0), missing(1)],
    );
    check(
        "an emergency counted as a vote",
        |log| {
            lift(log, &|_| {});
            log.draft(HELD, 1).decision().rules[0].emergency = false;
            log.draft(HELD, 5)
                .permission()
                .fills
                .push(fill("dba", 0, FINN));
        },
        &[missing(1), without_vote(0, FINN)],
    );
    let mut log = good();
    lift(&mut log, &|_| {});
    let used = Problem::EmergencyUsed {
        rule: dba(),
        voter: person(FINN),
    };
    assert_eq!(log.verify().findings[0].problem, used);
}
