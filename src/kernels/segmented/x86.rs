//! The twins for x86: one text, stamped out for each width of vector. Four rows go against four weight rows where a
//! batch has them, one against eight where it has not; each sum has its own accumulator either way.

use std::arch::x86_64::*;

use half::bf16;

macro_rules! tier {
    (
        $name:ident, $features:literal, $lanes:literal x $vector:ident, $zero:ident, $splat:ident, $load:ident,
        $load_bf16:ident, $store:ident, $add:ident, $multiply_add:ident, $sum:ident
    ) => {
        pub(super) mod $name {
            use std::arch::x86_64::*;

            use half::bf16;

            use super::{$load_bf16, $sum};
            use crate::kernels::segmented::plain::Widen;
            use crate::kernels::segmented::{LowRank, Rows, RowsMut, Values};

            const LANES: usize = $lanes;

            /// `y[row] += scale · (x[row] Aᵀ) Bᵀ` for each row; `hidden` is room for [rows, rank].
            ///
            /// # Safety
            /// The processor has the features.
            pub unsafe fn product(
                rows: usize,
                x: Rows<'_>,
                y: &mut RowsMut<'_>,
                weights: &LowRank,
                hidden: &mut [f32],
            ) {
                let shape = Shape {
                    rank: weights.rank(),
                    inputs: weights.inputs(),
                    outputs: weights.outputs(),
                };
                assert!(hidden.len() == rows * shape.rank && rows > 0);
                assert!(x.data.len() >= (rows - 1) * x.stride + shape.inputs);
                assert!(y.data.len() >= (rows - 1) * y.stride + shape.outputs);
                // SAFETY: the lengths of x, y and hidden are asserted above, those of A and Bᵀ are `LowRank`'s invariant,
                // and the features are the caller's promise.
                unsafe {
                    match weights.a() {
                        Values::F32(a) => shrink(rows, &shape, x, a, weights.scale(), hidden),
                        Values::Bf16(a) => shrink(rows, &shape, x, a, weights.scale(), hidden),
                    }
                    match weights.b_transposed() {
                        Values::F32(b) => expand(rows, &shape, hidden, b, y),
                        Values::Bf16(b) => expand(rows, &shape, hidden, b, y),
                    }
                }
            }

            struct Shape {
                rank: usize,
                inputs: usize,
                outputs: usize,
            }

            /// Loads `LANES` stored numbers as f32.
            trait Load: Widen {
                /// # Safety
                /// `at` has `LANES` readable numbers and the processor has the features.
                unsafe fn load(at: *const Self) -> $vector;
            }

            impl Load for f32 {
                #[inline(always)]
                unsafe fn load(at: *const Self) -> $vector {
                    // SAFETY: as the trait demands of its callers; the load needs no alignment.
                    unsafe { $load(at) }
                }
            }

            impl Load for bf16 {
                #[inline(always)]
                unsafe fn load(at: *const Self) -> $vector {
                    // SAFETY: as the trait demands of its callers; the load needs no alignment.
                    unsafe { $load_bf16(at) }
                }
            }

            /// `hidden[row, r] = scale · ⟨x[row], A[r]⟩`.
            #[target_feature(enable = $features)]
            unsafe fn shrink<T: Load>(
                rows: usize,
                shape: &Shape,
                x: Rows<'_>,
                a: &[T],
                scale: f32,
                hidden: &mut [f32],
            ) {
                let mut row = 0;
                while row < rows {
                    // SAFETY: row + R ≤ rows and r + C ≤ rank in each call, so all pointers stay inside their slices.
                    unsafe {
                        let mut r = 0;
                        if row + 4 <= rows {
                            while r + 4 <= shape.rank {
                                dots::<T, 4, 4>(row, r, shape, x, a, scale, hidden);
                                r += 4;
                            }
                            while r < shape.rank {
                                dots::<T, 4, 1>(row, r, shape, x, a, scale, hidden);
                                r += 1;
                            }
                            row += 4;
                        } else {
                            while r + 8 <= shape.rank {
                                dots::<T, 1, 8>(row, r, shape, x, a, scale, hidden);
                                r += 8;
                            }
                            while r < shape.rank {
                                dots::<T, 1, 1>(row, r, shape, x, a, scale, hidden);
                                r += 1;
                            }
                            row += 1;
                        }
                    }
                }
            }

            /// R rows against C rows of A; each of the R·C sums has its own accumulator.
            ///
            /// # Safety
            /// Rows `row..row + R` of x and `r..r + C` of A exist.
            #[target_feature(enable = $features)]
            unsafe fn dots<T: Load, const R: usize, const C: usize>(
                row: usize,
                r: usize,
                shape: &Shape,
                x: Rows<'_>,
                a: &[T],
                scale: f32,
                hidden: &mut [f32],
            ) {
                let inputs = shape.inputs;
                let whole = inputs - inputs % LANES;
                let mut sums = [[$zero(); C]; R];
                // SAFETY: every offset is below `inputs` within a row that the caller says exists.
                unsafe {
                    let x: [*const f32; R] =
                        std::array::from_fn(|i| x.data.as_ptr().add((row + i) * x.stride));
                    let a: [*const T; C] =
                        std::array::from_fn(|j| a.as_ptr().add((r + j) * inputs));
                    let mut k = 0;
                    while k < whole {
                        let xs: [$vector; R] = std::array::from_fn(|i| f32::load(x[i].add(k)));
                        for j in 0..C {
                            let a = T::load(a[j].add(k));
                            for i in 0..R {
                                sums[i][j] = $multiply_add(xs[i], a, sums[i][j]);
                            }
                        }
                        k += LANES;
                    }
                    for i in 0..R {
                        for j in 0..C {
                            let mut sum = $sum(sums[i][j]);
                            for k in whole..inputs {
                                sum = (*x[i].add(k)).mul_add((*a[j].add(k)).widen(), sum);
                            }
                            hidden[(row + i) * shape.rank + r + j] = scale * sum;
                        }
                    }
                }
            }

            /// `y[row] += Σ_r hidden[row, r] · Bᵀ[r]`, r ascending.
            #[target_feature(enable = $features)]
            unsafe fn expand<T: Load>(
                rows: usize,
                shape: &Shape,
                hidden: &[f32],
                b: &[T],
                y: &mut RowsMut<'_>,
            ) {
                let mut row = 0;
                while row < rows {
                    // SAFETY: row + R ≤ rows and column + V · LANES ≤ outputs in each call.
                    unsafe {
                        let mut column = 0;
                        if row + 4 <= rows {
                            while column + 2 * LANES <= shape.outputs {
                                columns::<T, 4, 2>(row, column, shape, hidden, b, y);
                                column += 2 * LANES;
                            }
                            while column + LANES <= shape.outputs {
                                columns::<T, 4, 1>(row, column, shape, hidden, b, y);
                                column += LANES;
                            }
                            last_columns(row..row + 4, column, shape, hidden, b, y);
                            row += 4;
                        } else {
                            while column + 4 * LANES <= shape.outputs {
                                columns::<T, 1, 4>(row, column, shape, hidden, b, y);
                                column += 4 * LANES;
                            }
                            while column + LANES <= shape.outputs {
                                columns::<T, 1, 1>(row, column, shape, hidden, b, y);
                                column += LANES;
                            }
                            last_columns(row..row + 1, column, shape, hidden, b, y);
                            row += 1;
                        }
                    }
                }
            }

            /// R rows of V vectors of columns.
            ///
            /// # Safety
            /// Rows `row..row + R` and columns `column..column + V · LANES` exist.
            #[target_feature(enable = $features)]
            unsafe fn columns<T: Load, const R: usize, const V: usize>(
                row: usize,
                column: usize,
                shape: &Shape,
                hidden: &[f32],
                b: &[T],
                y: &mut RowsMut<'_>,
            ) {
                let mut sums = [[$zero(); V]; R];
                // SAFETY: `b` is [rank, outputs], `hidden` [rows, rank], and the caller says the rows and columns exist.
                unsafe {
                    for r in 0..shape.rank {
                        let b = b.as_ptr().add(r * shape.outputs + column);
                        let bs: [$vector; V] = std::array::from_fn(|v| T::load(b.add(v * LANES)));
                        for i in 0..R {
                            let h = $splat(*hidden.get_unchecked((row + i) * shape.rank + r));
                            for v in 0..V {
                                sums[i][v] = $multiply_add(h, bs[v], sums[i][v]);
                            }
                        }
                    }
                    for (i, sums) in sums.iter().enumerate() {
                        let y = y.data.as_mut_ptr().add((row + i) * y.stride + column);
                        for (v, sum) in sums.iter().enumerate() {
                            let at = y.add(v * LANES);
                            $store(at, $add($load(at), *sum));
                        }
                    }
                }
            }

            /// The columns that fill no vector, one by one.
            #[target_feature(enable = $features)]
            fn last_columns<T: Widen>(
                rows: std::ops::Range<usize>,
                from: usize,
                shape: &Shape,
                hidden: &[f32],
                b: &[T],
                y: &mut RowsMut<'_>,
            ) {
                for row in rows {
                    for column in from..shape.outputs {
                        let terms = hidden[row * shape.rank..][..shape.rank].iter().enumerate();
                        y.data[row * y.stride + column] += terms.fold(0f32, |sum, (r, h)| {
                            h.mul_add(b[r * shape.outputs + column].widen(), sum)
                        });
                    }
                }
            }
        }
    };
}

