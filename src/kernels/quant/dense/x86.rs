//! The twins for x86: one text, stamped out for each width of vector.

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::super::super::ahead::ask_for;
use super::{Dense, Input, LANES, Output, Plain};

/// Bytes that weights are asked for in advance.
const AHEAD: usize = 2048;

macro_rules! tier {
    (
        $name:ident, $features:literal, $lanes:literal x $vector:ident, $zero:ident, $splat:ident, $multiply_add:ident,
        $store:ident, $load:ident, $load_f16:ident, $load_bf16:ident, tiles: $tiles:literal, rows: $($rows:literal)+
    ) => {
        pub(super) mod $name {
            use super::*;

            const VECTORS: usize = LANES / $lanes;

            /// Tiles that go together, so that a value of x is loaded for all of them.
            pub const TILES: usize = $tiles;

            /// A vector of stored numbers as f32.
            pub trait Load: Plain {
                /// # Safety
                /// `at` has a vector of readable numbers and the processor has the features.
                unsafe fn load(at: *const Self) -> $vector;
            }

            impl Load for f32 {
                #[inline(always)]
                unsafe fn load(at: *const Self) -> $vector {
                    // SAFETY: as the trait demands of its callers.
                    unsafe { $load(at) }
                }
            }

            impl Load for f16 {
                #[inline(always)]
                unsafe fn load(at: *const Self) -> $vector {
                    // SAFETY: as the trait demands of its callers.
                    unsafe { $load_f16(at) }
                }
            }

            impl Load for bf16 {
                #[inline(always)]
                unsafe fn load(at: *const Self) -> $vector {
                    // SAFETY: as the trait demands of its callers.
                    unsafe { $load_bf16(at) }
                }
            }

            /// Multiplies all rows of x with `N` tiles.
            ///
            /// # Safety
            /// The processor has the features, and the tiles' outputs are the caller's.
            #[target_feature(enable = $features)]
            pub unsafe fn tiles<T: Load, const N: usize>(
                weight: &Dense<T>,
                first: usize,
                x: &Input<'_>,
                y: &Output<'_>,
            ) {
                let mut row = 0;
                $(
                    while x.rows - row >= $rows {
                        // SAFETY: as this function demands.
                        unsafe { rows::<T, $rows, N>(weight, first, row, x, y) };
                        row += $rows;
                    }
                )+
            }

            #[target_feature(enable = $features)]
            unsafe fn rows<T: Load, const R: usize, const N: usize>(
                weight: &Dense<T>,
                first: usize,
                row: usize,
                x: &Input<'_>,
                y: &Output<'_>,
            ) {
                let k = weight.k;
                let x = &x.x[row * k..(row + R) * k];
                let mut tiles = [std::ptr::null::<T>(); N];
                for n in 0..N {
                    tiles[n] = weight.tile(first + n).as_ptr().cast();
                }
                let mut out = [[[$zero(); VECTORS]; N]; R];
                // SAFETY: a tile has k times 16 values, and x has R rows of k.
                unsafe {
                    let x = x.as_ptr();
                    for i in 0..k {
                        let mut values = [[$zero(); VECTORS]; N];
                        for n in 0..N {
                            let w = tiles[n].add(i * LANES);
                            ask_for(w, AHEAD, LANES);
                            for v in 0..VECTORS {
                                values[n][v] = T::load(w.add(v * $lanes));
                            }
                        }
                        for r in 0..R {
                            let x = $splat(*x.add(r * k + i));
                            for n in 0..N {
                                for v in 0..VECTORS {
                                    out[r][n][v] = $multiply_add(x, values[n][v], out[r][n][v]);
                                }
                            }
                        }
                    }
                }
                for r in 0..R {
                    for n in 0..N {
                        let mut values = [0f32; LANES];
                        for v in 0..VECTORS {
                            // SAFETY: a vector's place in 16 values.
                            unsafe { $store(values.as_mut_ptr().add(v * $lanes), out[r][n][v]) };
                        }
                        // SAFETY: as this function's caller promises.
                        unsafe { y.put(row + r, (first + n) * LANES, &values) };
                    }
                }
            }
        }
    };
}

tier!(
    avx512, "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c", 16 x __m512, _mm512_setzero_ps, _mm512_set1_ps,
    _mm512_fmadd_ps, _mm512_storeu_ps, _mm512_loadu_ps, f16_512, bf16_512, tiles: 2, rows: 12 8 4 2 1
);
tier!(
    avx2, "avx2,fma,f16c", 8 x __m256, _mm256_setzero_ps, _mm256_set1_ps,
    _mm256_fmadd_ps, _mm256_storeu_ps, _mm256_loadu_ps, f16_256, bf16_256, tiles: 1, rows: 6 4 2 1
);

#[inline(always)]
unsafe fn f16_512(at: *const f16) -> __m512 {
    // SAFETY: 16 readable numbers, as the caller promises.
    unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())) }
}

#[inline(always)]
unsafe fn bf16_512(at: *const bf16) -> __m512 {
    // SAFETY: as above.
    unsafe {
        let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast()));
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
    }
}

#[inline(always)]
unsafe fn f16_256(at: *const f16) -> __m256 {
    // SAFETY: 8 readable numbers, as the caller promises.
    unsafe { _mm256_cvtph_ps(_mm_loadu_si128(at.cast())) }
}

#[inline(always)]
unsafe fn bf16_256(at: *const bf16) -> __m256 {
    // SAFETY: as above.
    unsafe {
        let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast()));
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
    }
}
