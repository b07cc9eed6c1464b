//! Every attack on the record that needs no witness, in one table, each beside its control.
//!
//! In scope: who attacks with what in hand, what is done, and the words of the finding.
//! `docs/verification.md` is the table for readers; a test holds the two together.
//! Out of scope: attacks that nothing finds; the document says which, and why.

use std::{collections::BTreeSet, fs, path::PathBuf};

use countersign_core::canonical::Hash;
use serde_json::{Value, json};

use super::{amendments, build::*, emergencies, grants, *};
use crate::{
    body::{Body, CredentialRevoked, SelfGrew},
    key::SigningKey,
};

/// What an auditor has in front of them.
pub(super) struct Scene {
    /// Leaf and evidence of each entry.
    frames: Vec<(Vec<u8>, Vec<u8>)>,
    /// The checkpoint beside the journal.
    note: String,
    /// Checkpoints that were kept elsewhere.
    kept: Vec<String>,
    trust: Trust,
}

impl Scene {
    pub(super) fn of(log: &Log) -> Self {
        let frames = log.frames();
        Self {
            note: checkpoint(&frames),
            kept: Vec::new(),
            trust: trust(),
            frames,
        }
    }

    fn good() -> Self {
        Self::of(&good())
    }

    fn verify(&self) -> Report {
        let kept: Vec<&[u8]> = self.kept.iter().map(String::as_bytes).collect();
        let journal = journal(&self.frames);
        verify_journal(&journal, self.trust.clone(), self.note.as_bytes(), &kept)
    }
}

/// What somebody without any key does to the files.
fn files(change: impl Fn(&mut Scene)) -> Scene {
    let mut scene = Scene::good();
    change(&mut scene);
    scene
}

/// What the gateway itself does, or whoever has the log's key: every sequence, chain, commitment and
/// signature of the log is right.
fn sealed(change: impl Fn(&mut Log)) -> Scene {
    let mut log = good();
    change(&mut log);
    Scene::of(&log)
}

/// Changes the value in the evidence of a record, which is committed to anew.
fn shown(log: &mut Log, request: u128, nth: usize, change: impl Fn(&mut Value)) {
    change(log.draft(request, nth).value.as_mut().unwrap());
}

/// Votes as somebody in the place of Dana, without changing what else rests on it.
fn instead_of_dana(log: &mut Log, name: &str) {
    *log.draft(HELD, 2) = vote(HELD, MINUTE, &statement(HELD, MINUTE, name, "dba", 0));
    let fills = vec![fill("dba", 0, name), fill("dba", 1, ERIN)];
    *log.draft(HELD, 5) = permitted(HELD, 3 * MINUTE, &["dba"], fills);
}

/// Dana signs in the place of somebody who is away.
fn dana_signs_for(log: &mut Log, away: &str) {
    let mut stated = statement(HELD, MINUTE, DANA, "dba", 0);
    stated.in_place_of = Some(person(away));
    *log.draft(HELD, 2) = vote(HELD, MINUTE, &stated);
}

/// An attack, the scene after it, and words of one finding.
pub(super) type Row = (&'static str, Scene, &'static str);

#[test]
fn every_attack_is_found_and_the_control_passes() {
    let control = Scene::good();
    assert_eq!(control.verify().findings, [], "the control");
    let parts = [
        without_keys(),
        with_the_log_key(),
        about_approvals(),
        about_actions(),
        about_people(),
        amendments::rows(),
        grants::rows(),
        about_grounds(),
        emergencies::rows(),
    ];
    let table: Vec<Row> = parts.into_iter().flatten().collect();
    let mut names = BTreeSet::new();
    for (attack, scene, words) in &table {
        let report = scene.verify();
        let said: Vec<_> = report.failures().map(ToString::to_string).collect();
        assert!(
            said.iter().any(|line| line.contains(words)),
            "{attack}: {said:#?}"
        );
        assert!(!report.passed());
        assert!(names.insert(*attack), "{attack} is there twice");
    }
    // What readers are told is what is tried.
    let document = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/verification.md");
    let document = fs::read_to_string(document).unwrap();
    for (attack, _, words) in &table {
        let line = document
            .lines()
            .find(|line| line.starts_with(&format!("| {attack} |")));
        let line = line.unwrap_or_else(|| panic!("docs/verification.md does not have: {attack}"));
        assert!(
            line.contains(words),
            "{attack}: expected `{words}` in: {line}"
        );
    }
}

