//! Which rows are held out for evaluation.

use super::order::WINDOW;
use crate::domain::Reason;
use crate::trainer::rng::{self, Purpose};

/// Of `0..rows`, those that are held out, ascending.
///
/// `wanted` below 1 is a share (rounded up), from 1 on a count. Of more rows than a window has ([`super::order`]), each
/// window gives its share.
///
/// # Errors
/// `BadField` when no row would be left to train on.
pub fn held_out(rows: usize, wanted: f64, seed: u64) -> Result<Vec<u32>, Reason> {
    of_windows(rows, wanted, seed, WINDOW)
}

/// How many of so many rows those are.
///
/// # Errors
/// As [`held_out`].
pub fn held_out_count(rows: usize, wanted: f64) -> Result<usize, Reason> {
    let count = if wanted < 1.0 {
        (rows as f64 * wanted).ceil() as usize
    } else {
        wanted as usize
    };
    if count >= rows {
        let why = format!("holding out {wanted} of {rows} rows leaves none to train on");
        return Err(Reason::field("eval_split", why));
    }
    Ok(count)
}

fn of_windows(rows: usize, wanted: f64, seed: u64, window: usize) -> Result<Vec<u32>, Reason> {
    let count = held_out_count(rows, wanted)?;
    if count == 0 {
        return Ok(Vec::new());
    }
    // Of the rows before one, so many are held out.
    let before = |row: usize| (count as u128 * row as u128 / rows as u128) as usize;
    let mut held_out = Vec::with_capacity(count);
    for (number, first) in (0..rows).step_by(window).enumerate() {
        let end = (first + window).min(rows);
        let mut order: Vec<u32> = (first as u32..end as u32).collect();
        let place = [number as u64];
        // One window is the whole, as it was before there were any.
        let place = if rows <= window { &place[..0] } else { &place };
        rng::shuffle(&mut order, &mut rng::stream(seed, Purpose::Split, place));
        order.truncate(before(end) - before(first));
        order.sort_unstable();
        held_out.extend(order);
    }
    Ok(held_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_and_a_count_hold_out_what_they_say() {
        let count = |wanted| held_out(10, wanted, 1).unwrap().len();
        assert_eq!([0.0, 0.25, 4.0, 9.0].map(count), [0, 3, 4, 9]);
    }

    #[test]
    fn a_split_that_leaves_nothing_to_train_on_is_refused() {
        for (rows, wanted) in [(30, 30.0), (30, 1000.0), (30, 0.9999), (1, 0.1)] {
            let refused = held_out(rows, wanted, 1);
            assert!(
                matches!(&refused, Err(Reason::BadField { field, .. }) if field == "eval_split"),
                "{wanted} of {rows}: {refused:?}"
            );
        }
    }

    #[test]
    fn the_seed_decides_which_rows_are_held_out() {
        let of = |seed| held_out(100, 0.2, seed).unwrap();
        assert!(of(3).is_sorted_by(|a, b| a < b) && of(3).iter().all(|row| *row < 100));
        assert_eq!((of(3).len(), of(3)), (20, of(3)));
        assert_ne!(of(3), of(4));
    }

    #[test]
    fn every_window_gives_its_share() {
        let rows = of_windows(95, 19.0, 5, 20).unwrap();
        assert!(rows.is_sorted_by(|a, b| a < b));
        let of_each: Vec<usize> = (0..5u32)
            .map(|window| rows.iter().filter(|row| **row / 20 == window).count())
            .collect();
        assert_eq!(of_each, [4, 4, 4, 4, 3]);
        assert_eq!(of_windows(95, 19.0, 5, 95), held_out(95, 19.0, 5));
    }
}
