//! What a forward takes: ragged batches to serve, packed records to learn from.

use std::ops::Range;

use crate::device::{Result, bail};
use crate::kernels::attention::Query;

/// One ragged batch. `tokens` is flat; each sequence owns a range of it. Sorting rows by adapter is left to the caller.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub tokens: Vec<u32>,
    /// In the order of their ranges, which cover `tokens` without gap.
    pub sequences: Vec<Sequence>,
    /// Flat row numbers whose logits are wanted, in the order they are wanted.
    pub logit_rows: Vec<usize>,
}

/// New tokens of one sequence, at positions `start..start + range.len()`.
#[derive(Debug, Clone)]
pub struct Sequence {
    pub range: Range<usize>,
    pub start: usize,
    /// Tokens of its prompt, computed by this batch or not. Where rotary scaling goes by length, rows of the prompt turn
    /// as part of so many tokens, and each later row as the last of those up to it.
    pub prompt: usize,
    /// Cache blocks that cover positions `0..start + range.len()`.
    pub table: Vec<u32>,
}

/// Packed training rows: `ranges` are the records inside `tokens`, ascending and without overlap; positions restart at 0
/// in each, and no record sees another.
#[derive(Debug, Clone, Default)]
pub struct Pack {
    pub tokens: Vec<u32>,
    pub ranges: Vec<Range<usize>>,
    /// Tokens of each record, where those are more than its range has: the last one predicts nothing, but rotary scaling by
    /// length counts it. Empty where they are not.
    pub lengths: Vec<usize>,
}

impl Sequence {
    /// What attention reads for these rows.
    pub(super) fn query(&self) -> Query<'_> {
        Query {
            rows: self.range.clone(),
            start: self.start,
            table: &self.table,
        }
    }
}

impl Batch {
    /// Positions of the rows, after checking that the batch makes sense.
    pub(super) fn positions(&self, context: usize) -> Result<Vec<usize>> {
        let mut positions = Vec::with_capacity(self.tokens.len());
        for Sequence { range, start, .. } in &self.sequences {
            if range.start != positions.len() || range.end < range.start {
                bail!(
                    "a sequence at {range:?} where row {} comes next",
                    positions.len()
                );
            }
            let last = start + range.len();
            if last > context {
                bail!("positions up to {last} with a context of {context}");
            }
            positions.extend(*start..last);
        }
        if positions.len() != self.tokens.len() {
            bail!(
                "sequences cover {} of {} tokens",
                positions.len(),
                self.tokens.len()
            );
        }
        match self.logit_rows.iter().find(|row| **row >= positions.len()) {
            Some(row) => bail!("logits of row {row} in a batch of {}", positions.len()),
            None => Ok(positions),
        }
    }

    /// For each row the number of tokens it turns as a part of.
    pub(super) fn lengths(&self) -> Vec<usize> {
        let rows = self.sequences.iter().flat_map(|sequence| {
            let Sequence {
                range,
                start,
                prompt,
                ..
            } = sequence;
            (*start..start + range.len()).map(|position| (position + 1).max(*prompt))
        });
        rows.collect()
    }

    /// Where each row's keys and values go: block and place within it.
    pub(super) fn slots(&self, block_size: usize) -> Result<Vec<(u32, usize)>> {
        let mut slots = Vec::with_capacity(self.tokens.len());
        for Sequence {
            range,
            start,
            table,
            ..
        } in &self.sequences
        {
            for position in *start..start + range.len() {
                match table.get(position / block_size) {
                    Some(block) => slots.push((*block, position % block_size)),
                    None => bail!(
                        "position {position} in a table of {} blocks of {block_size}",
                        table.len()
                    ),
                }
            }
        }
        Ok(slots)
    }
}

