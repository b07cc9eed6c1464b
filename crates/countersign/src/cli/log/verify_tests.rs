//! Verification of records on disk.

use std::fs;

use countersign_evidence::{
    checkpoint::Checkpoint, key::SigningKey, merkle::Tree, verify::verify_journal,
};
use expect_test::expect;

use super::*;
use crate::cli::{
    log::{
        steps,
        testing::{self, signer},
    },
    output::capture::captured,
};

/// A data directory whose journal holds these leaves.
fn data(leaves: &[&[u8]]) -> tempfile::TempDir {
    let entries: Vec<_> = leaves
        .iter()
        .map(|leaf| (leaf.to_vec(), Vec::new()))
        .collect();
    testing::data(&entries)
}

fn args(path: PathBuf) -> Args {
    Args {
        path,
        key: None,
        vote_keys: Vec::new(),
        others: Vec::new(),
    }
}

#[test]
fn an_empty_record_holds_wherever_it_is_named() {
    let data = data(&[]);
    for path in ["", "log", "log/journal"] {
        let (mut output, out, _) = captured(false, false);
        assert_eq!(
            verify_files(&args(data.path().join(path)), &mut output),
            Ok(0),
            "{path}"
        );
        expect![[r#"
            0 entries, 0 requests
            The record holds: nothing was changed, cut off or left out.
            The rules were kept in everything it records.
            Not proven: that this is the gateway's record.
              Key and checkpoint lay beside it and were trusted on sight: another record with its own looks the same.
              Give `--key` and `--checkpoint` that were kept elsewhere.
            Not proven: that people's votes were signed by the gateway.
              The key of votes lay beside the record and was trusted on sight.
              Give a `--vote-key` that was kept elsewhere.
        "#]]
        .assert_eq(&out.text());
    }
}

#[test]
fn a_changed_record_does_not_hold() {
    let data = data(&[b"not a leaf"]);
    let (mut output, out, _) = captured(true, false);
    assert_eq!(
        verify_files(&args(data.path().to_owned()), &mut output),
        Ok(1)
    );
    let last: Value = serde_json::from_str(out.text().lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["verified"], &last["integrity"], &last["entries"]),
        (&json!(false), &json!(false), &json!(1))
    );
}

#[test]
fn pieces_of_any_size_give_the_same_entries() {
    let data = data(&[b"one", b"two", b"three"]);
    let journal = data.path().join("log/journal");
    for piece in [1, 7, 30, 1000] {
        let trust = Trust {
            log: signer(7).verifying().clone(),
            votes: None,
        };
        let checkpoint = fs::read(data.path().join("log/checkpoint")).unwrap();
        let mut verifier = Verifier::new(trust.clone(), &checkpoint, &[]);
        steps(&journal, piece, |step| {
            verifier.ended(step);
            Ok(())
        })
        .unwrap();
        assert_eq!(verifier.finish().entries, 3, "{piece}");
        let mut verifier = Verifier::new(trust, &checkpoint, &[]);
        parallel::verify(&journal, piece, &mut verifier).unwrap();
        assert_eq!(verifier.finish().entries, 3, "{piece}");
    }
}

/// Whole, cut, damaged and continued journals: by all processors as by one.
#[test]
fn many_threads_find_what_one_finds() {
    let leaves: Vec<_> = (0..200_usize).map(|n| vec![b'x'; n % 50]).collect();
    let leaves: Vec<_> = leaves.iter().map(Vec::as_slice).collect();
    let data = data(&leaves);
    let path = data.path().join("log/journal");
    let (whole, checkpoint) = (
        fs::read(&path).unwrap(),
        fs::read(data.path().join("log/checkpoint")).unwrap(),
    );
    let trust = || Trust {
        log: signer(7).verifying().clone(),
        votes: None,
    };
    for at in (0..whole.len()).step_by(97) {
        let mut turned = whole.clone();
        turned[at] ^= 1;
        let longer = [&whole[..], &whole[..at]].concat();
        for journal in [&whole, &whole[..at].to_vec(), &turned, &longer] {
            fs::write(&path, journal).unwrap();
            let one = verify_journal(journal, trust(), &checkpoint, &[]);
            let mut verifier = Verifier::new(trust(), &checkpoint, &[]);
            parallel::verify(&path, 300, &mut verifier).unwrap();
            assert_eq!(verifier.finish(), one, "{at}");
        }
    }
}

#[test]
fn what_is_missing_is_named() {
    let data = data(&[]);
    fs::remove_file(data.path().join("log/key.pub")).unwrap();
    let (mut output, _, _) = captured(false, false);
    let failure = verify_files(&args(data.path().to_owned()), &mut output).unwrap_err();
    assert_eq!(failure.exit, 64);
    assert!(failure.detail.unwrap().contains("--key"));
}

/// What was given, and the words that the summary has about what that does not prove.
#[test]
fn what_is_not_proven_is_said() {
    let data = data(&[]);
    let log = data.path().join("log");
    let at = |name: &str| log.join(name);
    let text = |name: &str| at(name).display().to_string();
    let content = fs::read_to_string(at("key.pub")).unwrap();
    for (key, vote_keys, others, limits) in [
        (
            None,
            vec![],
            vec![],
            &["--key` and `--checkpoint", "--vote-key"][..],
        ),
        (
            None,
            vec![text("vote-key.pub")],
            vec![at("checkpoint")],
            &["Give a `--key`"],
        ),
        (
            Some(text("key.pub")),
            vec![text("vote-key.pub")],
            vec![],
            &["`--checkpoint`"],
        ),
        (
            Some(content),
            vec![text("vote-key.pub")],
            vec![at("checkpoint")],
            &[],
        ),
    ] {
        let args = || Args {
            path: data.path().to_owned(),
            key: key.clone(),
            vote_keys: vote_keys.clone(),
            others: others.clone(),
        };
        let (mut output, out, _) = captured(false, false);
        assert_eq!(verify_files(&args(), &mut output), Ok(0));
        let text = out.text();
        let said: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("  Give"))
            .collect();
        assert_eq!(text.matches("Not proven:").count(), limits.len(), "{text}");
        assert_eq!(said.len(), limits.len(), "{text}");
        let mut pairs = said.iter().zip(limits);
        assert!(pairs.all(|(line, limit)| line.contains(limit)), "{text}");
        let (mut output, out, _) = captured(true, false);
        assert_eq!(verify_files(&args(), &mut output), Ok(0));
        let summary: Value = serde_json::from_str(out.text().trim()).unwrap();
        assert_eq!(
            summary["not_proven"].as_array().unwrap().len(),
            limits.len()
        );
        assert_eq!(
            summary["given"],
            json!({
                "key": key.is_some(),
                "vote_key": !vote_keys.is_empty(),
                "checkpoint": !others.is_empty(),
            })
        );
    }
}

