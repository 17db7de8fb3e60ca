//! Products with weights in Q8_0 on an accelerator; the host's arm is `kernels/quant`.
//!
//! As there, x is rounded to int8 first, 32 values with one scale, so both arms add the same whole numbers and differ only in the
//! order of the last sums.

use crate::device::{Accelerator, Arg, Buffer, DeviceError, Launch, Part};

use super::{Rows, WARP, holds, size};

const ROUND: &str = "q8_0_round";
const PRODUCT: &str = "q8_0_product";
const UPLOAD: &str = "q8_0_upload";

/// Values that share a scale.
const BLOCK: usize = 32;
/// Bytes of a block as GGUF files have it: a binary16 scale and 32 quants.
const STORED: usize = 2 + BLOCK;
/// Warps of a block of threads that round, and of one that makes outputs.
const WARPS: u32 = 4;
const FEW_THREADS: u32 = WARPS * WARP as u32;
/// Rows and outputs of a tile.
const TILE: u32 = 64;
/// Threads that make one.
const TILE_THREADS: u32 = 256;
/// With more rows, tiles read W less often than warps that take eight rows at a time.
const FEW_ROWS: u32 = 16;

/// A weight [n outputs, k inputs]. Blocks of 34 bytes would begin anywhere; apart, quants [n, k] and binary16 scales [n, k / 32]
/// can be loaded 16 bytes at a time.
#[derive(Debug)]
pub struct Weight {
    quants: Buffer,
    scales: Buffer,
    n: usize,
    k: usize,
}

impl Weight {
    /// From the blocks of a GGUF file, row after row.
    pub fn upload(
        device: &dyn Accelerator,
        part: Part,
        stored: &[u8],
        (n, k): (usize, usize),
    ) -> Result<Self, DeviceError> {
        let values = n.checked_mul(k).filter(|_| k.is_multiple_of(BLOCK));
        let Some(blocks) = values.map(|values| values / BLOCK) else {
            let problem = format!("[{n}, {k}] is not in whole blocks of {BLOCK}");
            return Err(DeviceError::operand(UPLOAD, "weight", problem));
        };
        if blocks.checked_mul(STORED) != Some(stored.len()) {
            let problem = format!("[{n}, {k}] of {} bytes is not Q8_0", stored.len());
            return Err(DeviceError::operand(UPLOAD, "weight", problem));
        }
        let mut quants = Vec::with_capacity(blocks * BLOCK);
        let mut scales = Vec::with_capacity(blocks * 2);
        for block in stored.chunks_exact(STORED) {
            let (scale, codes) = block.split_at(2);
            scales.extend_from_slice(scale);
            quants.extend_from_slice(codes);
        }
        let send = |bytes: &[u8]| {
            let buffer = device.alloc(part, bytes.len())?;
            device.upload(&buffer, 0, bytes)?;
            Ok::<_, DeviceError>(buffer)
        };
        Ok(Self {
            quants: send(&quants)?,
            scales: send(&scales)?,
            n,
            k,
        })
    }

    /// (n outputs, k inputs)
    pub fn dims(&self) -> (usize, usize) {
        (self.n, self.k)
    }
}

/// Room for rows of x as products take them: quants [rows, k] and f32 scales [rows, k / 32].
#[derive(Debug)]
pub struct Rounded {
    quants: Buffer,
    scales: Buffer,
    rows: usize,
    k: usize,
}

impl Rounded {
    /// For up to so many rows.
    pub fn with_room(device: &dyn Accelerator, rows: usize, k: usize) -> Result<Self, DeviceError> {
        let values = rows.checked_mul(k).filter(|_| k.is_multiple_of(BLOCK));
        let Some(values) = values else {
            let problem = format!("[{rows}, {k}] is not in whole blocks of {BLOCK}");
            return Err(DeviceError::operand(ROUND, "x", problem));
        };
        Ok(Self {
            quants: device.alloc(Part::Scratch, values)?,
            scales: device.alloc(Part::Scratch, values / BLOCK * size_of::<f32>())?,
            rows,
            k,
        })
    }
}

/// Rounds x [rows, k] for all products that read it.
pub fn round(device: &dyn Accelerator, x: Rows<'_>, into: &Rounded) -> Result<(), DeviceError> {
    x.check(ROUND, "x")?;
    x.check_width(ROUND, "x", into.k)?;
    if x.rows > into.rows {
        let problem = format!("has {} rows, and there is room for {}", x.rows, into.rows);
        return Err(DeviceError::operand(ROUND, "x", problem));
    }
    let count = size(ROUND, "x", x.rows * x.width / BLOCK)?;
    if count == 0 {
        return Ok(());
    }
    device.launch(&Launch {
        kernel: "q8_0_round",
        grid: [count.div_ceil(WARPS), 1, 1],
        block: [FEW_THREADS, 1, 1],
        shared: 0,
        args: &[
            Arg::Buffer(x.buffer),
            Arg::Buffer(&into.quants),
            Arg::Buffer(&into.scales),
            Arg::U32(count),
        ],
    })
}

/// A frozen linear layer: x·Wᵀ + bias.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    pub weight: &'a Weight,
    /// f32 [n]
    pub bias: Option<&'a Buffer>,
}

/// y [rows, n] = x·Wᵀ + bias for the first rows of x, [rows, k] as [`round`] left it.
pub fn product(
    device: &dyn Accelerator,
    x: &Rounded,
    layer: Layer<'_>,
    y: Rows<'_>,
) -> Result<(), DeviceError> {
    let Layer { weight, bias } = layer;
    let (n, k) = weight.dims();
    if x.k != k {
        let problem = format!("has rows of {}, not of {k}", x.k);
        return Err(DeviceError::operand(PRODUCT, "x", problem));
    }
    if y.rows > x.rows {
        let problem = format!("has {} rows, and x {}", y.rows, x.rows);
        return Err(DeviceError::operand(PRODUCT, "y", problem));
    }
    y.check(PRODUCT, "y")?;
    y.check_width(PRODUCT, "y", n)?;
    if let Some(bias) = bias {
        holds(PRODUCT, "bias", bias, Some(n), size_of::<f32>())?;
    }
    let [rows, outputs, inputs] = [
        size(PRODUCT, "y", y.rows)?,
        size(PRODUCT, "weight", n)?,
        size(PRODUCT, "weight", k)?,
    ];
    if rows == 0 || outputs == 0 {
        return Ok(());
    }
    let (kernel, threads, [wide, high]) = match rows {
        1 => ("q8_0_rows_1", FEW_THREADS, [WARPS, 1]),
        2 => ("q8_0_rows_2", FEW_THREADS, [WARPS, 2]),
        3..=4 => ("q8_0_rows_4", FEW_THREADS, [WARPS, 4]),
        5..=FEW_ROWS => ("q8_0_rows_8", FEW_THREADS, [WARPS, 8]),
        _ => ("q8_0_tile", TILE_THREADS, [TILE, TILE]),
    };
    device.launch(&Launch {
        kernel,
        grid: [outputs.div_ceil(wide), rows.div_ceil(high), 1],
        block: [threads, 1, 1],
        shared: 0,
        args: &[
            Arg::Buffer(&x.quants),
            Arg::Buffer(&x.scales),
            Arg::Buffer(&weight.quants),
            Arg::Buffer(&weight.scales),
            bias.map_or(Arg::Null, Arg::Buffer),
            Arg::Buffer(y.buffer),
            Arg::U32(rows),
            Arg::U32(outputs),
            Arg::U32(inputs),
        ],
    })
}
