//! A connection from which only so much is read.
//!
//! In scope: counting what comes, in the clear and below TLS.
//! Out of scope: what it says, and how long it may take ([`smtp`](super::smtp)).
//! Invariant: whoever is at the other end, or in between, makes this process read no more than [`MOST`].

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::io::{AsyncRead as _, AsyncWrite as _};
#[expect(
    deprecated,
    reason = "nothing else of lettre's does TLS over a stream that is not its own"
)]
use lettre::transport::smtp::client::AsyncNetworkStream;
use lettre::transport::smtp::{
    Error,
    client::{AsyncTokioStream, TlsParameters},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most that is read on one connection, which is for one mail, in bytes: many times what its few answers
/// and a chain of certificates have.
const MOST: usize = 1 << 16;

/// A connection, and how much may still be read from it.
#[derive(Debug)]
pub(super) struct Bounded {
    stream: Box<dyn AsyncTokioStream>,
    left: usize,
}

impl Bounded {
    /// A connection from which nothing was read yet.
    pub(super) fn new(stream: Box<dyn AsyncTokioStream>) -> Self {
        let left = MOST;
        Self { stream, left }
    }

    /// The same with TLS, whose own bytes count as well.
    ///
    /// # Errors
    /// It is not the server that it should be.
    #[expect(deprecated, reason = "see where it is named first")]
    pub(super) async fn encrypted(
        self,
        parameters: TlsParameters,
    ) -> Result<Box<dyn AsyncTokioStream>, Error> {
        let mut stream = AsyncNetworkStream::use_existing_tokio1(Box::new(self));
        stream.upgrade_tls(parameters).await?;
        Ok(Box::new(Encrypted(stream)))
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::Error::other("the server says too much")));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = buf.filled().len().saturating_sub(before);
        self.left = self.left.saturating_sub(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for Bounded {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

/// TLS over a bounded connection.
#[expect(deprecated, reason = "see where it is named first")]
struct Encrypted(AsyncNetworkStream);

impl fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypted").finish_non_exhaustive()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buf.initialize_unfilled();
        let read = ready!(Pin::new(&mut self.0).poll_read(cx, room))?;
        buf.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

impl AsyncTokioStream for Encrypted {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }
}
