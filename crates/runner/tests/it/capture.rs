//! Packing on the caller's side.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use countersign_runner::inputs::{Bind, Entry, InputError, Keep, Limits, Packed, pack, receive};

pub(crate) fn bind(source: &Path, name: &str) -> Bind {
    Bind {
        source: source.to_owned(),
        name: name.to_owned(),
    }
}

/// A directory with a bit of everything that is accepted.
pub(crate) fn sample(root: &Path) {
    fs::create_dir_all(root.join("src/deep")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::write(root.join("src-notes"), "sorts between `src` and `src/deep`").unwrap();
    fs::write(root.join("src/deep/data.bin"), vec![7; 1300]).unwrap();
    fs::write(root.join("src/none"), "").unwrap();
    fs::write(root.join("run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::write(
        root.join(format!("{}.txt", "long".repeat(40))),
        "a name over 100 bytes",
    )
    .unwrap();
    symlink("../run.sh", root.join("src/link")).unwrap();
    symlink(
        format!("./{}.txt", "long".repeat(40)),
        root.join("long-link"),
    )
    .unwrap();
}

fn everything(root: &Path, name: &str) -> Result<Packed, InputError> {
    pack(&[bind(root, name)], &Keep::Everything, &Limits::default())
}

fn bytes(packed: Packed) -> Vec<u8> {
    let mut bytes = Vec::new();
    { packed.archive }.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn the_same_files_give_the_same_bytes_on_both_sides() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sample(one.path());
    sample(other.path());
    fs::set_permissions(
        other.path().join("src/none"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    fs::set_permissions(other.path().join("src"), fs::Permissions::from_mode(0o2700)).unwrap();
    let (one, other) = (
        everything(one.path(), "in").unwrap(),
        everything(other.path(), "in").unwrap(),
    );
    assert_eq!(one.manifest, other.manifest);
    let (manifest, one, other) = (one.manifest.clone(), bytes(one), bytes(other));
    assert_eq!(one, other);

    let received = receive(one.as_slice(), &Limits::default()).unwrap();
    assert_eq!(received.manifest(), &manifest);
    let mut rewritten = Vec::new();
    received.into_archive().read_to_end(&mut rewritten).unwrap();
    assert_eq!(
        rewritten, one,
        "what the client packs is the form that the gateway stores"
    );

    let names: Vec<&str> = manifest
        .entries()
        .keys()
        .map(String::as_str)
        .take(4)
        .collect();
    assert_eq!(
        names,
        [
            "in",
            "in/empty",
            "in/long-link",
            &format!("in/{}.txt", "long".repeat(40))
        ]
    );
    assert!(matches!(
        manifest.entries()["in/run.sh"],
        Entry::File {
            size: 10,
            executable: true,
            ..
        }
    ));
}

#[test]
fn other_tar_programs_agree() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let packed = everything(dir.path(), ".").unwrap();
    for format in ["gnu", "ustar", "pax"] {
        let output = Command::new("tar")
            .args(["--format", format, "-C"])
            .arg(dir.path())
            .args(["-cf", "-", "."])
            .output()
            .unwrap();
        // ustar can't hold the long names.
        if output.status.success() {
            let received = receive(output.stdout.as_slice(), &Limits::default()).unwrap();
            assert_eq!(
                received.manifest().digest(),
                packed.manifest.digest(),
                "{format}"
            );
        } else {
            assert_eq!(format, "ustar");
        }
    }
    let listed = {
        let file = dir.path().join("ours.tar");
        fs::write(&file, bytes(packed)).unwrap();
        Command::new("tar").arg("-tf").arg(file).output().unwrap()
    };
    assert!(listed.status.success());
    assert_eq!(
        String::from_utf8(listed.stdout).unwrap().lines().count(),
        10
    );
}

#[test]
fn binds_have_names_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let at = |name: &str| dir.path().join(name);
    let limits = Limits::default();
    let good = pack(
        &[
            bind(&at("src/deep"), "a/b"),
            bind(&at("run.sh"), "a/run"),
            bind(&at("empty"), "."),
        ],
        &Keep::Everything,
        &limits,
    );
    let names: Vec<String> = good.unwrap().manifest.entries().keys().cloned().collect();
    assert_eq!(names, ["a", "a/b", "a/b/data.bin", "a/run"]);
    symlink("src", at("source-link")).unwrap();
    for (binds, why) in [
        (
            vec![bind(&at("run.sh"), "x"), bind(&at("src-notes"), "x")],
            "there twice",
        ),
        (
            vec![bind(&at("run.sh"), "x"), bind(&at("src-notes"), "x/y")],
            "there twice",
        ),
        (vec![bind(&at("run.sh"), ".")], "only a directory"),
        (vec![bind(&at("run.sh"), "../x")], "`..`"),
        (vec![bind(&at("run.sh"), "/x")], "absolute"),
        (vec![bind(&at("source-link"), "x")], "it is a link"),
        (vec![bind(&at("source-link/"), "x")], "it is a link"),
        (vec![bind(&at("missing"), "x")], "can't open"),
    ] {
        let error = pack(&binds, &Keep::Everything, &limits)
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{binds:?}: {error}");
    }
}

#[test]
fn what_is_not_asked_for_is_left_out_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for path in [".git/objects/ab", "node_modules/x", "src"] {
        fs::create_dir_all(root.join(path)).unwrap();
    }
    for file in [
        ".git/config",
        ".git/objects/ab/cd",
        "node_modules/x/y",
        "src/a.sql",
        "src/b.rs",
    ] {
        fs::write(root.join(file), file).unwrap();
    }
    symlink("/etc/passwd", root.join("src/bad")).unwrap();
    let _socket = UnixListener::bind(root.join("src/socket")).unwrap();
    let keep = [".git/objects/**", "src/*.sql"]
        .map(|glob| glob.parse().unwrap())
        .to_vec();
    let packed = pack(
        &[bind(root, "repo")],
        &Keep::Matching(keep),
        &Limits::default(),
    )
    .unwrap();
    let names: Vec<&str> = packed
        .manifest
        .entries()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        names,
        [
            "repo",
            "repo/.git",
            "repo/.git/objects",
            "repo/.git/objects/ab",
            "repo/.git/objects/ab/cd",
            "repo/src",
            "repo/src/a.sql"
        ]
    );
    assert_eq!((packed.left_out.files, packed.left_out.directories), (4, 1));
}

