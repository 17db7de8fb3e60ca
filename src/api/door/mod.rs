//! door: connections before their first request. How many there may be, in all and from one address, the handshake, who
//! is at the other end, and what is counted of it.

mod address;
mod counts;
mod line;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(super) use self::address::block;
use self::address::{Addresses, Place};
pub(super) use self::counts::{Counted, Counter};
pub use self::counts::{Counts, DoorName, Traffic};
pub(super) use self::line::{Line, Peer};
use super::Limits;
use super::socket::Socket;
use super::tls::{Offer, Tls};

/// After an accept that failed (out of descriptors, say), before the next.
const BREATH: Duration = Duration::from_millis(50);

/// One listener's way in. Cheap to clone.
#[derive(Clone)]
pub(super) struct Door {
    pub seats: Arc<Semaphore>,
    pub counts: Arc<Counts>,
    addresses: Addresses,
    tls: Option<Tls>,
    offer: Offer,
    handshake: Duration,
}

/// What a connection holds as long as it is open.
pub(super) struct Seat {
    _permit: OwnedSemaphorePermit,
    _place: Place,
    _counted: Counted,
}

impl Door {
    pub fn new(limits: &Limits, counts: Arc<Counts>, tls: Option<Tls>, offer: Offer) -> Self {
        counts.set_most(limits.connections);
        Self {
            seats: Arc::new(Semaphore::new(limits.connections.max(1))),
            addresses: Addresses::new(limits.connections_per_address, counts.clone()),
            counts,
            tls,
            offer,
            handshake: limits.handshake,
        }
    }

    /// The next connection of an address that has not too many; others are closed at once.
    pub async fn accept(&self, listener: &TcpListener) -> (TcpStream, SocketAddr, Place) {
        loop {
            match listener.accept().await {
                Ok((socket, address)) => match self.addresses.place(address.ip()) {
                    Some(place) => return (socket, address, place),
                    None => self.counts.refused_address.more(),
                },
                Err(fault) => {
                    tracing::warn!(%fault, "cannot accept a connection");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }

    pub fn seat(&self, permit: OwnedSemaphorePermit, place: Place) -> Seat {
        Seat {
            _permit: permit,
            _place: place,
            _counted: self.counts.connections.hold(),
        }
    }

    /// Shakes hands, where that is asked for, within the deadline. `None`: it did not come to that.
    pub async fn open(&self, socket: Socket, address: SocketAddr) -> Option<(Line, Peer)> {
        let Some(tls) = &self.tls else {
            let peer = Peer::plain(address);
            return Some((self.timed(Line::plain(socket, peer.clone())), peer));
        };
        let shaking = self.counts.handshakes.hold();
        let shaken = tokio::time::timeout(self.handshake, tls.shake(socket, self.offer)).await;
        drop(shaking);
        let why = match shaken {
            Ok(Ok(shaken)) => {
                let peer = Peer::tls(address, shaken.names);
                let line = Line::tls(shaken.stream, shaken.is_h2, peer.clone());
                return Some((self.timed(line), peer));
            }
            Ok(Err(fault)) => fault.to_string(),
            Err(_) => "it took too long".to_owned(),
        };
        self.counts.refused_handshake.more();
        tracing::debug!(%address, why, "no handshake");
        None
    }
    /// The servers of HTTP have timers of their own.
    fn timed(&self, line: Line) -> Line {
        match self.offer {
            Offer::Grpc => line.beginning_within(self.handshake),
            Offer::Http => line,
        }
    }
}
