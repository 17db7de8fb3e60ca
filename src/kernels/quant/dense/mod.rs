//! Weights stored as plain numbers: f32, and f16 or bf16 widened as they are read.
//!
//! 16 rows lie side by side, value after value. A sum runs over one accumulator in the order of its index, so an output
//! depends on its row of x and its row of W alone, bit for bit.

#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;

use candle_core::quantized::QTensor;
use candle_core::{DType, Device, WithDType};
use half::{bf16, f16};

use super::super::memory::Large;
use super::super::pool;
use super::super::simd::{self, Tier};
use super::Packed;
use super::packed::LANES;
use super::paired::Paired;
use super::product::{Input, Output};
use crate::device::Result;

pub(super) fn pack<T: Number>(weight: QTensor, n: usize, k: usize) -> Result<Box<dyn Packed>> {
    let values = weight.dequantize(&Device::Cpu)?.flatten_all()?;
    let values = values.to_dtype(T::DTYPE)?.to_vec1::<T>()?;
    Ok(Box::new(Dense::new(&values, n, k)))
}

/// bf16, for the unit that multiplies it as it is where there is one.
pub(super) fn pack_bf16(weight: QTensor, n: usize, k: usize) -> Result<Box<dyn Packed>> {
    if !Paired::is_available() {
        return pack::<bf16>(weight, n, k);
    }
    let values = weight.dequantize(&Device::Cpu)?.flatten_all()?;
    let values = values.to_dtype(DType::BF16)?.to_vec1::<bf16>()?;
    Ok(Box::new(Paired::new(&values, n, k)))
}

/// Bytes of a weight [n, k].
pub(super) fn held<T: Number>(n: usize, k: usize) -> u64 {
    (n.div_ceil(LANES) * k * size_of::<Lanes<T>>()) as u64
}

/// The same of [`pack_bf16`].
pub(super) fn held_bf16(n: usize, k: usize) -> u64 {
    match Paired::is_available() {
        true => Paired::held(n, k),
        false => held::<bf16>(n, k),
    }
}

/// A stored number.
pub(super) trait Plain: WithDType + Send + Sync {
    /// The same number, exactly.
    fn wide(self) -> f32;
}

impl Plain for f32 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }
}

impl Plain for bf16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

impl Plain for f16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        single(self.to_bits())
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

/// Sixteen rows' values of one index.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Lanes<T>([T; LANES]);

// SAFETY: plain numbers, which are zero where all bits are.
unsafe impl<T: Plain> bytemuck::Zeroable for Lanes<T> {}

struct Dense<T> {
    /// [tiles of 16 rows][k]; rows beyond the last are zero.
    values: Large<Lanes<T>>,
    k: usize,
}

impl<T> Dense<T> {
    /// Values of 16 rows, [k].
    fn tile(&self, at: usize) -> &[Lanes<T>] {
        &self.values[at * self.k..(at + 1) * self.k]
    }
}

impl<T: Number> Dense<T> {
    /// From rows [n, k].
    fn new(values: &[T], n: usize, k: usize) -> Self {
        let mut tiles = Large::<Lanes<T>>::zeroed(n.div_ceil(LANES) * k);
        pool::over_rows(
            &mut tiles,
            k,
            pool::rows_of(1 << 16, LANES * k),
            |part, tiles| {
                for (tile, places) in part.zip(tiles.chunks_exact_mut(k)) {
                    let rows = &values[tile * LANES * k..((tile + 1) * LANES).min(n) * k];
                    for (lane, row) in rows.chunks_exact(k).enumerate() {
                        for (place, value) in places.iter_mut().zip(row) {
                            place.0[lane] = *value;
                        }
                    }
                }
            },
        );
        Self { values: tiles, k }
    }

    fn tiles_with(&self, tier: Tier, tiles: Range<usize>, x: &Input<'_>, y: &Output<'_>) {
        let mut at = tiles.start;
        while at < tiles.end {
            at += match (tier, tiles.end - at) {
                // SAFETY: a tier is chosen only where the processor has it, and a piece has its own tiles.
                #[cfg(target_arch = "x86_64")]
                (Tier::Avx512, x86::avx512::TILES..) => unsafe {
                    x86::avx512::tiles::<T, { x86::avx512::TILES }>(self, at, x, y);
                    x86::avx512::TILES
                },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                (Tier::Avx512, _) => unsafe {
                    x86::avx512::tiles::<T, 1>(self, at, x, y);
                    1
                },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                (Tier::Avx2, _) => unsafe {
                    x86::avx2::tiles::<T, { x86::avx2::TILES }>(self, at, x, y);
                    x86::avx2::TILES
                },
                _ => {
                    self.tile_plain(at, x, y);
                    1
                }
            };
        }
    }

