//! The kernel for AVX-512 VNNI: two tiles' weights are read once for up to eight rows of x.

use std::arch::x86_64::*;

use super::{Codes, LANES, Layout, PAIR, PANEL, Rounded, Scaling, Tiles};

/// # Safety
/// The processor has AVX-512 F, BW, VL, DQ and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn tiles<L: Layout>(
    tiles: &Tiles<'_, L>,
    x: &Rounded,
    write: impl Fn(usize, usize, &[f32; LANES]),
) {
    // SAFETY: as this function demands.
    unsafe { from_row(tiles, x, 0, write) }
}

/// The rows of x from `row` on.
///
/// # Safety
/// As [`tiles`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn from_row<L: Layout>(
    tiles: &Tiles<'_, L>,
    x: &Rounded,
    row: usize,
    write: impl Fn(usize, usize, &[f32; LANES]),
) {
    // SAFETY: as this function demands.
    unsafe {
        if tiles.codes.len() == PAIR * x.blocks {
            all_rows::<L, PAIR>(tiles, x, row, write);
        } else {
            all_rows::<L, 1>(tiles, x, row, write);
        }
    }
}

/// # Safety
/// As [`tiles`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
unsafe fn all_rows<L: Layout, const T: usize>(
    tiles: &Tiles<'_, L>,
    x: &Rounded,
    mut row: usize,
    write: impl Fn(usize, usize, &[f32; LANES]),
) {
    while row < x.rows() {
        let rest = x.width(row) - row % PANEL;
        // SAFETY: rows row..row + R exist, and the features are this function's.
        unsafe {
            row += match rest {
                1 => some_rows::<L, T, 1>(tiles, x, row, &write),
                2 => some_rows::<L, T, 2>(tiles, x, row, &write),
                3 => some_rows::<L, T, 3>(tiles, x, row, &write),
                4 | 5 => some_rows::<L, T, 4>(tiles, x, row, &write),
                6 | 7 => some_rows::<L, T, 6>(tiles, x, row, &write),
                _ => some_rows::<L, T, 8>(tiles, x, row, &write),
            };
        }
    }
}

/// # Safety
/// Rows `row..row + R` of x exist; features as [`tiles`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
unsafe fn some_rows<L: Layout, const T: usize, const R: usize>(
    tiles: &Tiles<'_, L>,
    x: &Rounded,
    row: usize,
    write: &impl Fn(usize, usize, &[f32; LANES]),
) -> usize {
    tiles.check(x, row, R, T);
    let (blocks, span) = (x.blocks, L::Scaling::SPAN);
    let (first, width) = (x.at(row, 0), x.width(row));
    // SAFETY: `check` has seen that all these places exist: rows row..row + R of x, and T tiles.
    let (q, scales, sums) = unsafe {
        (
            x.q.as_ptr().add(first),
            x.scales.as_ptr().add(first),
            x.sums.as_ptr().add(first),
        )
    };
    let mut out = [[_mm512_setzero_ps(); T]; R];
    for block in 0..blocks {
        // SAFETY: block < blocks, so every place below is within what `check` has seen; loads need no alignment but that
        // of the codes, which their type has.
        unsafe {
            let codes: [*const L::Codes; T] =
                std::array::from_fn(|t| tiles.codes.as_ptr().add(t * blocks + block));
            // Of both halves together, or of each.
            let mut dots = [[[_mm512_setzero_si512(); T]; 2]; R];
            if L::ZERO != 0 {
                for (r, dots) in dots.iter_mut().enumerate() {
                    let [low, high] = (*sums.add(block * width + r)).map(|sum| -L::ZERO * sum);
                    if L::Scaling::HALVES {
                        *dots = [[_mm512_set1_epi32(low); T], [_mm512_set1_epi32(high); T]];
                    } else {
                        dots[0] = [_mm512_set1_epi32(low + high); T];
                    }
                }
            }
            macro_rules! plane {
                ($g:literal) => {
                    let half = if L::Scaling::HALVES { $g / 4 } else { 0 };
                    let w: [__m512i; T] =
                        std::array::from_fn(|t| L::Codes::plane512::<$g>(codes[t]));
                    for r in 0..R {
                        let q = q.add(block * width + r).cast::<i32>().add($g);
                        let q = _mm512_set1_epi32(q.read_unaligned());
                        for t in 0..T {
                            dots[r][half][t] = _mm512_dpbusd_epi32(dots[r][half][t], w[t], q);
                        }
                    }
                };
            }
            plane!(0);
            plane!(1);
            plane!(2);
            plane!(3);
            plane!(4);
            plane!(5);
            plane!(6);
            plane!(7);
            for t in 0..T {
                let scaling = tiles
                    .scaling
                    .get_unchecked(t * (blocks / span) + block / span);
                let (of_halves, shift) = scaling.lanes512(block % span);
                for r in 0..R {
                    let scale = _mm512_set1_ps(*scales.add(block * width + r));
                    let low = _mm512_cvtepi32_ps(dots[r][0][t]);
                    out[r][t] = if L::Scaling::HALVES {
                        let high = _mm512_cvtepi32_ps(dots[r][1][t]);
                        let sum =
                            _mm512_fmadd_ps(high, of_halves[1], _mm512_mul_ps(low, of_halves[0]));
                        _mm512_fmadd_ps(sum, scale, out[r][t])
                    } else {
                        _mm512_fmadd_ps(low, _mm512_mul_ps(of_halves[0], scale), out[r][t])
                    };
                    if L::Scaling::SHIFTS {
                        let weighted = x.weighted.get_unchecked(first + block * width + r);
                        out[r][t] = _mm512_fmadd_ps(shift, _mm512_set1_ps(*weighted), out[r][t]);
                    }
                }
            }
        }
    }
    for (r, out) in out.iter().enumerate() {
        for (t, out) in out.iter().enumerate() {
            let mut values = [0f32; LANES];
            // SAFETY: 16 values.
            unsafe { _mm512_storeu_ps(values.as_mut_ptr(), *out) };
            write(row + r, t, &values);
        }
    }
    R
}
