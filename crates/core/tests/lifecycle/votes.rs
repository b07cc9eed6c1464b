//! Who may vote, how, and how often.

use countersign_core::{
    approval::{
        rule::Assurance,
        vote::{Credential, Verdict},
    },
    canonical::Hash,
    digest::ActionDigest,
    id::GroupId,
    lifecycle::{Ballot, Event, eligible_voters},
    request::{MAX_ONE_CLICK_BYTES, MAX_TEXT_BYTES},
    subject::{Subject, SubjectChain, SubjectId},
};

use crate::scene::{Scene, asked_by, bot, check, person};

const ONE: &[&str] = &["r: 1 group:dba"];
const TWO: &[&str] = &["r: 2 group:dba"];
const STAGED: &[&str] = &["r: 1 group:dba > 1 group:security"];

#[test]
fn eligibility() {
    check(&[
        (ONE, "ann+", "approved"),
        (ONE, "cat+", "not_eligible"),
        (ONE, "mia+", "not_eligible"),
        (ONE, "nobody+", "not_eligible"),
        (ONE, "olga+", "own_request"),
        (ONE, "olga-", "own_request"),
        (ONE, "cat-", "not_eligible"),
        (TWO, "ann+ ann+", "held already_voted"),
        (TWO, "ann+ bob+ dan+", "held approved not_needed"),
        (TWO, "ann+ bob+ ann+", "held approved already_voted"),
        (TWO, "ann~", "no_vote"),
        (
            TWO,
            "ann+ ann~ ann~ ann+ bob+",
            "held held no_vote held approved",
        ),
        (TWO, "ann+ bob~", "held no_vote"),
        (
            TWO,
            "ann+ bob+ ann~ claim",
            "held approved held not_approved",
        ),
        (&["r: 1 user:zoe"], "zoe+", "approved"),
        (
            &["r: 1 user:zoe user:olga"],
            "olga+ zoe+",
            "own_request approved",
        ),
    ]);
}

#[test]
fn stages_run_in_order() {
    check(&[
        (STAGED, "cat+ ann+ cat+", "not_needed held approved"),
        (STAGED, "ann+ dan+ cat+", "held not_needed approved"),
        (STAGED, "bob+ bob+ cat+", "held already_voted approved"),
        (
            STAGED,
            "ann+ cat+ ann~ dan+ cat+",
            "held approved held held approved",
        ),
        (
            STAGED,
            "ann+ cat+ ann=-dba dan+ cat+",
            "held approved held held approved",
        ),
    ]);
}

#[test]
fn one_denial_by_anybody_eligible_is_final() {
    check(&[
        (ONE, "ann- dan+ claim", "denied not_open not_open"),
        (STAGED, "cat-", "denied"),
        (TWO, "ann+ dan-", "held denied"),
        (TWO, "ann+ bob+ dan- claim", "held approved denied not_open"),
        (TWO, "ann+ ann- bob+", "held denied not_open"),
        (ONE, "ann+ ann- claim", "approved denied not_open"),
        (ONE, "ann- ann~ ann+", "denied not_open not_open"),
    ]);
}

#[test]
fn self_by_every_route() {
    let on_behalf = || {
        Scene::with(ONE, |_, request| {
            let mut chain = request.chain.clone();
            chain.on_behalf_of = vec![
                Subject::person(person("dan")),
                Subject {
                    id: SubjectId::Workload("ci".parse().unwrap()),
                    owner: Some(person("ann")),
                },
            ];
            asked_by(request, chain);
        })
    };
    for (mut scene, script, expected) in [
        (Scene::by_rita(ONE), "rita+ olga+", "own_request approved"),
        (
            on_behalf(),
            "olga+ dan+ ann+ bob+",
            "own_request own_request own_request approved",
        ),
        (
            Scene::edited_by(ONE, "ann"),
            "ann+ dan+",
            "own_request approved",
        ),
        (Scene::new(ONE), "ann^ ann+", "held own_request"),
        (
            Scene::new(TWO),
            "ann+ dan+ ann^ claim",
            "held approved held not_approved",
        ),
        (
            Scene::new(ONE),
            "bot=ann ann+ olga+",
            "held own_request own_request",
        ),
        (
            Scene::new(ONE),
            "bot=ann bot=dan ann+ bob+",
            "held held own_request approved",
        ),
        (
            Scene::new(ONE),
            "ann+ bot=ann claim",
            "approved held not_approved",
        ),
    ] {
        assert_eq!(scene.play(script), expected, "{script}");
    }
}

#[test]
fn an_owner_by_the_directory_is_self_before_any_event() {
    let owned_by_ann = |rules: &[&str]| Scene::try_with(rules, |town, _| town.give_bot_to("ann"));
    assert!(owned_by_ann(&["r: 1 user:ann"]).is_err());
    let scene = owned_by_ann(&["r: 1 user:ann user:dan"]).ok().unwrap();
    let told = eligible_voters(&scene.case, scene.town.world(), scene.now);
    assert_eq!(told, [(person("dan"), None)].into());
}

