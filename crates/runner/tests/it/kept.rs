//! Inputs kept in the gateway, unpacked for a run, with the target's own files on top.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use countersign_core::canonical::Hash;
use countersign_runner::inputs::{
    InputError, InputStore, Keep, Limits, Owner, overlay, pack, receive,
};
use tempfile::TempDir;

use crate::capture::{bind, sample};

struct Kept {
    dir: TempDir,
    store: InputStore,
    digest: Hash,
}

fn keep() -> Kept {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    sample(&source);
    let packed = pack(
        &[bind(&source, "in")],
        &Keep::Everything,
        &Limits::default(),
    )
    .unwrap();
    let received = receive(packed.archive, &Limits::default()).unwrap();
    let store = InputStore::new(dir.path().join("store"), Limits::default()).unwrap();
    let digest = store.put(received).unwrap();
    assert_eq!(digest, packed.manifest.digest());
    Kept { dir, store, digest }
}

impl Kept {
    fn file(&self) -> PathBuf {
        self.dir.path().join(format!("store/{}.tar", self.digest))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn what_comes_out_is_what_went_in() {
    let kept = keep();
    let into = kept.at("run");
    let manifest = kept.store.materialise(kept.digest, &into, None).unwrap();
    assert_eq!(manifest.digest(), kept.digest);
    let again = pack(
        &[bind(&into.join("in"), "in")],
        &Keep::Everything,
        &Limits::default(),
    )
    .unwrap();
    assert_eq!(again.manifest, manifest);
    let modes = ["", "in", "in/run.sh", "in/src/none"].map(|path| mode(&into.join(path)));
    assert_eq!(modes, [0o700, 0o755, 0o755, 0o644]);
    assert_eq!(
        fs::read_link(into.join("in/src/link")).unwrap(),
        Path::new("../run.sh")
    );
    assert_eq!(mode(&kept.dir.path().join("store")), 0o700);
    assert_eq!(mode(&kept.file()), 0o600);
}

#[test]
fn it_unpacks_only_into_something_new() {
    let kept = keep();
    let elsewhere = kept.at("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, kept.at("link")).unwrap();
    symlink(kept.at("nowhere"), kept.at("dangling")).unwrap();
    for name in ["elsewhere", "link", "dangling"] {
        let result = kept.store.materialise(kept.digest, &kept.at(name), None);
        assert!(matches!(result, Err(InputError::Io { .. })), "{name}");
    }
    assert_eq!(fs::read_dir(elsewhere).unwrap().count(), 0);
    assert!(!kept.at("nowhere").exists());
}

#[test]
fn files_belong_to_whom_they_should() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let kept = keep();
    let into = kept.at("run");
    let owner = Some(Owner {
        uid: 12_345,
        gid: 23_456,
    });
    kept.store.materialise(kept.digest, &into, owner).unwrap();
    for path in ["", "in", "in/run.sh", "in/src/link", "in/src/deep/data.bin"] {
        let metadata = fs::symlink_metadata(into.join(path)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (12_345, 23_456), "{path}");
    }
}

#[test]
fn a_stored_file_edited_on_disk_is_refused() {
    let kept = keep();
    let original = fs::read(kept.file()).unwrap();
    let content = original
        .windows(9)
        .position(|window| window == b"#!/bin/sh")
        .unwrap();
    let other = {
        let source = kept.at("other");
        fs::write(&source, "evil").unwrap();
        let packed = pack(
            &[bind(&source, "in")],
            &Keep::Everything,
            &Limits::default(),
        )
        .unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut { packed.archive }, &mut bytes).unwrap();
        bytes
    };
    let mut edited = original.clone();
    edited[content + 8] = b'S';
    let cut = original[..original.len() - 2048].to_vec();
    for (i, altered) in [edited, cut, other, Vec::new()].iter().enumerate() {
        fs::write(kept.file(), altered).unwrap();
        let into = kept.at(&format!("run{i}"));
        let error = kept
            .store
            .materialise(kept.digest, &into, None)
            .unwrap_err();
        assert!(matches!(error, InputError::Altered { .. }), "{i}: {error}");
        assert!(!into.exists(), "nothing is unpacked from altered inputs");
    }
    fs::write(kept.file(), &original).unwrap();
    kept.store
        .materialise(kept.digest, &kept.at("run"), None)
        .unwrap();
}

#[test]
fn things_come_and_go() {
    let kept = keep();
    assert!(kept.store.has(kept.digest));
    assert!(!kept.store.has(Hash::of(b"other")));
    // The same inputs again repair what was altered.
    fs::write(kept.file(), "broken").unwrap();
    let source = kept.at("source");
    let packed = pack(
        &[bind(&source, "in")],
        &Keep::Everything,
        &Limits::default(),
    )
    .unwrap();
    kept.store
        .put(receive(packed.archive, &Limits::default()).unwrap())
        .unwrap();
    kept.store.verify(kept.digest).unwrap();
    kept.store.remove(kept.digest).unwrap();
    kept.store.remove(kept.digest).unwrap();
    assert!(!kept.store.has(kept.digest));
    let result = kept.store.materialise(kept.digest, &kept.at("run"), None);
    assert!(matches!(result, Err(InputError::NotStored(_))));
    assert_eq!(fs::read_dir(kept.at("store")).unwrap().count(), 0);
}

#[test]
fn a_file_changed_after_capture_does_not_matter() {
    let kept = keep();
    fs::write(kept.at("source/run.sh"), "changed later").unwrap();
    kept.store
        .materialise(kept.digest, &kept.at("run"), None)
        .unwrap();
    assert_eq!(
        fs::read_to_string(kept.at("run/in/run.sh")).unwrap(),
        "#!/bin/sh\n"
    );
}

#[test]
fn the_targets_files_lie_on_top_and_links_are_not_written_through() {
    let kept = keep();
    let (into, own) = (kept.at("run"), kept.at("own"));
    kept.store.materialise(kept.digest, &into, None).unwrap();
    fs::create_dir_all(own.join("in/src/link")).unwrap();
    fs::create_dir_all(own.join("new")).unwrap();
    fs::write(own.join("in/src/link/inside"), "own").unwrap();
    fs::write(own.join("in/long-link"), "own").unwrap();
    fs::write(own.join("in/run.sh"), "own").unwrap();
    fs::write(own.join("new/key"), "own").unwrap();
    fs::set_permissions(own.join("new/key"), fs::Permissions::from_mode(0o622)).unwrap();
    let done = overlay(&own, &into, None).unwrap();
    assert_eq!(done.files, 4);
    assert_eq!(done.replaced, ["in/long-link", "in/run.sh", "in/src/link"]);
    let long = into.join(format!("in/{}.txt", "long".repeat(40)));
    assert_eq!(fs::read_to_string(long).unwrap(), "a name over 100 bytes");
    for path in ["in/src/link/inside", "in/long-link", "in/run.sh", "new/key"] {
        assert_eq!(fs::read_to_string(into.join(path)).unwrap(), "own");
    }
    assert_eq!(mode(&into.join("new/key")), 0o600);
}

#[test]
fn an_overlay_never_leaves_the_run() {
    let kept = keep();
    let (into, own, outside) = (kept.at("run"), kept.at("own"), kept.at("outside"));
    kept.store.materialise(kept.digest, &into, None).unwrap();
    fs::create_dir_all(own.join("out")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(own.join("out/file"), "own").unwrap();
    // Nothing captured can look like this; what already runs there could make it so.
    symlink(&outside, into.join("out")).unwrap();
    overlay(&own, &into, None).unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(fs::read_to_string(into.join("out/file")).unwrap(), "own");

    fs::write(own.join("in"), "own").unwrap();
    assert!(matches!(
        overlay(&own, &into, None),
        Err(InputError::InTheWay { .. })
    ));
    fs::remove_file(own.join("in")).unwrap();
    symlink("/etc/passwd", own.join("link")).unwrap();
    assert!(matches!(
        overlay(&own, &into, None),
        Err(InputError::Kind { .. })
    ));
}
