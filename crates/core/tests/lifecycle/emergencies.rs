//! Breaking the glass: for people, strong, reasoned, reviewed, and only for one rule.

use countersign_core::{
    approval::{
        rule::{Assurance, ReasonRequirement},
        vote::{Credential, Verdict},
    },
    lifecycle::{Ballot, Event, Fact},
    request::Request,
    subject::{Subject, SubjectChain},
    time::{Span, Timestamp},
};

use crate::scene::{START, Scene, Town, asked_by, person, rule};

const RULE: &str = "r: 2 group:dba | emergency group:sre user:zoe";

/// `mia` asks for herself.
fn by_mia(rules: &[&str]) -> Scene {
    by_mia_with(rules, |_, _| ())
}

fn by_mia_with(rules: &[&str], change: impl FnOnce(&mut Town, &mut Request)) -> Scene {
    Scene::with(rules, |town, request| {
        asked_by(request, SubjectChain::of(Subject::person(person("mia"))));
        change(town, request);
    })
}

fn break_glass(scene: &mut Scene, who: &str, change: impl FnOnce(&mut Ballot)) -> String {
    let mut ballot = scene.ballot(who, Verdict::Approve);
    change(&mut ballot);
    let rule = "r".parse().unwrap();
    scene.tell(Event::BreakGlass { rule, ballot })
}

fn claim(scene: &mut Scene) -> String {
    let event = scene.claim(crate::scene::someone("mia"), crate::scene::permit());
    scene.tell(event)
}

#[test]
fn who_may_and_what_follows() {
    for (rules, script, expected, claimed) in [
        (&[RULE] as &[&str], "sam!", "approved", "running"),
        (&[RULE], "zoe!", "approved", "running"),
        (&[RULE], "ann!", "not_eligible", "not_approved"),
        (&[RULE], "sam! rita!", "approved no_emergency", "running"),
        (
            &[RULE, "s: 1 group:security"],
            "sam!",
            "held",
            "not_approved",
        ),
        (
            &[RULE, "s: 1 group:security"],
            "sam! cat+",
            "held approved",
            "running",
        ),
        (&["r: 2 group:dba"], "sam!", "no_emergency", "not_approved"),
        (&[RULE], "sam=0 sam!", "held not_eligible", "not_approved"),
        (&[RULE], "zoe=0 zoe!", "held not_eligible", "not_approved"),
        (
            &[RULE],
            "eve=+sre eve!",
            "held not_eligible",
            "not_approved",
        ),
        (&[RULE], "eve=*sre eve!", "held approved", "running"),
        (&[RULE], "sam! sam=-sre", "approved held", "not_approved"),
        (&[RULE], "zoe! zoe=0", "approved held", "not_approved"),
        (
            &[RULE],
            "sam! sam=0 zoe!",
            "approved held approved",
            "running",
        ),
        (&[RULE], "ann- sam!", "denied not_open", "not_open"),
    ] {
        let mut scene = by_mia(rules);
        assert_eq!(scene.play(script), expected, "{script}");
        assert_eq!(claim(&mut scene), claimed, "{script}");
    }
}

#[test]
fn agents_and_administration_never() {
    let mut by_agent = Scene::new(&[RULE]);
    assert_eq!(by_agent.play("sam! olga!"), "no_emergency no_emergency");
    let mut administrative = by_mia_with(&[RULE], |_, request| request.administrative = true);
    assert_eq!(administrative.play("sam!"), "no_emergency");
    let mut suspended = by_mia_with(&[RULE], |town, _| {
        town.due.insert("r".parse().unwrap(), Timestamp(0));
    });
    assert_eq!(suspended.play("sam!"), "no_emergency");
    let mut behind_a_person = by_mia_with(&[RULE], |_, request| {
        let mut chain = request.chain.clone();
        chain.on_behalf_of = Scene::new(&[RULE])
            .case
            .request
            .chain
            .members()
            .cloned()
            .collect();
        asked_by(request, chain);
    });
    assert_eq!(behind_a_person.play("sam!"), "no_emergency");
}

