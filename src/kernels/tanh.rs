//! tanh, element by element.

use super::op::{Op, Wants};
use crate::device::{Array, Result, bail};

#[derive(Debug, Clone, Copy)]
pub struct Tanh;

impl Op for Tanh {
    /// The result.
    type Saved = Array;

    fn forward(&self, inputs: &[&Array], _: Wants) -> Result<(Array, Array)> {
        let [x] = inputs else {
            bail!("tanh takes one input")
        };
        let mut y = (*x).clone();
        y.values_mut().iter_mut().for_each(|y| *y = y.tanh());
        Ok((y.clone(), y))
    }

    fn backward(&self, y: Array, mut grad: Array, _: Wants) -> Result<Vec<Option<Array>>> {
        let values = grad.values_mut().iter_mut().zip(y.values());
        values.for_each(|(grad, y)| *grad *= 1.0 - y * y);
        Ok(vec![Some(grad)])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, assert_gradients, noise, once, tensor};
    use super::*;

    #[test]
    fn it_agrees_with_candle_and_its_gradients_with_differences() {
        let x = noise((5, 7), 3.0, 1);
        let oracle = tensor(&x).tanh().unwrap();
        assert_close(&once(Tanh, &[&x]).unwrap(), &oracle, 2e-6, "tanh");
        assert_gradients(&[x], 2e-3, |run, t| run.op(Tanh, &[&t[0]]));
    }
}
