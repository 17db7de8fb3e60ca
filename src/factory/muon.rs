//! Muon: momentum made orthogonal, for matrices between hidden states.
//!
//! Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024).

use crate::device::Array;
use crate::kernels::gemm::{View, parallel};
use crate::kernels::tape::Parameter;

const MOMENTUM: f32 = 0.95;

/// One update of a parameter, with the momentum of those before.
pub fn step(parameter: &Parameter, gradient: &Array, momentum: &mut [f32], rate: f32) {
    let pairs = momentum.iter_mut().zip(gradient.values());
    // After Nesterov.
    let ahead = pairs.map(|(m, &g)| {
        *m += (g - *m) * (1.0 - MOMENTUM);
        g + (*m - g) * MOMENTUM
    });
    let (rows, columns) = gradient.dims();
    let step = orthogonal(&ahead.collect::<Vec<f32>>(), rows, columns);
    let rate = rate * (rows as f32 / columns as f32).max(1.0).sqrt();
    parameter.update(|values| {
        let values = values.iter_mut().zip(step);
        values.for_each(|(value, step)| *value -= rate * step);
    });
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
