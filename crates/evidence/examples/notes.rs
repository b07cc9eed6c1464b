//! Prints notes that keep or break the rules, for Go's reader to say what it thinks of them: one
//! JSON object a line, `{"name","note","accepted","ours"}`, after a first line with the known key.
//! Last is what we say.

#[path = "../tests/it/notes/cases.rs"]
mod cases;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

fn main() {
    println!("{}", json!({ "key": cases::key().verifying().to_string() }));
    for case in cases::all() {
        let note = STANDARD.encode(&case.note);
        let ours = case.refused.map(|why| why.to_string());
        let (name, accepted) = (case.name, case.go_accepts);
        let line = json!({ "name": name, "note": note, "accepted": accepted, "ours": ours });
        println!("{line}");
    }
}
