//! Logs of the sizes at which something begins or ends, and the largest entry.

use countersign_core::{canonical::Hash, time::Timestamp};
use countersign_evidence::{
    body::{Body, Counters, InstanceStarted, SecurityEvent},
    checkpoint::Checkpoint,
    frame::{self, Decoder, Frame, Step},
    key::SigningKey,
    leaf::{InvalidLeaf, Leaf, NO_PREVIOUS, VERSION},
    merkle::{Tree, leaf_hash, proof::inclusion, proof::verify_inclusion},
    tile::{self, Edge, Kind, MAX_ENTRY, Name},
    verify::{Problem, Trust, verify_journal},
};

fn key() -> SigningKey {
    SigningKey::from_seed("log.example", &[7; 32]).unwrap()
}

fn trust() -> Trust {
    Trust {
        log: key().verifying().clone(),
        votes: Some(Vec::new()),
    }
}

fn leaf(seq: u64, prev: Hash, body: Body) -> Leaf {
    Leaf {
        at: Timestamp(1_790_000_000_000),
        body,
        digest: None,
        evidence: None,
        instance: "gw".into(),
        prev,
        request: None,
        seq,
        v: VERSION,
    }
}

fn started() -> Body {
    Body::InstanceStarted(InstanceStarted {
        build: "test".into(),
        checkpoint_size: 0,
    })
}

/// A log's journal with where each entry of it ends, and its checkpoint at every size asked for.
struct Grown {
    journal: Vec<u8>,
    ends: Vec<usize>,
    checkpoints: Vec<(u64, String)>,
    leaves: Vec<Hash>,
}

fn grown(upto: u64, sizes: &[u64]) -> Grown {
    let (mut tree, mut edge) = (Tree::new(), Edge::default());
    let mut grown = Grown {
        journal: Vec::new(),
        ends: vec![0],
        checkpoints: Vec::new(),
        leaves: Vec::new(),
    };
    let mut prev = NO_PREVIOUS;
    for size in 0..=upto {
        if sizes.contains(&size) {
            assert_eq!(edge.root(), tree.root(), "{size}");
            let checkpoint = Checkpoint::of("log.example", &tree).sign(&key()).unwrap();
            grown.checkpoints.push((size, checkpoint));
        }
        let body = match size {
            0 => started(),
            _ => Body::Heartbeat(Counters::default()),
        };
        let bytes = leaf(size, prev, body).to_bytes().unwrap();
        prev = leaf_hash(&bytes);
        let frame = Frame {
            leaf: &bytes,
            evidence: b"",
        };
        frame::encode(frame, &mut grown.journal).unwrap();
        grown.ends.push(grown.journal.len());
        grown.leaves.push(prev);
        tree.push(prev);
        edge.push(prev);
    }
    grown
}

const SIZES: [u64; 9] = [0, 1, 255, 256, 257, 511, 65_535, 65_536, 65_537];

fn problems(journal: &[u8], checkpoint: &str) -> Vec<Problem> {
    let report = verify_journal(journal, trust(), checkpoint.as_bytes(), &[]);
    report
        .findings
        .into_iter()
        .map(|found| found.problem)
        .collect()
}

#[test]
fn logs_of_every_size_hold_and_one_entry_less_does_not() {
    let log = grown(65_537, &SIZES);
    assert_eq!(log.checkpoints.len(), SIZES.len());
    let upto = |entries: u64| &log.journal[..log.ends[usize::try_from(entries).unwrap()]];
    // All of them at once are checkpoints of this one log.
    let (last, kept) = log.checkpoints.split_last().unwrap();
    let kept: Vec<&[u8]> = kept.iter().map(|(_, note)| note.as_bytes()).collect();
    let report = verify_journal(upto(65_537), trust(), last.1.as_bytes(), &kept);
    assert_eq!(report.findings, []);
    // And each is that of its size alone. The larger ones take long.
    let each = log.checkpoints.iter();
    for (size, checkpoint) in each.filter(|(size, _)| *size < 1_000 || *size == 65_536) {
        assert_eq!(problems(upto(*size), checkpoint), [], "{size}");
        let more = problems(upto(*size + 1), checkpoint);
        assert_eq!(more, [Problem::NotUnderCheckpoint { entries: 1 }], "{size}");
        if let Some(entries) = size.checked_sub(1) {
            let shorter = Problem::ShorterThanCheckpoint {
                entries,
                size: *size,
            };
            assert_eq!(problems(upto(entries), checkpoint), [shorter], "{size}");
        }
    }
}

