//! The operations around the two products of a bottleneck (Houlsby et al., arXiv 1902.00751): a non-linearity, and a sum
//! with a constant factor.

use super::op::{Op, Wants};
use super::pool;
use crate::device::{Array, Result, bail};

/// Values a tile works on.
const TILE: usize = 1 << 14;

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    Relu,
    /// x · Φ(x), Φ the normal distribution.
    Gelu,
    /// The same with Φ by a tanh: `gelu_new` of transformers.
    GeluTanh,
    /// x / (1 + e^−x), also known as swish.
    Silu,
    Tanh,
}

/// √(2/π), and the weight of x³: the constants of `gelu_new`.
const ROOT: f32 = 0.797_884_6;
const CUBE: f32 = 0.044_715;

impl Activation {
    pub fn of(self, x: f32) -> f32 {
        match self {
            // Not `max`, which would turn what is no number into 0.
            Self::Relu if x < 0.0 => 0.0,
            Self::Relu => x,
            Self::Gelu => x * normal(x),
            Self::GeluTanh => 0.5 * x * (1.0 + (ROOT * (x + CUBE * x * x * x)).tanh()),
            Self::Silu => x / (1.0 + (-x).exp()),
            Self::Tanh => x.tanh(),
        }
    }

    pub fn slope(self, x: f32) -> f32 {
        match self {
            Self::Relu if x > 0.0 => 1.0,
            Self::Relu => 0.0,
            Self::Gelu => {
                let density = (-0.5 * x * x).exp() / (2.0 * std::f32::consts::PI).sqrt();
                normal(x) + x * density
            }
            Self::GeluTanh => {
                let tanh = (ROOT * (x + CUBE * x * x * x)).tanh();
                let inner = ROOT * (1.0 + 3.0 * CUBE * x * x);
                0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * inner
            }
            Self::Silu => {
                let sigmoid = 1.0 / (1.0 + (-x).exp());
                sigmoid * (1.0 + x * (1.0 - sigmoid))
            }
            Self::Tanh => {
                let y = x.tanh();
                1.0 - y * y
            }
        }
    }
}

/// The normal distribution at x, within 1e-7 (Abramowitz and Stegun, 7.1.26).
fn normal(x: f32) -> f32 {
    const TERMS: [f64; 5] = [
        1.061_405_429,
        -1.453_152_027,
        1.421_413_741,
        -0.284_496_736,
        0.254_829_592,
    ];
    let z = f64::from(x).abs() * std::f64::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let tail = TERMS.iter().fold(0.0, |sum, term| sum * t + term) * t * (-z * z).exp();
    let upper = 0.5 * tail;
    (if x < 0.0 { upper } else { 1.0 - upper }) as f32
}

/// The function of every number of x.
#[derive(Debug, Clone, Copy)]
pub struct Activate(pub Activation);

impl Op for Activate {
    /// x
    type Saved = Array;

    fn forward(&self, inputs: &[&Array], _: Wants) -> Result<(Array, Array)> {
        let [x] = inputs else {
            bail!("a non-linearity takes one input")
        };
        let mut y = (*x).clone();
        pool::over_rows(y.values_mut(), 1, TILE, |_, part| {
            part.iter_mut().for_each(|value| *value = self.0.of(*value));
        });
        Ok((y, (*x).clone()))
    }

    fn backward(&self, x: Array, mut grad: Array, _: Wants) -> Result<Vec<Option<Array>>> {
        let xs = x.values();
        pool::over_rows(grad.values_mut(), 1, TILE, |range, part| {
            let pairs = part.iter_mut().zip(&xs[range]);
            pairs.for_each(|(grad, x)| *grad *= self.0.slope(*x));
        });
        Ok(vec![Some(grad)])
    }
}

/// x + s · y of equal sizes.
#[derive(Debug, Clone, Copy)]
pub struct PlusScaled(pub f32);

impl Op for PlusScaled {
    type Saved = ();

    fn forward(&self, inputs: &[&Array], _: Wants) -> Result<(Array, ())> {
        let [x, y] = inputs else {
            bail!("a sum takes two inputs")
        };
        if x.dims() != y.dims() {
            bail!("the sum of {x:?} and {y:?}");
        }
        let (mut sum, ys) = ((*x).clone(), y.values());
        pool::over_rows(sum.values_mut(), 1, TILE, |range, part| {
            let pairs = part.iter_mut().zip(&ys[range]);
            pairs.for_each(|(sum, y)| *sum += self.0 * y);
        });
        Ok((sum, ()))
    }

    fn backward(&self, (): (), grad: Array, wants: Wants) -> Result<Vec<Option<Array>>> {
        let scaled = wants.has(1).then(|| {
            let mut scaled = grad.clone();
            pool::over_rows(scaled.values_mut(), 1, TILE, |_, part| {
                part.iter_mut().for_each(|grad| *grad *= self.0);
            });
            scaled
        });
        Ok(vec![wants.has(0).then_some(grad), scaled])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, assert_gradients, noise, once, tensor};
    use super::*;

    const ALL: [Activation; 5] = [
        Activation::Relu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Silu,
        Activation::Tanh,
    ];

    #[test]
    fn every_function_agrees_with_its_oracle() {
        let x = noise((7, 99), 6.0, 1);
        for activation in ALL {
            let t = tensor(&x);
            let oracle = match activation {
                Activation::Relu => t.relu(),
                Activation::Gelu => t.gelu_erf(),
                Activation::GeluTanh => t.gelu(),
                Activation::Silu => t.silu(),
                Activation::Tanh => t.tanh(),
            };
            let found = once(Activate(activation), &[&x]).unwrap();
            assert_close(&found, &oracle.unwrap(), 2e-6, &format!("{activation:?}"));
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        for activation in ALL {
            assert!(activation.of(f32::NAN).is_nan(), "{activation:?}");
        }
    }

    #[test]
    fn gradients_follow_differences() {
        // Away from 0, where relu has no slope.
        let mut x = noise((5, 9), 2.0, 2);
        let values = x.values_mut().iter_mut();
        values.for_each(|x| *x += 0.05f32.copysign(*x));
        for activation in ALL {
            assert_gradients(std::slice::from_ref(&x), 2e-3, |run, t| {
                run.op(Activate(activation), &[&t[0]])
            });
        }
        let inputs = [noise((3, 11), 3.0, 3), noise((3, 11), 1.0, 4)];
        assert_gradients(&inputs, 2e-3, |run, t| {
            run.op(PlusScaled(-1.5), &[&t[0], &t[1]])
        });
        assert_gradients(&inputs[..1], 2e-3, |run, t| {
            run.op(PlusScaled(0.5), &[&t[0], &t[0]])
        });
    }

    #[test]
    fn a_sum_is_scaled_on_one_side() {
        let (x, y) = (noise((30, 9), 3.0, 5), noise((30, 9), 1.0, 6));
        let oracle = (tensor(&x) + (tensor(&y) * 4.0).unwrap()).unwrap();
        let found = once(PlusScaled(4.0), &[&x, &y]).unwrap();
        assert_close(&found, &oracle, 1e-6, "x + 4 y");
        assert!(once(PlusScaled(1.0), &[&x, &noise((9, 30), 1.0, 6)]).is_err());
    }
}
