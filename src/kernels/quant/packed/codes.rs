//! Codes: 32 small whole numbers of 16 rows, at four widths. Value `4·g + i` of row `r` is byte `4·r + i` of plane `g`
//! once spread; narrower codes keep planes `g` and `g + 4` in the two halves of a byte.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use bytemuck::Zeroable;

use super::LANES;

/// Bytes of a plane: four values of each row.
const PLANE: usize = 4 * LANES;
/// Tells a byte with a sign from one without: 128 more.
const SIGN: u8 = 0x80;
/// Planes of a block.
const PLANES: usize = 8;

pub(in super::super) trait Codes: Copy + Zeroable + Send + Sync + 'static {
    /// In memory they are whole bytes, plane after plane, each less 128.
    const WIDE: bool = false;

    /// Puts the code of `value` (below 32) of row `lane`, which was zero.
    fn set(&mut self, lane: usize, value: usize, code: u8);

    /// One byte a code.
    fn spread(&self) -> [[u8; PLANE]; PLANES];

    /// Plane `G` of the codes at `at`.
    ///
    /// # Safety
    /// `at` can be read, and the processor has AVX-512 F and BW.
    #[cfg(target_arch = "x86_64")]
    unsafe fn plane512<const G: usize>(at: *const Self) -> __m512i;

    /// Half `half` of plane `G`: rows `8·half..8·half + 8`.
    ///
    /// # Safety
    /// `at` can be read, and the processor has AVX2.
    #[cfg(target_arch = "x86_64")]
    unsafe fn plane256<const G: usize>(at: *const Self, half: usize) -> __m256i;
}

/// Where in a plane a value of a row is, and in which plane.
fn place(lane: usize, value: usize) -> (usize, usize) {
    (value / 4, 4 * lane + value % 4)
}

/// Codes less 128, which have a sign: the matrix unit takes them as they lie.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(in super::super) struct Eight([[u8; PLANE]; PLANES]);

/// Planes `p` in the low and `p + 4` in the high halves of bytes.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(in super::super) struct Four([[u8; PLANE]; 4]);

/// The low four bits as [`Four`]; the fifth of plane `g` is bit `g`.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(in super::super) struct Five {
    low: Four,
    high: [u8; PLANE],
}

/// The low four bits as [`Four`]; the upper two of plane `g` are bits `2·(g mod 4)` and the next, of byte row `g / 4`.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(in super::super) struct Six {
    low: Four,
    high: [[u8; PLANE]; 2],
}

// SAFETY (all four): bytes alone, without padding.
unsafe impl Zeroable for Eight {}
unsafe impl Zeroable for Four {}
unsafe impl Zeroable for Five {}
unsafe impl Zeroable for Six {}

impl Codes for Eight {
    const WIDE: bool = true;

    fn set(&mut self, lane: usize, value: usize, code: u8) {
        let (plane, at) = place(lane, value);
        self.0[plane][at] = code ^ SIGN;
    }

