//! Gradients scaled: back to those of the loss, and clipped by their global norm.

use crate::device::Array;
use crate::kernels::pool;

/// Numbers that are added before serving may go first.
const PART: usize = 1 << 17;

/// The global L2 norm of all gradients, summed in f64 in a fixed order.
pub fn norm(gradients: &[Array]) -> f64 {
    let mut sum = 0.0;
    for part in gradients
        .iter()
        .flat_map(|array| array.values().chunks(PART))
    {
        pool::give_way();
        for &g in part {
            sum += f64::from(g) * f64::from(g);
        }
    }
    sum.sqrt()
}

/// Multiplies all gradients.
pub fn scale(gradients: &mut [Array], by: f64) {
    let by = by as f32;
    for array in gradients {
        for part in array.values_mut().chunks_mut(PART) {
            pool::give_way();
            part.iter_mut().for_each(|g| *g *= by);
        }
    }
}

/// Scales all gradients so that their norm is at most `max_norm`; 0 switches clipping off.
///
/// Source: torch `clip_grad_norm_`: the factor is `max_norm / (norm + 1e-6)`, at most 1.
pub fn clip(gradients: &mut [Array], norm: f64, max_norm: f64) {
    if max_norm == 0.0 {
        return;
    }
    let factor = max_norm / (norm + 1e-6);
    if factor < 1.0 {
        scale(gradients, factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_norm_is_brought_down_and_a_small_one_left_alone() {
        let before = [Array::row(vec![3.0, 0.0]), Array::row(vec![4.0])];
        let mut gradients = before.clone();
        assert_eq!(norm(&gradients), 5.0);
        clip(&mut gradients, 5.0, 10.0);
        assert_eq!(gradients, before);
        clip(&mut gradients, 5.0, 0.0);
        assert_eq!(gradients, before);
        clip(&mut gradients, 5.0, 1.0);
        assert!((norm(&gradients) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_gradient_that_is_not_a_number_makes_the_norm_one_that_is_not() {
        assert!(norm(&[Array::row(vec![1.0, f32::NAN])]).is_nan());
        assert_eq!(norm(&[Array::row(vec![f32::INFINITY])]), f64::INFINITY);
    }
}