fn without_keys() -> Vec<Row> {
    let forger = SigningKey::from_seed("log.example", &[9; 32]).unwrap();
    let forge = |scene: &mut Scene| {
        let read = Checkpoint::open(scene.note.as_bytes(), &scene.trust.log).unwrap();
        scene.note = read.sign(&forger).unwrap();
    };
    vec![
        (
            "a leaf edited, its frame repaired",
            files(|scene| {
                let leaf = String::from_utf8(scene.frames[8].0.clone()).unwrap();
                scene.frames[8].0 = leaf.replace("permit", "deny\u{20}\u{20}").into_bytes();
            }),
            "are not those the checkpoint of that size was signed over",
        ),
        (
            "the evidence edited, its frame repaired",
            files(|scene| {
                let evidence = String::from_utf8(scene.frames[7].1.clone()).unwrap();
                scene.frames[7].1 = evidence.replace("production", "production2").into_bytes();
            }),
            "the evidence was refused",
        ),
        (
            "the evidence removed",
            files(|scene| scene.frames[7].1.clear()),
            "the evidence is missing or erased",
        ),
        (
            "an entry deleted",
            files(|scene| drop(scene.frames.remove(20))),
            "entries were cut off",
        ),
        (
            "two entries exchanged",
            files(|scene| scene.frames.swap(23, 27)),
            "are not those the checkpoint of that size was signed over",
        ),
        (
            "the end cut off",
            files(|scene| scene.frames.truncate(30)),
            "entries were cut off",
        ),
        (
            "the checkpoint signed by another key",
            files(forge),
            "none of the known keys signed the note",
        ),
        (
            "the checkpoint edited",
            files(|scene| scene.note = scene.note.replace("\n38\n", "\n37\n")),
            "does not belong to this text",
        ),
        (
            "an older copy of everything, a newer checkpoint kept",
            files(|scene| {
                scene.kept = vec![scene.note.clone()];
                scene.frames.truncate(30);
                scene.note = checkpoint(&scene.frames);
            }),
            "entries were cut off",
        ),
    ]
}

fn with_the_log_key() -> Vec<Row> {
    let forbidden = |draft: &Draft| draft.request != Some(FORBIDDEN);
    vec![
        (
            "a record left out before it was sequenced",
            sealed(|log| drop(log.remove(HELD, 3))),
            "no standing approval of",
        ),
        (
            "a record left out of the instance's sequence",
            files(|scene| {
                scene.frames.remove(20);
                scene.note = checkpoint(&scene.frames);
            }),
            "goes on with record 21 where 20 is due",
        ),
        (
            "a whole request left out, every number made to fit",
            sealed(|log| log.0.retain(forbidden)),
            "records are missing",
        ),
        (
            "the database restored, the log shorter than a checkpoint it had",
            sealed(|log| log.0[36].start().checkpoint_size = 99),
            "found a checkpoint of 99 entries, more than stand before it",
        ),
        (
            "another history, a checkpoint of this one kept",
            {
                let kept = vec![checkpoint(&good().frames()[..16])];
                let mut scene = sealed(|log| log.draft(PERMITTED, 0).asked().gate = "mcp".into());
                scene.kept = kept;
                scene
            },
            "the first 16 entries are not those",
        ),
        (
            "a clock turned back within a request",
            sealed(|log| log.draft(HELD, 4).at = MINUTE),
            "older than the request's record before it",
        ),
        (
            "permitted although policy denied",
            sealed(|log| log.behind(FORBIDDEN, 1, permitted(FORBIDDEN, 0, &[], vec![]))),
            "although policy denied it",
        ),
        (
            "an action run twice under one permit",
            sealed(|log| log.behind(HELD, 6, outcome(HELD, 4 * MINUTE))),
            "has a second outcome",
        ),
        (
            "a permit issued twice",
            sealed(|log| log.behind(HELD, 5, permitted(HELD, 3 * MINUTE, &["dba"], vec![]))),
            "permitted a second time",
        ),
    ]
}

