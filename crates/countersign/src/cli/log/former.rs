//! Logs in a row: the one of today, and those that it took the place of, beside it.
//!
//! In scope: finding them, and what later ones say of the evidence of earlier ones.
//! Out of scope: beginning a new one ([`new_epoch`](super::new_epoch)).
//! Invariant: what a later log says excuses nothing but evidence that can't be opened any more; whether
//! that log holds is for its own verification to say.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use countersign_evidence::{body::Body, evidence::sealing::KeyId, frame::Step, leaf::Leaf};

use super::{PIECE, folder, steps};
use crate::cli::failure::Failure;

/// Logs that were not continued, beside the one that a path names.
pub(super) fn beside(path: &Path) -> Vec<PathBuf> {
    let log = folder(path);
    let data = log.parent().filter(|_| log.ends_with("log"));
    let former = |number: u32| Some(data?.join(format!("log.{number}")));
    let all = (1..).map_while(former);
    all.take_while(|path| path.is_dir()).collect()
}

/// Keys of evidence that logs after the one in `folder` say were destroyed.
pub(super) fn erased_later(folder: &Path) -> Result<BTreeSet<KeyId>, Failure> {
    let mut erased = BTreeSet::new();
    for later in after(folder) {
        steps(&later.join("journal"), PIECE, |step| {
            if let Step::Frame(frame) = step
                && let Ok(Leaf {
                    body: Body::EvidenceErased(gone),
                    ..
                }) = Leaf::parse(frame.leaf)
            {
                erased.extend(gone.keys);
            }
            Ok(())
        })?;
    }
    Ok(erased)
}

/// The logs after the one in `log.N`; none after the one of today.
fn after(folder: &Path) -> Vec<PathBuf> {
    let name = folder.file_name().and_then(|name| name.to_str());
    let number = name.and_then(|name| name.strip_prefix("log.")?.parse::<u32>().ok());
    let (Some(number), Some(data)) = (number, folder.parent()) else {
        return Vec::new();
    };
    let later = (number.saturating_add(1)..).map(|number| data.join(format!("log.{number}")));
    let later = later.take_while(|path| path.is_dir());
    let all = later.chain([data.join("log")]);
    all.filter(|path| path.join("journal").is_file()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn logs_follow_one_another() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path();
        for name in ["log.1", "log.2", "log"] {
            fs::create_dir(data.join(name)).unwrap();
            fs::write(data.join(name).join("journal"), "").unwrap();
        }
        assert_eq!(beside(data), [data.join("log.1"), data.join("log.2")]);
        assert_eq!(beside(&data.join("log.2")), Vec::<PathBuf>::new());
        assert_eq!(
            after(&data.join("log.1")),
            [data.join("log.2"), data.join("log")]
        );
        assert_eq!(after(&data.join("log")), Vec::<PathBuf>::new());
        assert!(erased_later(&data.join("log.1")).unwrap().is_empty());
    }
}