tier!(
    avx2, "avx2,fma", 8 x __m256, _mm256_setzero_ps, _mm256_set1_ps, _mm256_loadu_ps, load_bf16_by_8,
    _mm256_storeu_ps, _mm256_add_ps, _mm256_fmadd_ps, sum_of_8
);
tier!(
    avx512, "avx512f,avx2,fma", 16 x __m512, _mm512_setzero_ps, _mm512_set1_ps, _mm512_loadu_ps, load_bf16_by_16,
    _mm512_storeu_ps, _mm512_add_ps, _mm512_fmadd_ps, sum_of_16
);

/// A bf16 is the upper half of the f32 of the same value.
///
/// # Safety
/// `at` has 8 readable numbers.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load_bf16_by_8(at: *const bf16) -> __m256 {
    // SAFETY: the caller's promise; the load needs no alignment.
    let halves = unsafe { _mm_loadu_si128(at.cast()) };
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
}

/// # Safety
/// `at` has 16 readable numbers.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
unsafe fn load_bf16_by_16(at: *const bf16) -> __m512 {
    // SAFETY: the caller's promise; the load needs no alignment.
    let halves = unsafe { _mm256_loadu_si256(at.cast()) };
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
}

/// The sum of the lanes, in a fixed order.
#[inline]
#[target_feature(enable = "avx2")]
fn sum_of_8(v: __m256) -> f32 {
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
