//! A connection with its seat: closed when its peer stops reading, its seat given back when it closes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::door::Seat;

pub(super) struct Socket<S = TcpStream, T = Seat> {
    stream: S,
    /// How long a write may go without any progress.
    timeout: Duration,
    /// Runs while a write is waiting for the peer.
    stalled: Option<Pin<Box<Sleep>>>,
    _seat: T,
}

impl Socket {
    pub fn new(stream: TcpStream, timeout: Duration, seat: Seat) -> Self {
        // Streams of small messages must not wait for each other.
        let _ = stream.set_nodelay(true);
        Self::of(stream, timeout, seat)
    }
}

impl<S, T> Socket<S, T> {
    const fn of(stream: S, timeout: Duration, seat: T) -> Self {
        Self {
            stream,
            timeout,
            stalled: None,
            _seat: seat,
        }
    }

    /// A write's outcome, or that it took too long.
    fn timed<W>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<W>>,
    ) -> Poll<io::Result<W>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let timeout = self.timeout;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        stalled.as_mut().poll(cx).map(|()| {
            let why = "the peer does not read what it is sent";
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        })
    }
}

impl<S: AsyncRead + Unpin, T: Unpin> AsyncRead for Socket<S, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin, T: Unpin> AsyncWrite for Socket<S, T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.timed(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.timed(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::sync::{OwnedSemaphorePermit, Semaphore};

    use super::*;

    type Near = Socket<DuplexStream, OwnedSemaphorePermit>;

    fn seated(timeout: Duration) -> (Near, DuplexStream, Arc<Semaphore>) {
        let seats = Arc::new(Semaphore::new(1));
        let seat = seats.clone().try_acquire_owned().unwrap();
        let (near, far) = tokio::io::duplex(4);
        (Socket::of(near, timeout, seat), far, seats)
    }

    #[tokio::test]
    async fn a_peer_that_stops_reading_loses_its_connection_and_its_seat() {
        let (mut socket, _far, seats) = seated(Duration::from_millis(20));
        let stuck = socket.write_all(&[7; 24]).await.unwrap_err();
        assert_eq!(stuck.kind(), io::ErrorKind::TimedOut);
        drop(socket);
        assert_eq!(seats.available_permits(), 1);
    }

    #[tokio::test]
    async fn every_bit_of_progress_renews_the_timeout() {
        let (mut socket, mut far, _) = seated(Duration::from_secs(60));
        let reading = tokio::spawn(async move {
            far.read_exact(&mut [0; 20]).await.unwrap();
            far
        });
        socket.write_all(&[7; 24]).await.unwrap();
        assert!(socket.stalled.is_none());
        reading.await.unwrap();
    }
}
