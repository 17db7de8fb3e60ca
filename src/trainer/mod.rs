//! trainer: turns uploaded records into adapters, in the background, on the resident base.
//!
//! Knows no request and no protocol, and checks no caller's rights. One job's way: `recipe` (settings) → `plan`
//! (rows, layers, parent) → `run` (steps, checkpoints, scores) → `publish` (files) → the registry. `worker` is a thin
//! thread around it, `service` the handle that others hold, `shared` what the two have in common.

pub mod account;
mod answers;
mod checkpoint;
mod clip;
mod course;
mod create;
pub mod data;
mod evaluate;
mod examine;
mod fault;
mod follower;
mod gate;
#[cfg(test)]
mod golden;
mod learner;
mod methods;
mod noise;
mod objective;
mod opening;
pub mod optimizer;
mod plan;
mod publish;
mod recipe;
mod replay;
mod rng;
mod room;
mod run;
mod scaling;
mod schedule;
mod served;
mod service;
mod shared;
mod step;
mod summary;
#[cfg(test)]
mod testing;
mod verdict;
mod worker;

pub use create::NewJob;
pub use examine::ReportAsk;
pub use recipe::{Wishes, check_retraining};
pub use service::{Config, Trainer};
