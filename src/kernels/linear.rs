//! Products with weights that learn, and rows looked up in them.

use std::sync::Arc;

use super::gemm::{self, View};
use super::op::{Op, Wants};
use super::quant::{Part, in_pairs, product, product_by_rows, product_of_turned};
use crate::device::{Array, Result, bail};

/// x·Wᵀ + bias for x [T, k], W [n, k] and, where it is a third input, a bias [1, n]: [T, n].
#[derive(Debug, Clone, Copy)]
pub struct Linear;

impl Op for Linear {
    /// x and W
    type Saved = [Array; 2];

    fn forward(&self, inputs: &[&Array], _: Wants) -> Result<(Array, Self::Saved)> {
        let (x, w, bias) = match inputs {
            [x, w] => (*x, *w, None),
            [x, w, bias] => (*x, *w, Some(*bias)),
            _ => bail!("a product takes rows, a weight and at most a bias"),
        };
        let ((m, k), (n, inner)) = (x.dims(), w.dims());
        if k != inner || bias.is_some_and(|bias| bias.dims() != (1, n)) {
            bail!("rows of {k} times a weight [{n}, {inner}] and {bias:?}");
        }
        let mut y = match in_pairs(x) {
            true => product_by_rows(part(x), part(w)),
            false => multiplied(view(x), view(w).transposed(), m * n),
        };
        if let Some(bias) = bias {
            for row in y.chunks_exact_mut(n.max(1)) {
                let places = row.iter_mut().zip(bias.values());
                places.for_each(|(y, bias)| *y += bias);
            }
        }
        Ok((Array::new(y, (m, n))?, [x.clone(), w.clone()]))
    }

    fn backward(
        &self,
        [x, w]: Self::Saved,
        grad: Array,
        wants: Wants,
    ) -> Result<Vec<Option<Array>>> {
        let ((_, n), dy) = (grad.dims(), view(&grad));
        let to_x = || {
            let dx = match in_pairs(&grad) {
                true => product(part(&grad), part(&w))?,
                false => multiplied(dy, view(&w), x.len()),
            };
            Array::new(dx, x.dims())
        };
        let to_w = || {
            let dw = match in_pairs(&grad) && in_pairs(&x) {
                true => product_of_turned(part(&grad), part(&x))?,
                false => multiplied(dy.transposed(), view(&x), w.len()),
            };
            Array::new(dw, w.dims())
        };
        let to_bias = || {
            let mut sums = vec![0.0; n];
            for row in grad.values().chunks_exact(n.max(1)) {
                sums.iter_mut().zip(row).for_each(|(sum, dy)| *sum += dy);
            }
            Array::row(sums)
        };
        Ok(vec![
            wants.has(0).then(to_x).transpose()?,
            wants.has(1).then(to_w).transpose()?,
            wants.has(2).then(to_bias),
        ])
    }
}

fn view(array: &Array) -> View<'_> {
    View::dense(array.values(), array.rows(), array.width())
}

fn multiplied(a: View<'_>, b: View<'_>, count: usize) -> Vec<f32> {
    let mut out = vec![0.0; count];
    gemm::parallel(a, b, &mut out, 0.0, 1.0);
    out
}

fn part(array: &Array) -> Part<'_> {
    Part::whole(array.values(), array.dims())
}

/// Some rows of W [n, k], by their numbers: [ids, k].
#[derive(Debug, Clone)]
pub struct Lookup(pub Arc<[u32]>);

impl Op for Lookup {
    /// The sizes of W.
    type Saved = (usize, usize);

    fn forward(&self, inputs: &[&Array], _: Wants) -> Result<(Array, Self::Saved)> {
        let [w] = inputs else {
            bail!("rows are looked up in one weight")
        };
        let ids: Vec<usize> = self.0.iter().map(|id| *id as usize).collect();
        Ok((w.select_rows(&ids)?, w.dims()))
    }

    fn backward(&self, dims: Self::Saved, grad: Array, _: Wants) -> Result<Vec<Option<Array>>> {
        let mut dw = Array::zeros(dims);
        let values = dw.values_mut();
        for (&id, dy) in self.0.iter().zip(grad.values().chunks_exact(dims.1.max(1))) {
            let row = &mut values[id as usize * dims.1..][..dims.1];
            row.iter_mut().zip(dy).for_each(|(dw, dy)| *dw += dy);
        }
        Ok(vec![Some(dw)])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, assert_gradients, gradients, noise, once, tensor};
    use super::*;

    #[test]
    fn it_agrees_with_a_plain_product() {
        for (m, n, k) in [(1, 5, 3), (70, 130, 65), (300, 64, 256)] {
            let (x, w) = (noise((m, k), 1.0, 1), noise((n, k), 1.0, 2));
            let bias = noise((1, n), 1.0, 3);
            let oracle = tensor(&x).matmul(&tensor(&w).t().unwrap()).unwrap();
            assert_close(&once(Linear, &[&x, &w]).unwrap(), &oracle, 2e-5, "linear");
            let oracle = oracle.broadcast_add(&tensor(&bias)).unwrap();
            let found = once(Linear, &[&x, &w, &bias]).unwrap();
            assert_close(&found, &oracle, 2e-5, "with a bias");
        }
        let (x, w) = (noise((2, 3), 1.0, 1), noise((2, 4), 1.0, 1));
        assert!(once(Linear, &[&x, &w]).is_err());
        assert!(once(Linear, &[&x, &x, &x]).is_err());
    }

    #[test]
    fn gradients_follow_differences() {
        let inputs = [
            noise((6, 5), 1.0, 3),
            noise((4, 5), 1.0, 4),
            noise((1, 4), 1.0, 6),
        ];
        assert_gradients(&inputs[..2], 2e-3, |run, t| run.op(Linear, &[&t[0], &t[1]]));
        assert_gradients(&inputs, 2e-3, |run, t| {
            run.op(Linear, &[&t[0], &t[1], &t[2]])
        });
        assert_gradients(&[noise((4, 5), 1.0, 5)], 2e-3, |run, t| {
            run.op(Lookup([3, 0, 3].into()), &[&t[0]])
        });
    }

    #[test]
    fn a_weight_that_does_not_learn_gets_no_gradient() {
        let (x, w) = (noise((3, 5), 1.0, 1), noise((4, 5), 1.0, 2));
        let (_, grads) = gradients(&[x], &Array::zeros((3, 4)), |run, t| {
            run.op(Linear, &[&t[0], &w.clone().into()])
        })
        .unwrap();
        assert!(grads[0].is_some());
    }

    #[test]
    fn looked_up_rows_are_the_weights_rows() {
        let w = noise((4, 5), 1.0, 6);
        let found = once(Lookup([2, 2, 0].into()), &[&w]).unwrap();
        assert_eq!(found, w.select_rows(&[2, 2, 0]).unwrap());
        assert!(once(Lookup([4].into()), &[&w]).is_err());
    }
}
