//! Publishing, and going on after every kind of interruption.

use std::collections::BTreeMap;

use countersign_core::time::Timestamp;
use countersign_evidence::{
    body::{Body, Counters},
    leaf::{Leaf, NO_PREVIOUS, VERSION},
    merkle::proof::{consistency, inclusion, verify_consistency, verify_inclusion},
};

use super::*;
use crate::log::journal::{self, Noted};

struct Bench {
    dir: tempfile::TempDir,
    key: SigningKey,
    journal: Journal,
    publisher: Publisher,
}

impl Bench {
    fn new() -> Self {
        let key = SigningKey::from_seed("log.example.com", &[7; 32]).unwrap();
        Self::open(tempfile::tempdir().unwrap(), key)
    }

    /// As after a new start of the process.
    fn reopen(self) -> Self {
        let Self { dir, key, .. } = self;
        Self::open(dir, key)
    }

    fn open(dir: tempfile::TempDir, key: SigningKey) -> Self {
        let (journal, publisher) = open(dir.path(), &key);
        Self {
            dir,
            key,
            journal,
            publisher,
        }
    }

    /// Makes the log `size` entries long.
    fn grow(&mut self, size: u64) {
        let mut bytes = Vec::new();
        let mut made = Vec::new();
        for seq in self.journal.tree.size()..size {
            let leaf = leaf(seq);
            let hash = journal::encode(&leaf.to_bytes().unwrap(), b"", &mut bytes).unwrap();
            made.push((leaf, hash));
        }
        self.journal.append(&bytes).unwrap();
        for (leaf, hash) in made {
            self.journal.tree.push(hash);
            self.journal.position.note(&leaf, Noted::default());
        }
    }

    fn publish(&mut self) -> anyhow::Result<()> {
        let durable = self.journal.unpublished("log.example.com").unwrap();
        self.publisher.publish(&durable, &self.key, None)
    }

    fn checkpoint(&self) -> Checkpoint {
        let note = fs::read(self.dir.path().join("checkpoint")).unwrap();
        Checkpoint::open(&note, self.key.verifying()).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Every file below `tile`, by name.
    fn tiles(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut open = vec![self.path("tile")];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let name = path.strip_prefix(self.dir.path()).unwrap();
                    let bytes = fs::read(&path).unwrap();
                    found.insert(name.to_str().unwrap().to_owned(), bytes);
                }
            }
        }
        found
    }

    /// Whether exactly the published entries are in the files, and proofs from them hold.
    fn check(&self) {
        let checkpoint = self.checkpoint();
        let size = checkpoint.size;
        let tiles = self.tiles();
        let read = |name: Name| tiles.get(&name.to_string()).cloned();
        let bundles = tile::all_of(size).filter(|name| name.kind() == Kind::Entries);
        let mut at = 0;
        for name in bundles {
            let bundle = read(name).unwrap_or_else(|| panic!("{name} is missing"));
            for entry in tile::entries(name, &bundle).unwrap() {
                assert_eq!(entry, leaf(at).to_bytes().unwrap(), "{at}");
                at += 1;
            }
        }
        assert_eq!(at, size);
        let subtrees = tile::subtrees_of(size, read);
        for index in [0, size / 2, size - 1] {
            let path = inclusion(index, size, &subtrees).unwrap();
            let hash = leaf_hash(&leaf(index).to_bytes().unwrap());
            verify_inclusion(hash, index, size, &path, checkpoint.root).unwrap();
        }
    }
}

fn open(dir: &Path, key: &SigningKey) -> (Journal, Publisher) {
    let journal = Journal::open(dir, &[key.verifying()]).unwrap();
    let publisher = Publisher::open(dir, &journal).unwrap();
    (journal, publisher)
}

fn leaf(seq: u64) -> Leaf {
    Leaf {
        at: Timestamp(1),
        body: Body::Heartbeat(Counters::default()),
        digest: None,
        evidence: None,
        instance: "i-test".into(),
        prev: NO_PREVIOUS,
        request: None,
        seq,
        v: VERSION,
    }
}

