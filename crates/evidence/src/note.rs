//! Signed notes: a text and the signatures under it.
//!
//! In scope: signing a text, strict parsing, and checking the signatures of known keys.
//! Out of scope: what the text says ([`checkpoint`](crate::checkpoint)) and key files.
//! Invariant: [`Note`] exists only after at least one known key's signature held and none failed.
//! Specification: <https://c2sp.org/signed-note>.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::key::{KeyId, SigningKey, VerifyingKey, is_signer_name};

/// The largest note read, in bytes.
pub const MAX_NOTE_BYTES: usize = 1_000_000;

/// The largest number of signature lines read.
pub const MAX_SIGNATURES: usize = 100;

/// What opens a signature line: an em dash and a space.
const DASH: &str = "\u{2014} ";

/// Why bytes are not a note that a known key signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNote {
    /// Too long to be read.
    #[error("the note has {0} bytes; at most {MAX_NOTE_BYTES} are read")]
    TooLong(usize),
    /// Not UTF-8, or with a control character other than the line feed.
    #[error("the note holds bytes other than text and line feeds; fetch it again unchanged")]
    Characters,
    /// No text that ends in a line feed, or no blank line before the signatures.
    #[error("the note needs a text, a blank line and signature lines that each end in a line feed")]
    Form,
    /// A line below the blank line is not a signature line.
    #[error("signature line {0} is malformed; a line reads `— name base64`")]
    SignatureLine(usize),
    /// More signature lines than are read.
    #[error("the note has more than {MAX_SIGNATURES} signature lines")]
    TooManySignatures,
    /// A signature under a known key does not hold.
    #[error("the signature of `{0}` does not belong to this text; the note was changed or forged")]
    BadSignature(String),
    /// No known key signed.
    #[error("none of the known keys signed the note; check which key the log uses")]
    Unsigned,
}

/// A text that a known key signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signers: Vec<String>,
}

impl Note {
    /// Reads a note and checks every signature made in the name of a known key. Signatures of
    /// other keys are ignored.
    ///
    /// # Errors
    /// [`InvalidNote`]; in particular when one known key's signature fails, even if others hold.
    pub fn open(bytes: &[u8], known: &[VerifyingKey]) -> Result<Self, InvalidNote> {
        let (text, signatures) = parse(bytes)?;
        let mut signers = Vec::new();
        for signature in &signatures {
            let is_signer =
                |key: &&VerifyingKey| key.name() == signature.name && key.id() == signature.id;
            if let Some(key) = known.iter().find(is_signer) {
                let label = key.label();
                if key.verify(text.as_bytes(), &signature.bytes).is_err() {
                    return Err(InvalidNote::BadSignature(label));
                }
                // Who signs twice is one signer all the same.
                if !signers.contains(&label) {
                    signers.push(label);
                }
            }
        }
        if signers.is_empty() {
            return Err(InvalidNote::Unsigned);
        }
        Ok(Self {
            text: text.to_owned(),
            signers,
        })
    }

    /// The text of a note whose signatures are **not** checked: for telling a note from something
    /// else. Nothing may rest on it.
    ///
    /// # Errors
    /// [`InvalidNote`] when it is no note.
    pub fn peek(bytes: &[u8]) -> Result<&str, InvalidNote> {
        parse(bytes).map(|(text, _)| text)
    }

    /// The signed text, with its last line feed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The known keys that signed, each as `name+keyid`.
    #[must_use]
    pub fn signers(&self) -> &[String] {
        &self.signers
    }
}

/// Signs `text` and gives the whole note.
///
/// # Errors
/// [`InvalidNote::Form`] when the text does not end in a line feed or is empty,
/// [`InvalidNote::Characters`] when it holds another control character,
/// [`InvalidNote::TooLong`] when nobody would read the note.
pub fn sign(text: &str, key: &SigningKey) -> Result<String, InvalidNote> {
    check_characters(text)?;
    if !text.ends_with('\n') {
        return Err(InvalidNote::Form);
    }
    let verifying = key.verifying();
    let mut signature = verifying.id().0.to_vec();
    signature.extend(key.sign(text.as_bytes()));
    let name = verifying.name();
    let note = format!("{text}\n{DASH}{name} {}\n", STANDARD.encode(signature));
    match note.len() {
        length if length > MAX_NOTE_BYTES => Err(InvalidNote::TooLong(length)),
        _ => Ok(note),
    }
}

struct Signature<'a> {
    name: &'a str,
    id: KeyId,
    bytes: Vec<u8>,
}

fn check_characters(text: &str) -> Result<(), InvalidNote> {
    if text.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
        return Err(InvalidNote::Characters);
    }
    Ok(())
}

fn parse(bytes: &[u8]) -> Result<(&str, Vec<Signature<'_>>), InvalidNote> {
    if bytes.len() > MAX_NOTE_BYTES {
        return Err(InvalidNote::TooLong(bytes.len()));
    }
    let note = std::str::from_utf8(bytes).map_err(|_| InvalidNote::Characters)?;
    check_characters(note)?;
    // The text may hold blank lines of its own, so the last one separates.
    let blank = note.rfind("\n\n").ok_or(InvalidNote::Form)?;
    let (text, rest) = note.split_at_checked(blank + 1).ok_or(InvalidNote::Form)?;
    let lines = rest
        .strip_prefix('\n')
        .and_then(|lines| lines.strip_suffix('\n'));
    let mut signatures = Vec::new();
    for (index, line) in lines.ok_or(InvalidNote::Form)?.split('\n').enumerate() {
        if index >= MAX_SIGNATURES {
            return Err(InvalidNote::TooManySignatures);
        }
        signatures.push(parse_line(line).ok_or(InvalidNote::SignatureLine(index + 1))?);
    }
    Ok((text, signatures))
}

