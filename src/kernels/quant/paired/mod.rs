//! bf16 weights for a matrix unit that multiplies bf16 by bf16. x is rounded to bf16 as well, as torch does where both
//! sides are; products are exact and sums are f32.
//!
//! The unit sums two products at a time, so 16 rows lie side by side by pairs of values. It orders and rounds sums in its
//! own way, so it takes every row, whatever the batch: a row's outputs depend on it and on W alone, bit for bit.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod learning;

use std::ops::Range;

use crate::device::Result;
use half::bf16;

pub(super) use learning::ROWS;
pub use learning::{Part, product, product_by_rows, product_of_turned, product_with};

use super::super::memory::Large;
use super::super::narrow::nearest_bf16;
use super::super::pool::{self, Shared};
use super::super::simd::simd_fn;
use super::super::unit;
use super::Packed;
use super::packed::LANES;
use super::product::{Input, Output};

/// Pairs that one step of the matrix unit takes; rows are filled up to whole steps with zeros.
const STEP: usize = 16;
/// Values a task rounds.
const TASK: usize = 1 << 14;

/// A pair of values of each of 16 rows.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Pairs([[bf16; 2]; LANES]);

// SAFETY: plain numbers, which are zero where all bits are.
unsafe impl bytemuck::Zeroable for Pairs {}

/// A weight [n, k].
pub(super) struct Paired {
    /// [tiles of 16 rows][pairs of a row]; rows beyond the last are zero.
    pairs: Large<Pairs>,
    k: usize,
}

/// Pairs of a row of `k` values.
fn pairs_of(k: usize) -> usize {
    k.div_ceil(2 * STEP) * STEP
}

impl Paired {
    /// Whether weights are held so.
    pub fn is_available() -> bool {
        unit::has_amx_bf16()
    }

    /// Whether products of training in bf16 go this way: here it is enough that AVX-512 multiplies pairs.
    pub fn learns() -> bool {
        Self::is_available() || unit::multiplies_pairs()
    }

    /// From rows [n, k].
    ///
    /// # Panics
    /// Where it is not available.
    pub fn new(values: &[bf16], n: usize, k: usize) -> Self {
        assert!(Self::is_available());
        let width = pairs_of(k);
        let mut pairs = Large::<Pairs>::zeroed(n.div_ceil(LANES) * width);
        let at_once = pool::rows_of(1 << 16, LANES * k);
        pool::over_rows(&mut pairs, width, at_once, |part, tiles| {
            for (tile, places) in part.zip(tiles.chunks_exact_mut(width)) {
                let rows = &values[tile * LANES * k..((tile + 1) * LANES).min(n) * k];
                for (lane, row) in rows.chunks_exact(k).enumerate() {
                    for (place, pair) in places.iter_mut().zip(row.chunks(2)) {
                        place.0[lane][..pair.len()].copy_from_slice(pair);
                    }
                }
            }
        });
        Self { pairs, k }
    }

    /// Bytes of a weight [n, k].
    pub fn held(n: usize, k: usize) -> u64 {
        (n.div_ceil(LANES) * pairs_of(k) * size_of::<Pairs>()) as u64
    }

    /// Pairs of 16 rows.
    fn tile(&self, at: usize) -> &[Pairs] {
        let width = pairs_of(self.k);
        &self.pairs[at * width..(at + 1) * width]
    }
}

/// Rows of x rounded to bf16, each filled up to whole steps.
pub(super) struct Rows {
    /// [rows][pairs of a row]
    pairs: Vec<[bf16; 2]>,
    rows: usize,
    /// Pairs of a row.
    width: usize,
}

impl Rows {
    /// Of x [rows, k], to the nearest, to the even one where two are.
    pub fn of(x: &[f32], k: usize) -> Self {
        let (rows, width) = (x.len() / k.max(1), pairs_of(k));
        let mut pairs = vec![[bf16::ZERO; 2]; rows * width];
        let places = Shared::new(&mut pairs);
        let at_once = pool::rows_of(TASK, k);
        pool::for_each(rows.div_ceil(at_once), |task| {
            let some = task * at_once..((task + 1) * at_once).min(rows);
            // SAFETY: a task has its own rows.
            let places = unsafe { places.part(some.start * width..some.end * width) };
            let places = places.as_flattened_mut().chunks_exact_mut(2 * width);
            for (row, place) in x[some.start * k..some.end * k].chunks_exact(k).zip(places) {
                round(row, &mut place[..k]);
            }
        });
        Self { pairs, rows, width }
    }

    #[cfg(test)]
    fn row(&self, at: usize) -> &[[bf16; 2]] {
        &self.pairs[at * self.width..(at + 1) * self.width]
    }
}

simd_fn! {
    fn round(x: &[f32], out: &mut [bf16]) {
        x.iter().zip(out).for_each(|(x, out)| *out = nearest_bf16(*x));
    }
}

impl Packed for Paired {
    fn bytes(&self) -> u64 {
        size_of_val(&self.pairs[..]) as u64
    }

    fn unit(&self) -> &'static str {
        "amx_bf16"
    }

    fn prepare(&self, x: &Input<'_>) {
        x.paired();
    }

    fn tiles(&self, tiles: Range<usize>, _: Range<usize>, x: &Input<'_>, y: &Output<'_>) {
        let x = x.paired();
        assert!(x.width == pairs_of(self.k) && tiles.end * x.width <= self.pairs.len());
        #[cfg(target_arch = "x86_64")]
        // SAFETY: no weight is made where the unit is lacking, the tiles exist, and a piece has its own.
        unsafe {
            amx::tiles(self, tiles, x, y);
        }
    }

    fn unpack(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        for (row, out) in rows.zip(out.chunks_exact_mut(self.k.max(1))) {
            let tile = self.tile(row / LANES);
            for (out, pair) in out.chunks_mut(2).zip(tile) {
                let pair = pair.0[row % LANES];
                for (out, value) in out.iter_mut().zip(pair) {
                    *out = value.to_f32();
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