fn about_approvals() -> Vec<Row> {
    let vote_as = |key: SigningKey| {
        move |log: &mut Log| {
            let stated = statement(HELD, MINUTE, DANA, "dba", 0);
            let envelope = stated.sign(&key).unwrap();
            let draft = log.draft(HELD, 2);
            draft.body = Body::ApprovalDecided(stated.record(&envelope));
            draft.value = Some(json!({ "envelope": envelope }));
        }
    };
    vec![
        (
            "a vote made with the gateway's log key",
            sealed(vote_as(log_key())),
            "signed by the unknown key",
        ),
        (
            "a denial turned into an approval",
            sealed(|log| log.draft(DENIED, 3).approval().verdict = crate::body::Verdict::Approve),
            "the record's `verdict` is not what was signed",
        ),
        (
            "an approval replayed for a later request",
            sealed(|log| {
                let stated = statement(PERMITTED, MINUTE, DANA, "dba", 0);
                *log.draft(HELD, 2) = vote(HELD, MINUTE, &stated);
            }),
            "the record's `request` is not what was signed",
        ),
        (
            "an approval counted twice",
            sealed(|log| {
                let again = log.draft(HELD, 2).clone();
                log.behind(HELD, 2, again);
            }),
            "voted a second time",
        ),
    ]
}

fn about_actions() -> Vec<Row> {
    vec![
        (
            "an approval of one action used for another",
            sealed(|log| {
                let mut stated = statement(HELD, MINUTE, DANA, "dba", 0);
                stated.digest = digest(PERMITTED);
                *log.draft(HELD, 2) = vote(HELD, MINUTE, &stated);
            }),
            "the digest of the vote is not the request's",
        ),
        (
            "the permit bound to other arguments than were approved",
            sealed(|log| log.draft(HELD, 5).permission().digest = digest(9)),
            "the digest of the permit is not the request's",
        ),
        (
            "other arguments run than were approved",
            sealed(|log| log.draft(HELD, 6).digest = Some(digest(9))),
            "the digest of the record is not the request's",
        ),
        (
            "other arguments shown than were approved",
            sealed(|log| {
                shown(log, HELD, 0, |value| {
                    value["action"]["arguments"]["argv"][2] = json!("staging")
                });
            }),
            "the digest of the action that is shown is not the request's",
        ),
        (
            "another requester shown than asked",
            sealed(|log| {
                shown(log, HELD, 0, |value| {
                    value["chain"]["on_behalf_of"] = json!([])
                });
                shown(log, HELD, 0, |value| {
                    value["chain"]["requester"]["owner"] = json!("x@example.com")
                });
            }),
            "the digest of the action that is shown is not the request's",
        ),
    ]
}

