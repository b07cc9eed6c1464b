//! A stand-in signs what the absent person may, one of the two, and nothing that is *self*'s.

use countersign_core::{absence::Absence, lifecycle::Fact, time::Timestamp};

use crate::scene::{START, Scene, person};

const DAY: i64 = 86_400_000;

/// Somebody is away from a day before `START` to a day after it.
fn away(stand_in: &str) -> Absence {
    Absence {
        stand_in: person(stand_in),
        from: Timestamp(START.0 - DAY),
        until: Timestamp(START.0 + DAY),
        countersigned: true,
    }
}

/// A scene in which the first of each pair is away and the second stands in.
fn scene(rules: &[&str], pairs: &[(&str, Absence)]) -> Scene {
    Scene::with(rules, |town, _| {
        for (one, absence) in pairs {
            town.directory.absences.insert(person(one), absence.clone());
        }
    })
}

fn play(rules: &[&str], pairs: &[(&str, Absence)], script: &str) -> String {
    scene(rules, pairs).play(script)
}

#[test]
fn a_stand_in_signs_what_the_absent_person_may() {
    let cat_is_away = || [("cat", away("zoe"))];
    let security = ["r: 1 group:security"];
    assert_eq!(
        play(&security, &cat_is_away(), "zoe+ claim"),
        "approved running"
    );
    assert_eq!(play(&["r: 1 user:cat"], &cat_is_away(), "zoe+"), "approved");
    assert_eq!(
        play(&["r: 1 group:dba"], &cat_is_away(), "zoe+"),
        "not_eligible"
    );
    let mut scene = scene(&security, &cat_is_away());
    scene.play("zoe+");
    let voted = scene.facts.iter().find_map(|fact| match fact {
        Fact::Voted { vote, .. } => Some((vote.voter.clone(), vote.in_place_of.clone())),
        _ => None,
    });
    assert_eq!(voted, Some((person("zoe"), Some(person("cat")))));
}

#[test]
fn one_of_the_two_signs_never_both() {
    let away_for = |stand_in| [("ann", away(stand_in))];
    let two = ["r: 2 group:dba"];
    assert_eq!(play(&two, &away_for("zoe"), "ann+ zoe+"), "held not_needed");
    assert_eq!(play(&two, &away_for("zoe"), "zoe+ ann+"), "held not_needed");
    assert_eq!(play(&two, &away_for("zoe"), "zoe+ bob+"), "held approved");
    let apart = ["a: 1 group:dba", "b: 1 user:ann"];
    assert_eq!(
        play(&apart, &away_for("zoe"), "ann+ zoe+"),
        "held not_needed"
    );
    // The stand-in's own right and the one they lend are one vote.
    assert_eq!(
        play(&two, &away_for("bob"), "bob+ bob+"),
        "held already_voted"
    );
    // Their own right comes first, so that the absent person's stays free.
    assert_eq!(play(&two, &away_for("bob"), "bob+ ann+"), "held approved");
}

#[test]
fn nothing_is_handed_on() {
    let chain = [("ann", away("zoe")), ("zoe", away("mia"))];
    assert_eq!(play(&["r: 1 group:dba"], &chain, "mia+"), "not_eligible");
    assert_eq!(play(&["r: 1 group:dba"], &chain, "zoe+"), "approved");
    let each_other = [("ann", away("bob")), ("bob", away("ann"))];
    let two = ["r: 2 group:dba"];
    assert_eq!(play(&two, &each_other, "ann+ bob+"), "held approved");
    assert_eq!(
        play(
            &["a: 1 user:ann", "b: 1 user:bob"],
            &each_other,
            "ann+ ann+"
        ),
        "held already_voted"
    );
}

#[test]
fn the_requesters_side_lends_nothing_and_borrows_nothing() {
    // `olga` owns the agent that asks.
    let olga = [("olga", away("zoe"))];
    assert_eq!(play(&["r: 1 group:dba"], &olga, "zoe+"), "not_eligible");
    let for_olga = [("ann", away("olga"))];
    assert_eq!(play(&["r: 1 group:dba"], &for_olga, "olga+"), "own_request");
    // A confirmation is by whom it concerns.
    let mut confirming = scene(&["r: | confirm"], &olga);
    assert_eq!(confirming.play("zoe+"), "not_eligible");
}

#[test]
fn only_in_that_time() {
    let late = Absence {
        from: Timestamp(START.0 + 60_000),
        ..away("zoe")
    };
    let rules = ["r: 1 group:security"];
    assert_eq!(
        play(&rules, &[("cat", late)], "zoe+ +2m zoe+"),
        "not_eligible held approved"
    );
    let over = Absence {
        until: Timestamp(START.0 + 60_000),
        ..away("zoe")
    };
    assert_eq!(
        play(&rules, &[("cat", over)], "+2m zoe+"),
        "held not_eligible"
    );
}

#[test]
fn one_person_alone_sends_nobody_in_anothers_place() {
    let alone = Absence {
        countersigned: false,
        ..away("zoe")
    };
    let rules = ["r: 1 group:security"];
    assert_eq!(play(&rules, &[("cat", alone)], "zoe+"), "not_eligible");
}

#[test]
fn what_was_signed_in_somebodys_place_ends_with_it() {
    let mut scene = scene(&["r: 1 group:security"], &[("cat", away("zoe"))]);
    assert_eq!(scene.play("zoe+"), "approved");
    scene.town.directory.absences.clear();
    assert_eq!(scene.play("claim"), "no_longer_satisfied/held");
    scene
        .town
        .directory
        .absences
        .insert(person("cat"), away("zoe"));
    scene.town.person("cat").disabled = true;
    assert_eq!(scene.play("claim"), "not_approved");
}
