//! cuda: the second arm of operations, for an accelerator. Each file here has the launch side of one `.cu` file: it checks
//! shapes, chooses a kernel and its sizes, and asks a [`device::Accelerator`](crate::device::Accelerator) to run it.
//!
//! Kernels are CUDA C without the toolkit's headers. `ptx.py` makes PTX of them ahead of time, which is part of a build with
//! the feature `cuda`; the driver alone is needed to run it. Tests run the same source on an emulated device (`tests/emulator`), also in a mode
//! that sees every access to memory. The host's arms are their twins there. Where there is a device,
//! `cargo test --release --features cuda --test device` runs the same cases on it, and fails without one if
//! `ADAPTERD_NEEDS_GPU` is set. A model does not run here yet: of
//! the operations, `RmsNorm` alone has an arm that launches its kernel.

pub mod norm;
pub mod q8_0;
pub mod segmented;

#[cfg(feature = "cuda")]
mod driver;
#[cfg(feature = "cuda")]
mod graph;
#[cfg(any(test, feature = "cuda"))]
mod ptx;

#[cfg(feature = "cuda")]
pub use driver::Cuda;

use crate::device::{Array, Buffer, DeviceError, Error};

/// Threads that run in step.
const WARP: usize = 32;

/// The first `rows · width` numbers of a buffer: f32 [rows, width], without gaps.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    pub buffer: &'a Buffer,
    pub rows: usize,
    pub width: usize,
}

impl<'a> Rows<'a> {
    /// All of an array that lies on an accelerator.
    pub fn of(array: &'a Array) -> Result<Self, Error> {
        Ok(Self {
            buffer: array.buffer()?,
            rows: array.rows(),
            width: array.width(),
        })
    }

    fn check(&self, operation: &'static str, operand: &'static str) -> Result<(), DeviceError> {
        let count = self.rows.checked_mul(self.width);
        holds(operation, operand, self.buffer, count, size_of::<f32>())
    }

    fn check_width(
        &self,
        operation: &'static str,
        operand: &'static str,
        wanted: usize,
    ) -> Result<(), DeviceError> {
        match self.width == wanted {
            true => Ok(()),
            false => Err(DeviceError::operand(
                operation,
                operand,
                format!("has rows of {}, not of {wanted}", self.width),
            )),
        }
    }
}

/// An error unless a buffer has room for `count` numbers of `each` bytes; `None` for more than can be counted.
fn holds(
    operation: &'static str,
    operand: &'static str,
    buffer: &Buffer,
    count: Option<usize>,
    each: usize,
) -> Result<(), DeviceError> {
    match count.and_then(|count| count.checked_mul(each)) {
        Some(needed) if needed <= buffer.bytes() => Ok(()),
        Some(needed) => Err(DeviceError::operand(
            operation,
            operand,
            format!("has {} bytes, and {needed} are needed", buffer.bytes()),
        )),
        None => Err(DeviceError::operand(operation, operand, "is too large")),
    }
}

/// A size as kernels take it.
fn size(operation: &'static str, operand: &'static str, value: usize) -> Result<u32, DeviceError> {
    u32::try_from(value)
        .ok()
        .filter(|value| *value <= i32::MAX as u32)
        .ok_or_else(|| DeviceError::operand(operation, operand, format!("of {value} is too large")))
}