#[test]
fn what_could_mean_something_else_is_refused() {
    type Make = fn(&Path);
    let cases: [(Make, &str); 11] = [
        (
            |root| symlink("/etc/passwd", root.join("l")).unwrap(),
            "absolute",
        ),
        (
            |root| symlink("../outside", root.join("l")).unwrap(),
            "not captured",
        ),
        (
            |root| symlink("../../outside", root.join("l")).unwrap(),
            "leads out",
        ),
        (
            |root| {
                symlink(".", root.join("here")).unwrap();
                symlink("here/../../..", root.join("l")).unwrap();
            },
            "another link",
        ),
        (|root| symlink("l", root.join("l")).unwrap(), "another link"),
        (
            |root| drop(UnixListener::bind(root.join("s")).unwrap()),
            "socket",
        ),
        (
            |root| nix::unistd::mkfifo(&root.join("p"), nix::sys::stat::Mode::S_IRWXU).unwrap(),
            "named pipe",
        ),
        (
            |root| {
                fs::write(root.join("s"), "").unwrap();
                fs::set_permissions(root.join("s"), fs::Permissions::from_mode(0o4755)).unwrap();
            },
            "setuid",
        ),
        (
            |root| {
                use std::os::unix::ffi::OsStrExt;
                fs::write(root.join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
            },
            "not UTF-8",
        ),
        (
            |root| fs::write(root.join("a\nb"), "").unwrap(),
            "control characters",
        ),
        (
            |root| fs::create_dir_all(root.join(vec!["d"; 64].join("/"))).unwrap(),
            "64 directories",
        ),
    ];
    for (make, why) in cases {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        let error = everything(dir.path(), "in").unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
}

#[test]
fn there_are_limits() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "12345").unwrap();
    fs::write(dir.path().join("b"), "12345").unwrap();
    let limited = |total_bytes| {
        pack(
            &[bind(dir.path(), "in")],
            &Keep::Everything,
            &Limits { total_bytes },
        )
        .map(bytes)
    };
    let all = limited(10).unwrap();
    assert!(matches!(limited(9), Err(InputError::TooLarge { limit: 9 })));
    let received = |total_bytes| receive(all.as_slice(), &Limits { total_bytes });
    assert!(received(10).is_ok());
    assert!(matches!(
        received(9),
        Err(InputError::TooLarge { limit: 9 })
    ));
    for i in 0..20_000 {
        fs::hard_link(dir.path().join("a"), dir.path().join(format!("{i}"))).unwrap();
    }
    assert!(matches!(limited(10), Err(InputError::TooMany)));
}

