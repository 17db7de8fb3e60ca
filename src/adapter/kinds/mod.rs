//! kinds: one file for each kind of adapter.

mod bottleneck;
mod dense;
mod dora;
mod ia3;
mod lora;
mod prefix;
mod prompt;

pub use bottleneck::Bottleneck;
pub use dense::{Dense, served_dense};
pub use dora::Dora;
pub use ia3::Ia3;
pub use lora::Lora;
pub use prefix::Prefix;
pub use prompt::Prompt;
