//! Dropout by counter: the mask is a function of a key and the row, so the backward pass draws it again and nothing has
//! to be kept.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::pool;

/// One mask over rows of any width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Different keys give independent masks.
    pub key: [u8; 32],
    /// Share of values dropped, in [0, 1).
    pub rate: f32,
}

/// Values of one tile: a fraction of a millisecond.
const TILE: usize = 1 << 17;

impl Dropout {
    /// Drops values of `rows` (each `width` long) and scales the rest so that their expectation stays.
    pub fn apply(&self, rows: &mut [f32], width: usize) {
        let kept = 1.0 / (1.0 - self.rate);
        // The smallest word that keeps: a share `rate` of all 2³² words lies below it.
        let least = (f64::from(self.rate) * 2f64.powi(32)) as u64;
        pool::over_rows(rows, width, pool::rows_of(TILE, width), |range, part| {
            for (at, row) in range.zip(part.chunks_exact_mut(width)) {
                let mut words = ChaCha8Rng::from_seed(self.key);
                words.set_stream(at as u64);
                for value in row {
                    *value *= if u64::from(words.next_u32()) < least {
                        0.0
                    } else {
                        kept
                    };
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(key: u8, rate: f32, rows: usize) -> Vec<f32> {
        let mut values = vec![1.0; rows * 1000];
        Dropout {
            key: [key; 32],
            rate,
        }
        .apply(&mut values, 1000);
        values
    }

    #[test]
    fn the_asked_share_is_dropped_and_the_rest_scaled() {
        let values = mask(1, 0.25, 100);
        let dropped = values.iter().filter(|v| **v == 0.0).count() as f64 / values.len() as f64;
        assert!((dropped - 0.25).abs() < 0.005, "{dropped}");
        assert!(values.iter().all(|v| *v == 0.0 || *v == 1.0 / 0.75));
        assert!(mask(1, 0.0, 1).iter().all(|v| *v == 1.0));
    }

    #[test]
    fn a_mask_depends_on_its_key_and_row_only() {
        assert_eq!(mask(1, 0.5, 3)[..2000], mask(1, 0.5, 2));
        assert_ne!(mask(1, 0.5, 1), mask(2, 0.5, 1));
        let values = mask(1, 0.5, 2);
        assert_ne!(values[..1000], values[1000..]);
    }
}
