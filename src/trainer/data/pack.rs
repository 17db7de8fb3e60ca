//! How the rows of one step are laid out in forwards.
//!
//! Rows attend only to themselves wherever they lie, and the loss is the mean over the step's tokens, so packing changes
//! how many forwards a step takes and never what it learns.

use std::ops::Range;

use super::{Example, Sequence};
use crate::adapter;
use crate::domain::Recipe;
use crate::model::Pack;

/// One forward: its tokens, the rows of its hidden states that predict trained tokens, and those tokens.
#[derive(Debug, Clone, Default)]
pub struct Forward {
    pub pack: Pack,
    /// Ascending indices into `pack.tokens`.
    pub rows: Vec<u32>,
    /// The token each of `rows` is to predict.
    pub targets: Vec<u32>,
    /// Examples with two answers.
    pub pairs: Vec<Pair>,
}

/// Where the answers of one example are among the rows of a forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Its number among the examples laid out.
    pub example: usize,
    pub chosen: Range<usize>,
    pub rejected: Range<usize>,
}

impl Forward {
    fn push_example(&mut self, number: usize, example: &Example, virtual_tokens: usize) {
        let first = self.rows.len();
        let mut between = first;
        for (at, sequence) in example.sequences.iter().enumerate() {
            if example.preferred == Some(at) {
                between = self.rows.len();
            }
            self.push(sequence, virtual_tokens);
        }
        if example.preferred.is_some() {
            self.pairs.push(Pair {
                example: number,
                chosen: first..between,
                rejected: between..self.rows.len(),
            });
        }
    }

    /// The last token predicts nothing that is trained, so it is left out.
    fn push(&mut self, sequence: &Sequence, virtual_tokens: usize) {
        let first = self.pack.tokens.len();
        let start = first + virtual_tokens;
        let fed = sequence.tokens.len() - 1;
        self.pack
            .tokens
            .extend(adapter::virtual_tokens(virtual_tokens));
        self.pack.tokens.extend_from_slice(&sequence.tokens[..fed]);
        self.pack.ranges.push(first..start + fed);
        let length = virtual_tokens + sequence.tokens.len();
        self.pack.lengths.push(length);
        for at in sequence.spans.iter().cloned().flatten() {
            self.rows.push((start + at - 1) as u32);
            self.targets.push(sequence.tokens[at]);
        }
    }
}

/// How long a row is: all that its place among forwards depends on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Length {
    /// Of all its sequences.
    pub tokens: u32,
    pub trained: u32,
    pub sequences: u32,
}

impl Length {
    pub fn of(example: &Example) -> Self {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            tokens: count(example.tokens()),
            trained: count(example.trained()),
            sequences: count(example.sequences.len()),
        }
    }

    /// Places of a forward that it takes.
    pub fn fed(self, virtual_tokens: usize) -> usize {
        (self.tokens - self.sequences) as usize + virtual_tokens * self.sequences as usize
    }
}

/// Lays rows of these lengths out, and gives the numbers of those in each forward: with `pack`, several records share a row of up to `max_seq` tokens (first fit); without, a row is
/// a record. `micro_batch` rows make a forward. Before each record come so many virtual tokens, for which a row has room
/// once.
pub fn layout(lengths: &[Length], recipe: &Recipe, virtual_tokens: usize) -> Vec<Vec<usize>> {
    let room = match recipe.pack {
        true => recipe.max_seq + virtual_tokens,
        false => 0,
    };
    let mut rows: Vec<(usize, Vec<usize>)> = Vec::new();
    for (number, length) in lengths.iter().enumerate() {
        let tokens = length.tokens as usize + virtual_tokens * length.sequences as usize;
        match rows.iter_mut().find(|(used, _)| used + tokens <= room) {
            Some((used, row)) => {
                *used += tokens;
                row.push(number);
            }
            None => rows.push((tokens, vec![number])),
        }
    }
    rows.chunks(recipe.micro_batch)
        .map(|rows| rows.iter().flat_map(|(_, row)| row).copied().collect())
        .collect()
}

