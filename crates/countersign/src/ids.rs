//! New identifiers: milliseconds in front, randomness behind.

use countersign_core::time::Timestamp;

use crate::engine::EngineError;

/// 128 bits for an identifier: 48 of time, 80 of randomness.
///
/// # Errors
/// The system's random generator failed.
pub fn bits(now: Timestamp) -> Result<u128, EngineError> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| EngineError::Internal("the system's random generator failed".into()))?;
    let time = u128::from(now.0.unsigned_abs()) << 80;
    Ok(time | (u128::from_be_bytes(random) >> 48))
}