impl Pack {
    /// For each row the number of tokens of its record; 1 for rows of no record.
    pub(super) fn lengths(&self) -> Vec<usize> {
        let mut lengths = vec![1; self.tokens.len()];
        for (at, range) in self.ranges.iter().enumerate() {
            let whole = self.lengths.get(at).copied().unwrap_or(0).max(range.len());
            if let Some(rows) = lengths.get_mut(range.clone()) {
                rows.fill(whole);
            }
        }
        lengths
    }

    /// Positions of the rows; 0 for rows of no record.
    pub(super) fn positions(&self, context: usize) -> Result<Vec<usize>> {
        let mut positions = vec![0; self.tokens.len()];
        for range in &self.ranges {
            if range.len() > context {
                bail!(
                    "a record of {} tokens with a context of {context}",
                    range.len()
                );
            }
            let Some(part) = positions.get_mut(range.clone()) else {
                bail!("a record at {range:?} of {} tokens", self.tokens.len());
            };
            part.iter_mut()
                .enumerate()
                .for_each(|(at, position)| *position = at);
        }
        Ok(positions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(range: Range<usize>, start: usize, table: &[u32]) -> Sequence {
        Sequence {
            range,
            start,
            prompt: 0,
            table: table.to_vec(),
        }
    }

    #[test]
    fn rows_know_their_positions_and_slots() {
        let batch = Batch {
            tokens: vec![0; 5],
            sequences: vec![sequence(0..1, 4, &[7, 8]), sequence(1..5, 2, &[3, 9])],
            logit_rows: vec![0, 4],
        };
        assert_eq!(batch.positions(8).unwrap(), [4, 2, 3, 4, 5]);
        assert_eq!(
            batch.slots(4).unwrap(),
            [(8, 0), (3, 2), (3, 3), (9, 0), (9, 1)]
        );
    }

    #[test]
    fn rows_of_a_prompt_turn_as_part_of_all_of_it_and_later_rows_as_the_last() {
        let mut batch = Batch {
            tokens: vec![0; 6],
            sequences: vec![sequence(0..2, 3, &[7]), sequence(2..6, 4, &[3, 9])],
            logit_rows: vec![],
        };
        (batch.sequences[0].prompt, batch.sequences[1].prompt) = (9, 6);
        assert_eq!(batch.lengths(), [9, 9, 6, 6, 7, 8]);
        let pack = Pack {
            tokens: vec![0; 7],
            ranges: vec![0..2, 3..6],
            lengths: vec![3, 4],
        };
        assert_eq!(pack.lengths(), [3, 3, 1, 4, 4, 4, 1]);
        let pack = Pack {
            lengths: vec![],
            ..pack
        };
        assert_eq!(pack.lengths(), [2, 2, 1, 3, 3, 3, 1]);
    }

    #[test]
    fn batches_that_make_no_sense_are_errors() {
        let whole = |sequences, logit_rows| Batch {
            tokens: vec![0; 4],
            sequences,
            logit_rows,
        };
        assert!(
            whole(vec![sequence(0..3, 0, &[0])], vec![])
                .positions(8)
                .is_err(),
            "a token of no sequence"
        );
        assert!(
            whole(vec![sequence(0..4, 0, &[0])], vec![4])
                .positions(8)
                .is_err(),
            "a row that is not there"
        );
        assert!(
            whole(vec![sequence(0..4, 5, &[0])], vec![])
                .positions(8)
                .is_err(),
            "beyond the context"
        );
        assert!(
            whole(vec![sequence(0..4, 0, &[0])], vec![])
                .slots(2)
                .is_err(),
            "a table that is too short"
        );
    }

    #[test]
    fn positions_restart_in_every_record() {
        let pack = Pack {
            tokens: vec![0; 6],
            ranges: vec![0..2, 3..6],
            lengths: vec![],
        };
        assert_eq!(pack.positions(3).unwrap(), [0, 1, 0, 0, 1, 2]);
        assert!(pack.positions(2).is_err(), "longer than the context");
        assert!(
            Pack {
                tokens: vec![0; 2],
                ranges: vec![1..3],
                lengths: vec![],
            }
            .positions(8)
            .is_err()
        );
    }
}