#[test]
fn a_torn_tail_is_no_damage() {
    let data = data(&[]);
    fs::write(data.path().join("log/journal"), [0xC1, 0, 0]).unwrap();
    let (mut output, out, _) = captured(false, false);
    assert_eq!(
        verify_files(&args(data.path().to_owned()), &mut output),
        Ok(0)
    );
    let text = out.text();
    assert!(
        text.starts_with("note: the journal ends with the beginning of a record"),
        "{text}"
    );
    assert!(text.contains("that is no damage"), "{text}");
    assert!(text.contains("The record holds"), "{text}");
}

/// Fails as a wrong command line that names what was given, before anything is said of the record.
fn check_wrong(args: Args, said: &str) {
    let (mut output, out, _) = captured(true, false);
    let failure = verify_files(&args, &mut output).unwrap_err();
    assert_eq!(
        (failure.exit, failure.kind.as_str()),
        (64, "usage"),
        "{said}"
    );
    assert!(failure.title.contains(said), "{said}: {}", failure.title);
    let advice = failure.detail.unwrap();
    assert!(advice.contains("countersign log "), "{said}: {advice}");
    assert_eq!(out.text(), "");
}

#[test]
fn a_wrong_key_is_no_tampering() {
    let data = data(&[]);
    let path = |name: &str| data.path().join(name).display().to_string();
    fs::write(path("garbage"), "\u{1b}[2J\n").unwrap();
    fs::write(path("empty"), "").unwrap();
    for (given, name) in [
        (path("garbage"), "garbage"),
        (path("empty"), "empty"),
        ("x".to_owned(), "key"),
        (String::new(), "key"),
    ] {
        let said = format!("{name}` holds no verifier key");
        let log = Args {
            key: Some(given.clone()),
            ..args(data.path().to_owned())
        };
        let votes = Args {
            vote_keys: vec![given],
            ..args(data.path().to_owned())
        };
        check_wrong(log, &said);
        check_wrong(votes, &said);
    }
}

