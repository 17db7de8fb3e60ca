//! Activations rounded to int8, 32 values at a time, for products with packed weights.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::ops::Range;

use super::super::pool::{self, Shared};
use super::super::simd::{self, Tier, simd_fn};

/// Values that share a scale.
pub(super) const BLOCK: usize = 32;
/// Rows that lie together, block by block: as many as a kernel takes at most.
pub(super) const PANEL: usize = 16;
/// Values a task rounds.
const TASK: usize = 1 << 13;

/// x [m, k] as whole numbers in ±127 with a scale a block: x ≈ scale · q. A block that is not finite has a scale that is
/// not a number, and so has every output it is part of.
///
/// Rows lie in panels of 16, the last with what is left; a panel has the first block of each of its rows, then the second
/// of each, and so on. What belongs to a row and block is therefore number [`at`](Self::at).
pub(super) struct Rounded {
    pub q: Vec<[i8; BLOCK]>,
    pub scales: Vec<f32>,
    /// Sum of the numbers of each half of a block.
    pub sums: Vec<[i32; 2]>,
    /// scale · sum of each block.
    pub weighted: Vec<f32>,
    /// Blocks of a row.
    pub blocks: usize,
    rows: usize,
}

/// A block, rounded.
struct Whole {
    q: [i8; BLOCK],
    scale: f32,
    sums: [i32; 2],
}

impl Rounded {
    /// Bytes of a block of a row.
    pub const BYTES: usize = size_of::<([i8; BLOCK], f32, [i32; 2], f32)>();

    /// `k` is a multiple of the block. A row's numbers depend on that row alone.
    pub fn of(x: &[f32], k: usize) -> Self {
        Self::with(simd::tier(), x, k)
    }

    fn with(tier: Tier, x: &[f32], k: usize) -> Self {
        let (count, blocks) = (x.len() / BLOCK, k / BLOCK);
        let mut rounded = Self {
            q: vec![[0; BLOCK]; count],
            scales: vec![0.0; count],
            sums: vec![[0; 2]; count],
            weighted: vec![0.0; count],
            blocks,
            rows: count / blocks.max(1),
        };
        let (rows, panels) = (rounded.rows, rounded.rows.div_ceil(PANEL));
        let at_once = pool::rows_of(TASK / BLOCK, PANEL.min(rows)).min(blocks.max(1));
        let places = Places {
            q: Shared::new(&mut rounded.q),
            scales: Shared::new(&mut rounded.scales),
            sums: Shared::new(&mut rounded.sums),
            weighted: Shared::new(&mut rounded.weighted),
        };
        let cuts = blocks.div_ceil(at_once);
        pool::for_each(panels * cuts, |task| {
            let (panel, first) = (task / cuts, task % cuts * at_once);
            let rows = panel * PANEL..((panel + 1) * PANEL).min(rows);
            let some = first..(first + at_once).min(blocks);
            match tier {
                // SAFETY: this processor has the tier, and a task has its own rows and blocks.
                #[cfg(target_arch = "x86_64")]
                Tier::Avx512 => unsafe { round_512(x, blocks, rows, some, &places) },
                _ => round_plain(x, blocks, rows, some, &places),
            }
        });
        rounded
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Rows of the panel of `row`.
    pub fn width(&self, row: usize) -> usize {
        (self.rows - row / PANEL * PANEL).min(PANEL)
    }

    /// The number of a row's block; those of the row's other blocks are [`width`](Self::width) apart.
    pub fn at(&self, row: usize, block: usize) -> usize {
        row / PANEL * PANEL * self.blocks + block * self.width(row) + row % PANEL
    }
}

/// Where tasks write, each its own rows and blocks.
struct Places<'a> {
    q: Shared<'a, [i8; BLOCK]>,
    scales: Shared<'a, f32>,
    sums: Shared<'a, [i32; 2]>,
    weighted: Shared<'a, f32>,
}

