//! Loops compiled once per instruction set and chosen at run time.
//!
//! The default target is plain x86-64, so a loop that should use wide registers needs a twin compiled with them.
//! [`simd_fn!`] writes those twins from one body; the compiler vectorises each.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

#[cfg(target_arch = "x86_64")]
use super::unit::{Unit, ceiling, has_avx2, has_avx512};

/// The instruction sets a body is compiled for, the best that this processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    Portable,
    Avx2,
    Avx512,
}

impl Tier {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }
}

/// What this processor offers and the switch allows; asked once.
#[cfg(target_arch = "x86_64")]
pub fn tier() -> Tier {
    use std::sync::OnceLock;
    static TIER: OnceLock<Tier> = OnceLock::new();
    *TIER.get_or_init(|| {
        let most = ceiling();
        if most >= Unit::Avx512Vnni && has_avx512() {
            Tier::Avx512
        } else if most >= Unit::Avx2 && has_avx2() {
            Tier::Avx2
        } else {
            Tier::Portable
        }
    })
}

#[cfg(not(target_arch = "x86_64"))]
pub fn tier() -> Tier {
    Tier::Portable
}

/// Adds to each of 16 sums the products of one pair of a and one of b.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512bf16,avx512f")]
pub(super) fn add_pairs(sums: __m512, a: __m512i, b: __m512i) -> __m512 {
    // SAFETY: types of one size, and any bits are bf16.
    let [a, b] = [a, b].map(|pairs| unsafe { std::mem::transmute::<__m512i, __m512bh>(pairs) });
    _mm512_dpbf16_ps(sums, a, b)
}

/// `a * b + c`, in one rounding where the tier has it (`FUSED`), else in two: the library's `fma` would be a call per element.
#[inline(always)]
pub fn fma<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Defines a function whose body is compiled for each [`Tier`]. Inside the body the constant `FUSED` says whether
/// multiply-add is one instruction; helpers called from it must be `#[inline(always)]`.
macro_rules! simd_fn {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        // A kernel takes its operands flat: shapes and strides beside each slice.
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body<const FUSED: bool>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,f16c")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    body::<true>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    body::<true>($($arg),*)
                }
                match $crate::kernels::simd::tier() {
                    // SAFETY: `tier` answers Avx512 only when the processor has every feature `avx512` was compiled with.
                    $crate::kernels::simd::Tier::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: `tier` answers Avx2 only when the processor has every feature `avx2` was compiled with.
                    $crate::kernels::simd::Tier::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::kernels::simd::Tier::Portable => {}
                }
            }
            body::<false>($($arg),*)
        }
    };
}
pub(crate) use simd_fn;

/// Lanes of one accumulator: a multiple of every tier's register width, so sums have one order on all of them.
pub const LANES: usize = 16;

/// Σ aᵢ·bᵢ in a fixed order: lane-wise partial sums, then a tree over the lanes, then the tail.
#[inline(always)]
pub fn dot<const FUSED: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (left, left_tail) = a.as_chunks::<LANES>();
    let (right, right_tail) = b.as_chunks::<LANES>();
    for (x, y) in left.iter().zip(right) {
        for lane in 0..LANES {
            lanes[lane] = fma::<FUSED>(x[lane], y[lane], lanes[lane]);
        }
    }
    let mut sum = fold(lanes);
    for (x, y) in left_tail.iter().zip(right_tail) {
        sum = fma::<FUSED>(*x, *y, sum);
    }
    sum
}

/// The sum of the lanes as a balanced tree.
#[inline(always)]
pub fn fold(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// eˣ by range reduction to |r| ≤ ln2/2 and a polynomial of degree 6; relative error below 2e-7 where the result is
/// normal, 0 below e⁻⁸⁷, saturating above e⁸⁸. Branch-free, so that loops over it vectorise.
#[inline(always)]
pub fn exp<const FUSED: bool>(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts, so that n·ln 2 is exact for the n that occur (Cody and Waite).
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5·2²³ rounds to the nearest integer.
    const MAGIC: f32 = 12_582_912.0;
    let x_in = x.clamp(-87.0, 88.0);
    let rounded = fma::<FUSED>(x_in, LOG2_E, MAGIC);
    let n = rounded - MAGIC;
    let r = fma::<FUSED>(n, -LN2_LOW, fma::<FUSED>(n, -LN2_HIGH, x_in));
    let mut p = 1.0 / 720.0;
    for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = fma::<FUSED>(p, r, c);
    }
    // The low bits of `rounded` are n itself: no conversion needed.
    let n_bits = rounded.to_bits().wrapping_sub(MAGIC.to_bits());
    let scale = f32::from_bits(n_bits.wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { p * scale }
}

/// The largest element; −∞ for none.
#[inline(always)]
pub fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, tail) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = if chunk[lane] > lanes[lane] {
                chunk[lane]
            } else {
                lanes[lane]
            };
        }
    }
    lanes
        .iter()
        .chain(tail)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max)
}

/// Replaces each x by e^(x − shift) and returns their sum.
#[inline(always)]
pub fn exp_shifted<const FUSED: bool>(x: &mut [f32], shift: f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (chunks, tail) = x.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            chunk[lane] = exp::<FUSED>(chunk[lane] - shift);
            lanes[lane] += chunk[lane];
        }
    }
    let mut sum = fold(lanes);
    for x in tail {
        *x = exp::<FUSED>(*x - shift);
        sum += *x;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    simd_fn! {
        fn exp_all(x: &mut [f32]) -> f32 { exp_shifted::<FUSED>(x, 0.0) }
    }
    simd_fn! {
        fn dot_all(a: &[f32], b: &[f32]) -> f32 { dot::<FUSED>(a, b) }
    }

    #[test]
    fn exp_agrees_with_the_library() {
        let xs: Vec<f32> = (-8_600..8_700).map(|i| i as f32 * 0.01).collect();
        let mut ys = xs.clone();
        exp_all(&mut ys);
        for (x, y) in xs.iter().zip(&ys) {
            let want = f64::from(*x).exp();
            assert!(
                (f64::from(*y) - want).abs() <= 4e-7 * want,
                "e^{x}: {y} for {want}"
            );
        }
        assert_eq!(exp::<false>(-1e9), 0.0);
        assert_eq!(exp::<false>(f32::NEG_INFINITY), 0.0);
        assert!(exp::<false>(f32::NAN).is_nan());
    }

    #[test]
    fn dot_covers_every_tail() {
        for n in 0..70 {
            let a: Vec<f32> = (0..n).map(|i| i as f32 * 0.5).collect();
            let b: Vec<f32> = (0..n).map(|i| 1.0 - i as f32 * 0.25).collect();
            let want: f32 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
            assert!(
                (dot_all(&a, &b) - want).abs() <= 1e-3 * want.abs().max(1.0),
                "{n}"
            );
        }
    }

    #[test]
    fn max_of_nothing_is_minus_infinity() {
        assert_eq!(max(&[]), f32::NEG_INFINITY);
        let xs: Vec<f32> = (0..37).map(|i| (i as f32 * 1.7).sin()).collect();
        assert_eq!(
            max(&xs),
            xs.iter().copied().fold(f32::NEG_INFINITY, f32::max)
        );
    }
}
