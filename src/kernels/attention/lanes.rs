//! Sixteen f32 numbers in the registers of each tier: attention's loops are written once over them.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::super::quant::single;

/// Numbers of one vector.
pub(super) const LANES: usize = 16;

/// A vector of [`LANES`] numbers. Every method demands of its caller that the processor has the tier's instructions, and
/// that what pointers name can be read or written; no alignment.
pub(super) trait Lanes: Copy {
    /// Rows whose sums, two vectors each where [`WIDE`](Self::WIDE), fit the registers.
    const ROWS: usize;
    const WIDE: bool;
    /// Whether [`plus_product`](Self::plus_product) rounds once.
    const FUSED: bool;

    unsafe fn splat(x: f32) -> Self;
    unsafe fn from_f32(at: *const f32) -> Self;
    unsafe fn from_f16(at: *const u16) -> Self;
    unsafe fn from_i8(at: *const i8) -> Self;
    unsafe fn times(self, by: Self) -> Self;
    /// `self + a · b`
    unsafe fn plus_product(self, a: Self, b: Self) -> Self;
    unsafe fn store(self, to: *mut f32);
}

impl Lanes for [f32; LANES] {
    const ROWS: usize = 4;
    const WIDE: bool = false;
    const FUSED: bool = false;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        [x; LANES]
    }

    #[inline(always)]
    unsafe fn from_f32(at: *const f32) -> Self {
        // SAFETY: as the trait demands.
        unsafe { at.cast::<Self>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn from_f16(at: *const u16) -> Self {
        // SAFETY: as the trait demands.
        unsafe { at.cast::<[u16; LANES]>().read_unaligned() }.map(single)
    }

    #[inline(always)]
    unsafe fn from_i8(at: *const i8) -> Self {
        // SAFETY: as the trait demands.
        unsafe { at.cast::<[i8; LANES]>().read_unaligned() }.map(f32::from)
    }

    #[inline(always)]
    unsafe fn times(self, by: Self) -> Self {
        std::array::from_fn(|lane| self[lane] * by[lane])
    }

    #[inline(always)]
    unsafe fn plus_product(self, a: Self, b: Self) -> Self {
        std::array::from_fn(|lane| self[lane] + a[lane] * b[lane])
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as the trait demands.
        unsafe { to.cast::<Self>().write_unaligned(self) }
    }
}

#[cfg(target_arch = "x86_64")]
impl Lanes for [__m256; 2] {
    const ROWS: usize = 4;
    const WIDE: bool = false;
    const FUSED: bool = true;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: as the trait demands.
        unsafe { [_mm256_set1_ps(x); 2] }
    }

    #[inline(always)]
    unsafe fn from_f32(at: *const f32) -> Self {
        // SAFETY: as the trait demands.
        unsafe { [_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(8))] }
    }

    #[inline(always)]
    unsafe fn from_f16(at: *const u16) -> Self {
        // SAFETY: as the trait demands.
        unsafe {
            let half = |at: *const u16| _mm256_cvtph_ps(_mm_loadu_si128(at.cast()));
            [half(at), half(at.add(8))]
        }
    }

    #[inline(always)]
    unsafe fn from_i8(at: *const i8) -> Self {
        // SAFETY: as the trait demands.
        unsafe {
            let half = |at: *const i8| {
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(at.cast())))
            };
            [half(at), half(at.add(8))]
        }
    }

    #[inline(always)]
    unsafe fn times(self, by: Self) -> Self {
        // SAFETY: as the trait demands.
        unsafe { [_mm256_mul_ps(self[0], by[0]), _mm256_mul_ps(self[1], by[1])] }
    }

    #[inline(always)]
    unsafe fn plus_product(self, a: Self, b: Self) -> Self {
        // SAFETY: as the trait demands.
        unsafe {
            [
                _mm256_fmadd_ps(a[0], b[0], self[0]),
                _mm256_fmadd_ps(a[1], b[1], self[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as the trait demands.
        unsafe {
            _mm256_storeu_ps(to, self[0]);
            _mm256_storeu_ps(to.add(8), self[1]);
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Lanes for __m512 {
    const ROWS: usize = 8;
    const WIDE: bool = true;
    const FUSED: bool = true;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: as the trait demands.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn from_f32(at: *const f32) -> Self {
        // SAFETY: as the trait demands.
        unsafe { _mm512_loadu_ps(at) }
    }

    #[inline(always)]
    unsafe fn from_f16(at: *const u16) -> Self {
        // SAFETY: as the trait demands.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())) }
    }

    #[inline(always)]
    unsafe fn from_i8(at: *const i8) -> Self {
        // SAFETY: as the trait demands.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(at.cast()))) }
    }

    #[inline(always)]
    unsafe fn times(self, by: Self) -> Self {
        // SAFETY: as the trait demands.
        unsafe { _mm512_mul_ps(self, by) }
    }

    #[inline(always)]
    unsafe fn plus_product(self, a: Self, b: Self) -> Self {
        // SAFETY: as the trait demands.
        unsafe { _mm512_fmadd_ps(a, b, self) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as the trait demands.
        unsafe { _mm512_storeu_ps(to, self) }
    }
}