fn about_people() -> Vec<Row> {
    let grown = SelfGrew {
        refs: vec![person(ERIN)],
        why: "proposed_policy".into(),
    };
    vec![
        (
            "approved by the requester",
            sealed(|log| instead_of_dana(log, BOT)),
            "is on the requester's side and cannot countersign",
        ),
        (
            "approved by the owner of the agent that asks",
            sealed(|log| instead_of_dana(log, OLGA)),
            "is on the requester's side and cannot countersign",
        ),
        (
            "approved by somebody who became part of the requester's side",
            sealed(move |log| {
                log.behind(HELD, 3, of(HELD, 2 * MINUTE, Body::SelfGrew(grown.clone())));
            }),
            "is on the requester's side and cannot countersign",
        ),
        (
            "one person in two slots",
            sealed(|log| log.draft(HELD, 5).permission().fills[1].voter = person(DANA)),
            "is counted in more than one slot",
        ),
        (
            "somebody's own right in one slot, and their stand-in with it in another",
            sealed(|log| dana_signs_for(log, ERIN)),
            "is counted in more than one slot",
        ),
        (
            "approved in the place of the owner of the agent that asks",
            sealed(|log| dana_signs_for(log, OLGA)),
            "who is on the requester's side",
        ),
        (
            "a vote in somebody's place recorded as the voter's own",
            sealed(|log| {
                dana_signs_for(log, FINN);
                log.draft(HELD, 2).approval().in_place_of = None;
            }),
            "`in_place_of` is not what was signed",
        ),
        (
            "too few people",
            sealed(|log| log.draft(HELD, 5).permission().fills.truncate(1)),
            "has 0 of 1 voters",
        ),
    ]
}

fn about_grounds() -> Vec<Row> {
    let bundle = |log: &mut Log, request, nth: usize, name: &[u8]| {
        log.draft(request, nth).decision().bundle = Hash::of(name);
    };
    let revoked = |name: &str| {
        let credential = session(name);
        control(Body::CredentialRevoked(CredentialRevoked { credential }))
    };
    vec![
        (
            "a session put into the database by hand",
            sealed(|log| log.0.retain(|draft| !draft.is_session_of(DANA))),
            "was never issued: no record says so",
        ),
        (
            "somebody else's session in the database given to a voter",
            sealed(|log| log.session_of(DANA).holder = person(FINN)),
            "was issued to somebody else",
        ),
        (
            "the issuer of a session removed from the database",
            sealed(|log| log.session_of(DANA).issuer = Some(person(OLGA))),
            "was issued by somebody else than it says",
        ),
        (
            "a revoked session made valid again in the database",
            sealed(move |log| log.before(HELD, 0, revoked(DANA))),
            "was revoked before it voted",
        ),
        (
            "a token that votes",
            sealed(|log| log.session_of(DANA).kind = crate::body::CredentialKind::Token),
            "is neither a session nor a passkey nor an account in a chat, and nothing else votes",
        ),
        (
            "a click in a chat that says it was a session",
            sealed(|log| log.session_of(DANA).kind = crate::body::CredentialKind::Account),
            "claims to be surer of its voter than the credential",
        ),
        (
            "policy swapped in the database and restored",
            sealed(move |log| bundle(log, PERMITTED, 1, b"lax")),
            "which was not active",
        ),
        (
            "an older policy put back in the database for one decision",
            sealed(move |log| {
                log.before(PERMITTED, 0, activated(b"stricter"));
                bundle(log, PERMITTED, 1, b"stricter");
                log.draft(PERMITTED, 2).permission().bundle = Hash::of(b"stricter");
                bundle(log, HELD, 1, b"stricter");
            }),
            "another one had decided since",
        ),
        (
            "decided by one policy, permitted by another",
            sealed(|log| log.draft(HELD, 5).permission().bundle = Hash::of(b"lax")),
            "names another policy bundle than the decision it rests on",
        ),
    ]
}

/// What a crash leaves, and decisions that were under way, are no findings.
#[test]
fn a_new_policy_takes_over_in_its_own_time() {
    let with = |change: &dyn Fn(&mut Log)| {
        let scene = sealed(|log| {
            log.before(HELD, 0, activated(b"next"));
            change(log);
        });
        scene.verify().findings
    };
    // Recorded, and a crash before it was active.
    assert_eq!(with(&|_| {}), []);
    // One decides by it already, another was under way.
    let decides = |log: &mut Log| log.draft(FORBIDDEN, 1).decision().bundle = Hash::of(b"next");
    assert_eq!(with(&decides), []);
}
