//! kernels: arithmetic on slices and arrays. Knows no names, no requests and no policy; home of `unsafe`.
//!
//! Every operation that learning passes through is an [`op::Op`] with a backward of its own; [`tape`] takes gradients
//! back through them. Each has a plain twin in its tests, and a finite-difference check. An operation has one arm a
//! device: the host's, and where there is one that of an accelerator (`cuda`), which is tested against the host's.

pub mod activation;
pub mod attention;
pub mod cuda;
pub mod dora;
pub mod factor;
pub mod linear;
pub mod lookup;
pub mod loss;
pub mod lowrank;
pub mod narrow;
pub mod nonlinear;
pub mod norm;
pub mod op;
pub mod pool;
pub mod quant;
pub mod replace;
pub mod rotary;
pub mod scale;
pub mod scores;
pub mod segmented;
pub mod simd;
pub mod tape;

mod ahead;
#[cfg(target_os = "linux")]
mod blocks;
mod dropout;
pub mod gemm;
mod memory;
mod room;
#[cfg(test)]
pub(crate) mod testing;
mod unit;

pub use dropout::Dropout;
pub use memory::{claim_threads, kept_bytes, return_freed_pages, return_kept};
pub use unit::{SWITCH, Unit, check_switch};
