//! Secrets taken out of output before it leaves the runner.
//!
//! In scope: a secret as it is, each long line of it, and its base64 (standard and URL alphabet,
//! at any place inside other encoded bytes); also when split over pieces of output.
//! Out of scope: other encodings (hex, JSON escapes, compression), base64 broken into lines, and a
//! command that sets out to smuggle: masking guards against accidents, not against an attacker.
//! Invariant: cutting the same output into other pieces gives the same result.
//! Specification: RFC 4648 sections 4 and 5.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use zeroize::Zeroizing;

use super::Secret;

/// What stands where a secret was.
const MASK: &[u8] = b"***";
/// Shorter encodings and lines occur by chance.
const MIN_DERIVED: usize = 8;

/// Masks one stream of output.
pub struct Masker {
    patterns: Vec<Zeroizing<Vec<u8>>>,
    longest: usize,
    /// Bytes held back because they can still become a secret.
    held: Zeroizing<Vec<u8>>,
    /// How many bytes from the start of `held` belong to a secret that began earlier.
    covered: usize,
    /// Whether the mask of the current secret is already written.
    masking: bool,
}

impl Masker {
    /// A masker for everything by which `secrets` can be recognised. However short a secret is, it
    /// is masked wherever its bytes occur.
    #[must_use]
    pub fn new<'s>(secrets: impl IntoIterator<Item = &'s Secret>) -> Self {
        let mut patterns: Vec<Zeroizing<Vec<u8>>> = secrets.into_iter().flat_map(forms).collect();
        patterns.sort_by(|one, other| one.as_slice().cmp(other.as_slice()));
        patterns.dedup_by(|one, other| one.as_slice() == other.as_slice());
        let longest = patterns
            .iter()
            .map(|pattern| pattern.len())
            .max()
            .unwrap_or(0);
        Self {
            patterns,
            longest,
            held: Zeroizing::default(),
            covered: 0,
            masking: false,
        }
    }

    /// Takes the next piece of output; returns what can safely leave by now.
    ///
    /// At most as many bytes as the longest secret has are held back, and only while they are the
    /// beginning of one.
    pub fn push(&mut self, piece: &[u8]) -> Bytes {
        if self.patterns.is_empty() {
            return Bytes::copy_from_slice(piece);
        }
        self.held.extend_from_slice(piece);
        let ready = self.first_undecided();
        self.release(ready)
    }

    /// The rest, at the end of the output.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        self.release(self.held.len())
    }

    /// The first position at which a secret may have begun that is not complete yet.
    fn first_undecided(&self) -> usize {
        let from = self.held.len().saturating_sub(self.longest);
        let begins = |at: &usize| {
            let tail = self.held.get(*at..).unwrap_or_default();
            self.patterns
                .iter()
                .any(|p| p.len() > tail.len() && p.starts_with(tail))
        };
        (from..self.held.len())
            .find(begins)
            .unwrap_or(self.held.len())
    }

    /// Lets the first `ready` bytes go, with every byte that lies in a secret masked; secrets that
    /// overlap or touch become one mask.
    fn release(&mut self, ready: usize) -> Bytes {
        let mut out = Vec::with_capacity(ready);
        for (at, byte) in self.held.iter().enumerate().take(ready) {
            let rest = self.held.get(at..).unwrap_or_default();
            let found = self
                .patterns
                .iter()
                .filter(|p| rest.starts_with(p))
                .map(|p| p.len())
                .max();
            self.covered = self.covered.max(at + found.unwrap_or(0));
            if at >= self.covered {
                self.masking = false;
                out.push(*byte);
            } else if !self.masking {
                self.masking = true;
                out.extend_from_slice(MASK);
            }
        }
        self.covered = self.covered.saturating_sub(ready);
        let rest = Zeroizing::new(self.held.get(ready..).unwrap_or_default().to_vec());
        self.held = rest;
        Bytes::from(out)
    }
}

/// Masks `secrets` in `bytes`, which is all of the output.
#[must_use]
pub fn mask(secrets: &[Secret], bytes: &[u8]) -> Bytes {
    let mut masker = Masker::new(secrets);
    let mut out = masker.push(bytes).to_vec();
    out.extend_from_slice(&masker.finish());
    Bytes::from(out)
}

