//! GGUF files: one file with weights, sizes, tokenizer and chat template.
//!
//! Reading trusts nothing: every length is checked against the bytes that are there before anything is allocated.

mod file;
mod header;
mod source;
mod vocabulary;
mod write;

pub use source::Gguf;
pub use write::{Contents, write};