    /// The plain twin.
    fn tile_plain(&self, tile: usize, x: &Input<'_>, y: &Output<'_>) {
        for (row, x) in x.x.chunks_exact(self.k.max(1)).enumerate() {
            let mut out = [0f32; LANES];
            for (x, lanes) in x.iter().zip(self.tile(tile)) {
                for (out, value) in out.iter_mut().zip(lanes.0) {
                    *out += x * value.wide();
                }
            }
            // SAFETY: a piece has its own tiles of weight rows.
            unsafe { y.put(row, tile * LANES, &out) };
        }
    }
}

/// What every tier can read.
#[cfg(target_arch = "x86_64")]
pub(super) trait Number: Plain + x86::avx2::Load + x86::avx512::Load {}
#[cfg(target_arch = "x86_64")]
impl<T: Plain + x86::avx2::Load + x86::avx512::Load> Number for T {}
#[cfg(not(target_arch = "x86_64"))]
pub(super) use Plain as Number;

impl<T: Number> Packed for Dense<T> {
    fn bytes(&self) -> u64 {
        size_of_val(&self.values[..]) as u64
    }

    fn unit(&self) -> &'static str {
        simd::tier().name()
    }

    fn prepare(&self, _x: &Input<'_>) {}

    fn tiles(&self, tiles: Range<usize>, _: Range<usize>, x: &Input<'_>, y: &Output<'_>) {
        self.tiles_with(simd::tier(), tiles, x, y);
    }

    fn unpack(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        for (row, out) in rows.zip(out.chunks_exact_mut(self.k.max(1))) {
            let lane = row % LANES;
            for (out, lanes) in out.iter_mut().zip(self.tile(row / LANES)) {
                *out = lanes.0[lane].wide();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{noise, numbers, tensor};
    use super::*;

    #[test]
    fn every_f16_widens_exactly() {
        for bits in 0..=u16::MAX {
            let (from, to) = (f16::from_bits(bits).to_f32(), f16::from_bits(bits).wide());
            assert!(from == to || (from.is_nan() && to.is_nan()), "{from}: {to}");
        }
    }

    fn tiers() -> impl Iterator<Item = Tier> {
        let all = [Tier::Portable, Tier::Avx2, Tier::Avx512];
        all.into_iter().filter(|tier| *tier <= simd::tier())
    }

    fn product<T: Number>(
        weight: &Dense<T>,
        n: usize,
        tier: Tier,
        x: &[f32],
        rows: usize,
    ) -> Vec<f32> {
        let mut y = vec![std::mem::MaybeUninit::new(f32::NAN); rows * n];
        let out = Output::new(&mut y, rows, n, None);
        let tiles = n.div_ceil(LANES);
        for start in (0..tiles).step_by(3) {
            let some = start..(start + 3).min(tiles);
            weight.tiles_with(tier, some, &Input::new(x, rows, weight.k), &out);
        }
        // SAFETY: numbers from the start.
        y.into_iter().map(|y| unsafe { y.assume_init() }).collect()
    }

    #[test]
    fn every_tier_agrees_with_the_sum_and_a_row_is_the_same_in_any_batch() {
        fn check<T: Number>() {
            for (m, n, k) in [
                (1, 5, 3),
                (3, 16, 1),
                (7, 50, 33),
                (13, 100, 70),
                (21, 33, 9),
            ] {
                let w = tensor(&noise((1, n * k), 1.0, 1))
                    .to_dtype(T::DTYPE)
                    .unwrap();
                let w = w.flatten_all().unwrap().to_vec1::<T>().unwrap();
                let x = numbers(m * k, 2.0, 2);
                let weight = Dense::new(&w, n, k);
                for tier in tiers() {
                    let y = product(&weight, n, tier, &x, m);
                    for row in 0..m {
                        let x = &x[row * k..(row + 1) * k];
                        let y = &y[row * n..(row + 1) * n];
                        assert_eq!(
                            product(&weight, n, tier, x, 1),
                            y,
                            "{m}x{n}x{k} by {tier:?}"
                        );
                        for (w, y) in w.chunks_exact(k).zip(y) {
                            let terms = w.iter().zip(x);
                            let sum: f64 = terms.map(|(w, x)| f64::from(w.wide() * x)).sum();
                            assert!((f64::from(*y) - sum).abs() < 1e-4, "{y}, not {sum}");
                        }
                    }
                }
            }
        }
        check::<f32>();
        check::<f16>();
        check::<bf16>();
    }

    #[test]
    fn rows_come_back_as_they_were() {
        let values = numbers(37 * 11, 1.0, 3);
        let mut rows = vec![0.0; 20 * 11];
        let weight = Dense::new(&values, 37, 11);
        weight.unpack(13..33, &mut rows).unwrap();
        assert_eq!(rows, values[13 * 11..33 * 11]);
    }
}
