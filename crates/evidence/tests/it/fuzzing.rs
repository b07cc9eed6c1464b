//! A bounded run of every fuzz target: its seeds, and a few thousand mutations of them, the same
//! ones every time. `script/fuzz` goes on from there.

use std::{fs, path::PathBuf};

use crate::fuzz::{self, TARGETS};

/// Mutations of the seeds of each target; with `COUNTERSIGN_FULL=1` ten times as many.
const MUTATIONS: u32 = 5_000;

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let mut files: Vec<_> = fs::read_dir(folder.join(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Xorshift; the same numbers every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let limit = u64::try_from(limit.max(1)).unwrap();
        usize::try_from(self.0 % limit).unwrap()
    }
}

/// What formats stumble over.
const PIECES: &[&[u8]] = &[
    b"\0",
    b"\n",
    b"\n\n",
    b" ",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"=",
    b"0",
    b"-1",
    b"\x7f",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\x80",
    b"\xe2\x80\x94 ",
    b"\xc1",
    b"18446744073709551615",
    b"null",
];

fn mutated(from: &[u8], other: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = from.to_vec();
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(bytes.len() + 1);
        let end = at + numbers.below(bytes.len() + 1 - at);
        match numbers.below(7) {
            0 | 1 => {
                let bit = 1 << numbers.below(8);
                bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= bit);
            }
            2 => drop(bytes.drain(at..end)),
            3 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            4 => drop(bytes.splice(at..at, PIECES[numbers.below(PIECES.len())].iter().copied())),
            5 => bytes.truncate(at),
            _ => {
                let start = numbers.below(other.len() + 1);
                let piece = &other[start..start + numbers.below(other.len() + 1 - start).min(64)];
                bytes.splice(at..end.min(at + piece.len()), piece.iter().copied());
            }
        }
    }
    bytes
}

fn run(name: &str) {
    let target = |bytes: &[u8]| fuzz::run(name, bytes);
    let seeds = seeds(name);
    let accepted = seeds.iter().filter(|seed| target(seed)).count();
    assert!(
        accepted > 0,
        "write the seeds of {name} anew: crates/evidence/tests/it/seeds.rs"
    );
    let factor = if std::env::var("COUNTERSIGN_FULL").is_ok() {
        10
    } else {
        1
    };
    let mut numbers = Numbers(0x5EED);
    target(b"");
    for _ in 0..MUTATIONS * factor {
        let (from, other) = (numbers.below(seeds.len()), numbers.below(seeds.len()));
        target(&mutated(&seeds[from], &seeds[other], &mut numbers));
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        #[test]
        fn every_target_is_run_here_and_by_libfuzzer() {
            let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
            let fuzz = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
            let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
            for name in names {
                let source = fuzz.join(format!("fuzz_targets/{name}.rs"));
                let source = fs::read_to_string(source).unwrap();
                assert!(source.contains(&format!("\"{name}\"")), "{name}");
                assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
            }
        }
    };
}

targets! {
    assertion bundle checkpoint envelope evidence frame journal key leaf note proof receipt
    registration tile
}
