//! factory: how the embedded base and the data of the ready-made adapters come to be.
//!
//! Makes a seeded corpus of general skills, learns a tokenizer and the weights of a small decoder from it, through the
//! layers that serve it, and writes them as one GGUF file. It knows no job and no adapter; the demonstration tasks
//! (`domains`) are no part of the corpus.

mod domains;
mod export;
mod init;
mod learn;
mod muon;
mod optimizer;
mod probe;
mod record;
mod run;
mod sampler;
mod skills;
mod state;
mod tokenizer;
mod words;

pub use domains::write_all as write_domains;
pub use export::export_folder;
pub use run::{Plan, Report, run};
