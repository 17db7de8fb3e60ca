//! How far apart two answers are.

/// Tokens to insert, remove or replace to make one of the other, over the tokens of the longer one: 0 to 1.
pub fn distance(one: &[u32], other: &[u32]) -> f64 {
    let longest = one.len().max(other.len());
    if longest == 0 {
        return 0.0;
    }
    // What is common at both ends costs nothing.
    let front = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[front..], &other[front..]);
    let back = { one.iter().rev().zip(other.iter().rev()) }
        .take_while(|(a, b)| a == b)
        .count();
    let (one, other) = (&one[..one.len() - back], &other[..other.len() - back]);
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, a) in one.iter().enumerate() {
        let mut diagonal = above;
        row[0] = above + 1;
        for (at, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row[other.len()] as f64 / longest as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(one: &str, other: &str) -> f64 {
        let tokens = |text: &str| text.chars().map(u32::from).collect::<Vec<_>>();
        distance(&tokens(one), &tokens(other))
    }

    #[test]
    fn distances_are_those_of_levenshtein_over_the_longer_text() {
        for (one, other, changes, longer) in [
            ("kitten", "sitting", 3, 7),
            ("flaw", "lawn", 2, 4),
            ("", "abc", 3, 3),
            ("abc", "abc", 0, 3),
            ("abcd", "axcd", 1, 4),
            ("ab", "ba", 2, 2),
        ] {
            let expected = f64::from(changes) / f64::from(longer);
            assert!((of(one, other) - expected).abs() < 1e-12, "{one} {other}");
            assert_eq!(of(one, other), of(other, one));
        }
        assert_eq!(of("", ""), 0.0);
    }
}
