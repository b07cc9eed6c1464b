//! Votes are matched to slots so that one person fills one slot and nobody blocks another.

use crate::scene::{Scene, check, person};

#[test]
fn one_person_fills_one_slot() {
    let both: &[&str] = &["a: 1 group:dba", "b: 1 group:security"];
    check(&[
        (both, "bob+ bob+ claim", "held already_voted not_approved"),
        (
            &["r: 2 group:dba group:security user:bob"],
            "bob+ bob+",
            "held already_voted",
        ),
        (
            &["r: 1 group:dba > 1 group:security"],
            "bob+ bob+",
            "held already_voted",
        ),
        (
            &["a: 1 user:bob user:ann", "b: 1 user:bob"],
            "bob+ ann+",
            "held approved",
        ),
    ]);
}

#[test]
fn earlier_votes_move_to_make_room() {
    let both: &[&str] = &["a: 1 group:dba", "b: 1 group:security"];
    check(&[
        (both, "bob+ cat+", "held approved"),
        (both, "bob+ ann+", "held approved"),
        (both, "cat+ bob+", "held approved"),
        (both, "ann+ dan+ cat+", "held not_needed approved"),
        (
            &[
                "a: 1 user:ann user:bob",
                "b: 1 user:bob user:cat",
                "c: 1 user:cat user:dan",
            ],
            "bob+ cat+ ann+",
            "held held approved",
        ),
        (
            &[
                "a: 1 user:ann",
                "b: 1 user:ann user:bob",
                "c: 1 user:bob user:cat",
            ],
            "bob+ cat+ ann+",
            "held held approved",
        ),
        (
            &["a: 2 user:ann user:bob user:cat", "b: 1 user:ann"],
            "ann+ bob+ cat+",
            "held held approved",
        ),
        (
            &["a: 1 group:dba > 1 group:security", "b: 1 group:security"],
            "cat+ ann+ bob+",
            "held held approved",
        ),
    ]);
}

#[test]
fn who_fills_what_is_on_the_permit() {
    let mut scene = Scene::new(&["a: 1 group:dba", "b: 1 group:security"]);
    scene.play("bob+ ann+ claim");
    let shown: Vec<_> = scene
        .facts
        .iter()
        .filter_map(|fact| match fact {
            countersign_core::lifecycle::Fact::Permitted { filled, .. } => Some(filled),
            _ => None,
        })
        .flatten()
        .map(|(slot, who)| (slot.rule.as_str(), who.clone()))
        .collect();
    assert_eq!(shown, [("a", person("ann")), ("b", person("bob"))]);
}

#[test]
fn a_quorum_that_cannot_be_reached_is_denied_at_once() {
    for (rules, reachable) in [
        (&["r: 3 group:dba"] as &[&str], true),
        (&["r: 4 group:dba"], true),
        (&["r: 5 group:dba"], false),
        (&["r: 1 user:olga"], false),
        (&["r: 1 user:nobody"], false),
        (&["a: 1 user:ann", "b: 1 user:ann"], false),
        (&["a: 1 user:ann user:dan", "b: 1 user:ann"], true),
        (&["r: 1 user:ann > 1 user:ann"], false),
        (&["r: 2 user:ann | escalate 10m user:dan"], true),
        (&["r: 2 user:ann | escalate 30m user:dan"], false),
        (&["r: 2 user:ann | escalate 29m user:dan"], true),
        (&["c: | confirm"], true),
        (&[], false),
    ] {
        assert_eq!(
            Scene::try_with(rules, |_, _| ()).is_ok(),
            reachable,
            "{rules:?}"
        );
    }
}

#[test]
fn a_large_town_is_counted_quickly() {
    let mut scene = Scene::with(&["a: 12 group:all", "b: 8 group:all"], |town, _| {
        for number in 0..2_000 {
            let mut found = town.directory.people[&person("zoe")].clone();
            let member = town.old_membership();
            found.groups.insert("all".parse().unwrap(), member);
            town.directory
                .people
                .insert(person(&format!("p{number}")), found);
        }
    });
    for number in 0..19 {
        assert_eq!(scene.approve(&format!("p{number}"), |_| ()), "held");
    }
    assert_eq!(scene.approve("p19", |_| ()), "approved");
}
