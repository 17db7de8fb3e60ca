//! Scaling: what makes codes weights, for 16 rows side by side.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use bytemuck::Zeroable;

use super::super::single;
use super::{LANES, Place};

/// Blocks of 32 that share the half-precision scales of a k-quant.
const SUPER: usize = 8;

pub(in super::super) trait Scaling:
    Copy + Zeroable + Send + Sync + 'static
{
    /// Blocks it covers.
    const SPAN: usize;
    /// The two halves of a block have scales of their own.
    const HALVES: bool;
    /// Weights are shifted, so the sums of x count.
    const SHIFTS: bool;

    fn of(&self, block: usize, lane: usize) -> Place;

    /// Scales of both halves and shifts of block `block`, a lane each row.
    ///
    /// # Safety
    /// `block` is below `SPAN`, and the processor has AVX-512 F and VL, and F16C.
    #[cfg(target_arch = "x86_64")]
    unsafe fn lanes512(&self, block: usize) -> ([__m512; 2], __m512);

    /// The same of rows `8·half..8·half + 8`.
    ///
    /// # Safety
    /// `block` is below `SPAN`, `half` below 2, and the processor has AVX2 and F16C.
    #[cfg(target_arch = "x86_64")]
    unsafe fn lanes256(&self, block: usize, half: usize) -> ([__m256; 2], __m256);
}

/// Bits of f16 numbers, one a row.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct Singles([u16; LANES]);

