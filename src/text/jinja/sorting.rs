//! Sorting by an order that may fail, or be none.

use super::fault::Outcome;

/// By merging: asks for nothing but whether one is before the other, and leaves equal ones as they came. An order that
/// contradicts itself (with a number that is none) gives some order.
pub(super) fn sort<T>(
    items: Vec<T>,
    before: &mut impl FnMut(&T, &T) -> Outcome<bool>,
) -> Outcome<Vec<T>> {
    let mut runs: Vec<Vec<T>> = items.into_iter().map(|item| vec![item]).collect();
    while runs.len() > 1 {
        let mut merged = Vec::with_capacity(runs.len().div_ceil(2));
        let mut pairs = runs.into_iter();
        while let Some(left) = pairs.next() {
            merged.push(match pairs.next() {
                Some(right) => merge(left, right, before)?,
                None => left,
            });
        }
        runs = merged;
    }
    Ok(runs.into_iter().next().unwrap_or_default())
}

fn merge<T>(
    left: Vec<T>,
    right: Vec<T>,
    before: &mut impl FnMut(&T, &T) -> Outcome<bool>,
) -> Outcome<Vec<T>> {
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        merged.extend(match before(b, a)? {
            true => right.next(),
            false => left.next(),
        });
    }
    merged.extend(left);
    merged.extend(right);
    Ok(merged)
}
