//! The block formats of GGUF files, multiplied by candle's kernels.
//!
//! Products round activations to int8 per 32 or 256 values, as those kernels do; a row's result can differ in its last
//! bits with the number of rows in the call, which picks the kernel. They overlook what is not finite, so that is looked
//! for here.

use std::borrow::Cow;
use std::ops::Range;

use candle_core::quantized::QTensor;
use candle_core::{CpuStorage, CustomOp1, Layout, Result};

use super::super::pool;
use super::super::simd::simd_fn;
use super::Packed;

/// Multiply-adds that training does between two chances to give way.
const SLICE: usize = 1 << 26;

simd_fn! {
    fn all_finite(x: &[f32]) -> bool {
        x.iter().fold(0, |largest, x| (x.to_bits() & 0x7fff_ffff).max(largest)) < 0x7f80_0000
    }
}

struct Blocks {
    weight: QTensor,
    n: usize,
    k: usize,
}

/// The caller has checked the shape.
pub(super) fn pack(weight: QTensor, n: usize, k: usize) -> Result<Box<dyn Packed>> {
    Ok(Box::new(Blocks { weight, n, k }))
}

impl Packed for Blocks {
    fn bytes(&self) -> u64 {
        self.weight.storage_size_in_bytes() as u64
    }

    fn product(&self, x: &[f32], m: usize, y: &mut [f32]) -> Result<()> {
        let (n, k) = (self.n, self.k);
        // These products run on candle's threads, which know no classes: training cuts them into slices itself.
        let slice = if pool::trains() {
            pool::rows_of(SLICE, n * k)
        } else {
            m.max(1)
        };
        for (x, y) in x.chunks(slice * k).zip(y.chunks_mut((slice * n).max(1))) {
            pool::give_way();
            let rows = x.len() / k;
            let (out, _) = self
                .weight
                .cpu_fwd(&CpuStorage::F32(x.to_vec()), &Layout::contiguous((rows, k)))?;
            y.copy_from_slice(out.as_slice::<f32>()?);
            for (x, y) in x.chunks_exact(k).zip(y.chunks_exact_mut(n.max(1))) {
                if !all_finite(x) {
                    y.fill(f32::NAN);
                }
            }
        }
        Ok(())
    }

    fn unpack(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let ggml = self.weight.dtype();
        let row = self.k / ggml.block_size() * ggml.type_size();
        let data = self.weight.data()?;
        let part = ggml.from_data(Cow::Borrowed(&data[rows.start * row..rows.end * row]));
        out.copy_from_slice(part.dequantize(out.len())?.as_slice::<f32>()?);
        Ok(())
    }
}
