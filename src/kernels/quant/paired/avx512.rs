//! The kernel for AVX-512 BF16: twelve rows of x by two tiles of W at a time, as many sums as the registers hold.

use std::arch::x86_64::*;
use std::ops::Range;

use super::super::super::simd::add_pairs;
use super::super::packed::LANES;
use super::super::product::Output;
use super::{Paired, Pairs, Rows};

/// Multiplies some rows of x with these tiles. An output is summed in the order of its pairs, in one lane: it depends on its
/// row of x and its row of W alone.
///
/// # Safety
/// The processor multiplies pairs of bf16, rows and tiles exist, x has rows as wide as theirs, and the outputs are the
/// caller's.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
pub(super) unsafe fn tiles(
    weight: &Paired,
    tiles: Range<usize>,
    x: &Rows,
    rows: Range<usize>,
    y: &Output<'_>,
) {
    for first in tiles.clone().step_by(2) {
        // SAFETY (both): as this function demands.
        if first + 1 < tiles.end {
            unsafe { all_rows::<2>(weight, first, x, rows.clone(), y) }
        } else {
            unsafe { all_rows::<1>(weight, first, x, rows.clone(), y) }
        }
    }
}

/// # Safety
/// As [`tiles`], for `T` tiles from `first` on.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
unsafe fn all_rows<const T: usize>(
    weight: &Paired,
    first: usize,
    x: &Rows,
    rows: Range<usize>,
    y: &Output<'_>,
) {
    let mut row = rows.start;
    while row < rows.end {
        // SAFETY: these rows exist; the rest as this function demands.
        unsafe {
            row += match rows.end - row {
                1 => some_rows::<1, T>(weight, first, x, row, y),
                2 | 3 => some_rows::<2, T>(weight, first, x, row, y),
                4..8 => some_rows::<4, T>(weight, first, x, row, y),
                8..12 => some_rows::<8, T>(weight, first, x, row, y),
                _ => some_rows::<12, T>(weight, first, x, row, y),
            };
        }
    }
}

/// # Safety
/// As [`all_rows`], for `R` rows from `row` on.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
unsafe fn some_rows<const R: usize, const T: usize>(
    weight: &Paired,
    first: usize,
    x: &Rows,
    row: usize,
    y: &Output<'_>,
) -> usize {
    let width = x.width;
    let tiles: [&[Pairs]; T] = std::array::from_fn(|t| weight.tile(first + t));
    assert!(tiles.iter().all(|tile| tile.len() == width));
    let lines: [*const i32; R] = std::array::from_fn(|r| {
        x.pairs[(row + r) * width..(row + r + 1) * width]
            .as_ptr()
            .cast()
    });
    let mut sums = [[_mm512_setzero_ps(); T]; R];
    for pair in 0..width {
        // SAFETY: every tile and every row has `width` pairs.
        unsafe {
            let mut w = [_mm512_setzero_si512(); T];
            for (w, tile) in w.iter_mut().zip(tiles) {
                *w = _mm512_load_si512(tile.as_ptr().add(pair).cast());
            }
            for (sums, line) in sums.iter_mut().zip(lines) {
                let x = _mm512_set1_epi32(line.add(pair).read_unaligned());
                for (sum, w) in sums.iter_mut().zip(w) {
                    *sum = add_pairs(*sum, x, w);
                }
            }
        }
    }
    for (r, sums) in sums.into_iter().enumerate() {
        for (t, sum) in sums.into_iter().enumerate() {
            let mut values = [0f32; LANES];
            // SAFETY: an array of sixteen; the outputs are the caller's.
            unsafe {
                _mm512_storeu_ps(values.as_mut_ptr(), sum);
                y.put(row + r, (first + t) * LANES, &values);
            }
        }
    }
    R
}