fn parse_line(line: &str) -> Option<Signature<'_>> {
    let (name, encoded) = line.strip_prefix(DASH)?.split_once(' ')?;
    let decoded = STANDARD.decode(encoded).ok()?;
    let (id, signature) = decoded.split_first_chunk::<4>()?;
    if !is_signer_name(name) || signature.is_empty() {
        return None;
    }
    Some(Signature {
        name,
        id: KeyId(*id),
        bytes: signature.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key, text and signature of the tests of `golang.org/x/mod/sumdb/note`.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const PETER_SEED: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                        then you don't know what your problem is.\n";
    const LINE: &str = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    fn peter() -> VerifyingKey {
        PETER.parse().unwrap()
    }

    #[test]
    fn notes_are_those_of_go_sumdb() {
        let seed = STANDARD.decode(PETER_SEED).unwrap();
        let key = SigningKey::from_seed("PeterNeumann", seed[1..].try_into().unwrap()).unwrap();
        assert_eq!(key.verifying(), &peter());
        let note = sign(TEXT, &key).unwrap();
        assert_eq!(note, format!("{TEXT}\n{LINE}"));
        let opened = Note::open(note.as_bytes(), &[peter()]).unwrap();
        assert_eq!(opened.text(), TEXT);
        assert_eq!(opened.signers(), ["PeterNeumann+c74f20a3"]);
    }

    #[test]
    fn signatures_of_unknown_keys_are_ignored_and_forged_ones_are_not() {
        let other = SigningKey::from_seed("other", &[1; 32]).unwrap();
        let line = |note: &str| note.strip_prefix(&format!("{TEXT}\n")).unwrap().to_owned();
        let others = line(&sign(TEXT, &other).unwrap());
        let same_name = SigningKey::from_seed("PeterNeumann", &[2; 32]).unwrap();
        let namesake = line(&sign(TEXT, &same_name).unwrap());
        let open = |note: String| Note::open(note.as_bytes(), &[peter()]);

        assert!(open(format!("{TEXT}\n{others}{LINE}{namesake}")).is_ok());
        assert_eq!(
            open(format!("{TEXT}\n{others}{namesake}")),
            Err(InvalidNote::Unsigned)
        );
        let bad = InvalidNote::BadSignature("PeterNeumann+c74f20a3".into());
        assert_eq!(open(format!("X{TEXT}\n{LINE}")), Err(bad.clone()));
        let both = [peter(), other.verifying().clone()];
        let forged = LINE.replace("JnAM=", "JnAQ=");
        let note = format!("{TEXT}\n{others}{forged}");
        assert_eq!(Note::open(note.as_bytes(), &both), Err(bad));
    }

    #[test]
    fn malformed_notes_are_refused() {
        let many = LINE.repeat(101);
        let long = "x".repeat(MAX_NOTE_BYTES);
        for (note, expected) in [
            (String::new(), InvalidNote::Form),
            (TEXT.to_owned(), InvalidNote::Form),
            (format!("{TEXT}{LINE}"), InvalidNote::Form),
            (format!("{TEXT}\n"), InvalidNote::Form),
            (format!("{TEXT}\n{}", LINE.trim_end()), InvalidNote::Form),
            (format!("{TEXT}\n{LINE}\n"), InvalidNote::Form),
            (
                format!("{TEXT}\n{LINE}{TEXT}"),
                InvalidNote::SignatureLine(2),
            ),
            (
                format!("{TEXT}\n{}", LINE.replace('—', "-")),
                InvalidNote::SignatureLine(1),
            ),
            (
                format!("{TEXT}\n{}", LINE.replace("JnAM=", "JnAM")),
                InvalidNote::SignatureLine(1),
            ),
            (
                format!("{TEXT}\n{}", LINE.replace("JnAM=", "JnAN=")),
                InvalidNote::SignatureLine(1),
            ),
            (
                format!("{TEXT}\n{}", LINE.replace("x08", "x 08")),
                InvalidNote::SignatureLine(1),
            ),
            (
                format!("{TEXT}\n{}", LINE.replace("rN", "r+N")),
                InvalidNote::SignatureLine(1),
            ),
            (
                format!("{TEXT}\n— a x08goA==\n"),
                InvalidNote::SignatureLine(1),
            ),
            (
                format!("{TEXT}\n—  x08go/ZJ\n"),
                InvalidNote::SignatureLine(1),
            ),
            (format!("{TEXT}\n{many}"), InvalidNote::TooManySignatures),
            (format!("a\tb\n\n{LINE}"), InvalidNote::Characters),
            (format!("{TEXT}\r\n\n{LINE}"), InvalidNote::Characters),
            (
                format!("{long}\n\n{LINE}"),
                InvalidNote::TooLong(MAX_NOTE_BYTES + 2 + LINE.len()),
            ),
        ] {
            assert_eq!(
                Note::open(note.as_bytes(), &[peter()]),
                Err(expected),
                "{note:.200}"
            );
        }
        let mut bytes = format!("{TEXT}\n{LINE}").into_bytes();
        bytes[3] = 0xff;
        assert_eq!(Note::open(&bytes, &[peter()]), Err(InvalidNote::Characters));
        let key = SigningKey::from_seed("k", &[1; 32]).unwrap();
        assert_eq!(sign("no end", &key), Err(InvalidNote::Form));
        assert_eq!(sign("a\rb\n", &key), Err(InvalidNote::Characters));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let note = format!("{TEXT}\n{LINE}").into_bytes();
        for bit in 0..note.len() * 8 {
            let mut changed = note.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Note::open(&changed, &[peter()]).is_err(), "bit {bit}");
        }
    }
}
