//! The other block formats of GGUF files, multiplied by candle's kernels, some rows of the weight at a time.
//!
//! Products round activations to int8 per 32 or 256 values, as those kernels do; a row's result can differ in its last
//! bits with the number of rows in the call, which picks the kernel. They overlook what is not finite, so that is looked
//! for here.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use candle_core::quantized::{QStorage, QTensor};
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result};

use super::super::pool::{self, Shared};
use super::super::simd::simd_fn;
use super::Packed;

/// Rows of a part are a multiple of this: candle's faster kernels take 16 rows at once.
const ROWS: usize = 16;
/// Multiply-adds that training does between two chances to give way.
const SLICE: usize = 1 << 26;

simd_fn! {
    fn all_finite(x: &[f32]) -> bool {
        x.iter().fold(0, |largest, x| (x.to_bits() & 0x7fff_ffff).max(largest)) < 0x7f80_0000
    }
}

struct Blocks {
    /// Equal runs of rows, the last perhaps shorter: each is multiplied on one thread.
    parts: Vec<QTensor>,
    rows: usize,
    n: usize,
    k: usize,
}

/// The caller has checked the shape.
pub(super) fn pack(weight: QTensor, n: usize, k: usize) -> Result<Box<dyn Packed>> {
    let ggml = weight.dtype();
    let rows = n.div_ceil(4 * pool::threads()).next_multiple_of(ROWS);
    let data = weight.data()?;
    let bytes = k / ggml.block_size() * ggml.type_size();
    let part = |part: &[u8]| {
        let storage = QStorage::from_data(Cow::Borrowed(part), &Device::Cpu, ggml)?;
        QTensor::new(storage, (part.len() / bytes, k))
    };
    let parts = data
        .chunks((rows * bytes).max(1))
        .map(part)
        .collect::<Result<_>>()?;
    Ok(Box::new(Blocks { parts, rows, n, k }))
}

impl Packed for Blocks {
    fn bytes(&self) -> u64 {
        self.parts
            .iter()
            .map(|part| part.storage_size_in_bytes() as u64)
            .sum()
    }

    fn product(&self, x: &[f32], m: usize, y: &mut [f32]) -> Result<()> {
        let (n, k) = (self.n, self.k);
        let slice = if pool::trains() {
            pool::rows_of(SLICE, self.rows * k)
        } else {
            m.max(1)
        };
        let failure = Mutex::new(None);
        for (x, y) in x.chunks(slice * k).zip(y.chunks_mut((slice * n).max(1))) {
            let (stored, layout) = (
                CpuStorage::F32(x.to_vec()),
                Layout::contiguous((x.len() / k, k)),
            );
            let shared = Shared::new(&mut *y);
            pool::for_each(self.parts.len(), |i| {
                let outcome = self.parts[i]
                    .cpu_fwd(&stored, &layout)
                    .and_then(|(out, _)| {
                        let out = out.as_slice::<f32>()?;
                        let width = out.len() / layout.dims()[0];
                        for (row, out) in out.chunks_exact(width).enumerate() {
                            let at = row * n + i * self.rows;
                            // SAFETY: these outputs belong to this part of the weight alone.
                            unsafe { shared.part(at..at + width) }.copy_from_slice(out);
                        }
                        Ok(())
                    });
                if let Err(error) = outcome {
                    failure
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .get_or_insert(error);
                }
            });
            for (x, y) in x.chunks_exact(k).zip(y.chunks_exact_mut(n.max(1))) {
                if !all_finite(x) {
                    y.fill(f32::NAN);
                }
            }
        }
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn unpack(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let mut row = rows.start;
        let mut rest = out;
        while row < rows.end {
            let (part, first) = (&self.parts[row / self.rows], row % self.rows);
            let count = (self.rows - first).min(rows.end - row);
            let ggml = part.dtype();
            let bytes = self.k / ggml.block_size() * ggml.type_size();
            let (out, after) = rest.split_at_mut(count * self.k);
            let data = part.data()?;
            let stored =
                ggml.from_data(Cow::Borrowed(&data[first * bytes..(first + count) * bytes]));
            out.copy_from_slice(stored.dequantize(out.len())?.as_slice::<f32>()?);
            rest = after;
            row += count;
        }
        Ok(())
    }
}
