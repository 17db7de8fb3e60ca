//! data: from the bytes of a training file to the batches of a step.
//!
//! Reads records (`record`, `rows`), renders them as the model will see them (`render`, which finds the answers with
//! `answer`), holds rows out (`split`), fixes their order (`order`), lays them out in forwards (`pack`), reports on a
//! file's quality (`check`) and shows what the loss covers (`mask`). What it does not use of a file it reports
//! (`unused`, `remarks`). Computes nothing with a model and touches no disk.

mod answer;
mod check;
mod duplicates;
mod format;
pub mod mask;
mod order;
mod pack;
mod record;
mod remarks;
mod render;
mod rows;
mod split;
mod strict;
mod unused;

pub use check::{Checked, check};
pub use order::Order;
pub use pack::{Forward, Pair, forwards};
pub use record::{Body, Record};
pub use remarks::Remarks;
pub use render::{Example, Renderer, Sequence};
pub use rows::{Parsed, Row, parse};
pub use split::split;

/// Bad rows that are reported one by one; the rest are only counted.
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