/// The forwards of `examples`, as [`layout`] lays them out.
pub fn forwards(examples: &[&Example], recipe: &Recipe, virtual_tokens: usize) -> Vec<Forward> {
    let lengths: Vec<Length> = examples.iter().map(|example| Length::of(example)).collect();
    let laid_out = layout(&lengths, recipe, virtual_tokens).into_iter();
    laid_out
        .map(|rows| {
            let mut forward = Forward::default();
            rows.into_iter()
                .for_each(|at| forward.push_example(at, examples[at], virtual_tokens));
            forward
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trainer::recipe::{Wishes, resolve};

    fn example(first: u32, tokens: usize, asked: usize) -> Example {
        let tokens: Vec<u32> = (first..).take(tokens).collect();
        let span = asked..tokens.len();
        Example {
            line: 1,
            sequences: vec![Sequence {
                tokens,
                spans: vec![span],
            }],
            preferred: None,
        }
    }

    fn recipe(pack: bool, micro_batch: usize) -> Recipe {
        let wishes = Wishes {
            pack: Some(pack),
            batch_size: Some(micro_batch * 2),
            micro_batch: Some(micro_batch),
            max_seq: Some(10),
            ..Wishes::default()
        };
        resolve(&wishes, None, 512).unwrap()
    }

    #[test]
    fn every_trained_token_is_predicted_from_the_token_before_it() {
        let (a, b) = (example(100, 5, 3), example(200, 4, 1));
        let forwards = forwards(&[&a, &b], &recipe(true, 1), 0);
        assert_eq!(forwards.len(), 1);
        let forward = &forwards[0];
        assert_eq!(forward.pack.ranges, [0..4, 4..7]);
        assert_eq!(forward.targets, [103, 104, 201, 202, 203]);
        for (&row, &target) in forward.rows.iter().zip(&forward.targets) {
            assert_eq!(forward.pack.tokens[row as usize] + 1, target);
        }
    }

    #[test]
    fn packing_changes_the_number_of_forwards_and_not_what_is_learned() {
        let examples = [
            example(0, 6, 2),
            example(50, 6, 2),
            example(80, 4, 2),
            example(90, 4, 1),
        ];
        let examples: Vec<&Example> = examples.iter().collect();
        let learned = |forwards: &[Forward]| {
            let mut targets: Vec<u32> = forwards.iter().flat_map(|f| f.targets.clone()).collect();
            targets.sort_unstable();
            targets
        };
        let packed = forwards(&examples, &recipe(true, 1), 0);
        let apart = forwards(&examples, &recipe(false, 1), 0);
        assert_eq!((packed.len(), apart.len()), (2, 4));
        assert!(packed.iter().all(|f| f.pack.tokens.len() <= 10));
        assert_eq!(learned(&packed), learned(&apart));
        assert_eq!(forwards(&examples, &recipe(false, 2), 0).len(), 2);
    }

    #[test]
    fn two_answers_lie_in_one_forward_and_are_found_there() {
        let both = |first| {
            let (mut example, other) = (example(first, 5, 3), self::example(first + 50, 4, 1));
            example.sequences.extend(other.sequences);
            example.preferred = Some(1);
            example
        };
        let (a, b) = (both(100), both(300));
        for pack in [true, false] {
            let mut recipe = recipe(pack, 2);
            recipe.max_seq = 20;
            let forwards = forwards(&[&a, &b], &recipe, 0);
            assert_eq!(forwards.len(), 1);
            let pairs = &forwards[0].pairs;
            assert_eq!((pairs[0].example, pairs[1].example), (0, 1));
            for (pair, first) in pairs.iter().zip([100, 300]) {
                let targets = &forwards[0].targets;
                assert_eq!(targets[pair.chosen.clone()], [first + 3, first + 4]);
                let rejected = [first + 51, first + 52, first + 53];
                assert_eq!(targets[pair.rejected.clone()], rejected);
            }
        }
    }

    #[test]
    fn every_record_has_virtual_tokens_of_its_own() {
        let (a, b, c) = (example(100, 5, 3), example(200, 4, 1), example(300, 9, 2));
        let forwards = forwards(&[&a, &b, &c], &recipe(true, 1), 3);
        // A row has room for ten tokens and three virtual ones, so the first two share none.
        assert_eq!(forwards.len(), 3);
        for (forward, example) in forwards.iter().zip([&a, &b, &c]) {
            let tokens = &example.sequences[0].tokens;
            let fed = tokens.len() - 1;
            assert_eq!(forward.pack.tokens[3..], tokens[..fed]);
            let before: Vec<u32> = adapter::virtual_tokens(3).collect();
            assert_eq!(forward.pack.tokens[..3], before);
            assert_eq!(forward.pack.ranges, [0..3 + fed]);
            assert_eq!(forward.pack.lengths, [3 + tokens.len()]);
            for (&row, &target) in forward.rows.iter().zip(&forward.targets) {
                assert_eq!(forward.pack.tokens[row as usize] + 1, target);
            }
        }
        let both = super::forwards(&[&a, &b], &recipe(true, 1), 2);
        assert_eq!(both.len(), 2, "9 tokens and twice 2 are more than 12");
        let both = super::forwards(&[&a, &b], &recipe(true, 1), 1);
        assert_eq!(both[0].pack.ranges, [0..5, 5..9]);
    }
}
