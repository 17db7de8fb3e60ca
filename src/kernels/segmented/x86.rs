//! The twins for x86: one text, stamped out for each width of vector. Several rows go against a few rows of weights, one
//! row against many, so that there are always enough sums under way; each has its own accumulator.

use std::arch::x86_64::*;

use super::layout::LANES as SIDE_BY_SIDE;

/// Bytes that weights are asked for in advance.
const AHEAD: usize = 2048;

macro_rules! tier {
    (
        $name:ident, $features:literal, $lanes:literal x $vector:ident, $zero:ident, $splat:ident, $load:ident,
        $load_bf16:ident, $load_pairs:ident, $store:ident, $add:ident, $multiply_add:ident, $sum:ident,
        shrink: $($shrink_rows:literal x [$($dots:literal)+])+,
        expand: $($expand_rows:literal x [$($vectors:literal)+])+
    ) => {
        pub(super) mod $name {
            use std::arch::x86_64::*;

            use super::{$load_bf16, $load_pairs, $sum, AHEAD, SIDE_BY_SIDE};
            use crate::kernels::ahead::ask_for;
            use crate::kernels::segmented::layout::{Piece, within};
            use crate::kernels::segmented::work::{Expand, Shrink};

            const LANES: usize = $lanes;

            /// Loads `LANES` stored numbers as f32.
            pub trait Load: Copy {
                /// Rows of Bᵀ that lie together.
                const ROWS: usize;

                /// # Safety
                /// `at` has `LANES` readable numbers and the processor has the features.
                unsafe fn load(at: *const Self) -> $vector;

                /// Of row `r` of a block of B that is `width` wide, from `column`.
                ///
                /// # Safety
                /// The block has that row and `LANES` columns from there, and the processor has the features.
                unsafe fn load_columns(block: *const Self, width: usize, r: usize, column: usize) -> $vector;
            }

            impl Load for f32 {
                const ROWS: usize = 1;

                #[inline(always)]
                unsafe fn load(at: *const Self) -> $vector {
                    // SAFETY: as the trait demands of its callers; the load needs no alignment.
                    unsafe { $load(at) }
                }

                #[inline(always)]
                unsafe fn load_columns(block: *const Self, width: usize, r: usize, column: usize) -> $vector {
                    // SAFETY: as above.
                    unsafe { $load(block.add(within(false, width, r, column))) }
                }
            }

            impl Load for u16 {
                const ROWS: usize = 2;

                #[inline(always)]
                unsafe fn load(at: *const Self) -> $vector {
                    // SAFETY: as the trait demands of its callers; the load needs no alignment.
                    unsafe { $load_bf16(at) }
                }

                #[inline(always)]
                unsafe fn load_columns(block: *const Self, width: usize, r: usize, column: usize) -> $vector {
                    // SAFETY: as above: the pairs of these columns are twice as many numbers.
                    unsafe { $load_pairs(block.add(within(true, width, r & !1, column)), r % 2 == 1) }
                }
            }

            /// `hidden[row, j] = scale · ⟨x[row], A[j]⟩` for every row of the task and of the panel.
            ///
            /// # Safety
            /// The processor has the features.
            #[target_feature(enable = $features)]
            pub unsafe fn shrink<T: Load>(task: &Shrink<'_>, panel: &[T]) {
                let mut row = 0;
                $(
                    while task.rows - row >= $shrink_rows {
                        let mut j = 0;
                        $(
                            while task.width - j >= $dots {
                                // SAFETY: the features are the caller's promise.
                                unsafe { dots::<T, $shrink_rows, $dots>(task, panel, row, j) }
                                j += $dots;
                            }
                        )+
                        row += $shrink_rows;
                    }
                )+
            }

            /// R rows against C rows of the panel.
            #[target_feature(enable = $features)]
            unsafe fn dots<T: Load, const R: usize, const C: usize>(
                task: &Shrink<'_>,
                panel: &[T],
                row: usize,
                j: usize,
            ) {
                let step = task.padded * SIDE_BY_SIDE;
                let (whole, rest) = (task.inputs / SIDE_BY_SIDE, task.inputs % SIDE_BY_SIDE);
                assert!(j + C <= task.width);
                assert!(panel.len() >= task.inputs.div_ceil(SIDE_BY_SIDE) * step);
                let mut x = [std::ptr::null::<f32>(); R];
                for i in 0..R {
                    x[i] = task.x_row(row + i).as_ptr();
                }
                let mut last = [[0f32; SIDE_BY_SIDE]; R];
                let mut sums = [[$zero(); C]; R];
                // SAFETY: rows have `inputs` numbers, `last` has one more block, and the panel has as many blocks; `j + C` is
                // at most its width.
                unsafe {
                    let start = panel.as_ptr().add(j * SIDE_BY_SIDE);
                    let mut block = |x: [*const f32; R], at: usize, a: *const T| {
                        if j == 0 {
                            ask_for(a, AHEAD, step);
                        }
                        for half in (0..SIDE_BY_SIDE).step_by(LANES) {
                            let mut xs = [$zero(); R];
                            for i in 0..R {
                                xs[i] = $load(x[i].add(at + half));
                            }
                            for c in 0..C {
                                let a = T::load(a.add(c * SIDE_BY_SIDE + half));
                                for i in 0..R {
                                    sums[i][c] = $multiply_add(xs[i], a, sums[i][c]);
                                }
                            }
                        }
                    };
                    for at in 0..whole {
                        block(x, at * SIDE_BY_SIDE, start.wrapping_add(at * step));
                    }
                    if rest > 0 {
                        for i in 0..R {
                            last[i][..rest].copy_from_slice(&task.x_row(row + i)[whole * SIDE_BY_SIDE..]);
                            x[i] = last[i].as_ptr();
                        }
                        block(x, 0, start.wrapping_add(whole * step));
                    }
                    for i in 0..R {
                        for c in 0..C {
                            *task.hidden_at(row + i, j + c) = task.scale * $sum(sums[i][c]);
                        }
                    }
                }
            }

            /// `y[row] += Σ_r hidden[row, r] · Bᵀ[r]`, r ascending, for every row of the task and the columns of the block.
            ///
            /// # Safety
            /// The processor has the features.
            #[target_feature(enable = $features)]
            pub unsafe fn expand<T: Load>(task: &Expand<'_>, block: &[T], piece: &Piece) {
                let mut row = 0;
                $(
                    while task.rows - row >= $expand_rows {
                        let mut column = 0;
                        $(
                            while piece.width - column >= $vectors * LANES {
                                // SAFETY: the features are the caller's promise.
                                unsafe {
                                    columns::<T, $expand_rows, $vectors>(task, block, piece, row, column)
                                }
                                column += $vectors * LANES;
                            }
                        )+
                        row += $expand_rows;
                    }
                )+
            }

            /// R rows of V vectors of columns, from `from` in the block.
            #[target_feature(enable = $features)]
            unsafe fn columns<T: Load, const R: usize, const V: usize>(
                task: &Expand<'_>,
                block: &[T],
                piece: &Piece,
                row: usize,
                from: usize,
            ) {
                assert!(from + V * LANES <= piece.width);
                assert!(block.len() >= task.rank.next_multiple_of(T::ROWS) * piece.width);
                assert!(row + R <= task.rows);
                let mut sums = [[$zero(); V]; R];
                // SAFETY: the block has `rank` rows of `width` numbers or more, and each of the R rows of `hidden` has `rank`.
                unsafe {
                    let hidden = task.hidden_row(row).as_ptr();
                    for r in 0..task.rank {
                        if from == 0 {
                            ask_for(block.as_ptr().add(r * piece.width), AHEAD, piece.width);
                        }
                        let mut bs = [$zero(); V];
                        for v in 0..V {
                            bs[v] = T::load_columns(block.as_ptr(), piece.width, r, from + v * LANES);
                        }
                        for i in 0..R {
                            let h = $splat(*hidden.add(i * task.rank + r));
                            for v in 0..V {
                                sums[i][v] = $multiply_add(h, bs[v], sums[i][v]);
                            }
                        }
                    }
                }
                let first = piece.first + from;
                for i in 0..R {
                    // SAFETY: these columns are of this task alone, and the vectors are as long as their arrays.
                    unsafe {
                        let y = task.y_row(row + i, first, V * LANES);
                        if y.len() == V * LANES {
                            for v in 0..V {
                                let y = y.as_mut_ptr().add(v * LANES);
                                $store(y, $add($load(y), sums[i][v]));
                            }
                        } else {
                            for (y, sum) in y.chunks_mut(LANES).zip(sums[i]) {
                                let mut lanes = [0f32; LANES];
                                $store(lanes.as_mut_ptr(), sum);
                                y.iter_mut().zip(lanes).for_each(|(y, sum)| *y += sum);
                            }
                        }
                    }
                }
            }
        }
    };
}

