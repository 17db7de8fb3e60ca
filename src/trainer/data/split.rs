//! Which rows are held out for evaluation.

use crate::domain::Reason;
use crate::trainer::rng::{self, Purpose};

/// Splits `0..rows` into rows to train on and rows held out, both in ascending order.
///
/// `wanted` below 1 is a share (rounded up), from 1 on a count.
///
/// # Errors
/// `BadField` when no row would be left to train on.
pub fn split(rows: usize, wanted: f64, seed: u64) -> Result<(Vec<usize>, Vec<usize>), Reason> {
    let count = if wanted < 1.0 {
        (rows as f64 * wanted).ceil() as usize
    } else {
        wanted as usize
    };
    if count >= rows {
        let why = format!("holding out {wanted} of {rows} rows leaves none to train on");
        return Err(Reason::field("eval_split", why));
    }
    let mut order: Vec<usize> = (0..rows).collect();
    if count > 0 {
        rng::shuffle(&mut order, &mut rng::stream(seed, Purpose::Split, &[]));
    }
    let mut train = order.split_off(count);
    order.sort_unstable();
    train.sort_unstable();
    Ok((train, order))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_and_a_count_hold_out_what_they_say() {
        let held_out = |wanted| split(10, wanted, 1).unwrap().1.len();
        assert_eq!(split(10, 0.0, 1), Ok(((0..10).collect(), vec![])));
        assert_eq!((held_out(0.25), held_out(4.0), held_out(9.0)), (3, 4, 9));
    }

    #[test]
    fn a_split_that_leaves_nothing_to_train_on_is_refused() {
        for (rows, wanted) in [(30, 30.0), (30, 1000.0), (30, 0.9999), (1, 0.1)] {
            let refused = split(rows, wanted, 1);
            assert!(
                matches!(&refused, Err(Reason::BadField { field, .. }) if field == "eval_split"),
                "{wanted} of {rows}: {refused:?}"
            );
        }
    }

    #[test]
    fn every_row_is_on_one_side_and_the_seed_decides_which() {
        let (train, held_out) = split(100, 0.2, 3).unwrap();
        let mut all = [train.clone(), held_out.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert_eq!(split(100, 0.2, 3).unwrap().1, held_out);
        assert_ne!(split(100, 0.2, 4).unwrap().1, held_out);
    }
}
