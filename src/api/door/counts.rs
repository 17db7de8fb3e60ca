//! What is counted of connections. Telemetry reads it at a scrape.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A number that comes and goes.
#[derive(Debug, Default)]
pub struct Counter(AtomicUsize);

impl Counter {
    pub fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(in crate::api) fn set(&self, value: usize) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Total(AtomicU64);

impl Total {
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(in crate::api) fn more(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A [`Counter`] that several share.
pub(in crate::api) type Shared = Arc<Counter>;

/// One of what a counter counts; taken off when dropped.
pub(in crate::api) struct Counted(Shared);

impl Counter {
    pub(in crate::api) fn hold(self: &Arc<Self>) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoorName {
    Http,
    Grpc,
    Admin,
}

impl DoorName {
    pub const ALL: [Self; 3] = [Self::Http, Self::Grpc, Self::Admin];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Admin => "admin",
        }
    }
}

/// Of one listener.
#[derive(Debug, Default)]
pub struct Counts {
    pub connections: Arc<Counter>,
    /// Connections it serves at once.
    pub most: Counter,
    /// That have a connection.
    pub addresses: Counter,
    pub handshakes: Arc<Counter>,
    /// Requests being answered.
    pub requests: Arc<Counter>,
    /// Connections of addresses that had too many.
    pub refused_address: Total,
    /// Connections whose handshake failed or took too long.
    pub refused_handshake: Total,
    /// Requests whose line and headers were too large.
    pub refused_head: Total,
}

impl Counts {
    pub(super) fn set_most(&self, connections: usize) {
        self.most.set(connections);
    }
}

/// Of every listener.
#[derive(Debug, Default)]
pub struct Traffic {
    doors: [Arc<Counts>; DoorName::ALL.len()],
}

impl Traffic {
    pub fn of(&self, door: DoorName) -> &Arc<Counts> {
        &self.doors[door as usize]
    }
}
