//! What the engine reports to metrics.

use crate::domain::Usage;

/// Called from the engine thread between steps: must not block.
pub trait Observe: Send + Sync {
    /// One step: how long it took, over how many answers, with how many different adapters.
    fn step(&self, _seconds: f64, _rows: usize, _adapters: usize) {}
    /// Training had so long before a step.
    fn sliced(&self, _seconds: f64) {}
    /// From a request's arrival to the first token of its first answer.
    fn first_token(&self, _seconds: f64) {}
    /// Between two tokens of one answer.
    fn inter_token(&self, _seconds: f64) {}
    /// A request began: how many tokens its prompt has, and how many of them the cache had.
    fn reused(&self, _prompt: usize, _found: usize) {}
    /// A step verified so many guessed tokens, and so many of them were right.
    fn speculated(&self, _drafted: usize, _accepted: usize) {}
    /// Finding what one answer may say next, by its grammar, took so long.
    fn masked(&self, _seconds: f64) {}
    /// A request ended, in whatever way, after so long.
    fn request(&self, _seconds: f64, _adapter: Option<&str>, _usage: Usage) {}
}

/// Measures nothing.
pub struct Unobserved;

impl Observe for Unobserved {}

/// The engine's present load, for health and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests none of whose answers has begun.
    pub waiting: usize,
    /// Requests begun and not ended.
    pub running: usize,
    /// Blocks held.
    pub kv_used: usize,
    /// Blocks no answer holds that contain what may be asked for again.
    pub kv_cached: usize,
    pub kv_total: usize,
    /// Positions of one block.
    pub block_size: usize,
    /// Names, sorted, each once.
    pub running_adapters: Vec<String>,
    pub waiting_adapters: Vec<String>,
}
