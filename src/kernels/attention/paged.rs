//! Attention of a ragged batch over cached keys and values, with a running softmax over the blocks of each sequence
//! (Milakov and Gimelshein, arXiv 1805.02867).
//!
//! A row's blocks are taken in order of position and a block's positions in a fixed order, whatever else is in the batch
//! and however many threads there are: a row's result is the same bit for bit.

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

use super::super::pool::{self, Shared};
use super::super::simd::{axpy, dot, exp, exp_shifted, max, simd_fn};
use super::super::values::{self, Values};
use super::{Attend, Pages, first_seen};

/// Rows of one sequence that share the reading of a block.
const ROWS: usize = 16;

/// Rows of a batch that belong to one sequence.
pub struct Query<'a> {
    pub rows: Range<usize>,
    /// The position of the first of them.
    pub start: usize,
    /// Blocks of the sequence, covering at least the position of its last row.
    pub table: &'a [u32],
}

/// q [T, H·d] over cached pages of G heads: [T, H·d], untracked. Keys and values of the queries' own positions have been
/// written before. Rows of no query give 0.
pub fn paged(q: &Tensor, pages: &Pages, queries: &[Query<'_>], attend: Attend) -> Result<Tensor> {
    let (tokens, row) = q.dims2()?;
    let (groups, dim) = pages.heads();
    let heads = row / dim.max(1);
    if attend.dim != dim || heads * dim != row || groups == 0 || !heads.is_multiple_of(groups) {
        bail!(
            "queries of {row} in heads of {} over a cache of {groups} heads of {dim}",
            attend.dim
        );
    }
    let mut end = 0;
    for query in queries {
        let last = query.start + query.rows.len();
        let reach = query.table.len() * pages.block_size();
        if query.rows.start < end || query.rows.end < query.rows.start || query.rows.end > tokens {
            bail!("rows {:?} of a batch of {tokens}", query.rows);
        }
        if last > reach || !pages.has(query.table) {
            bail!(
                "positions up to {last} in a table of {} blocks, {reach} positions",
                query.table.len()
            );
        }
        end = query.rows.end;
    }
    let q = q.contiguous()?;
    let q_values = Values::of(&q)?;
    let q_values = &*q_values;
    let mut out = vec![0.0; tokens * row];
    let tiles: Vec<(&Query<'_>, Range<usize>)> = queries
        .iter()
        .flat_map(|query| {
            let rows = query.rows.clone();
            let cut = move |start: usize| (query, start..(start + ROWS).min(query.rows.end));
            rows.step_by(ROWS).map(cut)
        })
        .collect();
    let shared = Shared::new(&mut out);
    pool::for_each(tiles.len() * groups, |i| {
        let (query, rows) = &tiles[i / groups];
        let tile = Tile {
            query,
            rows: rows.clone(),
            group: i % groups,
            share: heads / groups,
        };
        tile.run(q_values, pages, &shared, attend);
    });
    values::tensor(out, (tokens, row))
}

/// Some rows of one sequence and the query heads that share a kv head.
struct Tile<'a> {
    query: &'a Query<'a>,
    rows: Range<usize>,
    group: usize,
    share: usize,
}

/// The running softmax of one row and query head: the largest score so far, and the sum of exponentials against it.
#[derive(Clone, Copy)]
struct Running {
    top: f32,
    sum: f32,
}

impl Tile<'_> {
    fn run(&self, q: &[f32], pages: &Pages, out: &Shared<'_, f32>, attend: Attend) {
        let Attend { scale, window, .. } = attend;
        let (groups, dim) = pages.heads();
        let (size, width) = (pages.block_size(), self.share * dim);
        let position = |row: usize| self.query.start + row - self.query.rows.start;
        // Where this tile's heads of a row lie.
        let place = |row: usize| (row * groups + self.group) * width;
        let mut running = vec![
            Running {
                top: f32::NEG_INFINITY,
                sum: 0.0
            };
            self.rows.len() * self.share
        ];
        let mut scratch = (Vec::new(), Vec::new());
        let mut scores = vec![0.0; size];
        let first = first_seen(position(self.rows.start), window) / size;
        let last = position(self.rows.end - 1) / size;
        for block in first..=last {
            let known = (position(self.rows.end - 1) + 1 - block * size).min(size);
            let (keys, values) =
                pages.block(self.query.table[block], self.group, known, &mut scratch);
            for (row, running) in self.rows.clone().zip(running.chunks_exact_mut(self.share)) {
                let (begin, end) = (first_seen(position(row), window), position(row) + 1);
                let seen =
                    begin.saturating_sub(block * size)..end.saturating_sub(block * size).min(size);
                if seen.is_empty() {
                    continue;
                }
                let part = seen.start * dim..seen.end * dim;
                let at = place(row)..place(row) + width;
                // SAFETY: this tile alone has these rows of these heads.
                let out = unsafe { out.part(at.clone()) };
                absorb(
                    &q[at],
                    &keys[part.clone()],
                    &values[part],
                    scale,
                    running,
                    &mut scores[..seen.len()],
                    out,
                );
            }
        }
        for (row, running) in self.rows.clone().zip(running.chunks_exact(self.share)) {
            // SAFETY: as above.
            let out = unsafe { out.part(place(row)..place(row) + width) };
            for (out, running) in out.chunks_exact_mut(dim).zip(running) {
                let by = 1.0 / running.sum;
                out.iter_mut().for_each(|value| *value *= by);
            }
        }
    }
}

