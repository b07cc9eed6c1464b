//! Notes that are none, or nearly, and what the specification says of them.
//!
//! In scope: every rule of <https://c2sp.org/signed-note>, each kept and each broken. Go's own reader
//! is asked about the same notes (`crates/evidence/examples/notes.rs`).
//! Out of scope: what the text says.

use base64::{Engine, engine::general_purpose::STANDARD};
use countersign_core::canonical::Hash;
use countersign_evidence::{
    key::SigningKey,
    note::{InvalidNote, MAX_NOTE_BYTES, MAX_SIGNATURES, sign},
};

/// A note, what is to be said of it, and what Go says.
pub(crate) struct Case {
    /// What is special about it.
    pub(crate) name: &'static str,
    /// The note.
    pub(crate) note: Vec<u8>,
    /// Why it is refused; `None` where it is not.
    pub(crate) refused: Option<InvalidNote>,
    /// Whether Go accepts it: the same, except where [`Case::stricter`] says so.
    pub(crate) go_accepts: bool,
}

impl Case {
    fn accepted(name: &'static str, note: impl Into<Vec<u8>>) -> Self {
        Self {
            name,
            note: note.into(),
            refused: None,
            go_accepts: true,
        }
    }

    fn refused(name: &'static str, note: impl Into<Vec<u8>>, why: InvalidNote) -> Self {
        Self {
            refused: Some(why),
            go_accepts: false,
            ..Self::accepted(name, note)
        }
    }

    /// Refused here and not by Go.
    fn stricter(name: &'static str, note: impl Into<Vec<u8>>, why: InvalidNote) -> Self {
        Self {
            go_accepts: true,
            ..Self::refused(name, note, why)
        }
    }
}

/// The only key that the reader knows.
pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed("log.example", &[7; 32]).expect("a key")
}

const TEXT: &str = "one line\nand another\n";

/// The signature line under [`TEXT`].
fn line() -> String {
    line_of(TEXT, &key())
}

fn line_of(text: &str, key: &SigningKey) -> String {
    let note = sign(text, key).expect("a text that can be signed");
    note.get(text.len() + 1..).expect("the line").to_owned()
}

/// A signature line with any name, key id and signature.
fn any_line(name: &str, id: [u8; 4], signature: &[u8]) -> String {
    let bytes = [&id[..], signature].concat();
    format!("— {name} {}\n", STANDARD.encode(bytes))
}

fn strangers(count: usize) -> String {
    let line = |n: usize| any_line(&format!("witness-{n}.example"), [1, 2, 3, 4], &[5; 64]);
    (0..count).map(line).collect()
}

fn note(lines: &str) -> String {
    format!("{TEXT}\n{lines}")
}

/// Every case.
pub(crate) fn all() -> Vec<Case> {
    let mut all = accepted();
    all.extend(forms());
    all.extend(characters());
    all.extend(lines());
    all.extend(signatures());
    all.extend(unsigned());
    all
}

fn accepted() -> Vec<Case> {
    let ok = Case::accepted;
    let id = key().verifying().id().0;
    let line = line();
    let text = |text: &str| sign(text, &key()).expect("a text that can be signed");
    vec![
        ok("plain", note(&line)),
        ok("16 signatures", note(&(strangers(15) + &line))),
        ok("17 signatures", note(&(strangers(16) + &line))),
        ok(
            "as many signatures as are read",
            note(&(strangers(MAX_SIGNATURES - 1) + &line)),
        ),
        ok(
            "a stranger of the same name",
            note(&(any_line("log.example", [0; 4], &[9; 64]) + &line)),
        ),
        ok(
            "a stranger with the same key id",
            note(&(any_line("other.example", id, &[9; 64]) + &line)),
        ),
        ok(
            "a stranger with a long name",
            note(&(any_line(&"n".repeat(300), [0; 4], &[9; 64]) + &line)),
        ),
        ok(
            "a stranger with an odd name",
            note(&(any_line("\u{7f}\u{200b}=/é", [0; 4], &[9; 64]) + &line)),
        ),
        ok(
            "a stranger's signature of one byte",
            note(&(any_line("other.example", [0; 4], &[9]) + &line)),
        ),
        ok(
            "a stranger's signature after quantum computers",
            note(&(any_line("other.example", [0; 4], &[9; 4_627]) + &line)),
        ),
        ok("the same signature twice", note(&line.repeat(2))),
        ok("a stranger twice", note(&(strangers(1).repeat(2) + &line))),
        ok("blank lines in the text", text("\na\n\n\nb\n\n")),
        ok("a text of one blank line", text("\n")),
        ok(
            "a signed note as the text",
            text(&format!("{}\nmore\n", note(&line))),
        ),
        ok(
            "control characters above U+001F",
            text("a\u{7f}b\u{85}c\u{2028}d\n"),
        ),
    ]
}

