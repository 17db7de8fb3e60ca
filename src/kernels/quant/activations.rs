//! Activations rounded to int8, 32 values at a time, for products with packed weights.

use super::super::pool;
use super::super::simd::simd_fn;

/// Values that share a scale.
pub(super) const BLOCK: usize = 32;
/// Values a tile rounds.
const TILE: usize = 1 << 15;

/// x [m, k] as whole numbers in ±127 with a scale a block: x ≈ scale · q. A block that is not finite has a scale that is
/// not a number, and so has every output it is part of.
pub(super) struct Rounded {
    pub q: Vec<i8>,
    pub scales: Vec<f32>,
    /// Sum of the numbers of each half of a block.
    pub sums: Vec<[i32; 2]>,
    /// Blocks of a row.
    pub blocks: usize,
}

impl Rounded {
    /// `k` is a multiple of the block. A row's numbers depend on that row alone.
    pub fn of(x: &[f32], k: usize) -> Self {
        let blocks = x.len() / BLOCK;
        let mut scales = vec![0.0; blocks];
        let mut sums = vec![[0; 2]; blocks];
        let mut q = vec![0; x.len()];
        let (all_scales, all_sums) = (pool::Shared::new(&mut scales), pool::Shared::new(&mut sums));
        pool::over_rows(&mut q, BLOCK, TILE / BLOCK, |part, q| {
            // SAFETY: each tile has its own blocks.
            let (scales, sums) =
                unsafe { (all_scales.part(part.clone()), all_sums.part(part.clone())) };
            round(&x[part.start * BLOCK..part.end * BLOCK], q, scales, sums);
        });
        Self {
            q,
            scales,
            sums,
            blocks: k / BLOCK,
        }
    }

    pub fn rows(&self) -> usize {
        self.scales.len() / self.blocks.max(1)
    }
}

simd_fn! {
    fn round(x: &[f32], q: &mut [i8], scales: &mut [f32], sums: &mut [[i32; 2]]) {
        // Adding and subtracting 1.5·2²³ rounds to the nearest integer, ties to even; the low bits are the integer.
        const MAGIC: f32 = 12_582_912.0;
        let (x, _) = x.as_chunks::<BLOCK>();
        let (q, _) = q.as_chunks_mut::<BLOCK>();
        for ((x, q), (scale, sum)) in x.iter().zip(q).zip(scales.iter_mut().zip(sums)) {
            // As bits, numbers without sign are in order, infinity above them and NaN above that: none is overlooked.
            let mut largest = 0u32;
            for x in x {
                largest = largest.max(x.to_bits() & 0x7fff_ffff);
            }
            let largest = f32::from_bits(largest);
            let by = 127.0 / largest;
            let (step, kept) = match (largest.is_finite(), by.is_finite()) {
                (true, true) => (largest / 127.0, -1),
                // Zeros, and numbers so small that their inverse overflows.
                (true, false) => (0.0, 0),
                (false, _) => (f32::NAN, 0),
            };
            for (half, sum) in sum.iter_mut().enumerate() {
                let mut total = 0;
                for i in half * BLOCK / 2..(half + 1) * BLOCK / 2 {
                    let whole =
                        (x[i] * by + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i32 & kept;
                    total += whole;
                    q[i] = whole as i8;
                }
                *sum = total;
            }
            *scale = step;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::noise;
    use super::*;

    #[test]
    fn rounding_stays_within_half_a_step() {
        let x: Vec<f32> = noise(&[6 * 64], 3.0, 1).to_vec1().unwrap();
        let rounded = Rounded::of(&x, 64);
        assert_eq!((rounded.rows(), rounded.blocks), (6, 2));
        for (at, x) in x.iter().enumerate() {
            let scale = rounded.scales[at / BLOCK];
            assert!((x - scale * f32::from(rounded.q[at])).abs() <= 0.501 * scale);
        }
        for (half, q) in rounded.q.chunks(BLOCK / 2).enumerate() {
            assert_eq!(
                q.iter().map(|q| i32::from(*q)).sum::<i32>(),
                rounded.sums[half / 2][half % 2]
            );
        }
    }

    #[test]
    fn zeros_and_what_is_nearly_zero_become_zeros() {
        for x in [0.0, f32::MIN_POSITIVE, -f32::MIN_POSITIVE / 8.0] {
            let rounded = Rounded::of(&[x; 32], 32);
            assert!(rounded.q.iter().all(|q| *q == 0), "{x}");
            assert_eq!((rounded.scales, rounded.sums), (vec![0.0], vec![[0; 2]]));
        }
    }

    #[test]
    fn a_block_that_is_not_finite_has_no_scale_and_its_neighbours_keep_theirs() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [32, 40, 63] {
                let mut x = [1.0; 96];
                x[at] = bad;
                let scales = Rounded::of(&x, 96).scales;
                assert!(scales[1].is_nan(), "{bad} at {at}");
                assert_eq!((scales[0], scales[2]), (1.0 / 127.0, 1.0 / 127.0));
            }
        }
    }
}
