//! data: from the bytes of a training file to the batches of a step.
//!
//! Reads records (`record`, `rows`), renders them as the model will see them (`render`), holds rows out (`split`),
//! fixes their order (`order`), lays them out in forwards (`pack`), and reports on a file's quality (`check`).
//! Touches no tensor and no disk.

mod check;
mod duplicates;
mod format;
mod order;
mod pack;
mod record;
mod render;
mod rows;
mod split;
mod strict;

pub use check::check;
pub use order::Order;
pub use pack::{Forward, forwards};
pub use record::Record;
pub use render::{Example, Renderer, Sequence};
pub use rows::{Parsed, Row, parse};
pub use split::split;

/// Bad rows that are told one by one; the rest are only counted.
pub const TOLD: usize = 20;

/// The fault that refuses a file for its bad rows.
pub fn refusal(file: &'static str, mut bad: Vec<crate::domain::BadRow>) -> crate::domain::Reason {
    let total = bad.len();
    bad.truncate(TOLD);
    crate::domain::Reason::BadRows {
        file,
        first: bad,
        total,
    }
}