/// Rounds some blocks of rows of one panel.
///
/// # Safety
/// No other thread writes what belongs to these rows and blocks.
#[inline(always)]
unsafe fn round(
    x: &[f32],
    blocks: usize,
    rows: Range<usize>,
    some: Range<usize>,
    places: &Places<'_>,
    block: impl Fn(&[f32; BLOCK]) -> Whole,
) {
    let (x, _) = x.as_chunks::<BLOCK>();
    for (r, row) in rows.clone().enumerate() {
        for b in some.clone() {
            let Whole { q, scale, sums } = block(&x[row * blocks + b]);
            let at = rows.start * blocks + b * rows.len() + r;
            // SAFETY: as the caller promises.
            unsafe {
                places.q.part(at..at + 1)[0] = q;
                places.scales.part(at..at + 1)[0] = scale;
                places.sums.part(at..at + 1)[0] = sums;
                places.weighted.part(at..at + 1)[0] = (sums[0] + sums[1]) as f32 * scale;
            }
        }
    }
}

/// What a block is multiplied with before rounding, and its scale, by the largest of its numbers without sign.
#[inline(always)]
fn steps(largest: f32) -> (f32, f32) {
    let by = 127.0 / largest;
    match (largest.is_finite(), by.is_finite()) {
        (true, true) => (by, largest / 127.0),
        // Zeros, and numbers so small that their inverse overflows.
        (true, false) => (0.0, 0.0),
        (false, _) => (0.0, f32::NAN),
    }
}

