//! Muon for the matrices between hidden states, AdamW for embedding, head and norms.

use super::network::{Network, Role, Shape, Tensor};
use crate::kernels::gemm::{View, parallel};

/// Learning rates and what goes with them.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    pub muon: f32,
    pub adam: f32,
}

const MOMENTUM: f32 = 0.95;
const BETAS: (f32, f32) = (0.9, 0.95);
const EPSILON: f32 = 1e-8;
/// Norm weights move slower than embeddings.
const NORM_SHARE: f32 = 0.5;

/// The state of both optimizers. `first` is the momentum, `second` the mean square, which only AdamW keeps.
pub struct Optimizer {
    rates: Rates,
    pub updates: i32,
    pub first: Network,
    pub second: Network,
}

impl Optimizer {
    pub fn new(shape: &Shape, rates: Rates) -> Self {
        let zero = Network::full(shape, 0.0);
        Self {
            rates,
            updates: 0,
            first: zero.clone(),
            second: zero,
        }
    }

    /// One update at `share` of the learning rates.
    pub fn step(&mut self, network: &mut Network, gradient: &mut Network, share: f32) {
        self.updates += 1;
        let moments = self.first.tensors().into_iter().zip(self.second.tensors());
        let tensors = network.tensors().into_iter().zip(gradient.tensors());
        for (((_, role, weight), (_, _, gradient)), ((_, _, first), (_, _, second))) in
            tensors.zip(moments)
        {
            match role {
                Role::Hidden => muon(weight, gradient, &mut first.data, self.rates.muon * share),
                Role::Edge => {
                    let rate =
                        if weight.rows == 1 { NORM_SHARE } else { 1.0 } * self.rates.adam * share;
                    adam(
                        weight,
                        gradient,
                        (&mut first.data, &mut second.data),
                        rate,
                        self.updates,
                    );
                }
            }
        }
    }
}

/// Momentum after Nesterov, made orthogonal, as the step.
///
/// Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024).
fn muon(weight: &mut Tensor, gradient: &Tensor, momentum: &mut [f32], rate: f32) {
    let ahead: Vec<f32> = momentum
        .iter_mut()
        .zip(&gradient.data)
        .map(|(m, &g)| {
            *m += (g - *m) * (1.0 - MOMENTUM);
            g + (*m - g) * MOMENTUM
        })
        .collect();
    let (rows, columns) = (weight.rows, weight.columns);
    let step = orthogonal(&ahead, rows, columns);
    let rate = rate * (rows as f32 / columns as f32).max(1.0).sqrt();
    weight
        .data
        .iter_mut()
        .zip(step)
        .for_each(|(w, s)| *w -= rate * s);
}

/// The matrix with all singular values moved near one, by five Newton-Schulz steps.
fn orthogonal(matrix: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const C: (f32, f32, f32) = (3.4445, -4.7750, 2.0315);
    let length = matrix
        .iter()
        .map(|v| f64::from(*v).powi(2))
        .sum::<f64>()
        .sqrt() as f32;
    let mut x: Vec<f32> = matrix.iter().map(|v| v / (length + 1e-7)).collect();
    let tall = rows > columns;
    let n = rows.min(columns);
    let (mut a, mut b) = (vec![0.0; n * n], vec![0.0; n * n]);
    let mut next = vec![0.0; x.len()];
    for _ in 0..5 {
        let view = View::dense(&x, rows, columns);
        let (left, right) = if tall {
            (view.transposed(), view)
        } else {
            (view, view.transposed())
        };
        parallel(left, right, &mut a, 0.0, 1.0);
        b.copy_from_slice(&a);
        let square = View::dense(&a, n, n);
        parallel(square, square, &mut b, C.1, C.2);
        next.copy_from_slice(&x);
        let mix = View::dense(&b, n, n);
        if tall {
            parallel(view, mix, &mut next, C.0, 1.0);
        } else {
            parallel(mix, view, &mut next, C.0, 1.0);
        }
        std::mem::swap(&mut x, &mut next);
    }
    x
}

/// AdamW without decay.
fn adam(
    weight: &mut Tensor,
    gradient: &Tensor,
    (first, second): (&mut [f32], &mut [f32]),
    rate: f32,
    updates: i32,
) {
    let rate = rate / (1.0 - BETAS.0.powi(updates));
    let correct = (1.0 - BETAS.1.powi(updates)).sqrt().recip();
    for (((w, &g), m), v) in weight
        .data
        .iter_mut()
        .zip(&gradient.data)
        .zip(first)
        .zip(second)
    {
        *m += (g - *m) * (1.0 - BETAS.0);
        *v += (g * g - *v) * (1.0 - BETAS.1);
        *w -= rate * *m / (v.sqrt() * correct + EPSILON);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orthogonal_step_has_singular_values_near_one() {
        let (rows, columns) = (6, 4);
        let matrix: Vec<f32> = (0..rows * columns)
            .map(|i| ((i * 7 + 2) % 11) as f32 - 5.0)
            .collect();
        let step = orthogonal(&matrix, rows, columns);
        for one in 0..columns {
            for other in 0..columns {
                let dot: f32 = (0..rows)
                    .map(|r| step[r * columns + one] * step[r * columns + other])
                    .sum();
                let want = if one == other { 1.0 } else { 0.0 };
                assert!((dot - want).abs() < 0.55, "{one},{other}: {dot}");
            }
        }
    }
}
