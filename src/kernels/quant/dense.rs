//! Weights stored as plain numbers: f32, and f16 or bf16 widened a few rows at a time.

use std::ops::Range;

use candle_core::quantized::QTensor;
use candle_core::{DType, Device, Result, Tensor};
use half::{bf16, f16};

use super::super::gemm::{self, View};
use super::super::simd::simd_fn;
use super::product::{Input, Output};
use super::{Packed, ROWS};

pub(super) fn pack_f32(weight: QTensor, n: usize, k: usize) -> Result<Box<dyn Packed>> {
    let values = values(&weight, DType::F32)?.to_vec1::<f32>()?;
    Ok(Box::new(Single { values, n, k }))
}

pub(super) fn pack_f16(weight: QTensor, n: usize, k: usize) -> Result<Box<dyn Packed>> {
    let values = values(&weight, DType::F16)?.to_vec1::<f16>()?;
    Ok(Box::new(Half { values, n, k }))
}

pub(super) fn pack_bf16(weight: QTensor, n: usize, k: usize) -> Result<Box<dyn Packed>> {
    let values = values(&weight, DType::BF16)?.to_vec1::<bf16>()?;
    Ok(Box::new(Half { values, n, k }))
}

fn values(weight: &QTensor, dtype: DType) -> Result<Tensor> {
    weight
        .dequantize(&Device::Cpu)?
        .flatten_all()?
        .to_dtype(dtype)
}

struct Single {
    values: Vec<f32>,
    n: usize,
    k: usize,
}

impl Packed for Single {
    fn bytes(&self) -> u64 {
        size_of_val(&self.values[..]) as u64
    }

    fn rounds(&self) -> bool {
        false
    }

    fn pieces(&self, m: usize) -> usize {
        gemm::Cut::of(m, self.n, self.k).pieces()
    }

    fn piece(&self, at: usize, x: &Input<'_>, y: &Output<'_>) {
        let cut = gemm::Cut::of(x.rows, self.n, self.k);
        let w = View::dense(&self.values, self.n, self.k).transposed();
        let (rows, columns) = cut.place(at);
        // SAFETY: the outputs of a piece are its own.
        unsafe {
            let x = View::dense(x.x, x.rows, self.k);
            cut.piece(at, x, w, y.start(), 0.0, 1.0);
            y.shift(rows, columns);
        }
    }

    fn unpack(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        out.copy_from_slice(&self.values[rows.start * self.k..rows.end * self.k]);
        Ok(())
    }

    fn plain(&self) -> Option<&[f32]> {
        Some(&self.values)
    }
}

/// Two bytes a value.
struct Half<T> {
    values: Vec<T>,
    n: usize,
    k: usize,
}

trait Widen: Copy + Send + Sync {
    fn widen(from: &[Self], to: &mut [f32]);
}

simd_fn! {
    fn widen_f16(from: &[f16], to: &mut [f32]) {
        for (from, to) in from.iter().zip(to) {
            *to = single(from.to_bits());
        }
    }
}

simd_fn! {
    fn widen_bf16(from: &[bf16], to: &mut [f32]) {
        for (from, to) in from.iter().zip(to) {
            *to = f32::from_bits(u32::from(from.to_bits()) << 16);
        }
    }
}

/// The f32 of an f16's bits, without branches, so that loops over it vectorise: shifting the exponent into place and
/// multiplying by 2¹¹² rebiases normal and subnormal numbers alike; infinities and NaNs get their exponent set.
#[inline(always)]
pub fn single(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff) << 13;
    let finite = f32::from_bits(magnitude) * f32::from_bits((112 + 127) << 23);
    let special = f32::from_bits(magnitude | 0x7f80_0000);
    let value = if magnitude >= 0x7c00 << 13 {
        special
    } else {
        finite
    };
    f32::from_bits(value.to_bits() | sign)
}

impl Widen for f16 {
    fn widen(from: &[Self], to: &mut [f32]) {
        widen_f16(from, to);
    }
}

impl Widen for bf16 {
    fn widen(from: &[Self], to: &mut [f32]) {
        widen_bf16(from, to);
    }
}

impl<T: Widen> Packed for Half<T> {
    fn bytes(&self) -> u64 {
        size_of_val(&self.values[..]) as u64
    }

    fn rounds(&self) -> bool {
        false
    }

    fn pieces(&self, _m: usize) -> usize {
        self.n.div_ceil(ROWS)
    }

    fn piece(&self, at: usize, x: &Input<'_>, y: &Output<'_>) {
        let (n, k) = (self.n, self.k);
        let rows = at * ROWS..((at + 1) * ROWS).min(n);
        let mut wide = vec![0.0; rows.len() * k];
        T::widen(&self.values[rows.start * k..rows.end * k], &mut wide);
        let w = View::dense(&wide, rows.len(), k).transposed();
        // SAFETY: these columns of the result are the piece's.
        unsafe {
            let out = y.start().add(rows.start);
            gemm::product_to(View::dense(x.x, x.rows, k), w, out, n);
            y.shift(0..x.rows, rows);
        }
    }

    fn unpack(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        T::widen(&self.values[rows.start * self.k..rows.end * self.k], out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_widens_exactly() {
        let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        let mut wide = vec![0.0; all.len()];
        widen_f16(&all, &mut wide);
        for (from, to) in all.iter().zip(&wide) {
            let want = from.to_f32();
            assert!(
                *to == want || (to.is_nan() && want.is_nan()),
                "{from}: {to}"
            );
        }
    }
}