/// Packs again and again while somebody else changes the tree: each time it is refused, or what
/// was packed is something that was there.
fn while_changing(root: &Path, change: impl Fn(usize) + Sync, allowed: &[&str]) -> usize {
    let stop = AtomicBool::new(false);
    let mut refused = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                change(turn);
            }
        });
        for _ in 0..400 {
            match everything(root, "in").map(bytes) {
                Ok(archive) => {
                    let mut archive = tar::Archive::new(archive.as_slice());
                    for entry in archive.entries().unwrap() {
                        let mut content = String::new();
                        let mut entry = entry.unwrap();
                        entry.read_to_string(&mut content).unwrap();
                        let short = content.get(..1).unwrap_or_default();
                        assert!(allowed.contains(&short), "captured {short}");
                        assert!(
                            content.chars().all(|c| short.starts_with(c)),
                            "two states in one file"
                        );
                    }
                }
                Err(error) => {
                    let refusal = matches!(
                        error,
                        InputError::Changed { .. }
                            | InputError::Link { .. }
                            | InputError::Io { .. }
                    );
                    assert!(refusal, "{error}");
                    refused += 1;
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    refused
}

#[test]
fn a_file_replaced_while_reading_is_never_followed_out() {
    let dir = tempfile::tempdir().unwrap();
    let (root, secret) = (dir.path().join("root"), dir.path().join("secret"));
    fs::create_dir_all(root.join("d")).unwrap();
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("f"), "S").unwrap();
    fs::write(root.join("d/f"), "f").unwrap();
    let (d, aside) = (root.join("d"), dir.path().join("aside"));
    let swap = |_| {
        // The directory becomes a link to the secret, and back.
        fs::rename(&d, &aside).unwrap();
        symlink(&secret, &d).unwrap();
        fs::remove_file(&d).unwrap();
        fs::rename(&aside, &d).unwrap();
    };
    while_changing(&root, swap, &["f", ""]);
}

#[test]
fn a_file_written_while_reading_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    fs::write(&file, "a".repeat(300_000)).unwrap();
    let write = |turn: usize| {
        let letter = if turn.is_multiple_of(2) { "b" } else { "a" };
        // Replaced, not written in place: every single state is whole.
        let next = dir.path().with_extension("next");
        fs::write(&next, letter.repeat(300_000)).unwrap();
        fs::rename(&next, &file).unwrap();
    };
    while_changing(dir.path(), write, &["a", "b", ""]);

    fs::write(&file, "a".repeat(300_000)).unwrap();
    let grow = |turn: usize| {
        let file = fs::File::options().write(true).open(&file).unwrap();
        file.set_len(if turn.is_multiple_of(2) {
            200_000
        } else {
            300_000
        })
        .unwrap();
    };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..)
                .take_while(|_| !stop.load(Ordering::Relaxed))
                .for_each(grow)
        });
        let refused = (0..300).filter(|_| {
            matches!(
                everything(dir.path(), "in"),
                Err(InputError::Changed { .. })
            )
        });
        assert!(
            refused.count() > 0,
            "a file that changes all the time is refused sometimes"
        );
        stop.store(true, Ordering::Relaxed);
    });
}
