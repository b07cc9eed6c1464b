//! Grants: a whole quorum, one shape, a time and a count; and every way to make more of one.

use std::collections::BTreeMap;

use countersign_core::{
    action::{Effect, Resource},
    approval::{
        ApprovalRule,
        grant::{GrantOffer, GrantTerms},
    },
    canonical::Hash,
    digest::{ActionDigest, action_digest},
    id::RequestId,
    lifecycle::{Event, Fact, NotCovered, open_under, step},
    masking::Mask,
    request::{Case, Phase, Request},
    time::Span,
};
use serde_json::json;

use crate::scene::{START, Scene, Town, asked_by, bot, person, request, rule, someone};

/// Two of the database's people; their grants last a quarter of an hour and three uses.
const RULE: &str = "r: 2 group:dba | grants 15m 3";

fn effect(service: &str) -> Effect {
    Effect {
        action: "exec:restart".parse().unwrap(),
        resource: Resource {
            kind: "Resource".into(),
            id: format!("orders/{service}"),
            target: "orders".parse().unwrap(),
            attributes: BTreeMap::new(),
        },
    }
}

/// Has the request restart a service, whose name may be left open.
fn restarts(request: &mut Request, service: &str) {
    request.action.arguments = json!({ "argv": ["restart", service], "cwd": "/srv" });
    request.effects = vec![effect(service)];
    let places = BTreeMap::from([("/argv/1".to_owned(), "service".to_owned())]);
    request.grants = GrantOffer::of(&request.rules, places).map(Box::new);
    request.digest = digest(request);
}

fn digest(request: &Request) -> ActionDigest {
    action_digest(&request.chain, &request.action, &request.id, &request.nonce).unwrap()
}

fn terms(open: &[&str]) -> GrantTerms {
    GrantTerms {
        time: Span::minutes(15),
        open: open.iter().map(|place| (*place).to_owned()).collect(),
        uses: 3,
    }
}

fn scene(rules: &[&str]) -> Scene {
    Scene::with(rules, |_, request| restarts(request, "api"))
}

fn grants(scene: &mut Scene, who: &str, terms: &GrantTerms) -> String {
    scene.approve(who, |ballot| ballot.grant = Some(terms.clone()))
}

/// Ann and Dan grant restarts of any service, and the first has run.
fn granted() -> Scene {
    let mut scene = scene(&[RULE]);
    for who in ["ann", "dan"] {
        grants(&mut scene, who, &terms(&["/argv/1"]));
    }
    assert_eq!(scene.play("claim done"), "running succeeded");
    scene
}

/// The next request of the same agent for a service.
fn next(scene: &Scene, service: &str) -> Request {
    let rules: Vec<ApprovalRule> = scene.town.rules.values().cloned().collect();
    let mut next = request(&rules);
    next.id = RequestId::from_bits(2);
    next.at = scene.now;
    restarts(&mut next, service);
    next
}

fn begin(scene: &Scene, request: Request) -> Result<Case, NotCovered> {
    let world = scene.town.world();
    open_under(&scene.case, request, world, scene.now).map(|(case, _)| case)
}

/// Whether the next restart of `service` runs under the grant.
fn runs(scene: &Scene, service: &str) -> Result<(), NotCovered> {
    begin(scene, next(scene, service)).map(|case| {
        assert!(matches!(case.phase, Phase::Approved { .. }));
    })
}

#[test]
fn what_all_of_a_quorum_grant_runs_again_until_it_is_over() {
    let mut scene = granted();
    let grant = scene.case.grant.clone().unwrap();
    assert_eq!((grant.used, grant.terms), (1, terms(&["/argv/1"])));
    for used in [2, 3] {
        let case = begin(&scene, next(&scene, "web")).unwrap();
        let by = case.request.id.clone();
        // It goes through the claim like any other, with the votes that were given.
        let mut using = Scene { case, ..granted() };
        using.now = scene.now;
        assert_eq!(using.play("claim done"), "running succeeded");
        assert!(using.case.grant.is_none(), "a use grants nothing");
        assert_eq!(scene.tell(Event::UseGrant { by }), "succeeded");
        assert_eq!(scene.case.grant.clone().unwrap().used, used);
    }
    assert_eq!(runs(&scene, "web"), Err(NotCovered::Over));
    let by = RequestId::from_bits(9);
    assert_eq!(scene.tell(Event::UseGrant { by }), "no_grant");
}

#[test]
fn a_grant_ends_with_its_time() {
    let mut scene = granted();
    scene.play("+14m");
    assert_eq!(runs(&scene, "web"), Ok(()));
    scene.play("+59s");
    let case = begin(&scene, next(&scene, "web")).unwrap();
    let mut using = Scene { case, ..granted() };
    using.now = scene.now.after(Span::from_millis(1_001));
    assert_eq!(
        using.play("claim"),
        "lapsed/unclaimed",
        "the approval is no longer than the grant"
    );
    scene.play("+1s");
    assert_eq!(runs(&scene, "web"), Err(NotCovered::Over));
}

