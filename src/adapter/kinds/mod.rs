//! kinds: one file for each kind of adapter.

mod lora;

pub use lora::Lora;
