//! Cells: how one cached number is stored, and how a head's numbers become cells.

use half::f16;

use super::super::simd::simd_fn;
use super::lanes::Lanes;

/// Numbers of a head that share a scale, where cells have scales.
pub(super) const SHARE: usize = 32;

/// Values beyond f16's range take its largest number, so that a cache never holds infinities.
const LIMIT: f32 = 65_504.0;

/// A stored number: itself, or a multiple of the scale it shares with its neighbours in the head.
pub(super) trait Cell: bytemuck::Zeroable + Copy + Send + Sync {
    const SCALED: bool;

    /// # Safety
    /// As [`Lanes`] demands of its loads.
    unsafe fn lanes<L: Lanes>(at: *const Self) -> L;

    /// Cells of one head's numbers and, where cells have them, a scale for each [`SHARE`] numbers.
    fn encode(x: &[f32], cells: &mut [Self], scales: &mut [f32]);
}

impl Cell for f32 {
    const SCALED: bool = false;

    #[inline(always)]
    unsafe fn lanes<L: Lanes>(at: *const Self) -> L {
        // SAFETY: as this function demands.
        unsafe { L::from_f32(at) }
    }

    fn encode(x: &[f32], cells: &mut [Self], _scales: &mut [f32]) {
        cells.copy_from_slice(x);
    }
}

// The bits of an f16.
impl Cell for u16 {
    const SCALED: bool = false;

    #[inline(always)]
    unsafe fn lanes<L: Lanes>(at: *const Self) -> L {
        // SAFETY: as this function demands.
        unsafe { L::from_f16(at) }
    }

    fn encode(x: &[f32], cells: &mut [Self], _scales: &mut [f32]) {
        narrow(x, cells);
    }
}

// A multiple of the scale, −127 to 127.
impl Cell for i8 {
    const SCALED: bool = true;

    #[inline(always)]
    unsafe fn lanes<L: Lanes>(at: *const Self) -> L {
        // SAFETY: as this function demands.
        unsafe { L::from_i8(at) }
    }

    fn encode(x: &[f32], cells: &mut [Self], scales: &mut [f32]) {
        quantize(x, cells, scales);
    }
}

/// Bits of the nearest f16s, ties to even. What is no number stays none.
fn narrow(from: &[f32], to: &mut [u16]) {
    #[cfg(target_arch = "x86_64")]
    {
        use super::super::simd::{Tier, tier};
        if tier() >= Tier::Avx2 {
            // SAFETY: this tier has AVX2 and F16C.
            return unsafe { narrow_f16c(from, to) };
        }
    }
    for (from, to) in from.iter().zip(to) {
        *to = f16::from_f32(from.clamp(-LIMIT, LIMIT)).to_bits();
    }
}

/// # Safety
/// The processor has AVX2 and F16C.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c")]
unsafe fn narrow_f16c(from: &[f32], to: &mut [u16]) {
    use std::arch::x86_64::*;
    let (whole, rest) = from.as_chunks::<8>();
    let (to_whole, to_rest) = to.as_chunks_mut::<8>();
    for (from, to) in whole.iter().zip(to_whole) {
        // SAFETY: eight numbers on both sides. The limit comes first, because of two operands one of which is no number
        // these instructions give the second.
        unsafe {
            let x = _mm256_loadu_ps(from.as_ptr());
            let x = _mm256_max_ps(_mm256_set1_ps(-LIMIT), x);
            let x = _mm256_min_ps(_mm256_set1_ps(LIMIT), x);
            let bits = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x);
            _mm_storeu_si128(to.as_mut_ptr().cast(), bits);
        }
    }
    for (from, to) in rest.iter().zip(to_rest) {
        *to = f16::from_f32(from.clamp(-LIMIT, LIMIT)).to_bits();
    }
}

simd_fn! {
    /// Each share's largest number becomes ±127. A share with a number that is none gets such a scale: it must not look
    /// like an answer.
    fn quantize(x: &[f32], cells: &mut [i8], scales: &mut [f32]) {
        // Adding 1.5·2²³ rounds to the nearest integer, which the low bits then are.
        const MAGIC: f32 = 12_582_912.0;
        for ((x, cells), scale) in x.chunks(SHARE).zip(cells.chunks_mut(SHARE)).zip(scales) {
            let (mut top, mut sum) = (0f32, 0f32);
            for x in x {
                let x = x.clamp(-LIMIT, LIMIT);
                top = if x.abs() > top { x.abs() } else { top };
                sum += x;
            }
            *scale = if sum.is_nan() { f32::NAN } else { top / 127.0 };
            // Below this the reciprocal is none.
            let by = if top > 1e-30 { 127.0 / top } else { 0.0 };
            for (cell, x) in cells.iter_mut().zip(x) {
                *cell = (x.clamp(-LIMIT, LIMIT) * by + MAGIC).to_bits() as i8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f16_cells_are_the_nearest_and_never_infinite() {
        let mut x: Vec<f32> = (0..40).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
        x.extend([1e6, -1e6, f32::INFINITY, 6e-8, 0.0]);
        let mut cells = vec![0; x.len()];
        u16::encode(&x, &mut cells, &mut []);
        for (x, cell) in x.iter().zip(cells) {
            let wanted = f16::from_f32(x.clamp(-LIMIT, LIMIT));
            assert_eq!(f16::from_bits(cell), wanted, "{x}");
        }
        let mut cells = [0; 9];
        u16::encode(&[f32::NAN; 9], &mut cells, &mut []);
        assert!(cells.iter().all(|cell| f16::from_bits(*cell).is_nan()));
    }

    #[test]
    fn eight_bit_cells_are_within_half_a_step_of_their_share() {
        let mut x: Vec<f32> = (0..80).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
        // A channel far from the others costs its own share precision and no other.
        x[5] = 300.0;
        let (mut cells, mut scales) = (vec![0i8; 80], vec![0.0; 3]);
        i8::encode(&x, &mut cells, &mut scales);
        assert_eq!(cells[5], 127);
        assert!(scales[0] > 2.0 && scales[1] < 0.03);
        for (at, (x, cell)) in x.iter().zip(cells).enumerate() {
            let scale = scales[at / SHARE];
            assert!(
                (x - f32::from(cell) * scale).abs() <= 0.5001 * scale,
                "{at}"
            );
        }
    }

    #[test]
    fn eight_bit_cells_survive_zeros_extremes_and_what_is_no_number() {
        let (mut cells, mut scales) = ([1i8; SHARE], [1.0]);
        i8::encode(&[0.0; SHARE], &mut cells, &mut scales);
        assert_eq!((cells, scales), ([0; SHARE], [0.0]));
        i8::encode(&[f32::INFINITY; SHARE], &mut cells, &mut scales);
        assert_eq!(f32::from(cells[0]) * scales[0], LIMIT);
        i8::encode(&[1e-40; SHARE], &mut cells, &mut scales);
        assert_eq!(cells, [0; SHARE]);
        let mut x = [1.0; SHARE];
        x[7] = f32::NAN;
        i8::encode(&x, &mut cells, &mut scales);
        assert!(scales[0].is_nan());
    }
}
