//! Rules that say nothing, too much, or two things at once are satisfied by nobody.

use countersign_core::{
    approval::{
        quorum::{Electorate, Signer, Tally},
        rule::{MAX_SIGNATURES, Stage},
    },
    request::Phase,
};

use crate::scene::{START, Scene, Town, person, request, rule};

#[test]
fn unsatisfiable_rules_do_not_open() {
    let count = |count: u32| format!("r: {count} group:dba");
    for rules in [
        vec![],
        vec!["r: ".to_owned()],
        vec!["r: 1 group:dba".to_owned(), "s: ".to_owned()],
        vec!["c: 1 group:dba | confirm".to_owned()],
        vec![count(u32::MAX)],
        vec![count(MAX_SIGNATURES + 1)],
        vec![format!("r: {0} group:dba > {0} group:dba", u32::MAX)],
    ] {
        let texts: Vec<_> = rules.iter().map(String::as_str).collect();
        assert!(Scene::try_with(&texts, |_, _| ()).is_err(), "{rules:?}");
    }
}

#[test]
fn unsatisfiable_rules_in_a_stored_case_stay_unsatisfied() {
    for bad in ["r: ", "r: 1 group:dba | confirm", "r: 4294967295 group:dba"] {
        let mut scene = Scene::new(&["r: 1 group:dba"]);
        scene.case.request.rules = vec![rule(bad)];
        scene.case.phase = Phase::Approved { until: START };
        let result = scene.play("ann+ olga+ claim");
        assert!(scene.intents.is_empty(), "{bad}: {result}");
    }
    let mut scene = Scene::new(&["r: 1 group:dba"]);
    scene.case.request.rules.clear();
    scene.case.phase = Phase::Approved { until: START };
    assert_eq!(scene.play("claim"), "no_longer_satisfied/expired");
}

#[test]
fn a_count_of_zero_is_one() {
    assert_eq!(
        Scene::new(&["r: 0 group:dba"]).play("claim ann+"),
        "not_approved approved"
    );
}

#[test]
fn a_rule_listed_twice_counts_once_and_a_name_used_twice_needs_both() {
    for (rules, script, expected) in [
        (
            ["r: 1 group:dba", "r: 1 group:dba"],
            "ann+ claim",
            "approved running",
        ),
        (
            ["r: 1 group:dba", "r: 1 group:security"],
            "ann+ cat+ bob+",
            "not_needed not_needed approved",
        ),
        (
            ["r: 1 group:security", "r: 1 group:dba"],
            "cat+ ann+ bob+",
            "not_needed not_needed approved",
        ),
    ] {
        let mut scene = Scene::with(&rules, |town, _| town.rules.clear());
        assert_eq!(scene.play(script), expected, "{rules:?}");
    }
    let different = ["r: 1 group:dba", "r: 1 group:dba > 1 group:security"];
    assert!(Scene::try_with(&different, |_, _| ()).is_err());
}

#[test]
fn a_tally_without_slots_is_satisfied_by_nothing() {
    assert!(!Tally::default().is_satisfied());
    let rules = [rule("r: 1 group:dba")];
    let (town, request) = (Town::new(&rules), request(&rules));
    let electorate = Electorate {
        request: &request,
        directory: &town.directory,
        rules: &[],
        myself: &[person("olga")].into(),
    };
    let tally = electorate.tally([(Signer::themselves(&person("ann")), START)]);
    assert!(!tally.is_satisfied() && !tally.satisfies(&rules[0].name));
    assert!(tally.filled.is_empty());
}

#[test]
fn a_stage_without_approvers_opens_only_with_escalation() {
    let nobody = |escalate: &str| {
        Scene::try_with(&[&format!("r: 1 group:dba{escalate}")], |town, request| {
            let none = vec![Stage {
                from: Vec::new(),
                count: 1,
            }];
            request.rules[0].stages.clone_from(&none);
            town.rules.values_mut().next().unwrap().stages = none;
        })
    };
    assert!(nobody("").is_err());
    assert_eq!(
        nobody(" | escalate 5m user:zoe")
            .ok()
            .unwrap()
            .play("zoe+ +5m zoe+"),
        "not_eligible held approved"
    );
}
