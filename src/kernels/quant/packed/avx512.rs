//! The kernel for AVX-512 VNNI: a tile's weights are read once for up to eight rows of x. One tile at a time: sums and
//! outputs of two would not fit into the registers, and two streams of weights come slower from memory than one.

use std::arch::x86_64::*;
use std::ops::Range;

use super::{Codes, LANES, Layout, PANEL, Rounded, Scaling, Tiles};

/// Multiplies some rows of x.
///
/// # Safety
/// The processor has AVX-512 F, BW, VL, DQ and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn tiles<L: Layout>(
    tiles: &Tiles<'_, L>,
    x: &Rounded,
    rows: Range<usize>,
    write: impl Fn(usize, usize, &[f32; LANES]),
) {
    assert!(rows.end <= x.rows());
    for (tile, one) in tiles.each(x.blocks) {
        let write = |row: usize, out: &[f32; LANES]| write(row, tile, out);
        let mut row = rows.start;
        while row < rows.end {
            let rest = (x.width(row) - row % PANEL).min(rows.end - row);
            // SAFETY: rows row..row + R exist, and the features are this function's.
            unsafe {
                row += match rest {
                    1 => some_rows::<L, 1>(&one, x, row, &write),
                    2 => some_rows::<L, 2>(&one, x, row, &write),
                    3 => some_rows::<L, 3>(&one, x, row, &write),
                    4 | 5 => some_rows::<L, 4>(&one, x, row, &write),
                    6 | 7 => some_rows::<L, 6>(&one, x, row, &write),
                    _ => some_rows::<L, 8>(&one, x, row, &write),
                };
            }
        }
    }
}

/// # Safety
/// Rows `row..row + R` of x exist; features as [`tiles`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
unsafe fn some_rows<L: Layout, const R: usize>(
    tile: &Tiles<'_, L>,
    x: &Rounded,
    row: usize,
    write: &impl Fn(usize, &[f32; LANES]),
) -> usize {
    tile.check(x, row, R, 1);
    let (blocks, span) = (x.blocks, L::Scaling::SPAN);
    let (first, width) = (x.at(row, 0), x.width(row));
    // SAFETY: `check` has seen that rows row..row + R of x and the tile's blocks exist, and all places below are within;
    // loads need no alignment but that of the codes, which their type has.
    unsafe {
        let mut out = [_mm512_setzero_ps(); R];
        for block in 0..blocks {
            tile.ask_ahead(row, block);
            let codes = tile.codes.as_ptr().add(block);
            let at = |r: usize| first + block * width + r;
            // Of both halves of the block together, or of each.
            let mut dots = [[_mm512_setzero_si512(); 2]; R];
            if L::ZERO != 0 {
                for (r, dots) in dots.iter_mut().enumerate() {
                    let sums = *x.sums.get_unchecked(at(r));
                    let [low, high] = sums.map(|sum| -L::ZERO * sum);
                    *dots = if L::Scaling::HALVES {
                        [_mm512_set1_epi32(low), _mm512_set1_epi32(high)]
                    } else {
                        [_mm512_set1_epi32(low + high), _mm512_setzero_si512()]
                    };
                }
            }
            macro_rules! plane {
                ($g:literal) => {
                    let half = if L::Scaling::HALVES { $g / 4 } else { 0 };
                    let w = L::Codes::plane512::<$g>(codes);
                    for (r, dots) in dots.iter_mut().enumerate() {
                        let q = x.q.as_ptr().add(at(r)).cast::<i32>().add($g);
                        let q = _mm512_set1_epi32(q.read_unaligned());
                        dots[half] = _mm512_dpbusd_epi32(dots[half], w, q);
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
            let (of_halves, shift) = scaling.lanes512(block % span);
            for (r, out) in out.iter_mut().enumerate() {
                let scale = _mm512_set1_ps(*x.scales.get_unchecked(at(r)));
                let low = _mm512_cvtepi32_ps(dots[r][0]);
                *out = if L::Scaling::HALVES {
                    let high = _mm512_cvtepi32_ps(dots[r][1]);
                    let sum = _mm512_fmadd_ps(high, of_halves[1], _mm512_mul_ps(low, of_halves[0]));
                    _mm512_fmadd_ps(sum, scale, *out)
                } else {
                    _mm512_fmadd_ps(low, _mm512_mul_ps(of_halves[0], scale), *out)
                };
                if L::Scaling::SHIFTS {
                    let weighted = _mm512_set1_ps(*x.weighted.get_unchecked(at(r)));
                    *out = _mm512_fmadd_ps(shift, weighted, *out);
                }
            }
        }
        for (r, out) in out.iter().enumerate() {
            let mut values = [0f32; LANES];
            _mm512_storeu_ps(values.as_mut_ptr(), *out);
            write(row + r, &values);
        }
    }
    R
}
