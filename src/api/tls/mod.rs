//! tls: certificates of this daemon and of its callers. Reads the files, says what is wrong with them, reads them again
//! when they change, and shakes hands. What a caller may do is decided elsewhere, by the names found here.

mod files;
mod identity;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

use self::files::Loaded;
pub use self::files::{ClientAuth, Files, Mistake};
use self::identity::names;

/// Which protocols a listener offers within TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// `h2`, else `http/1.1`.
    Http,
    /// `h2` alone.
    Grpc,
}

/// The certificates in use. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    inner: Arc<Inner>,
}

struct Inner {
    files: Files,
    current: ArcSwap<Loaded>,
    /// What the files held when they were last looked at, usable or not.
    seen: Mutex<blake3::Hash>,
    failures: AtomicU64,
}

/// A connection after its handshake.
pub(super) struct Shaken<S> {
    pub stream: TlsStream<S>,
    /// What the caller's certificate calls it; none where it showed none.
    pub names: Vec<String>,
    pub is_h2: bool,
}

impl Tls {
    /// Everything that is wrong with the files, each with the one it concerns.
    pub fn open(files: Files) -> Result<Self, Vec<Mistake>> {
        let (loaded, seen) = files.read();
        Ok(Self {
            inner: Arc::new(Inner {
                current: ArcSwap::from_pointee(loaded?),
                seen: Mutex::new(seen),
                failures: AtomicU64::new(0),
                files,
            }),
        })
    }

    /// Reads the files again: `Some` where they hold something else than before, with whether that can be used. What was in
    /// use stays where it cannot, and connections that are open are not touched.
    pub fn reload(&self) -> Option<Result<(), Vec<Mistake>>> {
        let (loaded, hash) = self.inner.files.read();
        {
            let seen = self.inner.seen.lock();
            let mut seen = seen.unwrap_or_else(PoisonError::into_inner);
            if std::mem::replace(&mut *seen, hash) == hash {
                return None;
            }
        }
        Some(match loaded {
            Ok(loaded) => {
                self.inner.current.store(Arc::new(loaded));
                Ok(())
            }
            Err(mistakes) => {
                self.inner.failures.fetch_add(1, Ordering::Relaxed);
                Err(mistakes)
            }
        })
    }

    /// Reads the files again, and says in the log what became of it.
    pub async fn renew(&self) {
        let tls = self.clone();
        match tokio::task::spawn_blocking(move || tls.reload()).await {
            Ok(None) => {}
            Ok(Some(Ok(()))) => tracing::info!(
                expires_in_days = self.expires_in() / 86_400,
                "new certificates are in use"
            ),
            Ok(Some(Err(mistakes))) => {
                for Mistake { what, why } in mistakes {
                    tracing::warn!("server.tls.{what}: {why}; the certificates before stay in use");
                }
            }
            Err(fault) => tracing::error!(%fault, "certificates were not read again"),
        }
    }

    /// New files that could not be used.
    pub fn failures(&self) -> u64 {
        self.inner.failures.load(Ordering::Relaxed)
    }

    /// Seconds until this daemon's certificate expires; negative once it has.
    pub fn expires_in(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs() as i64);
        self.inner.current.load().expires_at - now
    }

    fn config(&self, offer: Offer) -> Arc<ServerConfig> {
        let current = self.inner.current.load();
        match offer {
            Offer::Http => current.http.clone(),
            Offer::Grpc => current.grpc.clone(),
        }
    }

    /// With the certificates of this moment. The caller sets the deadline.
    pub(super) async fn shake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        socket: S,
        offer: Offer,
    ) -> io::Result<Shaken<S>> {
        let acceptor = TlsAcceptor::from(self.config(offer));
        let stream = acceptor.accept(socket).await?;
        let (_, session) = stream.get_ref();
        let shown = session.peer_certificates().and_then(<[_]>::first);
        Ok(Shaken {
            names: shown.map(|leaf| names(leaf)).unwrap_or_default(),
            is_h2: session.alpn_protocol() == Some(b"h2"),
            stream,
        })
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seen = self.inner.seen.lock();
        let seen = *seen.unwrap_or_else(PoisonError::into_inner);
        write!(f, "Tls of {:?} ({seen})", self.inner.files)
    }
}

#[cfg(test)]
mod tests;
