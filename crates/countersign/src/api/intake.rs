//! Bodies of posts whose sender is known only once they are read: chats and code hosts sign what they post.
//!
//! In scope: reading them within bounds of time and memory.
//! Out of scope: whose they are; each reader checks the signature.
//! Invariant: what strangers send takes at most [`ROOM`] at once, however many they are, and a connection for
//! [`ARRIVES`] at most; what has no signature is not read.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// The longest body, in bytes. What chats and code hosts send is a few thousand.
const LONGEST: usize = 1 << 20;
/// How long it may take to arrive.
const ARRIVES: Duration = Duration::from_secs(10);
/// What all of them may take at once, in [`PIECE`]s: 64 MiB.
const ROOM: usize = 64 << 10;
/// What room is counted in, in bytes.
const PIECE: usize = 1 << 10;

/// Room for bodies. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Intake {
    room: Arc<Semaphore>,
    arrives: Duration,
}

/// A body, which takes its room until it is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    /// What was sent.
    pub(crate) bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            room: Arc::new(Semaphore::new(ROOM)),
            arrives: ARRIVES,
        }
    }
}

impl Intake {
    /// Reads a body that comes with a `signature`, the name of a header.
    ///
    /// # Errors
    /// The status that says so: 401 without the header, 408 too slow, 413 too long, 503 no room.
    pub(crate) async fn read(
        &self,
        headers: &HeaderMap,
        signature: &str,
        body: Body,
    ) -> Result<Taken, StatusCode> {
        if !headers.contains_key(signature) {
            return Err(StatusCode::UNAUTHORIZED);
        }
        let reading = timeout(self.arrives, self.read_all(body));
        reading.await.map_err(|_| StatusCode::REQUEST_TIMEOUT)?
    }

    async fn read_all(&self, body: Body) -> Result<Taken, StatusCode> {
        let (mut bytes, mut room) = (BytesMut::new(), None::<OwnedSemaphorePermit>);
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|_| StatusCode::BAD_REQUEST)?;
            let length = bytes.len().saturating_add(piece.len());
            if length > LONGEST {
                return Err(StatusCode::PAYLOAD_TOO_LARGE);
            }
            // Never waiting: whoever holds the rest waits for its sender, who may be nobody's friend.
            let has = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let needs = length.div_ceil(PIECE).saturating_sub(has);
            let needs = u32::try_from(needs).unwrap_or(u32::MAX);
            let more = self.room.clone().try_acquire_many_owned(needs);
            let more = more.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Taken {
            bytes: bytes.freeze(),
            _room: room,
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn signed() -> HeaderMap {
        [("x-signature".parse().unwrap(), "x".parse().unwrap())]
            .into_iter()
            .collect()
    }

    async fn read(intake: &Intake, body: Body) -> Result<Taken, StatusCode> {
        intake.read(&signed(), "x-signature", body).await
    }

    #[tokio::test]
    async fn a_body_is_read_and_gives_its_room_back() {
        let intake = Intake::default();
        let pieces = [Ok::<_, std::io::Error>("one "), Ok("two")];
        let taken = read(&intake, Body::from_stream(stream::iter(pieces))).await;
        let taken = taken.unwrap();
        assert_eq!(taken.bytes, "one two");
        assert_eq!(intake.room.available_permits(), ROOM - 1);
        drop(taken);
        assert_eq!(intake.room.available_permits(), ROOM);
    }

    #[tokio::test]
    async fn what_is_unsigned_or_too_long_or_has_no_room_is_refused() {
        let intake = Intake::default();
        let none = intake
            .read(&HeaderMap::new(), "x-signature", Body::from("x"))
            .await;
        assert_eq!(none.unwrap_err(), StatusCode::UNAUTHORIZED);
        let long = read(&intake, Body::from(vec![0; LONGEST + 1])).await;
        assert_eq!(long.unwrap_err(), StatusCode::PAYLOAD_TOO_LARGE);
        let mut taken = Vec::new();
        for _ in 0..ROOM * PIECE / LONGEST {
            taken.push(read(&intake, Body::from(vec![0; LONGEST])).await.unwrap());
        }
        let full = read(&intake, Body::from("x")).await;
        assert_eq!(full.unwrap_err(), StatusCode::SERVICE_UNAVAILABLE);
        taken.pop();
        assert!(read(&intake, Body::from("x")).await.is_ok());
    }

    #[tokio::test]
    async fn what_does_not_arrive_is_given_up() {
        let intake = Intake {
            arrives: Duration::from_millis(50),
            ..Intake::default()
        };
        let first = stream::iter([Ok::<_, std::io::Error>("begun")]);
        let body = Body::from_stream(first.chain(stream::pending()));
        let slow = read(&intake, body).await;
        assert_eq!(slow.unwrap_err(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(intake.room.available_permits(), ROOM);
    }
}