impl Singles {
    fn of(&self, lane: usize) -> f32 {
        single(self.0[lane])
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn lanes512(&self) -> __m512 {
        // SAFETY: 16 numbers, aligned to 32 bytes; the features are the caller's.
        unsafe { _mm512_cvtph_ps(_mm256_load_si256(self.0.as_ptr().cast())) }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn lanes256(&self, half: usize) -> __m256 {
        // SAFETY: as above, half of them.
        unsafe { _mm256_cvtph_ps(_mm_load_si128(self.0.as_ptr().cast::<__m128i>().add(half))) }
    }
}

/// Whole numbers below 256, or in ±128, one a row.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Steps([u8; LANES]);

impl Steps {
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn lanes512<const SIGNED: bool>(&self) -> __m512 {
        // SAFETY: 16 numbers, aligned to 16 bytes; the features are the caller's.
        unsafe {
            let steps = _mm_load_si128(self.0.as_ptr().cast());
            _mm512_cvtepi32_ps(if SIGNED {
                _mm512_cvtepi8_epi32(steps)
            } else {
                _mm512_cvtepu8_epi32(steps)
            })
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn lanes256<const SIGNED: bool>(&self, half: usize) -> __m256 {
        // SAFETY: as above, half of them.
        unsafe {
            let steps = _mm_loadl_epi64(self.0.as_ptr().add(8 * half).cast());
            _mm256_cvtepi32_ps(if SIGNED {
                _mm256_cvtepi8_epi32(steps)
            } else {
                _mm256_cvtepu8_epi32(steps)
            })
        }
    }
}

/// A scale a block.
#[derive(Clone, Copy)]
#[repr(C)]
pub(in super::super) struct Scaled(Singles);

/// A scale and a shift a block.
#[derive(Clone, Copy)]
#[repr(C)]
pub(in super::super) struct Shifted {
    scales: Singles,
    shifts: Singles,
}

/// A scale and a negative shift for eight blocks, and small multiples of them for each.
#[derive(Clone, Copy)]
#[repr(C)]
pub(in super::super) struct Nested {
    scales: Singles,
    shifts: Singles,
    of_scale: [Steps; SUPER],
    of_shift: [Steps; SUPER],
}

/// A scale for eight blocks, and signed multiples of it for each half of each.
#[derive(Clone, Copy)]
#[repr(C)]
pub(in super::super) struct NestedHalves {
    scales: Singles,
    of_scale: [[Steps; 2]; SUPER],
}

// SAFETY (all four): numbers for which all bits zero is a value.
unsafe impl Zeroable for Scaled {}
unsafe impl Zeroable for Shifted {}
unsafe impl Zeroable for Nested {}
unsafe impl Zeroable for NestedHalves {}

impl Scaled {
    pub fn set(&mut self, lane: usize, scale: u16) {
        self.0.0[lane] = scale;
    }
}

impl Shifted {
    pub fn set(&mut self, lane: usize, scale: u16, shift: u16) {
        self.scales.0[lane] = scale;
        self.shifts.0[lane] = shift;
    }
}

impl Nested {
    pub fn set(&mut self, lane: usize, scale: u16, shift: u16) {
        self.scales.0[lane] = scale;
        self.shifts.0[lane] = shift;
    }

    pub fn set_block(&mut self, lane: usize, block: usize, of_scale: u8, of_shift: u8) {
        self.of_scale[block].0[lane] = of_scale;
        self.of_shift[block].0[lane] = of_shift;
    }
}

impl NestedHalves {
    pub fn set(&mut self, lane: usize, scale: u16) {
        self.scales.0[lane] = scale;
    }

    pub fn set_half(&mut self, lane: usize, block: usize, half: usize, of_scale: i8) {
        self.of_scale[block][half].0[lane] = of_scale as u8;
    }
}

impl Scaling for Scaled {
    const SPAN: usize = 1;
    const HALVES: bool = false;
    const SHIFTS: bool = false;

    fn of(&self, _: usize, lane: usize) -> Place {
        Place {
            scales: [self.0.of(lane); 2],
            shift: 0.0,
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn lanes512(&self, _: usize) -> ([__m512; 2], __m512) {
        // SAFETY: as the trait demands.
        unsafe { ([self.0.lanes512(); 2], _mm512_setzero_ps()) }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn lanes256(&self, _: usize, half: usize) -> ([__m256; 2], __m256) {
        // SAFETY: as the trait demands.
        unsafe { ([self.0.lanes256(half); 2], _mm256_setzero_ps()) }
    }
}

impl Scaling for Shifted {
    const SPAN: usize = 1;
    const HALVES: bool = false;
    const SHIFTS: bool = true;

    fn of(&self, _: usize, lane: usize) -> Place {
        Place {
            scales: [self.scales.of(lane); 2],
            shift: self.shifts.of(lane),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn lanes512(&self, _: usize) -> ([__m512; 2], __m512) {
        // SAFETY: as the trait demands.
        unsafe { ([self.scales.lanes512(); 2], self.shifts.lanes512()) }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn lanes256(&self, _: usize, half: usize) -> ([__m256; 2], __m256) {
        // SAFETY: as the trait demands.
        unsafe { ([self.scales.lanes256(half); 2], self.shifts.lanes256(half)) }
    }
}

impl Scaling for Nested {
    const SPAN: usize = SUPER;
    const HALVES: bool = false;
    const SHIFTS: bool = true;

    fn of(&self, block: usize, lane: usize) -> Place {
        let by = |steps: &Steps| f32::from(steps.0[lane]);
        Place {
            scales: [self.scales.of(lane) * by(&self.of_scale[block]); 2],
            shift: -(self.shifts.of(lane) * by(&self.of_shift[block])),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn lanes512(&self, block: usize) -> ([__m512; 2], __m512) {
        // SAFETY: as the trait demands.
        unsafe {
            let (of_scale, of_shift) = (
                self.of_scale.get_unchecked(block),
                self.of_shift.get_unchecked(block),
            );
            let scale = _mm512_mul_ps(self.scales.lanes512(), of_scale.lanes512::<false>());
            let shift = _mm512_mul_ps(self.shifts.lanes512(), of_shift.lanes512::<false>());
            ([scale; 2], _mm512_sub_ps(_mm512_setzero_ps(), shift))
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn lanes256(&self, block: usize, half: usize) -> ([__m256; 2], __m256) {
        // SAFETY: as the trait demands.
        unsafe {
            let (of_scale, of_shift) = (
                self.of_scale.get_unchecked(block).lanes256::<false>(half),
                self.of_shift.get_unchecked(block).lanes256::<false>(half),
            );
            let scale = _mm256_mul_ps(self.scales.lanes256(half), of_scale);
            let shift = _mm256_mul_ps(self.shifts.lanes256(half), of_shift);
            ([scale; 2], _mm256_sub_ps(_mm256_setzero_ps(), shift))
        }
    }
}

impl Scaling for NestedHalves {
    const SPAN: usize = SUPER;
    const HALVES: bool = true;
    const SHIFTS: bool = false;

    fn of(&self, block: usize, lane: usize) -> Place {
        let scale = self.scales.of(lane);
        Place {
            scales: [0, 1].map(|half| scale * f32::from(self.of_scale[block][half].0[lane] as i8)),
            shift: 0.0,
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn lanes512(&self, block: usize) -> ([__m512; 2], __m512) {
        // SAFETY: as the trait demands.
        unsafe {
            let (scale, halves) = (self.scales.lanes512(), self.of_scale.get_unchecked(block));
            let scales = [
                _mm512_mul_ps(scale, halves[0].lanes512::<true>()),
                _mm512_mul_ps(scale, halves[1].lanes512::<true>()),
            ];
            (scales, _mm512_setzero_ps())
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn lanes256(&self, block: usize, half: usize) -> ([__m256; 2], __m256) {
        // SAFETY: as the trait demands.
        unsafe {
            let (scale, halves) = (
                self.scales.lanes256(half),
                self.of_scale.get_unchecked(block),
            );
            let scales = [
                _mm256_mul_ps(scale, halves[0].lanes256::<true>(half)),
                _mm256_mul_ps(scale, halves[1].lanes256::<true>(half)),
            ];
            (scales, _mm256_setzero_ps())
        }
    }
}
