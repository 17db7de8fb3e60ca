//! scheduler: one engine thread that owns the key/value cache and answers every request, many in one step.
//! It takes only what `Admitted::check` has passed. It knows no names, templates or protocols, and checks no
//! caller's rights.
//!
//! `queue → policy::plan (pure) → one ragged batch, sorted by adapter → model → sampled tokens → event streams`

mod actor;
mod admit;
mod answer;
mod blocks;
mod detokenize;
mod draft;
mod engine;
mod forward;
mod gate;
mod guided;
mod observe;
mod pace;
mod policy;
mod pooling;
mod prefix;
mod request;
mod speculation;
mod step;

#[cfg(test)]
mod tests;

pub use actor::{Config, Scheduler};
pub use admit::{Admitted, Begun, Draft, Limits, Terms};
pub use engine::{Shortcuts, Speculation};
pub use observe::{Load, Observe, Unobserved};
pub use policy::ledger::Weights;
