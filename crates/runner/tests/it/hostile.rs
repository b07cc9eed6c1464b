//! Archives made by hand to mislead the gateway.

use countersign_runner::inputs::{InputError, Limits, MAX_ENTRIES, Received, receive};
use tar::{EntryType, Header};

/// One member as raw blocks; nothing is checked or normalised.
struct Raw {
    kind: u8,
    name: Vec<u8>,
    target: Vec<u8>,
    mode: u32,
    content: Vec<u8>,
}

fn raw(kind: u8, name: &str) -> Raw {
    Raw {
        kind,
        name: name.into(),
        target: Vec::new(),
        mode: 0o644,
        content: Vec::new(),
    }
}

fn file(name: &str, content: &str) -> Raw {
    Raw {
        content: content.into(),
        ..raw(b'0', name)
    }
}

fn link(kind: u8, name: &str, target: &str) -> Raw {
    Raw {
        target: target.into(),
        ..raw(kind, name)
    }
}

fn long(kind: u8, content: &[u8]) -> Raw {
    Raw {
        content: content.to_vec(),
        ..raw(kind, "././@LongLink")
    }
}

fn pax(key: &str, value: &str) -> Raw {
    let rest = format!(" {key}={value}\n");
    let length = (rest.len() + 1..)
        .find(|n| n.to_string().len() + rest.len() == *n)
        .unwrap();
    Raw {
        content: format!("{length}{rest}").into(),
        ..raw(b'x', "pax")
    }
}

impl Raw {
    fn blocks(&self) -> Vec<u8> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::new(self.kind));
        header.set_mode(self.mode);
        header.set_size(u64::try_from(self.content.len()).unwrap());
        let fields = header.as_ustar_mut().unwrap();
        fields.name[..self.name.len()].copy_from_slice(&self.name);
        fields.linkname[..self.target.len()].copy_from_slice(&self.target);
        header.set_cksum();
        let mut blocks = header.as_bytes().to_vec();
        blocks.extend_from_slice(&self.content);
        blocks.resize(blocks.len().next_multiple_of(512), 0);
        blocks
    }
}

fn archive(members: &[Raw]) -> Vec<u8> {
    let mut bytes: Vec<u8> = members.iter().flat_map(Raw::blocks).collect();
    bytes.extend_from_slice(&[0; 1024]);
    bytes
}

fn read(bytes: &[u8]) -> Result<Received, InputError> {
    receive(bytes, &Limits { total_bytes: 1000 })
}

fn names(bytes: &[u8]) -> String {
    read(bytes)
        .unwrap()
        .manifest()
        .entries()
        .keys()
        .cloned()
        .collect::<Vec<_>>()
        .join(" ")
}