fn forms() -> Vec<Case> {
    let line = line();
    let bad = |name, note: String| Case::refused(name, note, InvalidNote::Form);
    let trimmed = line.trim_end_matches('\n').to_owned();
    let long = format!("{}\n\n{line}", "x".repeat(MAX_NOTE_BYTES));
    let too_long = InvalidNote::TooLong(long.len());
    vec![
        bad("nothing", String::new()),
        bad("a line feed", "\n".into()),
        bad("no signature", TEXT.into()),
        bad("no signature line", format!("{TEXT}\n")),
        bad("no blank line", format!("{TEXT}{line}")),
        bad("no line feed at the end", note(&trimmed)),
        bad("no text", line.clone()),
        bad("a blank line at the end", note(&(line.clone() + "\n"))),
        bad("two blank lines at the end", note(&(line.clone() + "\n\n"))),
        Case::refused(
            "a blank line between signatures",
            note(&format!("{line}\n{line}")),
            // What is above the last blank line is the text, and nobody signed that.
            InvalidNote::BadSignature(key().verifying().label()),
        ),
        Case::refused(
            "text after the signatures",
            note(&format!("{line}more\n")),
            InvalidNote::SignatureLine(2),
        ),
        Case::refused(
            "one signature too many",
            note(&(strangers(MAX_SIGNATURES) + &line)),
            InvalidNote::TooManySignatures,
        ),
        Case::refused("longer than is read", long, too_long),
    ]
}

fn characters() -> Vec<Case> {
    let line = line();
    let bad = |name, note: Vec<u8>| Case::refused(name, note, InvalidNote::Characters);
    let text = |inside: &[u8]| [b"a", inside, b"b\n\n", line.as_bytes()].concat();
    vec![
        bad("NUL", text(b"\0")),
        bad("a tab", text(b"\t")),
        bad("a carriage return", text(b"\r\n")),
        bad("an escape", text(b"\x1b[2J")),
        bad("U+001F", text(b"\x1f")),
        bad("a form feed", text(b"\x0c")),
        bad("a byte that is no UTF-8", text(b"\xff")),
        bad("an overlong slash", text(b"\xc0\xaf")),
        bad("half of a surrogate pair", text(b"\xed\xa0\x80")),
        bad("a character cut off", text(b"\xe2\x80")),
        bad("beyond Unicode", text(b"\xf4\x90\x80\x80")),
        bad(
            "a tab in a signature line",
            note(&line.replacen(' ', "\t", 1)).into(),
        ),
        bad(
            "a carriage return in a signature line",
            note(&line.replace('\n', "\r\n")).into(),
        ),
    ]
}