#[test]
fn nothing_is_granted_unless_everybody_counted_says_the_same() {
    let open = terms(&["/argv/1"]);
    let once = None;
    let longer = GrantTerms {
        uses: 2,
        ..open.clone()
    };
    for (ann, dan, given) in [
        (Some(&open), Some(&open), true),
        (Some(&open), once, false),
        (once, Some(&open), false),
        (Some(&open), Some(&terms(&[])), false),
        (Some(&open), Some(&longer), false),
    ] {
        let mut scene = scene(&[RULE]);
        for (who, wanted) in [("ann", ann), ("dan", dan)] {
            scene.approve(who, |ballot| ballot.grant = wanted.cloned());
        }
        assert_eq!(scene.play("claim"), "running");
        assert_eq!(scene.case.grant.is_some(), given, "{ann:?} {dan:?}");
        let said = scene
            .facts
            .iter()
            .any(|fact| matches!(fact, Fact::GrantGiven { .. }));
        assert_eq!(said, given);
    }
}

#[test]
fn only_what_the_rules_offer_can_be_granted() {
    let wanted = |change: fn(&mut GrantTerms)| {
        let mut wanted = terms(&[]);
        change(&mut wanted);
        wanted
    };
    for (terms, result) in [
        (wanted(|_| ()), "held"),
        (wanted(|one| one.time = Span::minutes(16)), "not_grantable"),
        (wanted(|one| one.uses = 4), "not_grantable"),
        (wanted(|one| one.uses = 1), "not_grantable"),
        (
            wanted(|one| assert!(one.open.insert("/argv/0".into()))),
            "not_grantable",
        ),
        (
            wanted(|one| assert!(one.open.insert("/argv".into()))),
            "not_grantable",
        ),
        (
            wanted(|one| assert!(one.open.insert(String::new()))),
            "not_grantable",
        ),
    ] {
        assert_eq!(
            grants(&mut scene(&[RULE]), "ann", &terms),
            result,
            "{terms:?}"
        );
    }
    let mut silent = scene(&["r: 2 group:dba"]);
    assert_eq!(grants(&mut silent, "ann", &terms(&[])), "not_grantable");
    let mut half = scene(&[RULE, "s: 1 group:security"]);
    assert_eq!(grants(&mut half, "ann", &terms(&[])), "not_grantable");
    let mut own = Scene::with(&[RULE], |_, request| {
        restarts(request, "api");
        request.administrative = true;
    });
    assert_eq!(grants(&mut own, "ann", &terms(&[])), "not_grantable");
    let mut denies = scene(&[RULE]);
    let mut ballot = denies.ballot("ann", countersign_core::approval::vote::Verdict::Deny);
    ballot.grant = Some(terms(&[]));
    assert_eq!(denies.tell(Event::Vote(ballot)), "not_grantable");
}

/// One way to ask for more than was granted.
type Change = fn(&mut Request);

#[test]
fn a_grant_covers_its_shape_and_nothing_beside_it() {
    let changes: [(&str, Change); 13] = [
        ("another program", |one| {
            one.action.arguments["argv"][0] = json!("stop")
        }),
        ("one word more", |one| {
            one.action.arguments["argv"] = json!(["restart", "web", "-f"])
        }),
        ("another directory", |one| {
            one.action.arguments["cwd"] = json!("/")
        }),
        ("an input more", |one| {
            one.action.arguments["inputs"] = json!({ "a": "b" })
        }),
        ("a list in the open place", |one| {
            one.action.arguments["argv"][1] = json!(["web"])
        }),
        ("another target", |one| {
            one.action.target = "payments".parse().unwrap()
        }),
        ("another gate", |one| one.action.gate = "local".into()),
        ("another session", |one| {
            one.action.session = json!({ "role": "root" })
        }),
        ("another effect", |one| {
            one.effects[0].action = "exec:drop".parse().unwrap()
        }),
        ("one effect more", |one| one.effects.push(effect("db"))),
        ("another target's resource", |one| {
            one.effects[0].resource.target = "payments".parse().unwrap();
        }),
        ("a word the target does not take as a value", |one| {
            one.grants.as_mut().unwrap().places.clear();
        }),
        ("a word the target calls otherwise", |one| {
            let places = &mut one.grants.as_mut().unwrap().places;
            places.insert("/argv/1".into(), "database".into());
        }),
    ];
    let scene = granted();
    assert_eq!(runs(&scene, "web"), Ok(()));
    for (what, change) in changes {
        let mut asked = next(&scene, "web");
        change(&mut asked);
        asked.digest = digest(&asked);
        assert_eq!(begin(&scene, asked), Err(NotCovered::OtherShape), "{what}");
    }
    let mut others = next(&scene, "web");
    let mut chain = others.chain.clone();
    chain
        .on_behalf_of
        .push(countersign_core::subject::Subject::person(person("mia")));
    asked_by(&mut others, chain);
    assert_eq!(
        begin(&scene, others),
        Err(NotCovered::OtherShape),
        "for somebody else"
    );
}

