//! device: whose turn it is on the processor, and how much memory is promised to whom.
//! Computes nothing and allocates nothing itself; it only counts and orders.

mod budget;
mod turns;

pub use budget::{Budget, Reserved};
pub use turns::{ServingTurn, Turns};