#[inline(always)]
fn block(x: &[f32; BLOCK]) -> Whole {
    // Adding and subtracting 1.5·2²³ rounds to the nearest integer, ties to even; the low bits are the integer.
    const MAGIC: f32 = 12_582_912.0;
    // As bits, numbers without sign are in order, infinity above them and NaN above that: none is overlooked.
    let mut largest = 0;
    for x in x {
        largest = largest.max(x.to_bits() & 0x7fff_ffff);
    }
    let (by, scale) = steps(f32::from_bits(largest));
    let kept = if by == 0.0 { 0 } else { -1 };
    let (mut q, mut sums) = ([0; BLOCK], [0; 2]);
    for (half, sum) in sums.iter_mut().enumerate() {
        for i in half * BLOCK / 2..(half + 1) * BLOCK / 2 {
            let whole = (x[i] * by + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i32 & kept;
            *sum += whole;
            q[i] = whole as i8;
        }
    }
    Whole { q, scale, sums }
}

simd_fn! {
    fn round_plain(x: &[f32], blocks: usize, rows: Range<usize>, some: Range<usize>, places: &Places<'_>) {
        // SAFETY: `Rounded::with` gives every task its own rows and blocks.
        unsafe { round(x, blocks, rows, some, places, block) }
    }
}

/// As [`round`].
///
/// # Safety
/// The processor has the features; the rest as [`round`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
unsafe fn round_512(
    x: &[f32],
    blocks: usize,
    rows: Range<usize>,
    some: Range<usize>,
    places: &Places<'_>,
) {
    let block = |x: &[f32; BLOCK]| {
        // SAFETY: 32 values; the features are this function's.
        unsafe {
            let halves = [
                _mm512_loadu_ps(x.as_ptr()),
                _mm512_loadu_ps(x.as_ptr().add(16)),
            ];
            let bits = halves.map(|half| _mm512_castps_si512(_mm512_abs_ps(half)));
            let largest = _mm512_reduce_max_epu32(_mm512_max_epu32(bits[0], bits[1]));
            let (by, scale) = steps(f32::from_bits(largest));
            let by = _mm512_set1_ps(by);
            // Zeros where a product is not a number, as in a block that is not finite.
            let [low, high] = halves.map(|half| {
                let product = _mm512_mul_ps(half, by);
                let number = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(product, product);
                _mm512_cvtepi32_epi8(_mm512_maskz_cvtps_epi32(number, product))
            });
            let whole = _mm256_set_m128i(high, low);
            let mut q = [0; BLOCK];
            _mm256_storeu_si256(q.as_mut_ptr().cast(), whole);
            let pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), whole);
            let fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
            let eights = _mm256_add_epi32(fours, _mm256_shuffle_epi32::<0b01_00_11_10>(fours));
            let sums = _mm256_add_epi32(eights, _mm256_shuffle_epi32::<0b10_11_00_01>(eights));
            let sums = [
                _mm256_extract_epi32::<0>(sums),
                _mm256_extract_epi32::<4>(sums),
            ];
            Whole { q, scale, sums }
        }
    };
    // SAFETY: as this function demands.
    unsafe { round(x, blocks, rows, some, places, block) }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::numbers;
    use super::*;

    fn tiers() -> impl Iterator<Item = Tier> {
        [Tier::Portable, simd::tier()].into_iter()
    }

    #[test]
    fn rounding_stays_within_half_a_step_and_all_kernels_round_alike() {
        for (rows, k) in [(6, 64), (1, 32), (16, 96), (19, 64), (37, 4096)] {
            let x = numbers(rows * k, 3.0, 1);
            let plain = Rounded::with(Tier::Portable, &x, k);
            assert_eq!((plain.rows(), plain.blocks), (rows, k / 32));
            for (i, x) in x.chunks_exact(BLOCK).enumerate() {
                let at = plain.at(i / plain.blocks, i % plain.blocks);
                let (q, scale) = (&plain.q[at], plain.scales[at]);
                for (x, q) in x.iter().zip(q) {
                    assert!((x - scale * f32::from(*q)).abs() <= 0.501 * scale);
                }
                for (q, sum) in q.chunks(BLOCK / 2).zip(plain.sums[at]) {
                    assert_eq!(q.iter().map(|q| i32::from(*q)).sum::<i32>(), sum);
                }
            }
            for tier in tiers() {
                let other = Rounded::with(tier, &x, k);
                assert_eq!((&other.q, &other.scales), (&plain.q, &plain.scales));
                assert_eq!(
                    (&other.sums, &other.weighted),
                    (&plain.sums, &plain.weighted)
                );
            }
        }
    }

    #[test]
    fn every_row_and_block_has_a_place_of_its_own() {
        let rounded = Rounded::of(&vec![1.0; 37 * 96], 96);
        let mut places: Vec<_> = (0..37 * 3).map(|i| rounded.at(i / 3, i % 3)).collect();
        assert_eq!(rounded.at(20, 1) + rounded.width(20), rounded.at(20, 2));
        assert_eq!((rounded.width(31), rounded.width(32)), (16, 5));
        places.sort_unstable();
        assert!(places.into_iter().eq(0..37 * 3));
    }

    #[test]
    fn zeros_and_what_is_nearly_zero_become_zeros() {
        for x in [0.0, f32::MIN_POSITIVE, -f32::MIN_POSITIVE / 8.0] {
            for tier in tiers() {
                let rounded = Rounded::with(tier, &[x; 32], 32);
                assert_eq!(rounded.q, vec![[0; 32]], "{x}");
                assert_eq!((rounded.scales, rounded.sums), (vec![0.0], vec![[0; 2]]));
            }
        }
    }

    #[test]
    fn a_block_that_is_not_finite_has_no_scale_and_its_neighbours_keep_theirs() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for (at, tier) in [32, 40, 63]
                .into_iter()
                .flat_map(|at| tiers().map(move |t| (at, t)))
            {
                let mut x = [1.0; 96];
                x[at] = bad;
                let rounded = Rounded::with(tier, &x, 96);
                assert!(rounded.scales[1].is_nan(), "{bad} at {at}");
                assert_eq!(rounded.q[1], [0; 32]);
                let (one, other) = (rounded.scales[0], rounded.scales[2]);
                assert_eq!((one, other), (1.0 / 127.0, 1.0 / 127.0));
            }
        }
    }
}
