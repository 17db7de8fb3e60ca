//! GGUF files: one file with weights, sizes, tokenizer and chat template.
//!
//! Reading trusts nothing: every length is checked against the bytes that are there before anything is allocated.

mod file;
mod header;
mod source;
mod split;
mod vocabulary;
mod write;

pub(super) use file::ALIGNMENT;
pub(super) use header::DIVISORS;
pub use source::Gguf;
pub(super) use source::{interleaved, stored};
pub use split::Named;
pub use write::{Contents, write};
pub(super) use write::{Line, Table, layout, metadata_of};