/// Whoever asks may take it upon themselves; whoever is *self* for another reason may not.
#[test]
fn of_the_requesters_side_only_the_requester() {
    let rules = "r: 2 group:dba | emergency group:sre user:mia user:olga";
    let mia_herself = |change: fn(&mut Request)| {
        let mut scene = by_mia_with(&[rules], |_, request| change(request));
        let played = scene.play("mia!");
        (played, claim(&mut scene))
    };
    let approved = ("approved".to_owned(), "running".to_owned());
    assert_eq!(mia_herself(|_| ()), approved);
    assert_eq!(
        mia_herself(|request| request.issuers = [person("mia")].into()),
        approved
    );
    type Change = fn(&mut Request);
    let behind: [Change; 3] = [
        |request| request.issuers = [person("olga")].into(),
        |request| {
            request.amends = Some(countersign_core::request::Amends {
                request: request.id.clone(),
                editor: person("olga"),
            });
        },
        |request| {
            request.chain.on_behalf_of = vec![Subject::person(person("olga"))];
        },
    ];
    for change in behind {
        let mut scene = by_mia_with(&[rules], |_, request| change(request));
        assert_eq!(scene.play("olga!"), "own_request");
        assert_eq!(claim(&mut scene), "not_approved");
        assert_eq!(scene.play("sam!"), "approved");
    }
}

/// A lift falls when its author comes to stand behind the request.
#[test]
fn a_lift_falls_with_its_authors_independence() {
    let mut scene = by_mia(&[RULE]);
    assert_eq!(scene.play("sam!"), "approved");
    let people = [person("sam")].into();
    assert_eq!(scene.tell(Event::SelfGrew { people }), "held");
}

#[test]
fn form_of_the_ballot() {
    type Change = fn(&mut Ballot);
    let table: [(Change, &str); 8] = [
        (
            |b| b.credential.assurance = Assurance::Session,
            "assurance_too_low",
        ),
        (|b| b.reason = None, "reason_required"),
        (|b| b.reason = Some("\t".into()), "reason_required"),
        (|b| b.reason = Some("x".repeat(4_097)), "text_too_long"),
        (|b| b.digest.0.0[0] ^= 1, "other_action"),
        (|b| b.verdict = Verdict::Deny, "no_emergency"),
        (
            |b| b.credential.issued_by = Some(person("mia")),
            "credential_from_requester",
        ),
        (|b| b.credential.issued_by = Some(person("ann")), "approved"),
    ];
    for (change, expected) in table {
        assert_eq!(break_glass(&mut by_mia(&[RULE]), "sam", change), expected);
    }
    let mut hidden = by_mia_with(&[RULE], |_, request| request.presentation.complete = false);
    assert_eq!(break_glass(&mut hidden, "sam", |_| ()), "digest_not_typed");
    let digits = hidden.case.request.digest.to_string()[..8].to_owned();
    let typed = break_glass(&mut hidden, "sam", |ballot| {
        ballot.typed_digest = Some(digits)
    });
    assert_eq!(typed, "approved");
}

#[test]
fn the_rule_must_allow_it_as_it_was_and_as_it_is() {
    let (with, without) = (rule(RULE), rule("r: 2 group:dba"));
    let other = rule("r: 2 group:dba | emergency group:oncall");
    for (was, is, expected) in [
        (&with, Some(&with), "approved"),
        (&with, Some(&without), "no_emergency"),
        (&with, Some(&other), "not_eligible"),
        (&without, Some(&with), "no_emergency"),
        (&with, None, "no_emergency"),
    ] {
        let mut scene = by_mia_with(&[RULE], |town, request| {
            request.rules = vec![was.clone()];
            town.rules = is
                .iter()
                .map(|is| (is.name.clone(), (*is).clone()))
                .collect();
        });
        assert_eq!(scene.play("sam!"), expected, "{was:?} {is:?}");
    }
    let mut later = by_mia(&[RULE]);
    later.play("sam!");
    later.town.rules.insert(without.name.clone(), without);
    assert_eq!(later.tell(Event::WorldChanged), "held");
}

