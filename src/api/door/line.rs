//! A connection as protocols see it: with TLS or without, and who is at its other end.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::api::socket::Socket;

/// Who is at the other end; every request of the connection carries it.
#[derive(Debug, Clone)]
pub(in crate::api) struct Peer {
    pub address: SocketAddr,
    /// What a certificate calls it; none where it showed none.
    pub names: Arc<[String]>,
}

impl Peer {
    pub fn plain(address: SocketAddr) -> Self {
        Self::tls(address, Vec::new())
    }

    pub fn tls(address: SocketAddr, names: Vec<String>) -> Self {
        let names = names.into();
        Self { address, names }
    }
}

enum Kind {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

/// What a client of HTTP/2 says first, in bytes.
const PREFACE: usize = 24;

/// A client that has not said all it says first.
struct Beginning {
    missing: usize,
    deadline: Pin<Box<Sleep>>,
}

pub(in crate::api) struct Line {
    kind: Kind,
    is_h2: bool,
    peer: Peer,
    beginning: Option<Beginning>,
}

impl Line {
    pub fn plain(socket: Socket, peer: Peer) -> Self {
        Self {
            kind: Kind::Plain(socket),
            is_h2: false,
            peer,
            beginning: None,
        }
    }

    pub fn tls(stream: TlsStream<Socket>, is_h2: bool, peer: Peer) -> Self {
        Self {
            kind: Kind::Tls(Box::new(stream)),
            is_h2,
            peer,
            beginning: None,
        }
    }

    /// Of HTTP/2, whose server waits for the client's first bytes as long as it takes: ends where they are not there in time.
    pub fn beginning_within(mut self, timeout: Duration) -> Self {
        self.beginning = Some(Beginning {
            missing: PREFACE,
            deadline: Box::pin(tokio::time::sleep(timeout)),
        });
        self
    }

    fn read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Kind::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }

    /// Whether HTTP/2 was agreed upon.
    pub fn is_h2(&self) -> bool {
        self.is_h2
    }
}

impl Connected for Line {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.read(cx, buffer);
        let Some(beginning) = &mut self.beginning else {
            return read;
        };
        if read.is_ready() {
            let came = buffer.filled().len() - before;
            beginning.missing = beginning.missing.saturating_sub(came);
            if beginning.missing == 0 {
                self.beginning = None;
            }
            return read;
        }
        beginning.deadline.as_mut().poll(cx).map(|()| {
            let why = "the peer does not begin";
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        })
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.kind {
            Kind::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Kind::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.kind {
            Kind::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, buffers),
            Kind::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.kind {
            Kind::Plain(socket) => socket.is_write_vectored(),
            Kind::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Kind::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Kind::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