tier!(
    avx2, "avx2,fma", 8 x __m256, _mm256_setzero_ps, _mm256_set1_ps, _mm256_loadu_ps, load_bf16_by_8,
    load_pairs_by_8, _mm256_storeu_ps, _mm256_add_ps, _mm256_fmadd_ps, sum_of_8,
    shrink: 4 x [2 1] 2 x [4 1] 1 x [8 4 1],
    expand: 4 x [2] 2 x [4 2] 1 x [8 2]
);
// With F alone the sums of `shrink` keep to 16 of the 32 registers, and lie on the stack.
tier!(
    avx512, "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma", 16 x __m512, _mm512_setzero_ps, _mm512_set1_ps,
    _mm512_loadu_ps, load_bf16_by_16, load_pairs_by_16, _mm512_storeu_ps, _mm512_add_ps, _mm512_fmadd_ps, sum_of_16,
    shrink: 8 x [2 1] 4 x [4 1] 2 x [8 4 1] 1 x [8 4 1],
    expand: 8 x [2 1] 4 x [4 1] 2 x [4 1] 1 x [4 1]
);

/// A bf16 is the upper half of the f32 of the same value.
///
/// # Safety
/// `at` has 8 readable numbers.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load_bf16_by_8(at: *const u16) -> __m256 {
    // SAFETY: the caller's promise; the load needs no alignment.
    let halves = unsafe { _mm_loadu_si128(at.cast()) };
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
}