#[test]
fn every_published_size_can_be_proven_and_continues_the_one_before() {
    let mut bench = Bench::new();
    let mut before: Option<Checkpoint> = None;
    for size in [1, 2, 255, 256, 257, 700, 1_024, 65_535, 65_536, 66_000] {
        bench.grow(size);
        bench.publish().unwrap();
        bench.check();
        let now = bench.checkpoint();
        assert_eq!((now.size, now.root), (size, bench.journal.tree.root()));
        if let Some(before) = before {
            let tiles = bench.tiles();
            let subtrees = tile::subtrees_of(size, |name| tiles.get(&name.to_string()).cloned());
            let path = consistency(before.size, size, &subtrees).unwrap();
            verify_consistency(before.size, before.root, size, now.root, &path).unwrap();
        }
        before = Some(now);
        bench = bench.reopen();
    }
    let names: Vec<_> = bench.tiles().into_keys().collect();
    let expected: Vec<_> = tile::all_of(66_000).map(|name| name.to_string()).collect();
    for name in &expected {
        assert!(names.contains(name), "{name}");
    }
    let partial = names.iter().filter(|name| name.contains(".p/")).count();
    // 66,000 and 65,536 + 256 k: the beginnings of what is not full yet, and no others.
    assert!(partial <= 8, "partial tiles stay: {names:?}");
}

#[test]
fn what_is_missing_or_changed_is_made_again_from_the_journal() {
    let mut bench = Bench::new();
    bench.grow(600);
    bench.publish().unwrap();
    let whole = bench.tiles();
    let damaged = [
        "tile/0/002.p/88",
        "tile/1/000.p/2",
        "tile/entries/002.p/88",
        "tile/entries/000",
        "state.600",
    ];
    for (name, change) in damaged.into_iter().flat_map(|n| [(n, true), (n, false)]) {
        let path = bench.path(name);
        let mut bytes = fs::read(&path).unwrap();
        if change && name != "tile/entries/000" {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            fs::write(&path, bytes).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        bench = bench.reopen();
        let size = bench.journal.tree.size() + 1;
        bench.grow(size);
        bench.publish().unwrap();
        bench.check();
        // Back to where it was, for the next.
        drop(bench);
        bench = Bench::new();
        bench.grow(600);
        bench.publish().unwrap();
        assert_eq!(bench.tiles(), whole, "{name}");
    }
}

#[test]
fn a_checkpoint_of_somebody_else_is_never_replaced() {
    let mut bench = Bench::new();
    bench.grow(10);
    bench.publish().unwrap();
    bench.grow(11);
    // Another process, which shares the key and the files, has signed something else.
    let other = Checkpoint {
        origin: "log.example.com".into(),
        size: 11,
        root: leaf_hash(b"other"),
    };
    let note = other.sign(&bench.key).unwrap();
    fs::write(bench.path("checkpoint"), &note).unwrap();
    let refused = format!("{:#}", bench.publish().unwrap_err());
    assert!(refused.contains("somebody else has published"), "{refused}");
    assert_eq!(fs::read_to_string(bench.path("checkpoint")).unwrap(), note);
    fs::remove_file(bench.path("checkpoint")).unwrap();
    let again = bench.journal.position.clone();
    bench.grow(12);
    assert!(
        bench.publish().is_err(),
        "a checkpoint that is gone is not replaced either"
    );
    assert!(again.offset > 0);
}

#[test]
fn nothing_is_signed_that_the_files_do_not_lead_to() {
    let mut bench = Bench::new();
    bench.grow(300);
    bench.publish().unwrap();
    bench.grow(310);
    // A bit of the journal turns on its way to the disk, in an entry that is not in a tile yet.
    let path = bench.path("journal");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() - 20;
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    bench.publish().unwrap_err();
    assert_eq!(bench.checkpoint().size, 300);
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let durable = bench.journal.unpublished("log.example.com").unwrap();
    bench.publisher.publish(&durable, &bench.key, None).unwrap();
    assert_eq!(bench.checkpoint().size, 310);
    bench.check();
}

#[test]
fn a_full_tile_takes_the_place_of_its_beginnings() {
    let mut bench = Bench::new();
    for size in [10, 20, 256] {
        bench.grow(size);
        bench.publish().unwrap();
    }
    let names: Vec<_> = bench.tiles().into_keys().collect();
    assert_eq!(names, ["tile/0/000", "tile/1/000.p/1", "tile/entries/000"]);
    bench.grow(257);
    bench.publish().unwrap();
    bench.check();
}
