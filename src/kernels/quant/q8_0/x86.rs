//! The kernels for x86: a tile's weights are read once for several rows of x.

use std::arch::x86_64::*;

use super::{BLOCK, Group, LANES, Rounded};

/// Rows of x against one reading of the weights.
const ROWS: usize = 8;

/// # Safety
/// The processor has AVX-512 F, BW, VL, DQ and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn avx512_vnni(
    groups: &[Group],
    x: &Rounded,
    mut write: impl FnMut(usize, &[f32; LANES]),
) {
    let rows = x.rows();
    let mut row = 0;
    while row < rows {
        let left = rows - row;
        // SAFETY: rows row..row + R exist, and the features are this function's.
        unsafe {
            row += match left {
                1 => avx512_rows::<1>(groups, x, row, &mut write),
                2 | 3 => avx512_rows::<2>(groups, x, row, &mut write),
                4..ROWS => avx512_rows::<4>(groups, x, row, &mut write),
                _ => avx512_rows::<ROWS>(groups, x, row, &mut write),
            };
        }
    }
}

/// # Safety
/// Rows `row..row + R` of x exist; features as [`avx512_vnni`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
unsafe fn avx512_rows<const R: usize>(
    groups: &[Group],
    x: &Rounded,
    row: usize,
    write: &mut impl FnMut(usize, &[f32; LANES]),
) -> usize {
    assert!(x.q.len() >= (row + R) * x.blocks * BLOCK && groups.len() == x.blocks);
    assert!(x.scales.len() >= (row + R) * x.blocks && x.sums.len() >= (row + R) * x.blocks);
    let mut out = [_mm512_setzero_ps(); R];
    let flip = _mm512_set1_epi8(-128);
    for (block, group) in groups.iter().enumerate() {
        // SAFETY: a group holds 8·64 values and 16 scales; its scales are aligned to 32 bytes.
        let (w, scales) = unsafe {
            let w: [__m512i; BLOCK / 4] = std::array::from_fn(|g| {
                // The instruction takes its first factor unsigned: 128 more, taken off again through the sums of x.
                _mm512_xor_si512(_mm512_loadu_si512(group.q[g].as_ptr().cast()), flip)
            });
            (
                w,
                _mm512_cvtph_ps(_mm256_load_si256(group.scales.as_ptr().cast())),
            )
        };
        for (r, out) in out.iter_mut().enumerate() {
            let at = (row + r) * x.blocks + block;
            // SAFETY: block `at` exists by the assertions above; loads need no alignment.
            let (scale, sum, q) = unsafe {
                (
                    *x.scales.get_unchecked(at),
                    *x.sums.get_unchecked(at),
                    x.q.as_ptr().add(at * BLOCK).cast::<i32>(),
                )
            };
            let mut dot = _mm512_set1_epi32(-128 * sum);
            for (g, w) in w.iter().enumerate() {
                // SAFETY: 32 values of x are eight times four bytes.
                let four = unsafe { q.add(g).read_unaligned() };
                dot = _mm512_dpbusd_epi32(dot, *w, _mm512_set1_epi32(four));
            }
            let by = _mm512_mul_ps(scales, _mm512_set1_ps(scale));
            *out = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), by, *out);
        }
    }
    for (r, out) in out.iter().enumerate() {
        let mut values = [0f32; LANES];
        // SAFETY: 16 values.
        unsafe { _mm512_storeu_ps(values.as_mut_ptr(), *out) };
        write(row + r, &values);
    }
    R
}

/// # Safety
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn avx2(
    groups: &[Group],
    x: &Rounded,
    mut write: impl FnMut(usize, &[f32; LANES]),
) {
    let rows = x.rows();
    let mut row = 0;
    while row < rows {
        // SAFETY: rows row..row + R exist, and the features are this function's.
        unsafe {
            row += match rows - row {
                1 => avx2_rows::<1>(groups, x, row, &mut write),
                2 | 3 => avx2_rows::<2>(groups, x, row, &mut write),
                _ => avx2_rows::<4>(groups, x, row, &mut write),
            };
        }
    }
}

/// # Safety
/// Rows `row..row + R` of x exist; features as [`avx2`].
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2_rows<const R: usize>(
    groups: &[Group],
    x: &Rounded,
    row: usize,
    write: &mut impl FnMut(usize, &[f32; LANES]),
) -> usize {
    assert!(x.q.len() >= (row + R) * x.blocks * BLOCK && groups.len() == x.blocks);
    assert!(x.scales.len() >= (row + R) * x.blocks);
    let mut out = [[_mm256_setzero_ps(); 2]; R];
    let ones = _mm256_set1_epi16(1);
    for (block, group) in groups.iter().enumerate() {
        let mut dots = [[_mm256_setzero_si256(); 2]; R];
        for (g, q) in group.q.iter().enumerate() {
            for half in 0..2 {
                // SAFETY: 64 values are two halves of 32.
                let w = unsafe { _mm256_loadu_si256(q.as_ptr().add(32 * half).cast()) };
                let size = _mm256_abs_epi8(w);
                for (r, dots) in dots.iter_mut().enumerate() {
                    let at = ((row + r) * x.blocks + block) * BLOCK + 4 * g;
                    // SAFETY: in bounds by the assertions above.
                    let four = unsafe { x.q.as_ptr().add(at).cast::<i32>().read_unaligned() };
                    // |w| · sign(w)·x: pairs stay below 2¹⁵, because x is within ±127.
                    let signed = _mm256_sign_epi8(_mm256_set1_epi32(four), w);
                    let pairs = _mm256_madd_epi16(_mm256_maddubs_epi16(size, signed), ones);
                    dots[half] = _mm256_add_epi32(dots[half], pairs);
                }
            }
        }
        for half in 0..2 {
            // SAFETY: 16 scales are two halves of eight.
            let scales = unsafe {
                _mm256_cvtph_ps(_mm_loadu_si128(group.scales.as_ptr().add(8 * half).cast()))
            };
            for r in 0..R {
                let scale = x.scales[(row + r) * x.blocks + block];
                let by = _mm256_mul_ps(scales, _mm256_set1_ps(scale));
                out[r][half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[r][half]), by, out[r][half]);
            }
        }
    }
    for (r, out) in out.iter().enumerate() {
        let mut values = [0f32; LANES];
        // SAFETY: two halves of eight values.
        unsafe {
            _mm256_storeu_ps(values.as_mut_ptr(), out[0]);
            _mm256_storeu_ps(values.as_mut_ptr().add(8), out[1]);
        }
        write(row + r, &values);
    }
    R
}
