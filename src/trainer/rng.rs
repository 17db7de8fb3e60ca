//! Randomness by counter: every draw is a function of the seed and of what it is for, so nothing has to be saved to
//! continue exactly. Draws are made from raw words here, so that no library's change can alter them.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What a stream of random words is for; streams of different purposes are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Initial values of parameter `at[0]`.
    Init,
    /// The order of rows in epoch `at[0]`.
    Order,
    /// Which rows are held out.
    Split,
    /// Dropout masks at `[step, forward, layer, module]`.
    Dropout,
    /// Noise on embeddings at `[step, forward]`.
    Noise,
    /// Which rows of the class `at[0]` are repeated once more than others.
    Balance,
}

/// The random words for `purpose` at the coordinates `at`.
pub fn stream(seed: u64, purpose: Purpose, at: &[u64]) -> ChaCha8Rng {
    let mut key = blake3::Hasher::new_derive_key("adapterd trainer random stream 1");
    key.update(&seed.to_le_bytes());
    key.update(&[purpose as u8]);
    for coordinate in at {
        key.update(&coordinate.to_le_bytes());
    }
    ChaCha8Rng::from_seed(*key.finalize().as_bytes())
}

/// Uniform in [0, 1), 24 bits.
pub fn unit(rng: &mut impl RngCore) -> f32 {
    (rng.next_u32() >> 8) as f32 * (1.0 / (1u32 << 24) as f32)
}

/// From the standard normal distribution (Box and Muller).
pub fn normal(rng: &mut impl RngCore) -> f32 {
    let radius = (-2.0 * (1.0 - f64::from(unit(rng))).ln()).sqrt();
    let angle = std::f64::consts::TAU * f64::from(unit(rng));
    (radius * angle.cos()) as f32
}

/// Fisher–Yates; the bias of the multiply-shift draw is below 2⁻³² for any slice that fits in memory.
pub fn shuffle<T>(items: &mut [T], rng: &mut impl RngCore) {
    for last in (1..items.len()).rev() {
        let bound = last as u128 + 1;
        let pick = (u128::from(rng.next_u64()) * bound) >> 64;
        items.swap(last, pick as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_seed_purpose_and_place_only() {
        let first = |seed, purpose, at: &[u64]| stream(seed, purpose, at).next_u64();
        assert_eq!(
            first(1, Purpose::Order, &[3]),
            first(1, Purpose::Order, &[3])
        );
        assert_ne!(
            first(1, Purpose::Order, &[3]),
            first(2, Purpose::Order, &[3])
        );
        assert_ne!(
            first(1, Purpose::Order, &[3]),
            first(1, Purpose::Split, &[3])
        );
        assert_ne!(
            first(1, Purpose::Order, &[3]),
            first(1, Purpose::Order, &[4])
        );
    }

    #[test]
    fn normal_draws_have_their_mean_and_spread() {
        let mut words = stream(7, Purpose::Init, &[0]);
        let draws: Vec<f64> = (0..20_000).map(|_| normal(&mut words).into()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let spread = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(
            mean.abs() < 0.03 && (spread - 1.0).abs() < 0.05,
            "{mean} {spread}"
        );
    }

    #[test]
    fn shuffling_keeps_every_item_and_changes_their_order() {
        let mut items: Vec<u32> = (0..100).collect();
        shuffle(&mut items, &mut stream(7, Purpose::Order, &[0]));
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
