//! api: what goes over the wire. HTTP and gRPC shapes on one side, the gateway's plain values on the other, and one
//! table that says how every reason to refuse looks. Decides nothing about models, adapters or jobs.

mod access;
mod access_log;
mod arrival;
mod backoff;
mod caller;
mod console;
mod door;
mod entry;
mod fault;
pub mod grpc;
pub mod http;
mod socket;
pub mod tls;
mod trace_parent;

use std::sync::Arc;
use std::time::Duration;

pub use access_log::{AccessLog, Place as LogPlace};
pub use arrival::{Memory, Pace};
pub use backoff::Backoff;
pub use door::{Counts, DoorName, Traffic};
pub use entry::{Arrival, Ended, Status, Traces};
pub use trace_parent::Parent;

/// A peer of HTTP/2 that does not answer a ping is gone.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(20);
/// Streams that a peer of HTTP/2 has begun and taken back before they were looked at; beyond, its connection ends. What a
/// reset costs the peer is a few bytes, so it must not cost a request here.
const PENDING_RESETS: usize = 20;
/// The same for streams that were ended here because the peer broke the protocol's rules.
const LOCAL_ERROR_RESETS: usize = 256;

/// What HTTP and gRPC both keep to.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections of one protocol served at once.
    pub connections: usize,
    /// One JSON body, or one message of a call.
    pub max_request_bytes: usize,
    /// One uploaded training file, which is never in memory as a whole.
    pub max_file_bytes: usize,
    /// One uploaded adapter, all its files together.
    pub max_adapter_bytes: usize,
    /// Bodies in memory, of both protocols together.
    pub memory: Memory,
    /// How slowly a body may come. A peer that reads nothing of its answer for as long as a body may pause is gone.
    pub pace: Pace,
    /// Of these connections, those of one address.
    pub connections_per_address: usize,
    /// A request's line and headers together.
    pub max_header_bytes: usize,
    /// Requests of one HTTP/2 connection at once.
    pub streams: u32,
    /// How long a TLS handshake may take, and after it a gRPC client until it begins.
    pub handshake: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            max_request_bytes: 8 << 20,
            max_file_bytes: 256 << 20,
            max_adapter_bytes: 1 << 30,
            memory: Memory::new(2 << 30),
            pace: Pace::default(),
            connections_per_address: 512,
            max_header_bytes: 64 << 10,
            streams: 256,
            handshake: Duration::from_secs(10),
        }
    }
}

/// What all listeners hold together.
#[derive(Debug, Clone, Default)]
pub struct Common {
    /// Certificates; without, connections are as they come.
    pub tls: Option<tls::Tls>,
    pub traffic: Arc<Traffic>,
    pub backoff: Backoff,
    pub log: Option<AccessLog>,
    /// Who draws traces of requests.
    pub traces: Option<Arc<dyn Traces>>,
}
