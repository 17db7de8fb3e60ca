//! Root-mean-square normalisation on an accelerator; the host's arm is `kernels/norm.rs`.

use crate::device::{Accelerator, Arg, Buffer, DeviceError, Launch};

use super::{Rows, WARP, holds, size};

const OPERATION: &str = "rms_norm";
/// Numbers of a row that one thread takes at least: a load of four, twice.
const A_THREAD: usize = 8;
const MOST_THREADS: usize = 1024;

/// What rows are multiplied by when they have been normalised.
#[derive(Debug, Clone, Copy)]
pub struct Norm<'a> {
    /// f32 [width]
    pub weight: &'a Buffer,
    pub width: usize,
    pub eps: f32,
}

/// y = x / √(mean(x²) + eps) · w over every run of `norm.width` values: x and y are [rows, n · width]; n heads side by side
/// are normalised one by one. A run that is not finite, or whose squares overflow, comes out as not a number.
pub fn rms_norm(
    device: &dyn Accelerator,
    x: Rows<'_>,
    norm: Norm<'_>,
    y: Rows<'_>,
) -> Result<(), DeviceError> {
    let Norm { weight, width, eps } = norm;
    x.check(OPERATION, "x")?;
    y.check(OPERATION, "y")?;
    y.check_width(OPERATION, "y", x.width)?;
    holds(OPERATION, "weight", weight, Some(width), size_of::<f32>())?;
    if width == 0 || !x.width.is_multiple_of(width) {
        let problem = format!("has rows of {}, not whole runs of {width}", x.width);
        return Err(DeviceError::operand(OPERATION, "x", problem));
    }
    if x.rows != y.rows {
        let problem = format!("has {} rows, not {}", y.rows, x.rows);
        return Err(DeviceError::operand(OPERATION, "y", problem));
    }
    if x.buffer.is_same(y.buffer) || weight.is_same(y.buffer) {
        let problem = "is written while it is read";
        return Err(DeviceError::operand(OPERATION, "y", problem));
    }
    let runs = size(OPERATION, "x", x.rows * (x.width / width))?;
    if runs == 0 {
        return Ok(());
    }
    let threads = width.div_ceil(A_THREAD).next_multiple_of(WARP);
    device.launch(&Launch {
        kernel: "rms_norm",
        grid: [runs, 1, 1],
        block: [threads.min(MOST_THREADS) as u32, 1, 1],
        shared: 0,
        args: &[
            Arg::Buffer(x.buffer),
            Arg::Buffer(weight),
            Arg::Buffer(y.buffer),
            Arg::U32(size(OPERATION, "weight", width)?),
            Arg::F32(eps),
        ],
    })
}