#[test]
fn a_file_that_is_no_checkpoint_of_this_log_is_no_tampering() {
    let data = data(&[]);
    let key = SigningKey::from_seed("other.example.com", &[7; 32]).unwrap();
    let elsewhere = Checkpoint::of("other.example.com", &Tree::new()).sign(&key);
    for (name, text, said) in [
        ("garbage", "\u{1b}[2J\n", "garbage` is no checkpoint"),
        ("empty", "", "empty` is no checkpoint"),
        (
            "elsewhere",
            &elsewhere.unwrap(),
            "elsewhere` is a checkpoint of the log `other.example.com`",
        ),
    ] {
        let path = data.path().join(name);
        fs::write(&path, text).unwrap();
        let given = Args {
            others: vec![path],
            ..args(data.path().to_owned())
        };
        check_wrong(given, said);
    }
}

/// A checkpoint of this log that its key did not sign is a finding: one of the two was replaced.
#[test]
fn a_kept_checkpoint_under_another_key_is_a_finding() {
    let data = data(&[]);
    let other = testing::signer(8);
    let checkpoint = Checkpoint::of("gate.example.com", &Tree::new())
        .sign(&other)
        .unwrap();
    let kept = data.path().join("kept");
    fs::write(&kept, checkpoint).unwrap();
    let (mut output, out, _) = captured(true, false);
    let args = Args {
        others: vec![kept],
        ..args(data.path().to_owned())
    };
    assert_eq!(verify_files(&args, &mut output), Ok(1));
    assert!(
        out.text().contains("the checkpoint was refused"),
        "{}",
        out.text()
    );
}

/// What was given as a key, and what is said of it; always a wrong command line.
#[test]
fn what_is_no_key_of_the_log_is_named() {
    let data = data(&[]);
    let votes = SigningKey::from_seed("gate.example.com/votes", &[3; 32]).unwrap();
    let file = data.path().join("votes.key");
    fs::write(&file, votes.verifying().to_string()).unwrap();
    for (key, says) in [
        (
            "nowhere/key.pub".to_owned(),
            "there is no file `nowhere/key.pub`",
        ),
        (votes.verifying().to_string(), "is the key of votes"),
        (file.display().to_string(), "is the key of votes"),
        ("gate+00+A".to_owned(), "holds no verifier key"),
    ] {
        let args = Args {
            key: Some(key),
            ..args(data.path().to_owned())
        };
        let (mut output, out, _) = captured(false, false);
        let failure = verify_files(&args, &mut output).unwrap_err();
        assert_eq!((failure.exit, out.text().as_str()), (64, ""));
        assert!(failure.title.contains(says), "{failure}");
    }
}

#[tokio::test]
async fn an_address_without_a_log_is_no_finding_about_one() {
    use crate::cli::testing::{Stub, json_answer};
    let answer = |status: &str| {
        format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    };
    for (first, says) in [
        (answer("404 Not Found"), "status 404"),
        (answer("501 Not Implemented"), "status 501"),
        (json_answer("{}"), "what came is no verifier key"),
    ] {
        let stub = Stub::start(vec![first]).await;
        let sources = stub.sources();
        let args = args(sources.url.clone().unwrap().into());
        let (mut output, out, _) = captured(false, false);
        let failure = verify(args, &sources, &mut output).await.unwrap_err();
        assert_eq!((failure.exit, out.text().as_str()), (64, ""), "{failure}");
        assert!(failure.title.contains(says), "{failure}");
    }
}