#[test]
fn ownership_for_a_moment_makes_self_for_good() {
    let mut scene = Scene::new(ONE);
    scene.town.give_bot_to("ann");
    assert_eq!(scene.approve("ann", |_| ()), "own_request/held");
    scene.town.give_bot_to("dan");
    assert_eq!(scene.approve("ann", |_| ()), "own_request/held");
}

#[test]
fn form_of_a_ballot() {
    type Change = fn(&mut Ballot);
    let long = "x".repeat(MAX_TEXT_BYTES + 1);
    let table: [(&str, Change, &str); 8] = [
        (
            "r: 1 group:dba",
            |b| b.digest = ActionDigest(Hash::of(b"")),
            "other_action",
        ),
        (
            "r: 1 group:dba | passkey",
            |b| b.credential.assurance = Assurance::Session,
            "assurance_too_low",
        ),
        (
            "r: 1 group:dba",
            |b| b.credential.assurance = Assurance::Chat,
            "assurance_too_low",
        ),
        (
            "r: 1 group:dba | reason",
            |b| b.reason = None,
            "reason_required",
        ),
        (
            "r: 1 group:dba | reason",
            |b| b.reason = Some(" \n".into()),
            "reason_required",
        ),
        ("r: 1 group:dba", |b| b.reason = None, "approved"),
        (
            "r: 1 group:dba | reason",
            |b| (b.verdict, b.reason) = (Verdict::Deny, None),
            "denied",
        ),
        (
            "r: 1 group:dba | hours Sat 00:00-24:00 UTC",
            |_| (),
            "outside_hours",
        ),
    ];
    for (rule, change, expected) in table {
        assert_eq!(
            Scene::new(&[rule]).approve("ann", change),
            expected,
            "{rule}"
        );
    }
    let result = Scene::new(ONE).approve("ann", |ballot| ballot.reason = Some(long));
    assert_eq!(result, "text_too_long");
}

#[test]
fn what_is_not_shown_whole_needs_the_digest_typed() {
    for (complete, bytes, typed, expected) in [
        (true, MAX_ONE_CLICK_BYTES, None, "approved"),
        (true, MAX_ONE_CLICK_BYTES + 1, None, "digest_not_typed"),
        (false, 0, None, "digest_not_typed"),
        (false, 0, Some(""), "digest_not_typed"),
        (false, 0, Some("12345678"), "other_digest_typed"),
        (false, 0, Some("digits"), "approved"),
    ] {
        let mut scene = Scene::with(ONE, |_, request| {
            request.presentation.complete = complete;
            request.presentation.body = "x".repeat(bytes);
        });
        let digits = scene.case.request.digest.to_string()[..8].to_owned();
        let typed = typed.map(|text| {
            if text == "digits" {
                digits
            } else {
                text.into()
            }
        });
        let result = scene.approve("ann", |ballot| ballot.typed_digest = typed);
        assert_eq!(result, expected, "{complete} {bytes}");
    }
}

fn session(id: &str, issuer: Option<&str>) -> Credential {
    Credential {
        id: id.parse().unwrap(),
        issued_by: issuer.map(person),
        lineage: std::collections::BTreeSet::new(),
        assurance: Assurance::Passkey,
    }
}

#[test]
fn sessions_that_could_be_one_person() {
    for (first, second, expected) in [
        (session("a", None), session("b", None), "held approved"),
        (
            session("a", None),
            session("a", None),
            "held shared_credential",
        ),
        (
            session("a", Some("dan")),
            session("b", None),
            "held shared_credential",
        ),
        (
            session("a", None),
            session("b", Some("ann")),
            "held shared_credential",
        ),
        (
            session("a", Some("zoe")),
            session("b", Some("zoe")),
            "held shared_credential",
        ),
        (
            session("a", Some("zoe")),
            session("b", Some("mia")),
            "held approved",
        ),
        (
            session("a", Some("ann")),
            session("b", Some("dan")),
            "held approved",
        ),
        (
            session("a", Some("olga")),
            session("b", None),
            "credential_from_requester held",
        ),
    ] {
        let mut scene = Scene::new(TWO);
        let results = [
            scene.approve("ann", |ballot| ballot.credential = first.clone()),
            scene.approve("dan", |ballot| ballot.credential = second.clone()),
        ];
        assert_eq!(results.join(" "), expected, "{first:?} {second:?}");
    }
}

/// A link made in a session that somebody else made possible: any of them may sit behind it.
#[test]
fn a_session_is_of_everybody_it_came_from() {
    let of = |id: &str, makers: &[&str]| Credential {
        lineage: makers[1..].iter().map(|maker| person(maker)).collect(),
        ..session(id, Some(makers[0]))
    };
    let own = || session("b", None);
    for (first, second, expected) in [
        (of("a", &["zoe", "dan"]), own(), "held shared_credential"),
        (own(), of("a", &["zoe", "ann"]), "held shared_credential"),
        (
            of("a", &["zoe", "mia"]),
            of("b", &["sam", "mia"]),
            "held shared_credential",
        ),
        (
            of("a", &["zoe", "mia"]),
            of("b", &["mia"]),
            "held shared_credential",
        ),
        (of("a", &["zoe", "mia"]), of("b", &["sam"]), "held approved"),
        (
            of("a", &["zoe", "olga"]),
            own(),
            "credential_from_requester held",
        ),
    ] {
        let mut scene = Scene::new(TWO);
        let results = [
            scene.approve("ann", |ballot| ballot.credential = first.clone()),
            scene.approve("dan", |ballot| ballot.credential = second.clone()),
        ];
        assert_eq!(results.join(" "), expected, "{first:?} {second:?}");
    }
    // And whoever becomes *self* later takes along what came of them.
    let mut scene = Scene::new(ONE);
    scene.approve("ann", |ballot| ballot.credential = of("a", &["zoe", "sam"]));
    assert_eq!(scene.play("sam^ claim"), "held not_approved");
}

