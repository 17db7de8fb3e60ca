//! The kernels for processors without AVX-512: eight rows of a tile at a time, with VNNI in its 256-bit form or without.

use std::arch::x86_64::*;

use super::{Codes, LANES, Layout, PANEL, Rounded, Scaling, Tiles};

/// # Safety
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn plain<L: Layout>(
    tiles: &Tiles<'_, L>,
    x: &Rounded,
    write: impl Fn(usize, usize, &[f32; LANES]),
) {
    let dot = |sum, w, q| {
        let ones = _mm256_set1_epi16(1);
        let pairs = if L::ZERO == EIGHT_BITS {
            // |w| · sign(w)·x: pairs stay below 2¹⁵, because x is within ±127.
            let w = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
            _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(q, w))
        } else {
            _mm256_maddubs_epi16(w, q)
        };
        _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones))
    };
    // SAFETY: the features are this function's.
    unsafe { all_rows(tiles, x, L::ZERO != EIGHT_BITS, dot, write) }
}

/// # Safety
/// The processor has AVX2, FMA, F16C and AVX-VNNI.
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub(super) unsafe fn vnni<L: Layout>(
    tiles: &Tiles<'_, L>,
    x: &Rounded,
    write: impl Fn(usize, usize, &[f32; LANES]),
) {
    let dot = |sum, w, q| _mm256_dpbusd_avx_epi32(sum, w, q);
    // SAFETY: the features are this function's.
    unsafe { all_rows(tiles, x, true, dot, write) }
}

/// The zero of 8-bit codes, whose products do not fit pairs of 16 bits.
const EIGHT_BITS: i32 = 128;

/// `unsigned`: `dot` takes codes as they are, so their zero is taken off through the sums of x.
///
/// # Safety
/// The processor has AVX2, FMA, F16C, and what `dot` needs.
#[inline(always)]
unsafe fn all_rows<L: Layout>(
    tiles: &Tiles<'_, L>,
    x: &Rounded,
    unsigned: bool,
    dot: impl Fn(__m256i, __m256i, __m256i) -> __m256i,
    write: impl Fn(usize, usize, &[f32; LANES]),
) {
    for (tile, one) in tiles.each(x.blocks) {
        let write = |row: usize, out: &[f32; LANES]| write(row, tile, out);
        let mut row = 0;
        while row < x.rows() {
            let rest = x.width(row) - row % PANEL;
            // SAFETY: rows row..row + R exist, and the features are the caller's.
            unsafe {
                row += match rest {
                    1 => some_rows::<L, 1>(&one, x, row, unsigned, &dot, &write),
                    2 | 3 => some_rows::<L, 2>(&one, x, row, unsigned, &dot, &write),
                    _ => some_rows::<L, 4>(&one, x, row, unsigned, &dot, &write),
                };
            }
        }
    }
}

/// # Safety
/// Rows `row..row + R` of x exist; features as [`all_rows`].
#[inline(always)]
unsafe fn some_rows<L: Layout, const R: usize>(
    tile: &Tiles<'_, L>,
    x: &Rounded,
    row: usize,
    unsigned: bool,
    dot: &impl Fn(__m256i, __m256i, __m256i) -> __m256i,
    write: &impl Fn(usize, &[f32; LANES]),
) -> usize {
    tile.check(x, row, R, 1);
    let (blocks, span) = (x.blocks, L::Scaling::SPAN);
    let (first, width) = (x.at(row, 0), x.width(row));
    // SAFETY: `check` has seen that rows row..row + R of x and the tile's blocks exist, and all places below are within.
    unsafe {
        let mut out = [[_mm256_setzero_ps(); 2]; R];
        for block in 0..blocks {
            tile.ask_ahead(row, block);
            let codes = tile.codes.as_ptr().add(block);
            let at = |r: usize| first + block * width + r;
            for side in 0..2 {
                // Of both halves of the block together, or of each.
                let mut dots = [[_mm256_setzero_si256(); 2]; R];
                if L::ZERO != 0 && unsigned {
                    for (r, dots) in dots.iter_mut().enumerate() {
                        let sums = *x.sums.get_unchecked(at(r));
                        let [low, high] = sums.map(|sum| -L::ZERO * sum);
                        *dots = if L::Scaling::HALVES {
                            [_mm256_set1_epi32(low), _mm256_set1_epi32(high)]
                        } else {
                            [_mm256_set1_epi32(low + high), _mm256_setzero_si256()]
                        };
                    }
                }
                macro_rules! plane {
                    ($g:literal) => {
                        let half = if L::Scaling::HALVES { $g / 4 } else { 0 };
                        let w = L::Codes::plane256::<$g>(codes, side);
                        for (r, dots) in dots.iter_mut().enumerate() {
                            let q = x.q.as_ptr().add(at(r)).cast::<i32>().add($g);
                            let q = _mm256_set1_epi32(q.read_unaligned());
                            dots[half] = dot(dots[half], w, q);
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
                let scaling = tile.scaling.get_unchecked(block / span);
                let (of_halves, shift) = scaling.lanes256(block % span, side);
                for r in 0..R {
                    let scale = _mm256_set1_ps(*x.scales.get_unchecked(at(r)));
                    let low = _mm256_cvtepi32_ps(dots[r][0]);
                    let out = &mut out[r][side];
                    *out = if L::Scaling::HALVES {
                        let high = _mm256_cvtepi32_ps(dots[r][1]);
                        let sum =
                            _mm256_fmadd_ps(high, of_halves[1], _mm256_mul_ps(low, of_halves[0]));
                        _mm256_fmadd_ps(sum, scale, *out)
                    } else {
                        _mm256_fmadd_ps(low, _mm256_mul_ps(of_halves[0], scale), *out)
                    };
                    if L::Scaling::SHIFTS {
                        let weighted = _mm256_set1_ps(*x.weighted.get_unchecked(at(r)));
                        *out = _mm256_fmadd_ps(shift, weighted, *out);
                    }
                }
            }
        }
        for (r, out) in out.iter().enumerate() {
            let mut values = [0f32; LANES];
            _mm256_storeu_ps(values.as_mut_ptr(), out[0]);
            _mm256_storeu_ps(values.as_mut_ptr().add(8), out[1]);
            write(row + r, &values);
        }
    }
    R
}