#[test]
fn somebody_else_reviews_it_once() {
    let mut scene = by_mia(&[RULE]);
    assert_eq!(scene.play("ann?"), "nothing_to_review");
    scene.play("sam!");
    let expected = "own_emergency own_request not_eligible approved nothing_to_review";
    assert_eq!(scene.play("sam? mia? nobody? ann? bob?"), expected);
    let lift = &scene.case.lifted[0];
    let review = lift.reviewed.as_ref().unwrap();
    assert_eq!(
        (&review.by, review.note.as_str()),
        (&person("ann"), "as they say")
    );
    assert_eq!(lift.review_by, START.after(Span::minutes(24 * 60)));
    claim(&mut scene);
    assert_eq!(scene.play("done bob?"), "succeeded nothing_to_review");
}

#[test]
fn a_review_may_come_after_the_end() {
    let mut scene = by_mia(&[RULE]);
    scene.play("sam!");
    claim(&mut scene);
    assert_eq!(scene.play("done ann?"), "succeeded succeeded");
}

#[test]
fn the_fact_says_who_why_and_with_what() {
    let mut scene = by_mia_with(&[RULE], |_, request| {
        request.rules[0].reason = ReasonRequirement::Optional;
    });
    break_glass(&mut scene, "sam", |ballot| {
        ballot.reason = Some("outage".into())
    });
    let Some(Fact::GlassBroken { vote, .. }) = scene.facts.first() else {
        panic!("breaking the glass is the first fact")
    };
    assert_eq!(vote.voter, person("sam"));
    assert_eq!(vote.reason.as_deref(), Some("outage"));
    assert_eq!(vote.credential.assurance, Assurance::Passkey);
}

/// What is overdue is so by the clock alone, and by what nobody reviewed, whatever the rule is called by now.
#[test]
fn an_overdue_review_suspends_the_rule_and_a_new_name_does_not_help() {
    let tomorrow = START.after(Span::minutes(24 * 60));
    let rule = |name: &str| name.parse().unwrap();
    for (due, expected) in [
        (&[("r", tomorrow)] as &[_], "approved"),
        (&[("r", START)], "approved"),
        (&[("r", Timestamp(START.0 - 1))], "no_emergency"),
        // Another rule that still has its emergency is none of this one's business.
        (&[("s", Timestamp(0))], "approved"),
        (&[("s", Timestamp(0)), ("r", Timestamp(0))], "no_emergency"),
        // This one had another name, or its emergency was taken off.
        (&[("former", Timestamp(0))], "no_emergency"),
        (&[("former", tomorrow)], "approved"),
        (&[("t", Timestamp(0))], "no_emergency"),
    ] {
        let others = ["s: 1 group:dba | emergency group:sre", "t: 1 group:dba"];
        let mut scene = by_mia_with(&[RULE], |town, _| {
            let others = others.map(crate::scene::rule);
            town.rules.extend(others.map(|one| (one.name.clone(), one)));
            town.due = due.iter().map(|(name, at)| (rule(name), *at)).collect();
        });
        assert_eq!(scene.play("sam!"), expected, "{due:?}");
    }
}

#[test]
fn nothing_is_lifted_where_nobody_knows_what_is_due() {
    let scene = by_mia(&[RULE]);
    let world = countersign_core::lifecycle::World {
        due_reviews: None,
        ..scene.town.world()
    };
    let event = scene.event("sam!");
    let refused = countersign_core::lifecycle::step(scene.case.clone(), event, world, START);
    assert_eq!(refused.unwrap_err().code(), "no_emergency");
    let sam = person("sam");
    assert!(countersign_core::lifecycle::liftable(&scene.case, world, START, &sam).is_empty());
}

