//! The angles of a step's rows: by position, and under some scalings by the length of the text a row is part of.
//!
//! That length is a prompt's for all of its rows, and for a generated row its own position and those before it, as in
//! transformers, where a forward over so many tokens turns all of them alike. It is a property of the row, so chunks,
//! the rest of the batch, guesses and computing it again change nothing.

use super::spec::{Rope, Scaling};
use crate::kernels::rotary::Angles;

/// Made once for a model. Where frequencies do not depend on a length, lengths are not even asked for.
pub(super) struct Rotation {
    /// Of texts that are not `longer`.
    frequencies: Vec<f32>,
    /// Multiplies sine and cosine.
    factor: f32,
    longer: Option<Longer>,
}

/// Texts with frequencies of their own.
struct Longer {
    /// They have more tokens than this.
    than: usize,
    rope: Rope,
    head_dim: usize,
    /// Where all of them have the same.
    frequencies: Option<Vec<f32>>,
}

impl Rotation {
    pub fn of(rope: &Rope, head_dim: usize) -> Self {
        let longer = rope.longest_alike().map(|than| Longer {
            than,
            rope: rope.clone(),
            head_dim,
            frequencies: matches!(rope.scaling, Scaling::LongRope { .. })
                .then(|| rope.frequencies_of(head_dim, than + 1)),
        });
        Self {
            frequencies: rope.frequencies(head_dim),
            factor: rope.attention_factor(),
            longer,
        }
    }

    /// Two prompts of the same tokens have the same keys where this number is the same for their lengths; 0 for all that
    /// turn as texts within the original context do.
    pub fn class(&self, length: usize) -> usize {
        match &self.longer {
            Some(longer) if length > longer.than => match longer.frequencies {
                Some(_) => longer.than + 1,
                None => length,
            },
            _ => 0,
        }
    }

    /// `lengths`: for each row, how many tokens the text has that it turns as a part of.
    pub fn angles(&self, positions: &[usize], lengths: impl FnOnce() -> Vec<usize>) -> Angles {
        let Some(longer) = &self.longer else {
            return self.at(positions, &self.frequencies);
        };
        let lengths = lengths();
        if lengths.iter().all(|length| *length <= longer.than) {
            return self.at(positions, &self.frequencies);
        }
        let mut parts = Vec::new();
        let mut rest = positions;
        for alike in lengths.chunk_by(|a, b| self.class(*a) == self.class(*b)) {
            let (rows, later) = rest.split_at(alike.len().min(rest.len()));
            rest = later;
            parts.push(match (alike[0] > longer.than, &longer.frequencies) {
                (false, _) => self.at(rows, &self.frequencies),
                (true, Some(frequencies)) => self.at(rows, frequencies),
                (true, None) => {
                    let own = longer.rope.frequencies_of(longer.head_dim, alike[0]);
                    self.at(rows, &own)
                }
            });
        }
        Angles::joined(&parts)
    }

    fn at(&self, positions: &[usize], frequencies: &[f32]) -> Angles {
        Angles::at(positions.iter().copied(), frequencies, self.factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIM: usize = 8;

    fn dynamic() -> Rope {
        Rope {
            theta: 10_000.0,
            scaling: Scaling::Dynamic {
                factor: 4.0,
                original_context: 10,
            },
        }
    }

    fn longrope() -> Rope {
        Rope {
            theta: 10_000.0,
            scaling: Scaling::LongRope {
                original_context: 10,
                short: vec![1.0, 1.1, 1.2, 1.3],
                long: vec![2.0, 3.0, 4.0, 5.0],
                attention_factor: 1.25,
            },
        }
    }

    #[test]
    fn every_row_turns_as_its_own_length_says_whatever_lies_beside_it() {
        for rope in [dynamic(), longrope()] {
            let rotation = Rotation::of(&rope, DIM);
            let rows = [
                (3, 9),
                (7, 25),
                (8, 25),
                (25, 26),
                (9, 10),
                (0, 11),
                (26, 27),
                (4, 4),
            ];
            let positions: Vec<usize> = rows.iter().map(|row| row.0).collect();
            let whole = rotation.angles(&positions, || rows.iter().map(|row| row.1).collect());
            let alone: Vec<Angles> = rows
                .iter()
                .map(|(position, length)| {
                    let own = rope.frequencies_of(DIM, *length);
                    Angles::at([*position].into_iter(), &own, rope.attention_factor())
                })
                .collect();
            assert_eq!(whole, Angles::joined(&alone));
        }
    }

    #[test]
    fn static_scalings_ask_for_no_lengths() {
        for scaling in [Scaling::None, Scaling::Linear { factor: 3.0 }] {
            let rope = Rope {
                theta: 500.0,
                scaling,
            };
            let rotation = Rotation::of(&rope, DIM);
            let found = rotation.angles(&[5, 900], || unreachable!("lengths do not matter"));
            let plain = Angles::at([5, 900].into_iter(), &rope.frequencies(DIM), 1.0);
            assert_eq!(found, plain);
            assert_eq!(rotation.class(1 << 20), 0);
        }
    }

    #[test]
    fn only_texts_beyond_the_original_context_have_a_class() {
        let (grown, switched) = (
            Rotation::of(&dynamic(), DIM),
            Rotation::of(&longrope(), DIM),
        );
        for length in 0..=10 {
            assert_eq!((grown.class(length), switched.class(length)), (0, 0));
        }
        assert_ne!(grown.class(11), grown.class(12));
        assert_eq!(switched.class(11), switched.class(12));
        assert_ne!(switched.class(11), 0);
    }
}
