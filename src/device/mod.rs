//! device: what computes, the memory numbers lie in, and whose turn it is. Computes nothing itself.

mod array;
mod error;
mod turns;

pub use array::Array;
pub(crate) use error::bail;
pub use error::{Error, Result};
pub use turns::{ServingTurn, Turns};

/// What computes.
#[derive(Debug, Clone, Default)]
pub enum Device {
    /// This machine's processor and main memory.
    #[default]
    Host,
}
