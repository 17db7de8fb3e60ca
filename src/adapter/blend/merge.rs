//! The arithmetic of TIES (Yadav et al., 2023, arXiv:2306.01708) and DARE (Yu et al., 2024, arXiv:2311.03099) on tensors of
//! one shape, place by place, as PEFT has it.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Mix;
use crate::domain::BlendMethod;

/// Which numbers of a tensor stay, asked block by block, from its first number to its last.
pub(super) enum Keep {
    All,
    /// Those larger than `least` in magnitude, and so many of those as large.
    Largest {
        least: f32,
        alike: usize,
    },
    /// Each by chance, scaled up for those that go.
    Drawn {
        rng: Box<ChaCha8Rng>,
        share: f64,
    },
}

impl Keep {
    /// `of`: names the tensor, `number` the adapter; `values` is all of the tensor.
    pub fn new(mix: Mix, of: &[&str], number: usize, values: impl FnOnce() -> Vec<f32>) -> Self {
        if mix.density >= 1.0 {
            return Self::All;
        }
        match mix.method {
            BlendMethod::Linear => Self::All,
            BlendMethod::Ties => Self::largest(values(), mix.density),
            BlendMethod::DareLinear | BlendMethod::DareTies => {
                let mut hasher = blake3::Hasher::new_derive_key("adapterd dare v1");
                hasher.update(&mix.seed.to_le_bytes());
                hasher.update(&(number as u64).to_le_bytes());
                of.iter().for_each(|part| {
                    hasher.update(part.as_bytes());
                    hasher.update(&[0]);
                });
                Self::Drawn {
                    rng: Box::new(ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())),
                    share: mix.density,
                }
            }
        }
    }

    fn largest(values: Vec<f32>, density: f64) -> Self {
        let count = (density * values.len() as f64) as usize;
        let mut sizes: Vec<f32> = values.into_iter().map(f32::abs).collect();
        if count == 0 {
            let least = f32::INFINITY;
            return Self::Largest { least, alike: 0 };
        }
        let (above, least, _) = sizes.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
        let least = *least;
        let larger = above.iter().filter(|size| **size > least).count();
        Self::Largest {
            least,
            alike: count - larger,
        }
    }

    pub fn prune(&mut self, values: &mut [f32]) {
        match self {
            Self::All => {}
            Self::Largest { least, alike } => {
                for value in values {
                    let size = value.abs();
                    let stays = size > *least || (size == *least && *alike > 0);
                    if stays && size == *least {
                        *alike -= 1;
                    }
                    if !stays {
                        *value = 0.0;
                    }
                }
            }
            Self::Drawn { rng, share } => {
                for value in values {
                    *value = match rng.random_bool(*share) {
                        true => *value / *share as f32,
                        false => 0.0,
                    };
                }
            }
        }
    }
}

/// What tensors of one shape become together.
pub(super) fn merged(method: BlendMethod, parts: &[Vec<f32>], weights: &[f32]) -> Vec<f32> {
    let elects = matches!(method, BlendMethod::Ties | BlendMethod::DareTies);
    let count = parts.first().map_or(0, Vec::len);
    let each = || parts.iter().zip(weights);
    let at = |place: usize| {
        if !elects {
            return each().map(|(part, weight)| part[place] * weight).sum();
        }
        // Unweighted, and a sum of zero counts as positive.
        let positive = parts.iter().map(|part| part[place]).sum::<f32>() >= 0.0;
        let (mut sum, mut agreeing) = (0.0f32, 0u32);
        for (part, weight) in each() {
            let value = part[place];
            if value != 0.0 && (value > 0.0) == positive {
                sum += value * weight;
                agreeing += 1;
            }
        }
        sum / agreeing.max(1) as f32
    };
    (0..count).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mix(method: BlendMethod, density: f64) -> Mix {
        Mix {
            method,
            density,
            rank: None,
            most: 64,
            seed: 3,
        }
    }

    #[test]
    fn the_largest_stay_and_of_equal_ones_the_first() {
        let values = vec![1.0, -3.0, 2.0, -2.0, 2.0, 0.5];
        let mut keep = Keep::new(mix(BlendMethod::Ties, 0.5), &[], 0, || values.clone());
        let mut pruned = values;
        // In two blocks, as rows of a large tensor come.
        let (first, second) = pruned.split_at_mut(3);
        keep.prune(first);
        keep.prune(second);
        assert_eq!(pruned, [0.0, -3.0, 2.0, -2.0, 0.0, 0.0]);
    }

    #[test]
    fn what_is_drawn_depends_on_the_seed_and_keeps_the_mean() {
        let draw = |seed: u64, number: usize| {
            let mix = Mix {
                seed,
                ..mix(BlendMethod::DareLinear, 0.3)
            };
            let mut values = vec![1.0; 20_000];
            Keep::new(mix, &["A"], number, Vec::new).prune(&mut values);
            values
        };
        let one = draw(1, 0);
        assert_eq!(one, draw(1, 0));
        assert_ne!(one, draw(2, 0));
        assert_ne!(one, draw(1, 1));
        let mean = one.iter().sum::<f32>() / one.len() as f32;
        assert!((mean - 1.0).abs() < 0.05, "{mean}");
        assert!(
            one.iter()
                .all(|v| *v == 0.0 || (v - 1.0 / 0.3).abs() < 1e-5)
        );
    }

    #[test]
    fn places_follow_the_sign_of_their_sum() {
        let parts = [vec![1.0, -2.0, 0.0, 3.0], vec![-0.5, 1.0, 0.0, 1.0]];
        let weights = [0.5, 2.0];
        let ties = merged(BlendMethod::Ties, &parts, &weights);
        assert_eq!(ties, [0.5, -1.0, 0.0, 1.75]);
        let sum = merged(BlendMethod::DareLinear, &parts, &weights);
        assert_eq!(sum, [-0.5, 1.0, 0.0, 3.5]);
    }
}