/// Everything by which `secret` is recognised.
fn forms(secret: &Secret) -> Vec<Zeroizing<Vec<u8>>> {
    let value = secret.expose();
    let mut forms = vec![Zeroizing::new(value.to_vec())];
    let lines = value
        .split(|byte| matches!(byte, b'\n' | b'\r'))
        .filter(|line| line.len() >= MIN_DERIVED);
    forms.extend(lines.map(|line| Zeroizing::new(line.to_vec())));
    // Encoded together with what stands before it, a secret begins at one of three places in a
    // group of four digits; digits that also encode its neighbours are left off.
    for (before, skip) in [(0, 0), (1, 2), (2, 3)] {
        let mut padded = Zeroizing::new(vec![0; before]);
        padded.extend_from_slice(value);
        let digits = padded.len() * 8 / 6;
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let encoded = Zeroizing::new(engine.encode(padded.as_slice()));
            let own = encoded.as_bytes().get(skip..digits).unwrap_or_default();
            if own.len() >= MIN_DERIVED {
                forms.push(Zeroizing::new(own.to_vec()));
            }
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    fn secret(value: &str) -> Secret {
        Secret::new(value.as_bytes().to_vec()).unwrap()
    }

    fn masked(secrets: &[Secret], text: &str) -> String {
        String::from_utf8(mask(secrets, text.as_bytes()).to_vec()).unwrap()
    }

    #[test]
    fn secrets_are_masked_wherever_they_are() {
        let secrets = [secret("abcd"), secret("cdef"), secret("abc")];
        for (text, shown) in [
            ("nothing here", "nothing here"),
            ("x abcd y", "x *** y"),
            ("abcdef", "***"),
            ("ababcdabcd.", "ab***."),
            ("abc abce", "*** ***e"),
            ("cde", "cde"),
            ("ab", "ab"),
        ] {
            assert_eq!(masked(&secrets, text), shown);
        }
        assert_eq!(masked(&[], "abc"), "abc");
    }

    #[test]
    fn base64_is_masked_at_every_place() {
        let secrets = [secret("correct>>>horse???battery")];
        for before in ["", "u", "us", "user:", "x:correct"] {
            for after in ["", "!", "!!", "!!!"] {
                let text = format!("{before}correct>>>horse???battery{after}");
                for encoded in [STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                    let shown = masked(&secrets, &format!("Basic {encoded}"));
                    assert!(shown.contains("***"), "{shown}");
                    assert!(
                        shown.len() < "Basic ***".len() + 2 * before.len() + after.len() * 2 + 6,
                        "{shown}"
                    );
                }
            }
        }
    }

    #[test]
    fn each_line_of_a_key_is_masked() {
        let secrets = [secret(
            "-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----",
        )];
        assert_eq!(masked(&secrets, "  | MIIEvQIBADANBg |"), "  | *** |");
    }

    #[test]
    fn a_secret_split_over_pieces_is_masked() {
        let mut masker = Masker::new(&[secret("hunter22")]);
        assert_eq!(masker.push(b"password is hun"), "password is ");
        assert_eq!(masker.push(b"ter"), "");
        assert_eq!(masker.push(b"22, hunt"), "***, ");
        assert_eq!(masker.finish(), "hunt");
    }

    proptest! {
        #[test]
        fn pieces_change_nothing(
            text in "[abc]{0,40}",
            cuts in proptest::collection::vec(0_usize..40, 0..6),
            values in proptest::collection::vec("[abc]{1,5}", 0..4),
        ) {
            let secrets: Vec<Secret> = values.iter().map(|value| secret(value)).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut masker = Masker::new(&secrets);
            let mut out = Vec::new();
            for window in cuts.windows(2) {
                out.extend_from_slice(&masker.push(&text.as_bytes()[window[0]..window[1]]));
            }
            out.extend_from_slice(&masker.finish());
            let out = String::from_utf8(out).unwrap();
            prop_assert_eq!(&out, &masked(&secrets, &text));
            for value in &values {
                prop_assert!(!out.contains(value.as_str()));
            }
        }
    }
}
