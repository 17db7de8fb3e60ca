//! model: specs, weights, shared layers, architectures, KV cache, sampling. Opens a base and
//! runs it, to serve and to learn from; decides nothing about requests.

pub mod arch;
mod base;
mod batch;
mod cache;
mod decoder;
mod groups;
mod hub;
mod layers;
mod locate;
mod outline;
mod rotation;
pub mod sample;
pub mod spec;
mod step;
mod supply;
#[cfg(test)]
pub(crate) mod testing;
pub mod weights;

pub use base::{Base, KvKind, OpenError, Origin, voice};
pub use batch::{Batch, Pack, Sequence};
pub use cache::Cache;
pub use decoder::Model;
pub use groups::WeightGroup;
pub use locate::{Surroundings, locate};
pub use outline::Outline;
pub use supply::{Initial, seeded};
pub use weights::Quant;
