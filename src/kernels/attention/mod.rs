//! attention: causal, with grouped query heads and an optional sliding window.
//!
//! [`Packed`] learns: whole records side by side. [`paged`] serves: rows against keys and values that lie in
//! blocks of a cache. A query at position p sees positions up to p, with a window of w only the last w of those.

mod cells;
mod lanes;
mod packed;
mod paged;
mod pages;
mod span;

pub use packed::Packed;
pub use paged::{Query, paged};
pub use pages::{Pages, Stored};

/// What is the same for every row of a layer's attention.
#[derive(Debug, Clone, Copy)]
pub struct Attend {
    /// Size of a head, d. Queries of H heads are rows of H·d values, keys and values of G heads rows of G·d; each kv head
    /// serves H/G query heads, which lie side by side.
    pub dim: usize,
    /// Scores are scale · q·k.
    pub scale: f32,
    pub window: Option<usize>,
}

/// The first of the positions a query at `position` sees.
fn first_seen(position: usize, window: Option<usize>) -> usize {
    window.map_or(0, |window| (position + 1).saturating_sub(window.max(1)))
}
