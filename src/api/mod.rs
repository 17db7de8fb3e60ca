//! api: what goes over the wire. HTTP and gRPC shapes on one side, the gateway's plain values on the other, and one
//! table that says how every reason to refuse looks. Decides nothing about models, adapters or jobs.

mod access;
mod arrival;
mod caller;
mod fault;
pub mod grpc;
pub mod http;
mod socket;

pub use arrival::{Memory, Pace};

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
        }
    }
}
