//! What changes in the directory and the rules do to votes that were already cast.

use countersign_core::{lifecycle::Event, time::Timestamp};

use crate::scene::{Scene, check, rule};

const TWO: &[&str] = &["r: 2 group:dba"];

#[test]
fn removal_applies_at_once() {
    check(&[
        (
            TWO,
            "ann+ bob+ ann=-dba claim",
            "held approved held not_approved",
        ),
        (
            TWO,
            "ann+ bob+ ann=0 claim dan+",
            "held approved held not_approved approved",
        ),
        (TWO, "ann+ ann=-dba bob+ dan+", "held held held approved"),
        (
            TWO,
            "ann+ bob+ ann=-dba ann=+dba",
            "held approved held held",
        ),
        (
            TWO,
            "ann+ bob+ ann=-dba ann=*dba",
            "held approved held approved",
        ),
        (TWO, "ann=-dba ann+ ann-", "held not_eligible not_eligible"),
        (TWO, "ann=-dba dan=0 bob=0", "held held unreachable"),
        (&["r: 1 user:ann"], "ann+ ann=0", "approved unreachable"),
    ]);
}

#[test]
fn removal_that_nobody_announced_is_found_at_the_claim() {
    let mut scene = Scene::new(TWO);
    scene.play("ann+ bob+");
    scene.town.person("ann").disabled = true;
    assert_eq!(
        scene.play("claim claim"),
        "no_longer_satisfied/held not_approved"
    );
    assert!(scene.intents.is_empty());
}

#[test]
fn membership_gained_after_the_request() {
    check(&[
        (TWO, "zoe=+dba zoe+ zoe-", "held not_eligible not_eligible"),
        (TWO, "zoe=*dba zoe+ ann+", "held held approved"),
        (
            TWO,
            "+1m zoe=*dba ann+ zoe+ zoe=-dba",
            "held held held approved held",
        ),
    ]);
    let mut before = Scene::with(TWO, |town, request| {
        let mut member = town.old_membership();
        member.countersigned = false;
        member.since = Timestamp(request.at.0 - 1);
        town.person("zoe")
            .groups
            .insert("dba".parse().unwrap(), member);
    });
    assert_eq!(before.play("zoe+"), "held");
}

/// Changes the rule in force and tells the case.
fn replace(scene: &mut Scene, text: &str) -> String {
    if text.is_empty() {
        scene.town.rules.clear();
    } else {
        let changed = rule(text);
        scene.town.rules.insert(changed.name.clone(), changed);
    }
    scene.tell(Event::WorldChanged)
}

/// A rule as it was, what happened, the rule as it is, what that did, what follows, and its results.
type Change = [&'static str; 6];

const ONE: &str = "r: 1 group:dba";

fn check_changes(table: &[Change]) {
    for [was, votes, is, expected, then, last] in table {
        let mut scene = Scene::new(&[was]);
        scene.play(votes);
        assert_eq!(replace(&mut scene, is), *expected, "{was} {is}");
        assert_eq!(scene.play(then), *last, "{was} {is} {then}");
    }
}

#[test]
fn a_rule_that_became_stricter_counts_as_it_is() {
    let (cat, dan) = ("r: 1 group:security", "r: 2 group:dba");
    let (confirm, empty) = ("r: | confirm", "r: ");
    let closed = "r: 1 group:dba | hours Sat 00:00-24:00 UTC";
    check_changes(&[
        [ONE, "ann+", dan, "held", "dan+ claim", "approved running"],
        [ONE, "ann+", cat, "held", "cat+ claim", "approved running"],
        [ONE, "ann+", cat, "held", "dan+ bob+", "not_needed approved"],
        [
            ONE,
            "ann+",
            "r: 9 group:dba",
            "unreachable",
            "claim",
            "not_open",
        ],
        [
            ONE,
            "ann+",
            confirm,
            "held",
            "olga+ claim",
            "approved running",
        ],
        [ONE, "ann+", empty, "unreachable", "claim", "not_open"],
        [ONE, "ann+", closed, "held", "dan+", "outside_hours"],
        [
            ONE,
            "ann+",
            "r: 1 group:dba | passkey",
            "approved",
            "claim",
            "running",
        ],
    ]);
}

#[test]
fn a_rule_that_became_milder_counts_as_it_was() {
    let two = "r: 2 group:dba";
    check_changes(&[
        [ONE, "ann+", "", "approved", "claim", "running"],
        [ONE, "", "", "held", "cat+ ann+", "not_eligible approved"],
        [
            two,
            "ann+",
            "r: 1 user:zoe",
            "held",
            "zoe+ dan+ claim",
            "held approved running",
        ],
        [two, "ann+", ONE, "held", "dan+", "approved"],
        ["r: | confirm", "olga+", ONE, "held", "ann+", "approved"],
    ]);
}

#[test]
fn a_vote_that_no_longer_counts_can_be_given_again() {
    use countersign_core::approval::rule::Assurance;
    let mut scene = Scene::new(&["r: 1 group:dba"]);
    let weak = scene.approve("ann", |ballot| {
        ballot.credential.assurance = Assurance::Session;
        ballot.reason = None;
    });
    assert_eq!(weak, "approved");
    assert_eq!(replace(&mut scene, "r: 1 group:dba | passkey"), "held");
    assert_eq!(scene.play("ann+"), "approved");
    assert_eq!(replace(&mut scene, "r: 1 group:dba | reason"), "approved");
    assert_eq!(scene.case.votes.len(), 1);
    assert_eq!(scene.play("ann+ claim"), "already_voted running");
}

#[test]
fn a_reason_asked_for_later_is_asked_for() {
    let mut scene = Scene::new(&["r: 1 group:dba"]);
    scene.approve("ann", |ballot| ballot.reason = None);
    assert_eq!(replace(&mut scene, "r: 1 group:dba | reason"), "held");
    assert_eq!(scene.play("ann+"), "approved");
}
