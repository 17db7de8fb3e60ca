//! Which rows are held out for evaluation.

use crate::trainer::rng::{self, Purpose};

/// Splits `0..rows` into rows to train on and rows held out, both in ascending order.
///
/// `wanted` below 1 is a share (rounded up), from 1 on a count; at least one row is always left to train on.
pub fn split(rows: usize, wanted: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let count = if wanted < 1.0 {
        (rows as f64 * wanted).ceil() as usize
    } else {
        wanted as usize
    };
    let count = count.min(rows.saturating_sub(1));
    let mut order: Vec<usize> = (0..rows).collect();
    if count > 0 {
        rng::shuffle(&mut order, &mut rng::stream(seed, Purpose::Split, &[]));
    }
    let mut train = order.split_off(count);
    order.sort_unstable();
    train.sort_unstable();
    (train, order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_and_a_count_hold_out_what_they_say() {
        assert_eq!(split(10, 0.0, 1), ((0..10).collect(), vec![]));
        assert_eq!(split(10, 0.25, 1).1.len(), 3);
        assert_eq!(split(10, 4.0, 1).1.len(), 4);
        assert_eq!(split(10, 40.0, 1).0.len(), 1);
    }

    #[test]
    fn every_row_is_on_one_side_and_the_seed_decides_which() {
        let (train, held_out) = split(100, 0.2, 3);
        let mut all = [train.clone(), held_out.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert_eq!(split(100, 0.2, 3).1, held_out);
        assert_ne!(split(100, 0.2, 4).1, held_out);
    }
}