simd_fn! {
    /// Takes some positions into the running sums of one row's heads.
    fn absorb(
        q: &[f32],
        keys: &[f32],
        values: &[f32],
        scale: f32,
        running: &mut [Running],
        scores: &mut [f32],
        out: &mut [f32],
    ) {
        let dim = q.len() / running.len();
        let heads = q.chunks_exact(dim).zip(out.chunks_exact_mut(dim));
        for ((q, out), running) in heads.zip(running) {
            for (score, key) in scores.iter_mut().zip(keys.chunks_exact(dim)) {
                *score = dot::<FUSED>(q, key) * scale;
            }
            let top = max(scores).max(running.top);
            let fade = exp::<FUSED>(running.top - top);
            running.sum = running.sum * fade + exp_shifted::<FUSED>(scores, top);
            running.top = top;
            out.iter_mut().for_each(|value| *value *= fade);
            for (weight, value) in scores.iter().zip(values.chunks_exact(dim)) {
                axpy::<FUSED>(*weight, value, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{assert_close, noise};
    use super::super::{Stored, packed};
    use super::*;

    const BLOCK: usize = 16;

    fn attend(window: Option<usize>) -> Attend {
        Attend {
            dim: 24,
            scale: 0.3,
            window,
        }
    }

    struct Case {
        pages: Pages,
        tables: Vec<Vec<u32>>,
        q: Vec<Tensor>,
        expected: Vec<Tensor>,
    }

    /// Sequences of these lengths, their blocks dealt out in turn, and what packed attention says about each.
    fn case(lengths: &[usize], stored: Stored, window: Option<usize>) -> Result<Case> {
        let (heads, groups, dim) = (6, 2, 24);
        let mut pages = Pages::new(stored, 64, BLOCK, groups, dim);
        let (mut tables, mut qs, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        for (i, length) in lengths.iter().enumerate() {
            let seed = 10 * i as u64;
            let (q, k, v) = (
                noise(&[*length, heads * dim], 1.5, seed + 1),
                noise(&[*length, groups * dim], 1.5, seed + 2),
                noise(&[*length, groups * dim], 1.0, seed + 3),
            );
            let table: Vec<u32> = (0..length.div_ceil(BLOCK))
                .map(|at| (at * lengths.len() + i) as u32)
                .collect();
            let slots: Vec<_> = (0..*length)
                .map(|at| (table[at / BLOCK], at % BLOCK))
                .collect();
            pages.write(&Values::of(&k)?, &Values::of(&v)?, &slots)?;
            expected.push(packed(&q, &k, &v, &[0..*length], attend(window))?);
            tables.push(table);
            qs.push(q);
        }
        Ok(Case {
            pages,
            tables,
            q: qs,
            expected,
        })
    }

    #[test]
    fn it_agrees_with_packed_attention() -> Result<()> {
        for (stored, tolerance) in [(Stored::F32, 1e-5), (Stored::F16, 3e-3)] {
            for window in [None, Some(1), Some(20)] {
                let lengths = [1, 16, 37, 90];
                let case = case(&lengths, stored, window)?;
                let q = Tensor::cat(&case.q, 0)?;
                let mut next = 0;
                let queries: Vec<_> = lengths
                    .iter()
                    .zip(&case.tables)
                    .map(|(length, table)| {
                        next += length;
                        Query {
                            rows: next - length..next,
                            start: 0,
                            table,
                        }
                    })
                    .collect();
                let found = paged(&q, &case.pages, &queries, attend(window))?;
                assert_close(
                    &found,
                    &Tensor::cat(&case.expected, 0)?,
                    tolerance,
                    &format!("{stored:?} {window:?}"),
                );
            }
        }
        Ok(())
    }

    #[test]
    fn a_row_is_the_same_bit_for_bit_alone_and_in_any_batch() -> Result<()> {
        let case = case(&[45, 61], Stored::F16, None)?;
        let q = Tensor::cat(&case.q, 0)?;
        let both = [
            Query {
                rows: 0..45,
                start: 0,
                table: &case.tables[0],
            },
            Query {
                rows: 45..106,
                start: 0,
                table: &case.tables[1],
            },
        ];
        let together = paged(&q, &case.pages, &both, attend(None))?.to_vec2::<f32>()?;
        for row in [0, 15, 16, 44] {
            let alone = [Query {
                rows: 0..1,
                start: row,
                table: &case.tables[0],
            }];
            let found = paged(&q.narrow(0, row, 1)?, &case.pages, &alone, attend(None))?;
            assert_eq!(
                found.flatten_all()?.to_vec1::<f32>()?,
                together[row],
                "row {row}"
            );
        }
        Ok(())
    }

    #[test]
    fn tables_that_end_too_early_are_errors() -> Result<()> {
        let case = case(&[20], Stored::F32, None)?;
        let short = [Query {
            rows: 0..20,
            start: 0,
            table: &case.tables[0][..1],
        }];
        assert!(paged(&case.q[0], &case.pages, &short, attend(None)).is_err());
        let unknown = [Query {
            rows: 0..20,
            start: 0,
            table: &[0, 64],
        }];
        assert!(paged(&case.q[0], &case.pages, &unknown, attend(None)).is_err());
        let mut pages = Pages::new(Stored::F32, 2, BLOCK, 1, 2);
        assert!(pages.write(&[0.0; 2], &[0.0; 2], &[(2, 0)]).is_err());
        Ok(())
    }
}