    fn spread(&self) -> [[u8; PLANE]; PLANES] {
        self.0.map(|plane| plane.map(|code| code ^ SIGN))
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn plane512<const G: usize>(at: *const Self) -> __m512i {
        // SAFETY: as the trait demands; the type is aligned to 64 bytes.
        unsafe {
            let signed = _mm512_load_si512((&raw const (*at).0[G]).cast());
            _mm512_xor_si512(signed, _mm512_set1_epi8(SIGN as i8))
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn plane256<const G: usize>(at: *const Self, half: usize) -> __m256i {
        // SAFETY: as the trait demands; halves are aligned to 32 bytes.
        unsafe {
            let signed = (&raw const (*at).0[G]).cast::<__m256i>().add(half);
            _mm256_xor_si256(_mm256_load_si256(signed), _mm256_set1_epi8(SIGN as i8))
        }
    }
}

impl Codes for Four {
    fn set(&mut self, lane: usize, value: usize, code: u8) {
        let (plane, at) = place(lane, value);
        self.0[plane % 4][at] |= (code & 15) << (4 * (plane / 4));
    }

    fn spread(&self) -> [[u8; PLANE]; PLANES] {
        std::array::from_fn(|g| self.0[g % 4].map(|byte| (byte >> (4 * (g / 4))) & 15))
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn plane512<const G: usize>(at: *const Self) -> __m512i {
        // SAFETY: as the trait demands.
        unsafe {
            let both = _mm512_load_si512((&raw const (*at).0[G % 4]).cast());
            let part = if G < 4 {
                both
            } else {
                _mm512_srli_epi16::<4>(both)
            };
            _mm512_and_si512(part, _mm512_set1_epi8(15))
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn plane256<const G: usize>(at: *const Self, half: usize) -> __m256i {
        // SAFETY: as the trait demands.
        unsafe {
            let both = _mm256_load_si256((&raw const (*at).0[G % 4]).cast::<__m256i>().add(half));
            let part = if G < 4 {
                both
            } else {
                _mm256_srli_epi16::<4>(both)
            };
            _mm256_and_si256(part, _mm256_set1_epi8(15))
        }
    }
}

impl Codes for Five {
    fn set(&mut self, lane: usize, value: usize, code: u8) {
        let (plane, at) = place(lane, value);
        self.low.set(lane, value, code);
        self.high[at] |= (code >> 4 & 1) << plane;
    }

    fn spread(&self) -> [[u8; PLANE]; PLANES] {
        let mut codes = self.low.spread();
        for (g, codes) in codes.iter_mut().enumerate() {
            for (code, high) in codes.iter_mut().zip(&self.high) {
                *code |= (high >> g & 1) << 4;
            }
        }
        codes
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn plane512<const G: usize>(at: *const Self) -> __m512i {
        // SAFETY: as the trait demands.
        unsafe {
            let low = Four::plane512::<G>(&raw const (*at).low);
            let high = _mm512_load_si512((&raw const (*at).high).cast());
            let moved = match G {
                0 => _mm512_slli_epi16::<4>(high),
                1 => _mm512_slli_epi16::<3>(high),
                2 => _mm512_slli_epi16::<2>(high),
                3 => _mm512_slli_epi16::<1>(high),
                4 => high,
                5 => _mm512_srli_epi16::<1>(high),
                6 => _mm512_srli_epi16::<2>(high),
                _ => _mm512_srli_epi16::<3>(high),
            };
            // low | (moved & 16)
            _mm512_ternarylogic_epi32::<0xf8>(low, moved, _mm512_set1_epi8(16))
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn plane256<const G: usize>(at: *const Self, half: usize) -> __m256i {
        // SAFETY: as the trait demands.
        unsafe {
            let low = Four::plane256::<G>(&raw const (*at).low, half);
            let high = _mm256_load_si256((&raw const (*at).high).cast::<__m256i>().add(half));
            let moved = match G {
                0 => _mm256_slli_epi16::<4>(high),
                1 => _mm256_slli_epi16::<3>(high),
                2 => _mm256_slli_epi16::<2>(high),
                3 => _mm256_slli_epi16::<1>(high),
                4 => high,
                5 => _mm256_srli_epi16::<1>(high),
                6 => _mm256_srli_epi16::<2>(high),
                _ => _mm256_srli_epi16::<3>(high),
            };
            _mm256_or_si256(low, _mm256_and_si256(moved, _mm256_set1_epi8(16)))
        }
    }
}

impl Codes for Six {
    fn set(&mut self, lane: usize, value: usize, code: u8) {
        let (plane, at) = place(lane, value);
        self.low.set(lane, value, code);
        self.high[plane / 4][at] |= (code >> 4 & 3) << (2 * (plane % 4));
    }

    fn spread(&self) -> [[u8; PLANE]; PLANES] {
        let mut codes = self.low.spread();
        for (g, codes) in codes.iter_mut().enumerate() {
            for (code, high) in codes.iter_mut().zip(&self.high[g / 4]) {
                *code |= (high >> (2 * (g % 4)) & 3) << 4;
            }
        }
        codes
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn plane512<const G: usize>(at: *const Self) -> __m512i {
        // SAFETY: as the trait demands.
        unsafe {
            let low = Four::plane512::<G>(&raw const (*at).low);
            let high = _mm512_load_si512((&raw const (*at).high[G / 4]).cast());
            let moved = match G % 4 {
                0 => _mm512_slli_epi16::<4>(high),
                1 => _mm512_slli_epi16::<2>(high),
                2 => high,
                _ => _mm512_srli_epi16::<2>(high),
            };
            // low | (moved & 48)
            _mm512_ternarylogic_epi32::<0xf8>(low, moved, _mm512_set1_epi8(48))
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn plane256<const G: usize>(at: *const Self, half: usize) -> __m256i {
        // SAFETY: as the trait demands.
        unsafe {
            let low = Four::plane256::<G>(&raw const (*at).low, half);
            let high = (&raw const (*at).high[G / 4]).cast::<__m256i>().add(half);
            let high = _mm256_load_si256(high);
            let moved = match G % 4 {
                0 => _mm256_slli_epi16::<4>(high),
                1 => _mm256_slli_epi16::<2>(high),
                2 => high,
                _ => _mm256_srli_epi16::<2>(high),
            };
            _mm256_or_si256(low, _mm256_and_si256(moved, _mm256_set1_epi8(48)))
        }
    }
}
