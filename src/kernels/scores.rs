//! One row of scores over a vocabulary: its peak, its normaliser, its weights.

use super::simd::{LANES, exp, fold, simd_fn};

/// Elements summed in f32 before the sum goes on in f64.
pub const BLOCK: usize = 512;

simd_fn! {
    /// The largest score; `None` where the row holds NaN or +∞, or nothing but −∞.
    pub fn peak(row: &[f32]) -> Option<f32> {
        let mut best = [f32::NEG_INFINITY; LANES];
        let mut bad = [false; LANES];
        let (chunks, tail) = row.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                best[lane] = if chunk[lane] > best[lane] { chunk[lane] } else { best[lane] };
                bad[lane] |= chunk[lane].is_nan();
            }
        }
        for (lane, score) in tail.iter().enumerate() {
            best[lane] = best[lane].max(*score);
            bad[lane] |= score.is_nan();
        }
        let peak = best.into_iter().fold(f32::NEG_INFINITY, f32::max);
        (peak.is_finite() && !bad.contains(&true)).then_some(peak)
    }
}

simd_fn! {
    /// ln Σ e^score, given the row's peak.
    pub fn log_sum_exp(row: &[f32], peak: f32) -> f32 {
        let mut total = 0f64;
        let mut terms = [0f32; BLOCK];
        for block in row.chunks(BLOCK) {
            for (term, score) in terms.iter_mut().zip(block) {
                *term = exp::<FUSED>(*score - peak);
            }
            total += f64::from(lane_sum(&terms[..block.len()]));
        }
        (f64::from(peak) + total.ln()) as f32
    }
}

simd_fn! {
    /// Writes e^((score − peak) / temperature) for each score: 1 for the peak, 0 for −∞.
    pub fn weigh(row: &[f32], peak: f32, temperature: f32, weights: &mut Vec<f32>) {
        weights.clear();
        weights.extend(row.iter().map(|score| exp::<FUSED>((*score - peak) / temperature)));
    }
}

simd_fn! {
    /// The sum of one block, of at most [`BLOCK`] values.
    pub fn block_sum(block: &[f32]) -> f32 {
        lane_sum(block)
    }
}

/// The sum of non-negative values.
pub fn sum(values: &[f32]) -> f64 {
    values
        .chunks(BLOCK)
        .map(|block| f64::from(block_sum(block)))
        .sum()
}

#[inline(always)]
fn lane_sum(values: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (chunks, tail) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += chunk[lane];
        }
    }
    for (lane, value) in tail.iter().enumerate() {
        lanes[lane] += value;
    }
    fold(lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_found_wherever_it_stands_and_faults_are_seen() {
        for length in [1, 16, 33] {
            for at in 0..length {
                let mut row = vec![-1.0; length];
                row[at] = 5.0;
                assert_eq!(peak(&row), Some(5.0));
                for bad in [f32::NAN, f32::INFINITY] {
                    row[at] = bad;
                    assert_eq!(peak(&row), None);
                }
            }
        }
        assert_eq!(peak(&[]), None);
        assert_eq!(peak(&[f32::NEG_INFINITY; 40]), None);
    }

    #[test]
    fn normaliser_weights_and_sums_are_those_of_the_library() {
        let row: Vec<f32> = (0..1500).map(|i| (i as f32 * 0.37).sin() * 20.0).collect();
        let top = peak(&row).unwrap();
        let plain: f64 = row.iter().map(|s| f64::from(s - top).exp()).sum();
        let normaliser = f64::from(log_sum_exp(&row, top));
        assert!((normaliser - (f64::from(top) + plain.ln())).abs() < 2e-6);

        let mut weights = Vec::new();
        weigh(&row, top, 0.5, &mut weights);
        for (weight, score) in weights.iter().zip(&row) {
            let want = (f64::from(score - top) / 0.5).exp();
            assert!((f64::from(*weight) - want).abs() <= 5e-7 * want + 1e-37);
        }
        let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
        assert!((sum(&weights) - total).abs() < 1e-6 * total);
    }

    #[test]
    fn a_large_flat_vocabulary_is_summed_exactly_enough() {
        let normaliser = f64::from(log_sum_exp(&vec![-3.25; 150_000], -3.25));
        assert!((normaliser - (150_000f64.ln() - 3.25)).abs() < 1e-6);
    }
}