#[test]
fn an_issuer_who_becomes_self_takes_the_vote_along() {
    let mut scene = Scene::new(ONE);
    scene.approve("ann", |ballot| {
        ballot.credential = session("a", Some("zoe"))
    });
    assert_eq!(scene.play("zoe^ claim"), "held not_approved");
}

#[test]
fn a_shared_session_may_still_deny() {
    let mut scene = Scene::new(TWO);
    scene.approve("ann", |ballot| {
        ballot.credential = session("a", Some("zoe"))
    });
    let result = scene.approve("dan", |ballot| {
        ballot.credential = session("b", Some("zoe"));
        ballot.verdict = Verdict::Deny;
    });
    assert_eq!(result, "denied");
}

#[test]
fn confirmation_is_by_self_only_and_no_countersignature() {
    let confirm: &[&str] = &["c: | confirm"];
    let both: &[&str] = &["c: | confirm", "r: 1 group:dba"];
    check(&[
        (confirm, "ann+ olga+", "not_eligible approved"),
        (confirm, "olga- claim", "denied not_open"),
        (
            confirm,
            "bot=ann olga+ ann+",
            "unreachable not_open not_open",
        ),
        (
            both,
            "olga+ olga+ claim ann+ claim",
            "held already_voted not_approved approved running",
        ),
        (both, "ann+ dan+ olga+", "held not_needed approved"),
        (both, "olga+ ann+ olga=0", "held approved requester_stopped"),
    ]);
    assert_eq!(
        Scene::by_rita(confirm).play("olga+ rita+"),
        "not_eligible approved"
    );
    assert_eq!(
        Scene::edited_by(confirm, "ann").play("ann+ olga+"),
        "own_request approved"
    );
}

#[test]
fn managers_and_owners() {
    let scene = |rule: &str| {
        Scene::with(&[rule], |town, request| {
            town.person("olga").manager = Some(person("mia"));
            town.person("rita").manager = Some(person("rita"));
            request
                .resource_owners
                .extend([person("zoe"), person("olga")]);
        })
    };
    for (rule, script, expected) in [
        (
            "r: 1 manager-of:requester",
            "ann+ mia+",
            "not_eligible approved",
        ),
        (
            "r: 1 owner-of:resource",
            "ann+ olga+ zoe+",
            "not_eligible own_request approved",
        ),
        ("r: 1 manager-of:requester", "mia=0", "unreachable"),
    ] {
        assert_eq!(scene(rule).play(script), expected, "{rule} {script}");
    }
    let own_manager = Scene::try_with(&["r: 1 manager-of:requester"], |town, request| {
        town.person("rita").manager = Some(person("rita"));
        asked_by(request, SubjectChain::of(Subject::person(person("rita"))));
    });
    assert!(own_manager.is_err());
}

#[test]
fn those_who_are_told_are_those_who_can_vote() {
    for (rules, script, expected) in [
        (ONE, "", "ann bob dan rita"),
        (TWO, "ann+", "bob dan rita"),
        (STAGED, "", "ann bob dan rita"),
        (STAGED, "ann+", "bob cat"),
        (STAGED, "ann+ cat+ ann~ dan+", "bob cat"),
        (&["c: | confirm"], "", "olga"),
    ] {
        let mut scene = Scene::new(rules);
        scene.play(script);
        let told = eligible_voters(&scene.case, scene.town.world(), scene.now);
        let names: Vec<_> = told.keys().map(|id| id.as_str()).collect();
        assert_eq!(names.join(" "), expected, "{rules:?} {script}");
        for name in names {
            let before = scene.case.clone();
            let result = scene.approve(name, |_| ());
            assert!(
                ["held", "approved"].contains(&result.as_str()),
                "{name}: {result}"
            );
            scene.case = before;
        }
    }
}

#[test]
fn a_group_without_members_helps_nobody() {
    let scene = Scene::try_with(&["r: 1 group:ghosts"], |town, _| {
        town.directory
            .groups
            .insert(GroupId::new("ghosts").unwrap());
    });
    assert!(scene.is_err());
    let mut scene = Scene::new(ONE);
    let claim = scene.claim(bot(), crate::scene::permit());
    assert_eq!(scene.tell(claim), "not_approved");
    assert_eq!(
        scene.tell(Event::Withdraw {
            voter: person("ann")
        }),
        "no_vote"
    );
}