fn lines() -> Vec<Case> {
    let line = line();
    let bad =
        |name, lines: String| Case::refused(name, note(&lines), InvalidNote::SignatureLine(1));
    let swap = |from: &str, to: &str| line.replacen(from, to, 1);
    let encoded = line
        .split(' ')
        .nth(2)
        .unwrap_or_default()
        .trim_end()
        .to_owned();
    let id = encoded.get(..6).unwrap_or_default();
    // The last digit before the padding has bits that nothing stands for.
    let unused = encoded.trim_end_matches('=').to_owned();
    let (head, last) = unused.split_at(unused.len() - 1);
    let other = char::from(last.as_bytes().first().copied().unwrap_or_default() + 1);
    vec![
        bad("a hyphen", swap("—", "-")),
        bad("an en dash", swap("—", "–")),
        bad("no space after the dash", swap("— ", "—")),
        bad("two spaces after the dash", swap("— ", "—  ")),
        bad("a space before the dash", swap("—", " —")),
        bad("no name", swap("log.example ", "")),
        bad("a plus in the name", swap("log.", "log+")),
        bad("a no-break space in the name", swap("log.", "log\u{a0}")),
        bad(
            "an ideographic space in the name",
            swap("log.", "log\u{3000}"),
        ),
        bad("a next line in the name", swap("log.", "log\u{85}")),
        bad("no signature", format!("— log.example {}\n", "")),
        bad("no space before the signature", swap("example ", "example")),
        bad("a space behind the signature", swap("\n", " \n")),
        bad(
            "a second signature on the line",
            swap("\n", &format!(" {encoded}\n")),
        ),
        bad("no padding", swap("=", "")),
        bad("too much padding", swap("=", "==")),
        bad(
            "padding in the middle",
            format!("— log.example {id}=={encoded}\n"),
        ),
        bad(
            "the alphabet of addresses",
            format!("— log.example {}\n", "-_".repeat(34)),
        ),
        bad("a key id alone", any_line("log.example", [1; 4], &[])),
        bad(
            "less than a key id",
            format!("— log.example {}\n", STANDARD.encode([1; 3])),
        ),
        bad("a line between", format!("\u{2014}\n{line}")),
        Case::stricter(
            "unused bits in base64",
            note(&format!("— log.example {head}{other}=\n")),
            InvalidNote::SignatureLine(1),
        ),
    ]
}

fn signatures() -> Vec<Case> {
    let line = line();
    let own = key();
    let id = own.verifying().id().0;
    let why = || InvalidNote::BadSignature(key().verifying().label());
    let bad = |name, note: String| Case::refused(name, note, why());
    let under = |signature: &[u8]| note(&any_line("log.example", id, signature));
    let signature = own.sign(TEXT.as_bytes());
    let shorter = signature.get(..63).unwrap_or_default();
    let forged = any_line("log.example", id, &[9; 64]);
    vec![
        bad("another text", format!("X{}", note(&line))),
        bad("a byte order mark", format!("\u{feff}{}", note(&line))),
        bad("a blank line more in the text", format!("{TEXT}\n\n{line}")),
        bad("another signature", note(&forged)),
        bad("a signature without its end", under(shorter)),
        bad(
            "a signature that goes on",
            under(&[&signature[..], &[0]].concat()),
        ),
        bad(
            "a wrong signature before the right one",
            note(&format!("{forged}{line}")),
        ),
        // Go looks at a key's first signature only.
        Case::stricter(
            "a wrong signature after the right one",
            note(&format!("{line}{forged}")),
            why(),
        ),
    ]
}

fn unsigned() -> Vec<Case> {
    let own = key();
    let [a, b, c, d] = own.verifying().id().0;
    let bad = |name, note: String| Case::refused(name, note, InvalidNote::Unsigned);
    let signature = own.sign(TEXT.as_bytes());
    let named = |id| note(&any_line("log.example", id, &signature));
    let by = |name: &str, seed: u8| {
        let key = SigningKey::from_seed(name, &[seed; 32]).expect("a key");
        note(&line_of(TEXT, &key))
    };
    // The id that the same key has for witness cosignatures, type 4.
    let cosigning = Hash::of_parts(&[b"log.example\n\x04", own.verifying().public()]).0;
    let cosigning = cosigning.first_chunk::<4>().copied().unwrap_or_default();
    vec![
        bad("strangers only", note(&strangers(16))),
        bad("another key of the same name", by("log.example", 8)),
        bad("the same key under another name", by("log.example.com", 7)),
        bad("a wrong key id", named([0; 4])),
        bad("the key id backwards", named([d, c, b, a])),
        bad("the key id of a cosignature", named(cosigning)),
    ]
}
