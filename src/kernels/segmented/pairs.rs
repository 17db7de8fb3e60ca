//! The twin for processors that multiply pairs of bf16: two rows of A, or two rows of Bᵀ, go with each instruction, and
//! nothing is widened. Rows of x are rounded to bf16 as they are read, and so is what A makes of them, as torch does where
//! an adapter has bf16. Sums are of f32, each in one accumulator, in the order of its index.

use std::arch::x86_64::*;

use half::bf16;

use super::layout::{LANES, Piece};
use super::work::{Expand, Shrink};
use super::x86::sum_of_8;
use crate::kernels::ahead::ask_for;
use crate::kernels::simd::add_pairs;

/// Bytes that weights are asked for in advance.
const AHEAD: usize = 8192;

/// A mask of the first `count` lanes.
#[inline(always)]
fn first(count: usize) -> u16 {
    ((1u32 << count.min(LANES)) - 1) as u16
}

/// `hidden[row, j] = scale · ⟨x[row], A[j]⟩`, rounded, for every row of the task and of the panel.
///
/// # Safety
/// The processor multiplies pairs.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,avx2")]
pub(super) unsafe fn shrink(task: &Shrink<'_>, panel: &[u16]) {
    let mut row = 0;
    while task.rows - row >= 4 {
        // SAFETY: as this function demands.
        unsafe { against_panel::<4>(task, panel, row) }
        row += 4;
    }
    while task.rows - row >= 2 {
        // SAFETY: as this function demands.
        unsafe { against_panel::<2>(task, panel, row) }
        row += 2;
    }
    if task.rows > row {
        // SAFETY: as this function demands.
        unsafe { against_panel::<1>(task, panel, row) }
    }
}

#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,avx2")]
unsafe fn against_panel<const R: usize>(task: &Shrink<'_>, panel: &[u16], row: usize) {
    let mut j = 0;
    while task.padded - j >= 8 {
        // SAFETY: as this function demands.
        unsafe { dots::<R, 4>(task, panel, row, j) }
        j += 8;
    }
    while task.padded - j >= 4 {
        // SAFETY: as this function demands.
        unsafe { dots::<R, 2>(task, panel, row, j) }
        j += 4;
    }
    if task.padded > j {
        // SAFETY: as this function demands.
        unsafe { dots::<R, 1>(task, panel, row, j) }
    }
}

/// R rows against C times two rows of the panel.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,avx2")]
unsafe fn dots<const R: usize, const C: usize>(
    task: &Shrink<'_>,
    panel: &[u16],
    row: usize,
    j: usize,
) {
    let step = task.padded * LANES;
    let (whole, rest) = (task.inputs / LANES, task.inputs % LANES);
    assert!(j + 2 * C <= task.padded);
    assert!(panel.len() >= task.inputs.div_ceil(LANES) * step);
    let x: [*const f32; R] = std::array::from_fn(|i| task.x_row(row + i).as_ptr());
    let mut sums = [[_mm512_setzero_ps(); C]; R];
    let mut block = |at: usize, some: u16| {
        // SAFETY: rows have `inputs` numbers, of which the mask leaves out none but those beyond, and the panel has a block for
        // each 16; `j + 2 C` is at most its width.
        unsafe {
            let a = panel.as_ptr().add(at * step + j * LANES);
            if row == 0 && j == 0 {
                ask_for(a, AHEAD, step);
            }
            let mut xs = [_mm512_setzero_si512(); R];
            for i in 0..R {
                let x = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(some, x[i].add(at * LANES)));
                xs[i] = _mm512_broadcast_i64x4(std::mem::transmute::<__m256bh, __m256i>(x));
            }
            for c in 0..C {
                let a = _mm512_loadu_si512(a.add(2 * c * LANES).cast());
                for (sums, x) in sums.iter_mut().zip(xs) {
                    sums[c] = add_pairs(sums[c], x, a);
                }
            }
        }
    };
    for at in 0..whole {
        block(at, u16::MAX);
    }
    if rest > 0 {
        block(whole, first(rest));
    }
    for (i, sums) in sums.into_iter().enumerate() {
        for (c, sums) in sums.into_iter().enumerate() {
            let halves = [
                _mm512_castps512_ps256(sums),
                _mm512_extractf32x8_ps::<1>(sums),
            ];
            for (of, half) in halves.into_iter().enumerate() {
                let j = j + 2 * c + of;
                if j < task.width {
                    // SAFETY: the sum is of this task.
                    unsafe {
                        *task.pair_at(row + i, j) =
                            bf16::from_f32(task.scale * sum_of_8(half)).to_bits()
                    };
                }
            }
        }
    }
}

