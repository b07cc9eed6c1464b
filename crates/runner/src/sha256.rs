//! SHA-256 over content that arrives in pieces.
//!
//! In scope: one running hash with the result type of the core.
//! Out of scope: hashes of structured values (see `countersign_core::canonical`).
//! Invariant: the result equals `Hash::of` over all pieces one after another.

use std::io::{self, Read};

use aws_lc_rs::digest;
use countersign_core::canonical::Hash;

/// A SHA-256 in progress.
pub(crate) struct Sha256(digest::Context);

impl Sha256 {
    pub(crate) fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Hash {
        let mut hash = [0; 32];
        for (to, from) in hash.iter_mut().zip(self.0.finish().as_ref()) {
            *to = *from;
        }
        Hash(hash)
    }
}

/// Reads `reader` to its end, giving every piece to `each` as well; returns the hash and length.
pub(crate) fn read_through(
    reader: &mut impl Read,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(Hash, u64)> {
    let mut hash = Sha256::new();
    let mut length: u64 = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => return Ok((hash.finish(), length)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let piece = buffer.get(..read).unwrap_or_default();
        hash.update(piece);
        length = length.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        each(piece)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_hash_like_the_whole() {
        let content = vec![7_u8; 200_000];
        let mut seen = Vec::new();
        let (hash, length) = read_through(&mut content.as_slice(), |piece| {
            seen.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
        assert_eq!(
            (hash, length, &seen),
            (Hash::of(&content), 200_000, &content)
        );
    }
}
