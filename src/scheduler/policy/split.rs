//! How a step's tokens for prompts are divided among the prompts: evenly, so that a short one is not held up by a long
//! one before it, and what one does not need goes to the others.

/// With fewer tokens of each, more prompts at once would only make every one of them late.
const LEAST: usize = 8;

/// Tokens that these prompts claim before one more may take part.
pub fn claimed(needs: &[usize]) -> usize {
    needs.iter().map(|need| LEAST.min(*need)).sum()
}

/// How many of `needs`, from the first on, so many tokens are divided among.
fn sharing(needs: &[usize], tokens: usize) -> usize {
    let mut before = 0;
    let take_part = needs.iter().take_while(|need| {
        let room = before < tokens;
        before += LEAST.min(**need);
        room
    });
    take_part.count()
}

/// What each of `needs` gets, those before first where there is too little for all.
pub fn split(needs: &[usize], tokens: usize) -> Vec<usize> {
    let mut given = vec![0; needs.len()];
    let (mut left, mut from) = (tokens, 0);
    while left > 0 && from < needs.len() {
        let count = sharing(&needs[from..], left);
        let mut order: Vec<usize> = (from..from + count).collect();
        order.sort_by_key(|&at| needs[at]);
        for (before, at) in order.into_iter().enumerate() {
            given[at] = needs[at].min(left / (count - before));
            left -= given[at];
        }
        from += count;
    }
    given
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_prompt_gets_what_it_needs_and_long_ones_share_the_rest() {
        assert_eq!(split(&[1000, 20, 500], 100), [40, 20, 40]);
        assert_eq!(split(&[10, 20], 100), [10, 20]);
        assert_eq!(split(&[1000], 100), [100]);
        assert_eq!(split(&[3, 1000], 16), [3, 13]);
    }

    #[test]
    fn too_little_for_all_goes_to_those_before() {
        assert_eq!(split(&[100, 100, 100, 100], 16), [8, 8, 0, 0]);
        assert_eq!(split(&[2, 3, 100, 100], 16), [2, 3, 5, 6]);
        assert_eq!(split(&[100, 100], 1), [1, 0]);
        assert_eq!(split(&[100, 100], 0), [0, 0]);
    }

    proptest! {
        #[test]
        fn all_is_given_and_none_gets_more_than_it_needs(
            needs in prop::collection::vec(0usize..300, 0..20),
            tokens in 0usize..600,
        ) {
            let given = split(&needs, tokens);
            let sum: usize = given.iter().sum();
            prop_assert_eq!(sum, tokens.min(needs.iter().sum()));
            prop_assert!(given.iter().zip(&needs).all(|(given, need)| given <= need));
            let sharing = sharing(&needs, tokens);
            let least = (0..sharing).filter(|&at| given[at] < needs[at]).map(|at| given[at]).min();
            let most = given.iter().max().copied().unwrap_or(0);
            // Those that get less than they need get equally much, to a token.
            prop_assert!(least.is_none_or(|least| least >= 1 && least + 1 >= most), "{:?}", given);
        }
    }
}
