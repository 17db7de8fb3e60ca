//! device: whose turn it is on the processor.
//! Computes nothing and allocates nothing itself; it only counts and orders.

mod turns;

pub use turns::{ServingTurn, Turns};
