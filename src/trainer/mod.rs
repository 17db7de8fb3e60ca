//! trainer: turns uploaded records into adapters, in the background, on the resident base.
//!
//! Knows no request and no wire, and judges no caller. One job's way: `recipe` (what is wished) → `plan` (rows, layers,
//! parent) → `run` (steps, checkpoints, scores) → `publish` (files) → the registry. `worker` is a thin thread around
//! it, `service` the handle that others hold, `shared` what the two have in common.

mod checkpoint;
mod clip;
mod create;
pub mod data;
mod disk;
mod evaluate;
mod fault;
mod files;
mod follower;
#[cfg(test)]
mod golden;
mod learner;
mod optimizer;
mod patience;
mod plan;
pub mod pretrain;
mod publish;
mod recipe;
mod rng;
mod run;
mod schedule;
mod service;
mod shared;
mod step;
mod store;
#[cfg(test)]
mod testing;
mod trainable;
mod verdict;
mod worker;

pub use create::NewJob;
pub use recipe::Wishes;
pub use service::{Config, Trainer};
pub use store::Page;