/// `y[row] += Σ_r hidden[row, r] · Bᵀ[r]`, pairs of r ascending, for every row of the task and the columns of the block.
///
/// # Safety
/// The processor multiplies pairs, and `hidden` has what [`shrink`] left.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,avx2")]
pub(super) unsafe fn expand(task: &Expand<'_>, block: &[u16], piece: &Piece) {
    match piece.width == LANES {
        // SAFETY: as this function demands.
        true => unsafe { all_rows::<1>(task, block, piece) },
        // SAFETY: as this function demands.
        false => unsafe { all_rows::<4>(task, block, piece) },
    }
}

#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,avx2")]
unsafe fn all_rows<const V: usize>(task: &Expand<'_>, block: &[u16], piece: &Piece) {
    let mut row = 0;
    while task.rows - row >= 4 {
        // SAFETY: as this function demands.
        unsafe { columns::<4, V>(task, block, piece, row) }
        row += 4;
    }
    while task.rows - row >= 2 {
        // SAFETY: as this function demands.
        unsafe { columns::<2, V>(task, block, piece, row) }
        row += 2;
    }
    if task.rows > row {
        // SAFETY: as this function demands.
        unsafe { columns::<1, V>(task, block, piece, row) }
    }
}

/// R rows of all columns, V vectors.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,avx2")]
unsafe fn columns<const R: usize, const V: usize>(
    task: &Expand<'_>,
    block: &[u16],
    piece: &Piece,
    row: usize,
) {
    let pairs = task.rank.div_ceil(2);
    let step = 2 * piece.width;
    assert!(V * LANES == piece.width);
    assert!(block.len() >= pairs * step);
    let hidden: [*const u32; R] = std::array::from_fn(|i| task.pairs_row(row + i).as_ptr());
    let mut sums = [[_mm512_setzero_ps(); V]; R];
    for i in 0..R {
        // SAFETY: these columns are of this task alone, and nothing else of it is alive.
        let y = unsafe { task.y_row(row + i, piece.first, piece.width) };
        ask_for(y.as_ptr(), 0, y.len());
    }
    for pair in 0..pairs {
        // SAFETY: the block and each row of `hidden` have so many pairs.
        unsafe {
            let b = block.as_ptr().add(pair * step);
            if row == 0 {
                ask_for(b, AHEAD, step);
            }
            let mut bs = [_mm512_setzero_si512(); V];
            for (v, bs) in bs.iter_mut().enumerate() {
                *bs = _mm512_loadu_si512(b.add(2 * v * LANES).cast());
            }
            for i in 0..R {
                let h = _mm512_set1_epi32((*hidden[i].add(pair)).cast_signed());
                for v in 0..V {
                    sums[i][v] = add_pairs(sums[i][v], h, bs[v]);
                }
            }
        }
    }
    for (i, sums) in sums.into_iter().enumerate() {
        // SAFETY: these columns are of this task alone, and the masks leave out those that a row has not.
        unsafe {
            let y = task.y_row(row + i, piece.first, piece.width);
            for (y, sum) in y.chunks_mut(LANES).zip(sums) {
                let some = first(y.len());
                let before = _mm512_maskz_loadu_ps(some, y.as_ptr());
                _mm512_mask_storeu_ps(y.as_mut_ptr(), some, _mm512_add_ps(before, sum));
            }
        }
    }
}
