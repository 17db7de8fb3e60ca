//! kinds: one file for each kind of adapter.

mod dense;
mod dora;
mod ia3;
mod lora;

pub use dense::Dense;
pub use dora::Dora;
pub use ia3::Ia3;
pub use lora::Lora;