/// # Safety
/// `at` has 16 readable numbers.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
unsafe fn load_bf16_by_16(at: *const u16) -> __m512 {
    // SAFETY: the caller's promise; the load needs no alignment.
    let halves = unsafe { _mm256_loadu_si256(at.cast()) };
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
}

/// One bf16 of each of 8 pairs: the upper one is the f32 of the same value, once the other is gone.
///
/// # Safety
/// `at` has 8 readable pairs.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load_pairs_by_8(at: *const u16, second: bool) -> __m256 {
    // SAFETY: the caller's promise; the load needs no alignment.
    let pairs = unsafe { _mm256_loadu_si256(at.cast()) };
    let shift = _mm_cvtsi32_si128(if second { 0 } else { 16 });
    let upper = _mm256_set1_epi32(!0xffff);
    _mm256_castsi256_ps(_mm256_and_si256(_mm256_sll_epi32(pairs, shift), upper))
}

/// # Safety
/// `at` has 16 readable pairs.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
unsafe fn load_pairs_by_16(at: *const u16, second: bool) -> __m512 {
    // SAFETY: the caller's promise; the load needs no alignment.
    let pairs = unsafe { _mm512_loadu_si512(at.cast()) };
    let shift = _mm_cvtsi32_si128(if second { 0 } else { 16 });
    let upper = _mm512_set1_epi32(!0xffff);
    _mm512_castsi512_ps(_mm512_and_si512(_mm512_sll_epi32(pairs, shift), upper))
}

/// The sum of the lanes, in a fixed order.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn sum_of_8(v: __m256) -> f32 {
    let half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let quarter = _mm_add_ps(half, _mm_movehl_ps(half, half));
    _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)))
}

/// The sum of the lanes, in a fixed order.
#[inline]
#[target_feature(enable = "avx512f")]
fn sum_of_16(v: __m512) -> f32 {
    _mm512_reduce_add_ps(v)
}
