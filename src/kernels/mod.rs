//! kernels: arithmetic on slices and tensors. Knows no names, no requests and no policy; home of `unsafe`.
//!
//! Every operation that learning passes through is tracked and has a backward of its own; candle's untracked shortcuts
//! would drop gradients without a word. Each has a plain twin in its tests, and a finite-difference check.

pub mod activation;
pub mod attention;
pub mod cuda;
pub mod linear;
pub mod loss;
pub mod lowrank;
pub mod norm;
pub mod pool;
pub mod quant;
pub mod rotary;
pub mod scores;
pub mod segmented;
pub mod simd;

mod ahead;
mod dropout;
pub mod gemm;
mod memory;
#[cfg(test)]
pub(crate) mod testing;
mod unit;
mod values;

pub use dropout::Dropout;
pub use memory::claim_threads;
pub use unit::{SWITCH, Unit, check_switch};
pub use values::select_rows;
