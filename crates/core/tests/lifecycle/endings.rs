//! Every way in which a request ends without running, and that nothing follows.

use countersign_core::{
    directory::Directory,
    lifecycle::{Event, Fact, Refusal, deadline},
    request::{Closure, Phase},
    time::Span,
};

use crate::scene::{START, Scene, bot, check, someone};

const ONE: &[&str] = &["r: 1 group:dba | expires 20m"];

#[test]
fn every_closure() {
    for (rules, script, expected) in [
        (ONE, "ann-", "denied"),
        (ONE, "+20m", "expired"),
        (ONE, "ann+ +11m", "unclaimed"),
        (ONE, "olgax", "cancelled"),
        (ONE, "ann=0 bob=0 dan=0 rita=0", "unreachable"),
        (ONE, "ann+ claim:deny", "policy_changed"),
    ] {
        let mut scene = Scene::new(rules);
        scene.play(script);
        assert_eq!(scene.case.phase.name(), expected, "{script}");
        assert_eq!(deadline(&scene.case), None);
        let closed = scene.case.phase.clone();
        scene.play("ann+ dan- ann~ olgax claim restart done sam! ann^ ann=1 +1h");
        assert_eq!(scene.case.phase, closed, "{script}");
        assert!(scene.intents.is_empty());
    }
}

#[test]
fn only_a_denial_keeps_an_identical_call_away() {
    for (script, minutes) in [
        ("ann-", 20),
        ("ann+ ann-", 20),
        ("olgax", 0),
        ("+20m", 0),
        ("ann=0 bob=0 dan=0 rita=0", 0),
    ] {
        let mut scene = Scene::new(ONE);
        scene.play(script);
        let Phase::Closed {
            at, refuse_until, ..
        } = scene.case.phase
        else {
            panic!("{script} closes")
        };
        assert_eq!(refuse_until, at.after(Span::minutes(minutes)), "{script}");
    }
}

#[test]
fn cancelling_is_for_the_requesters_side() {
    check(&[
        (ONE, "annx olgax", "not_participant cancelled"),
        (ONE, "ann+ olgax claim", "approved cancelled not_open"),
    ]);
    let mut scene = Scene::new(ONE);
    assert_eq!(scene.tell(Event::Cancel { by: bot() }), "cancelled");
    assert_eq!(scene.tell(Event::Cancel { by: bot() }), "not_open");
    let Phase::Closed { closure, .. } = scene.case.phase else {
        panic!("cancelling closes")
    };
    assert_eq!(closure, Closure::Cancelled { by: bot() });
    let mut scene = Scene::by_rita(ONE);
    assert_eq!(scene.play("olgax ritax"), "not_participant cancelled");
    assert!(scene.facts.contains(&Fact::Closed {
        closure: Closure::Cancelled {
            by: someone("rita")
        },
    }));
}

#[test]
fn self_that_grows_can_end_a_request_that_needs_it() {
    check(&[
        (&["r: 4 group:dba"], "ann^", "unreachable"),
        (
            &["r: 3 group:dba"],
            "ann^ ann^ ann+",
            "held held own_request",
        ),
    ]);
    let mut scene = Scene::new(ONE);
    scene.play("zoe^ zoe^");
    assert_eq!(scene.facts.len(), 1);
}

#[test]
fn a_version_for_every_step() {
    let mut scene = Scene::new(ONE);
    scene.play("ann+ cat+ claim claim done");
    assert_eq!(scene.case.version, 3);
    assert_eq!(scene.case.request.at, START);
}

#[test]
fn every_refusal_has_its_own_code_and_says_something() {
    let person = || crate::scene::person("ann");
    let rule = || "r".parse().unwrap();
    let (needed, given) = {
        use countersign_core::approval::rule::Assurance;
        (Assurance::Passkey, Assurance::Chat)
    };
    let all = [
        Refusal::OwnRequest(person()),
        Refusal::CredentialFromRequester(person()),
        Refusal::SharedCredential(person()),
        Refusal::NotEligible(person()),
        Refusal::NotNeeded,
        Refusal::AlreadyVoted,
        Refusal::NoVote,
        Refusal::OtherAction,
        Refusal::DigestNotTyped,
        Refusal::OtherDigestTyped,
        Refusal::AssuranceTooLow { needed, given },
        Refusal::ReasonRequired,
        Refusal::TextTooLong,
        Refusal::ConversationFull,
        Refusal::SideSaidEnough,
        Refusal::OutsideHours {
            rule: rule(),
            hours: String::new(),
        },
        Refusal::NotOpen("held"),
        Refusal::NotApproved("held"),
        Refusal::NotRequester,
        Refusal::Lapsed(START),
        Refusal::NoLongerSatisfied,
        Refusal::PolicyChanged(String::new()),
        Refusal::StoredActionChanged,
        Refusal::NotParticipant,
        Refusal::NoSuchQuestion,
        Refusal::NoEmergency(""),
        Refusal::OwnEmergency(person()),
        Refusal::NothingToReview,
        Refusal::OtherPermit,
    ];
    let codes: std::collections::BTreeSet<_> = all.iter().map(Refusal::code).collect();
    assert_eq!(codes.len(), all.len());
    assert!(all.iter().all(|refusal| refusal.to_string().len() > 20));
}

/// The words say what happened: it is not policy that changed.
#[test]
fn a_stopped_requester_ends_what_it_asked() {
    let stop = |directory: &mut Directory| {
        for machine in directory.agents.values_mut() {
            machine.disabled = true;
        }
    };
    let remove = |directory: &mut Directory| directory.agents.clear();
    for change in [stop, remove] {
        for (script, name) in [
            ("", "requester_stopped"),
            ("ann+", "requester_stopped"),
            ("ann-", "denied"),
        ] {
            let mut scene = Scene::new(ONE);
            scene.play(script);
            change(&mut scene.town.directory);
            scene.tell(Event::WorldChanged);
            assert_eq!(scene.case.phase.name(), name, "{script}");
            let closed = Fact::Closed {
                closure: Closure::RequesterStopped { who: bot() },
            };
            assert_eq!(scene.facts.contains(&closed), name != "denied", "{script}");
        }
    }
}
