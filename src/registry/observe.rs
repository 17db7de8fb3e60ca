//! What the registry reports to metrics.

/// Called in passing: must not block.
pub trait Observe: Send + Sync {
    /// A version came from disk into memory.
    fn loaded(&self, _seconds: f64) {}
    /// A name moved to another version (or is new): from its turn until every request sees it.
    fn swapped(&self, _seconds: f64) {}
}

/// Measures nothing.
pub struct Unobserved;

impl Observe for Unobserved {}
