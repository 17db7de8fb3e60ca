//! Which adapter each request of a load names.

use rand::Rng;

/// How requests spread over the adapters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mix {
    /// Stream i asks for adapter i, round and round
    Distinct,
    /// All ask for the first
    Identical,
    /// Each request draws one
    Uniform,
    /// Each request draws one, the k-th 1/k as often as the first
    Skewed,
    /// As distinct, but every other stream asks the base
    #[value(name = "base-mix")]
    WithBase,
}

impl Mix {
    /// An index into `adapters` names, or the base. Without adapters everything asks the base.
    pub fn choose(self, stream: usize, adapters: usize, rng: &mut impl Rng) -> Option<usize> {
        if adapters == 0 {
            return None;
        }
        match self {
            Self::Distinct => Some(stream % adapters),
            Self::Identical => Some(0),
            Self::Uniform => Some(rng.random_range(0..adapters)),
            Self::Skewed => {
                let weight = |rank: usize| 1.0 / (rank + 1) as f64;
                let mut drawn = rng.random_range(0.0..(0..adapters).map(weight).sum());
                let hit = (0..adapters).find(|rank| {
                    drawn -= weight(*rank);
                    drawn < 0.0
                });
                Some(hit.unwrap_or(adapters - 1))
            }
            Self::WithBase => (stream.is_multiple_of(2)).then_some(stream / 2 % adapters),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn counts(mix: Mix) -> Vec<usize> {
        let mut rng = StdRng::seed_from_u64(3);
        let mut counts = vec![0; 5];
        for stream in 0..8000 {
            let place = mix.choose(stream, 4, &mut rng).unwrap_or(4);
            counts[place] += 1;
        }
        counts
    }

    #[test]
    fn each_mix_spreads_as_it_says() {
        assert_eq!(counts(Mix::Distinct), [2000, 2000, 2000, 2000, 0]);
        assert_eq!(counts(Mix::Identical), [8000, 0, 0, 0, 0]);
        assert_eq!(counts(Mix::WithBase), [1000, 1000, 1000, 1000, 4000]);
        let uniform = counts(Mix::Uniform);
        assert!(
            uniform[..4]
                .iter()
                .all(|count| (1800..2200).contains(count))
        );
        let skewed = counts(Mix::Skewed);
        assert!(
            skewed.windows(2).all(|pair| pair[0] > pair[1]),
            "{skewed:?}"
        );
        assert_eq!(skewed[4], 0);
    }

    #[test]
    fn without_adapters_the_base_answers() {
        let mut rng = StdRng::seed_from_u64(0);
        assert_eq!(Mix::Skewed.choose(1, 0, &mut rng), None);
    }
}