#[test]
fn an_exact_grant_is_for_the_very_same_things() {
    let mut scene = scene(&[RULE]);
    for who in ["ann", "dan"] {
        grants(&mut scene, who, &terms(&[]));
    }
    scene.play("claim done");
    assert_eq!(runs(&scene, "api"), Ok(()));
    assert_eq!(runs(&scene, "web"), Err(NotCovered::OtherShape));
    let mut moved = next(&scene, "api");
    moved.effects = vec![effect("web")];
    assert_eq!(
        begin(&scene, moved),
        Err(NotCovered::OtherShape),
        "the same words, elsewhere"
    );
}

/// What happens in the meantime.
type Happening<'a> = &'a dyn Fn(&mut Town);

#[test]
fn each_use_is_judged_by_rules_and_people_as_they_are() {
    let strict = |town: &mut Town, text: &str| {
        let rule = rule(text);
        town.rules.insert(rule.name.clone(), rule);
    };
    let changes: [(&str, Happening<'_>, NotCovered); 8] = [
        (
            "a voter was disabled",
            &|town| town.person("ann").disabled = true,
            NotCovered::Rules,
        ),
        (
            "a voter left the group",
            &|town| town.person("ann").groups.clear(),
            NotCovered::Rules,
        ),
        (
            "a voter owns the agent now",
            &|town| town.give_bot_to("ann"),
            NotCovered::Rules,
        ),
        (
            "more must sign",
            &|town| strict(town, "r: 3 group:dba | grants 15m 3"),
            NotCovered::Rules,
        ),
        (
            "others must sign",
            &|town| strict(town, "r: 2 group:security | grants 15m 3"),
            NotCovered::Rules,
        ),
        (
            "it grants nothing any more",
            &|town| strict(town, "r: 2 group:dba"),
            NotCovered::Rules,
        ),
        (
            "it grants less time",
            &|town| strict(town, "r: 2 group:dba | grants 1m 3"),
            NotCovered::Rules,
        ),
        (
            "another rule holds it, too",
            &|town| strict(town, "s: 1 group:dba | grants 15m 3"),
            NotCovered::Rules,
        ),
    ];
    for (what, change, why) in changes {
        let mut scene = granted();
        scene.play("+2m");
        assert_eq!(runs(&scene, "web"), Ok(()), "{what}: before");
        change(&mut scene.town);
        assert_eq!(runs(&scene, "web"), Err(why), "{what}");
    }
}

#[test]
fn a_voter_who_goes_before_the_claim_takes_the_vote_along() {
    let scene = granted();
    let case = begin(&scene, next(&scene, "web")).unwrap();
    let mut using = Scene { case, ..granted() };
    assert_eq!(using.play("ann=0 claim"), "held not_approved");
    assert_eq!(
        using.play("rita+ claim"),
        "approved running",
        "people can sign in their place"
    );
}

#[test]
fn emergencies_grants_and_unknown_outcomes_grant_nothing() {
    let mut unknown = scene(&[RULE]);
    for who in ["ann", "dan"] {
        grants(&mut unknown, who, &terms(&[]));
    }
    assert_eq!(unknown.play("claim restart"), "running unknown");
    assert_eq!(runs(&unknown, "api"), Err(NotCovered::Over));

    let case = begin(&granted(), next(&granted(), "web")).unwrap();
    let mut using = Scene { case, ..granted() };
    assert_eq!(using.play("ann=0"), "held");
    assert_eq!(grants(&mut using, "rita", &terms(&[])), "not_grantable");
}

#[test]
fn before_the_claim_there_is_no_grant() {
    let mut scene = scene(&[RULE]);
    for who in ["ann", "dan"] {
        grants(&mut scene, who, &terms(&[]));
    }
    assert_eq!(runs(&scene, "api"), Err(NotCovered::Over));
    assert_eq!(scene.play("ann~ claim"), "held not_approved");
    assert!(scene.case.grant.is_none());
}

#[test]
fn whoever_gave_it_could_have_or_asked_ends_it() {
    for (who, result) in [
        (someone("ann"), "succeeded"),
        (someone("rita"), "succeeded"),
        (someone("olga"), "succeeded"),
        (bot(), "succeeded"),
        (someone("cat"), "not_participant"),
        (someone("zoe"), "not_participant"),
    ] {
        let mut scene = granted();
        assert_eq!(
            scene.tell(Event::EndGrant {
                by: who.clone(),
                oversees: false
            }),
            result,
            "{who}"
        );
        let over = runs(&scene, "web") == Err(NotCovered::Over);
        assert_eq!(over, result == "succeeded");
        if over {
            assert_eq!(
                scene.tell(Event::EndGrant {
                    by: who,
                    oversees: false
                }),
                "no_grant",
                "twice"
            );
        }
    }
    let mut gone = granted();
    gone.town.person("ann").disabled = true;
    assert_eq!(
        gone.tell(Event::EndGrant {
            by: someone("ann"),
            oversees: false
        }),
        "not_participant"
    );
}

#[test]
fn an_ended_grant_takes_its_votes_away_from_what_was_not_claimed() {
    let scene = granted();
    let case = begin(&scene, next(&scene, "web")).unwrap();
    let mut using = Scene { case, ..granted() };
    assert_eq!(using.tell(Event::GrantEnded { by: someone("ann") }), "held");
    assert_eq!(using.play("claim"), "not_approved");
    assert_eq!(
        using.tell(Event::GrantEnded { by: someone("ann") }),
        "no_grant"
    );
}

#[test]
fn votes_of_a_grant_count_only_for_the_action_they_were_cast_on() {
    let scene = granted();
    let mut case = begin(&scene, next(&scene, "web")).unwrap();
    let granted = case.granted.as_mut().unwrap();
    granted.digest = case.request.digest;
    let world = scene.town.world();
    let done = step(case, Event::WorldChanged, world, scene.now).unwrap();
    assert!(matches!(done.case.phase, Phase::Held { .. }));
}

#[test]
fn masked_secrets_are_not_granted() {
    let mut scene = Scene::with(&[RULE], |_, request| {
        restarts(request, "api");
        request.action.masked = vec![Mask {
            at: "/argv/1".into(),
            start: 0,
            kind: "token".into(),
            length: 3,
            verified: true,
            commitment: Hash::of(b"api"),
        }];
        request.digest = digest(request);
    });
    assert_eq!(grants(&mut scene, "ann", &terms(&[])), "not_grantable");
}

/// Whoever's vote fills a slot is asked whether they grant, and nobody else.
#[test]
fn who_fills_a_slot_grants_and_nobody_in_their_place() {
    let one = "r: 1 group:dba | grants 15m 3";
    let open = terms(&["/argv/1"]);
    let mut silent = scene(&[one]);
    assert_eq!(silent.play("ann+ ann=-dba"), "approved held");
    grants(&mut silent, "dan", &open);
    silent.play("ann=*dba");
    assert_eq!(silent.play("claim done"), "running succeeded");
    assert!(
        silent.case.grant.is_none(),
        "ann filled the slot and granted nothing"
    );

    let mut both = scene(&[one]);
    grants(&mut both, "ann", &open);
    both.play("ann=-dba +1m");
    grants(&mut both, "dan", &open);
    both.play("ann=*dba");
    assert_eq!(both.play("claim done"), "running succeeded");
    let grant = both.case.grant.clone().unwrap();
    assert_eq!(grant.givers, [person("ann")].into());
    assert_eq!(
        grant.until,
        START.after(Span::minutes(15)),
        "since ann voted"
    );
    assert_eq!(runs(&both, "web"), Ok(()));
    let lent = begin(&both, next(&both, "web"))
        .unwrap()
        .granted
        .unwrap()
        .votes;
    assert_eq!(lent.len(), 1);
    both.play("ann=-dba");
    assert!(runs(&both, "web").is_err(), "dan did not give it");
}

#[test]
fn who_becomes_self_between_two_uses_lends_no_vote() {
    let mut scene = granted();
    assert_eq!(runs(&scene, "web"), Ok(()));
    scene.play("ann^");
    assert!(runs(&scene, "web").is_err());
    // Also when they have handed the agent on.
    let mut owned = granted();
    owned.play("bot=dan bot=olga");
    assert!(runs(&owned, "web").is_err());
}

#[test]
fn who_can_not_act_any_more_ends_what_they_gave_for_good() {
    let mut scene = granted();
    scene.play("dan=0 dan=1");
    assert_eq!(runs(&scene, "web"), Err(NotCovered::Over));
    let ended = scene.case.grant.clone().unwrap().ended.unwrap();
    assert_eq!(ended.by, someone("dan"));
}

#[test]
fn whoever_sees_to_everything_ends_any_grant() {
    let mut scene = granted();
    let end = |oversees| Event::EndGrant {
        by: someone("zoe"),
        oversees,
    };
    assert_eq!(scene.tell(end(false)), "not_participant");
    assert_eq!(scene.tell(end(true)), "succeeded");
    assert_eq!(runs(&scene, "web"), Err(NotCovered::Over));
}
