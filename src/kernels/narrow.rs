//! Numbers of 16 bits: rounding to them, to the nearest and of two to the even one, and arrays held in them. Arithmetic
//! stays in f32, of numbers that 16 bits hold.

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};

use super::pool;
use super::simd::simd_fn;
use crate::device::{Array, Half};

/// Values a tile works on.
const TILE: usize = 1 << 14;
/// Those of f16 that are converted at a time.
const PART: usize = 512;

/// With every value the nearest number of `half`; what is too large for one is infinite.
pub fn rounded(array: Array, half: Half) -> Array {
    array.rounded(half, |values| {
        pool::over_rows(values, 1, TILE, |_, values| match half {
            Half::Bf16 => round_to_bf16(values),
            Half::F16 => round_to_f16(values),
        });
    })
}

/// Holds an array whose values are such numbers in 16 bits.
pub(super) fn put_away(array: &mut Array) {
    array.put_away(|values, half| {
        let mut bits = vec![0; values.len()];
        pool::over_rows(&mut bits, 1, TILE, |range, bits| match half {
            Half::Bf16 => bf16_bits(&values[range], bits),
            Half::F16 => {
                let places: &mut [f16] = bits.reinterpret_cast_mut();
                places.convert_from_f32_slice(&values[range]);
            }
        });
        bits
    });
}

/// Makes of it again what operations read.
pub(super) fn take_out(array: &mut Array) {
    array.take_out(|bits, half| {
        let mut values = vec![0.0; bits.len()];
        pool::over_rows(&mut values, 1, TILE, |range, values| match half {
            Half::Bf16 => wide_bf16(&bits[range], values),
            Half::F16 => {
                let numbers: &[f16] = bits[range].reinterpret_cast();
                numbers.convert_to_f32_slice(values);
            }
        });
        values
    });
}

fn round_to_f16(values: &mut [f32]) {
    let mut part = [f16::ZERO; PART];
    for values in values.chunks_mut(PART) {
        let part = &mut part[..values.len()];
        part.convert_from_f32_slice(values);
        part.convert_to_f32_slice(values);
    }
}

simd_fn! {
    fn round_to_bf16(values: &mut [f32]) {
        for value in values {
            *value = f32::from_bits(u32::from(nearest_bf16(*value).to_bits()) << 16);
        }
    }
}

/// The nearest bf16; without branches, unlike `half`'s.
#[inline(always)]
pub(super) fn nearest_bf16(value: f32) -> bf16 {
    let bits = value.to_bits();
    let even = bits >> 16 & 1;
    let nearest = bits.wrapping_add(0x7fff + even) >> 16;
    // A NaN stays one: the bit that says so may not be rounded away.
    let bits = if value.is_nan() {
        bits >> 16 | 0x40
    } else {
        nearest
    };
    bf16::from_bits(bits as u16)
}

simd_fn! {
    fn bf16_bits(values: &[f32], bits: &mut [u16]) {
        for (bits, value) in bits.iter_mut().zip(values) {
            *bits = (value.to_bits() >> 16) as u16;
        }
    }
}

simd_fn! {
    fn wide_bf16(bits: &[u16], values: &mut [f32]) {
        for (value, bits) in values.iter_mut().zip(bits) {
            *value = f32::from_bits(u32::from(*bits) << 16);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::numbers;
    use super::*;

    fn cases() -> Vec<f32> {
        let mut cases = vec![
            0.0,
            -0.0,
            1e-45,
            1e-8,
            6e-8,
            -6.1e-5,
            65_504.0,
            65_519.0,
            65_520.0,
            -1e5,
            f32::MAX,
            f32::INFINITY,
            f32::NEG_INFINITY,
        ];
        for scale in [1e-7, 1e-4, 1.0, 1e4, 1e30] {
            cases.extend(numbers(3 * PART + 5, scale, 3));
        }
        // Halfway between two.
        cases.extend((0..64u32).map(|n| f32::from_bits(0x3f80_8000 + (n << 16))));
        cases.extend((0..64u32).map(|n| f32::from_bits(0x3f80_1000 + (n << 13))));
        cases
    }

    #[test]
    fn rounding_is_that_of_the_library_and_what_is_put_away_comes_back() {
        for half in [Half::Bf16, Half::F16] {
            let cases = cases();
            let found = rounded(Array::row(cases.clone()), half);
            for (x, found) in cases.iter().zip(found.values()) {
                let wanted = match half {
                    Half::Bf16 => bf16::from_f32(*x).to_f32(),
                    Half::F16 => f16::from_f32(*x).to_f32(),
                };
                assert_eq!(found.to_bits(), wanted.to_bits(), "{x:e} in {half:?}");
            }
            let mut away = found.clone();
            put_away(&mut away);
            assert_eq!(2 * away.bytes(), found.bytes());
            take_out(&mut away);
            assert_eq!(away, found);
            let not = rounded(Array::row(vec![f32::NAN; 9]), half);
            assert!(not.values().iter().all(|value| value.is_nan()));
            let mut away = not.clone();
            put_away(&mut away);
            take_out(&mut away);
            assert!(away.values().iter().all(|value| value.is_nan()));
        }
    }
}