/// Second accounts and sessions that the lifter had made for somebody are the lifter's review.
#[test]
fn nobody_reviews_their_own() {
    let lifted = || {
        let mut scene = by_mia(&["r: 2 group:dba | emergency group:sre user:zoe user:mia"]);
        assert_eq!(scene.play("sam!"), "approved");
        scene
    };
    let review = |scene: &mut Scene, change: fn(&mut Credential, &mut String)| {
        let mut credential = scene.ballot("ann", Verdict::Approve).credential;
        let mut note = "they restarted it".to_owned();
        change(&mut credential, &mut note);
        scene.tell(Event::Review {
            rule: "r".parse().unwrap(),
            by: person("ann"),
            credential,
            note,
        })
    };
    type Change = fn(&mut Credential, &mut String);
    let table: [(Change, &str); 7] = [
        (
            |with, _| with.issued_by = Some(person("sam")),
            "credential_from_requester",
        ),
        (
            |with, _| with.issued_by = Some(person("mia")),
            "credential_from_requester",
        ),
        (
            |with, _| with.assurance = Assurance::Chat,
            "assurance_too_low",
        ),
        (|_, note| *note = " ".into(), "reason_required"),
        (|_, note| *note = "x".repeat(4_097), "text_too_long"),
        (|with, _| with.issued_by = Some(person("bob")), "approved"),
        (|with, _| with.assurance = Assurance::Session, "approved"),
    ];
    for (change, expected) in table {
        assert_eq!(review(&mut lifted(), change), expected);
    }
    // Nor does whoever had a hand in what it was lifted with, or in the session of both.
    for (maker, expected) in [("ann", "own_request"), ("zoe", "credential_from_requester")] {
        let mut scene = by_mia(&["r: 2 group:dba | emergency group:sre user:zoe user:mia"]);
        let rule = scene.case.request.rules[0].name.clone();
        let mut ballot = scene.ballot("sam", Verdict::Approve);
        ballot.credential.lineage = [person(maker)].into();
        assert_eq!(scene.tell(Event::BreakGlass { rule, ballot }), "approved");
        let change: Change = |with, _| with.lineage = [person("zoe")].into();
        assert_eq!(review(&mut scene, change), expected);
    }
    // Two who lifted the same rule one after the other don't review each other.
    let mut scene = lifted();
    assert_eq!(scene.play("sam=-sre zoe!"), "held approved");
    assert_eq!(
        scene.play("sam? zoe? ann?"),
        "own_emergency own_emergency approved"
    );
    assert!(scene.case.lifted.iter().all(|lift| lift.reviewed.is_some()));
    // Nobody whom the rule does not name, though they are nobody's side.
    assert_eq!(lifted().play("cat?"), "not_eligible");
}

#[test]
fn that_a_review_is_overdue_is_noted_once_and_by_time_alone() {
    let mut scene = by_mia(&[RULE]);
    scene.play("sam!");
    claim(&mut scene);
    scene.play("done");
    scene.now = START.after(Span::minutes(24 * 60));
    assert_eq!(scene.tell(Event::Tick), "succeeded");
    assert!(!scene.case.lifted[0].overdue);
    scene.now = Timestamp(scene.now.0 + 1);
    let overdue = |facts: &[Fact]| {
        let overdue = |fact: &&Fact| matches!(fact, Fact::ReviewOverdue { .. });
        facts.iter().filter(overdue).count()
    };
    scene.tell(Event::Tick);
    assert_eq!(overdue(&scene.facts), 1);
    scene.tell(Event::Tick);
    assert!(scene.case.lifted[0].overdue && overdue(&scene.facts) <= 1);
    assert_eq!(scene.play("ann?"), "succeeded");
    assert!(!scene.case.lifted[0].is_overdue(scene.now));
}

/// Where nobody is left who could sign, somebody who could lift the rule keeps the request waiting.
#[test]
fn a_rule_that_somebody_can_lift_is_not_out_of_reach() {
    let mut scene = by_mia(&["r: 1 user:mia | emergency user:mia"]);
    assert_eq!(scene.play("mia!"), "approved");
    assert_eq!(scene.play("mia=0"), "requester_stopped");
}
