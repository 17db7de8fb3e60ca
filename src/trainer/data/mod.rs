//! data: from the bytes of a training file to the batches of a step.
//!
//! Reads files of any format as rows (`file`), rows as records (`record`, `rows`), renders them as the model will see them
//! (`render`, which finds the answers with `answer`). Checks all rows of a file once and writes down where they lie (`scan`,
//! `index`), so that each is read again when it is learned from (`stock`). Holds rows out (`split`), fixes their order
//! (`order`), lays them out in forwards (`pack`), reports on a file's quality (`report`), chooses among
//! rows (`select`, by `label`) and shows what the loss covers
//! (`mask`). What it does not use of a file it reports (`unused`, `remarks`). Computes nothing with a model.

mod answer;
mod examples;
mod file;
mod format;
mod index;
mod label;
pub mod mask;
mod order;
mod pack;
mod record;
mod remarks;
mod render;
pub mod report;
mod rows;
mod scan;
mod select;
mod split;
mod stock;
mod unused;

pub use examples::{Examples, Sample, Taken};
pub use file::{LONGEST_ROW, Line, ReadFault, RowReader};
pub use label::Labelled;
pub use order::Order;
pub use pack::{Forward, Length, Pair, forwards, layout};
pub use record::{Body, Record};
pub use remarks::Remarks;
pub use render::{Example, Renderer, Sequence};
pub use rows::{Parsed, Refused, Row, parse};
pub use scan::{Scan, Scanned};
pub use select::{Selection, select};
pub use split::{held_out, held_out_count};
pub use stock::{Chosen, Voice};
pub use unused::Unused;

/// Bad rows that are reported one by one; the rest are only counted.
const TOLD: usize = 20;
