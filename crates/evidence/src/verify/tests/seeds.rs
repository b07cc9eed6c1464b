//! Writes the seeds of fuzz targets that need a log: `cargo nextest run -p countersign-evidence
//! --run-ignored all seeds`.

use std::{fs, path::PathBuf};

use super::{build::*, receipts::of_log};
use crate::body::Body;

fn write(target: &str, name: &str, bytes: &[u8]) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let folder = folder.join(target);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
}

#[test]
#[ignore = "writes files"]
fn seeds_of_logs() {
    let log = good();
    let frames = log.frames();
    for (name, upto) in [("one", 1), ("nine", 9), ("good", frames.len())] {
        let frames = &frames[..upto];
        let (note, bytes) = (checkpoint(frames), journal(frames));
        let length = u16::try_from(note.len()).unwrap().to_be_bytes();
        write(
            "journal",
            name,
            &[&length[..], note.as_bytes(), &bytes].concat(),
        );
    }
    write("frame", "good", &journal(&frames[..3]));
    write(
        "frame",
        "torn",
        journal(&frames[..2]).split_last().unwrap().1,
    );
    for (draft, (leaf, evidence)) in log.0.iter().zip(&frames) {
        write("leaf", draft.body.kind(), leaf);
        if let (Body::ApprovalDecided(_), Some(value)) = (&draft.body, &draft.value) {
            let envelope = value["envelope"].as_str().unwrap();
            write("envelope", "vote", envelope.as_bytes());
            write("evidence", "vote", evidence);
        }
    }
    write("evidence", "small", &frames[1].1);
    for request in [PERMITTED, HELD, DENIED] {
        let receipt = of_log(request, |_| {});
        let text = receipt.to_text().unwrap();
        write("receipt", &format!("request-{request}"), text.as_bytes());
    }
}