/// Each archive is refused with a message that has its text.
fn assert_refused<const N: usize>(cases: [(Vec<Raw>, &str); N]) {
    for (members, why) in cases {
        let error = read(&archive(&members)).unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
}

#[test]
fn names_that_mislead_are_refused() {
    let invalid_name = Raw {
        name: vec![0xff],
        ..file("", "")
    };
    assert_refused([
        (vec![file("/etc/cron.d/x", "")], "absolute"),
        (vec![file("../x", "")], "`..`"),
        (vec![file("a/../../x", "")], "`..`"),
        (vec![file("a//b", "")], "a part of the path is empty"),
        (vec![file(".//a", "")], "absolute"),
        (vec![file("./", "")], "empty"),
        (vec![file("a/", "")], "a part of the path is empty"),
        (vec![file("a\nb", "")], "control characters"),
        (vec![invalid_name], "not UTF-8"),
        (vec![file("a", "1"), file("a", "2")], "there twice"),
        (vec![file("a", "1"), file("./a", "2")], "there twice"),
        (vec![raw(b'5', "a"), raw(b'5', "a/")], "there twice"),
        (vec![file("a", "1"), raw(b'5', "a")], "there twice"),
        (vec![file("a", "1"), file("a/b", "2")], "doesn't lie in"),
        (
            vec![link(b'2', "a", "."), file("a/b", "2")],
            "doesn't lie in",
        ),
        (vec![file("a", &"x".repeat(1001))], "larger than 1000 bytes"),
        (
            vec![file("a", &"x".repeat(999)), file("b", "xx")],
            "larger than 1000 bytes",
        ),
    ]);
}

#[test]
fn kinds_that_mislead_are_refused() {
    let setuid = Raw {
        mode: 0o4755,
        ..file("a", "")
    };
    let invalid_target = Raw {
        target: vec![0xff],
        ..raw(b'2', "l")
    };
    let full = |member| Raw {
        content: b"x".to_vec(),
        ..member
    };
    assert_refused([
        (vec![link(b'1', "a", "b"), file("b", "")], "hard link"),
        (vec![raw(b'3', "a")], "device"),
        (vec![raw(b'4', "a")], "device"),
        (vec![raw(b'6', "a")], "named pipe"),
        (vec![raw(b'7', "a")], "contiguous"),
        (vec![raw(b'S', "a")], "sparse"),
        (vec![raw(b'g', "a")], "global extended header"),
        (vec![raw(b'V', "a")], "unknown type 0x56"),
        (vec![setuid], "setuid"),
        (vec![link(b'2', "l", "/etc/passwd")], "absolute"),
        (vec![link(b'2', "l", "..")], "leads out"),
        (vec![link(b'2', "l", "")], "empty"),
        (vec![invalid_target], "not UTF-8"),
        (
            vec![link(b'2', "d", "."), link(b'2', "l", "d/..")],
            "another link",
        ),
        (vec![full(link(b'2', "l", "."))], "has content"),
        (vec![full(raw(b'5', "d"))], "has content"),
    ]);
}

#[test]
fn extended_names_are_understood_or_refused() {
    let name = "n".repeat(150);
    assert_eq!(
        names(&archive(&[
            long(b'L', format!("{name}\0").as_bytes()),
            file("n", "")
        ])),
        name
    );
    assert_eq!(names(&archive(&[pax("path", &name), file("n", "")])), name);
    assert_eq!(names(&archive(&[pax("mtime", "1.5"), file("n", "")])), "n");
    let target = names(&archive(&[
        pax("linkpath", &name),
        link(b'2', "l", "x"),
        pax("path", &name),
        file("n", ""),
    ]));
    assert_eq!(target, format!("l {name}"));
    let broken = Raw {
        content: b"99 path=x\n".to_vec(),
        ..raw(b'x', "pax")
    };
    assert_refused([
        (vec![long(b'L', b"../x\0"), file("n", "")], "`..`"),
        (
            vec![long(b'L', b"a\0b\0"), file("n", "")],
            "control characters",
        ),
        (
            vec![long(b'L', b"a\0"), long(b'L', b"b\0"), file("n", "")],
            "two long names",
        ),
        (
            vec![long(b'L', b"a\0"), pax("path", "b"), file("n", "")],
            "two long names",
        ),
        (
            vec![long(b'K', b"a\0"), long(b'K', b"b\0"), link(b'2', "n", "")],
            "two long link",
        ),
        (vec![long(b'L', b"a\0")], "ends after a long name"),
        (
            vec![long(b'L', &[b'a'; 20_000]), file("n", "")],
            "larger than 16 KiB",
        ),
        (vec![pax("path", "/x"), file("n", "")], "absolute"),
        (
            vec![pax("path", "x\0y"), file("n", "")],
            "control characters",
        ),
        (
            vec![pax("size", "0"), file("n", "abc")],
            "`size` is not accepted",
        ),
        (
            vec![pax("GNU.sparse.name", "x"), file("n", "")],
            "`GNU.sparse.name` is not accepted",
        ),
        (
            vec![pax("SCHILY.xattr.security.capability", "x"), file("n", "")],
            "is not accepted",
        ),
        (vec![broken, file("n", "")], "malformed"),
    ]);
}

#[test]
fn archives_are_whole_and_end_where_they_end() {
    let good = archive(&[file("a", "content"), file("b", "")]);
    assert_eq!(names(&good), "a b");
    assert_eq!(names(&archive(&[])), "");
    for cut in [
        0,
        1,
        511,
        512,
        600,
        1024,
        1535,
        1536,
        good.len() - 1,
        good.len() - 512,
        good.len() - 1024,
    ] {
        assert!(
            matches!(read(&good[..cut]), Err(InputError::Archive { .. })),
            "cut at {cut}"
        );
    }
    let padded = [good.clone(), vec![0; 8192]].concat();
    assert_eq!(names(&padded), "a b");
    let hidden = [good.clone(), archive(&[file("hidden", "")])].concat();
    let endless = [good.clone(), vec![0; 2 << 20]].concat();
    for more in [hidden, endless] {
        assert!(
            read(&more)
                .unwrap_err()
                .to_string()
                .contains("follows its end")
        );
    }
    let mut damaged = good;
    damaged[0] ^= 1;
    assert!(read(&damaged).unwrap_err().to_string().contains("damaged"));
    assert!(read(b"\x1f\x8b not a tar").is_err());
}

#[test]
fn sizes_that_lie_are_refused() {
    let mut huge = archive(&[file("a", "")]);
    // Base 256: 2^64 - 1 and more.
    huge[124..136].copy_from_slice(&[0xff; 12]);
    fix_checksum(&mut huge);
    assert!(read(&huge).is_err());
    let mut text = archive(&[file("a", "")]);
    text[124..136].copy_from_slice(b"12x45678901\0");
    fix_checksum(&mut text);
    assert!(read(&text).is_err());
}

fn fix_checksum(bytes: &mut [u8]) {
    bytes[148..156].copy_from_slice(b"        ");
    let sum: u32 = bytes[..512].iter().map(|byte| u32::from(*byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn there_are_never_too_many() {
    let many: Vec<Raw> = (0..=MAX_ENTRIES)
        .map(|i| file(&format!("{i}"), ""))
        .collect();
    assert!(matches!(read(&archive(&many)), Err(InputError::TooMany)));
    // Few members, but each with directories that have to be made.
    let deep: Vec<Raw> = (0..500)
        .map(|i| file(&format!("{i}{}/f", "/d".repeat(45)), ""))
        .collect();
    assert!(matches!(read(&archive(&deep)), Err(InputError::TooMany)));
}

#[test]
fn missing_directories_are_added_and_nothing_else_survives() {
    let noisy = Raw {
        mode: 0o777,
        ..file("a/b/c", "x")
    };
    let received = read(&archive(&[raw(b'5', "./"), noisy])).unwrap();
    let same = read(&archive(&[
        raw(b'5', "a"),
        raw(b'5', "a/b/"),
        Raw {
            mode: 0o700,
            ..file("./a/b/c", "x")
        },
    ]))
    .unwrap();
    assert_eq!(received.manifest(), same.manifest());
    assert_eq!(received.manifest().entries().len(), 3);
}