/// Tiles of these sizes as a stranger reads them: nothing else, and the first and the last entry are
/// proven from them.
#[test]
fn tiles_of_every_size_prove_both_ends() {
    let log = grown(65_537, &SIZES);
    for (size, checkpoint) in log.checkpoints {
        let checkpoint = Checkpoint::open(checkpoint.as_bytes(), key().verifying()).unwrap();
        let mut files = std::collections::BTreeMap::new();
        let mut edge = Edge::default();
        for hash in &log.leaves[..usize::try_from(size).unwrap()] {
            files.extend(edge.push(*hash));
        }
        files.extend(edge.partial());
        let written: Vec<Name> = files.keys().copied().collect();
        let mut named: Vec<Name> = tile::all_of(size)
            .filter(|name| name.kind() != Kind::Entries)
            .collect();
        named.sort();
        assert_eq!(written, named, "{size}");
        let subtrees = tile::subtrees_of(size, |name| files.get(&name).cloned());
        for index in [0, size / 2, size.saturating_sub(1)] {
            let Ok(path) = inclusion(index, size, &subtrees) else {
                assert_eq!(size, 0);
                continue;
            };
            let hash = log.leaves[usize::try_from(index).unwrap()];
            verify_inclusion(hash, index, size, &path, checkpoint.root).unwrap();
        }
    }
}

/// A leaf of exactly this many bytes.
fn sized(bytes: usize) -> Leaf {
    let with = |length: usize| {
        let code = "x".repeat(length);
        leaf(1, NO_PREVIOUS, Body::SecurityEvent(SecurityEvent { code }))
    };
    let beside = with(0).to_bytes().unwrap().len();
    with(bytes - beside)
}

#[test]
fn the_largest_entry_is_taken_everywhere_and_one_byte_more_nowhere() {
    let first = leaf(0, NO_PREVIOUS, started()).to_bytes().unwrap();
    let largest = Leaf {
        prev: leaf_hash(&first),
        ..sized(MAX_ENTRY)
    };
    let bytes = largest.to_bytes().unwrap();
    assert_eq!(bytes.len(), 65_535);
    assert_eq!(Leaf::parse(&bytes), Ok(largest));
    let (mut journal, mut bundle, mut tree) = (Vec::new(), Vec::new(), Tree::new());
    for leaf in [&first, &bytes] {
        let evidence = b"";
        frame::encode(Frame { leaf, evidence }, &mut journal).unwrap();
        assert!(tile::push_entry(&mut bundle, leaf));
        tree.push(leaf_hash(leaf));
    }
    let checkpoint = Checkpoint::of("log.example", &tree).sign(&key()).unwrap();
    assert_eq!(problems(&journal, &checkpoint), []);
    let name = Name::of(Kind::Entries, 0, 2).unwrap();
    assert_eq!(tile::entries(name, &bundle).unwrap(), [&first[..], &bytes]);

    let over = sized(MAX_ENTRY + 1);
    assert_eq!(over.to_bytes(), Err(InvalidLeaf::TooLong(65_536)));
    let bytes = serde_json::to_vec(&over).unwrap();
    assert_eq!(bytes.len(), 65_536);
    assert_eq!(Leaf::parse(&bytes), Err(InvalidLeaf::TooLong(65_536)));
    let (leaf, evidence) = (&bytes[..], &b""[..]);
    assert!(frame::encode(Frame { leaf, evidence }, &mut journal).is_err());
    assert!(!tile::push_entry(&mut bundle, &bytes));
    // Whoever writes the frame without asking is not read either.
    let mut header = vec![0xC1, 0, 1, 0, 0, 0, 0, 0, 0];
    header.extend_from_slice(&Hash::of(&header).0[..4]);
    let forced = [&header[..], &bytes, &[0; 8]].concat();
    assert!(matches!(Decoder::new(&forced, 0).step(), Step::Corrupt(_)));
}
