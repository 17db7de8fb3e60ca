//! Attention of a ragged batch over cached keys and values, with a running softmax over the blocks of each sequence
//! (Milakov and Gimelshein, arXiv 1805.02867).
//!
//! A row's blocks are taken in order of position and a block's positions in a fixed order, whatever else is in the batch
//! and however many threads there are: a row's result is the same bit for bit.

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

use super::super::pool::{self, Shared};
use super::super::simd::{LANES, exp, exp_shifted, fma, max, simd_fn};
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
            let (keys, values) = pages.block(self.query.table[block], self.group, &mut scratch);
            for (row, running) in self.rows.clone().zip(running.chunks_exact_mut(self.share)) {
                let (begin, end) = (first_seen(position(row), window), position(row) + 1);
                let seen =
                    begin.saturating_sub(block * size)..end.saturating_sub(block * size).min(size);
                if seen.is_empty() {
                    continue;
                }
                let at = place(row)..place(row) + width;
                // SAFETY: this tile alone has these rows of these heads.
                let out = unsafe { out.part(at.clone()) };
                let block = Block { keys, values, size };
                absorb(&q[at], block, seen, scale, running, &mut scores, out);
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

/// One head of one block: keys [d, size], values [size, d].
#[derive(Clone, Copy)]
struct Block<'a> {
    keys: &'a [f32],
    values: &'a [f32],
    size: usize,
}

simd_fn! {
    /// Takes the seen positions of a block into the running sums of one row's heads; `scores` is room for a block.
    fn absorb(
        q: &[f32],
        block: Block<'_>,
        seen: Range<usize>,
        scale: f32,
        running: &mut [Running],
        scores: &mut [f32],
        out: &mut [f32],
    ) {
        let dim = q.len() / running.len();
        let heads = q.chunks_exact(dim).zip(out.chunks_exact_mut(dim));
        for ((q, out), running) in heads.zip(running) {
            if block.size >= LANES {
                for at in seen.clone().step_by(LANES) {
                    // The last lanes move back to stay within the block; a score is the same in any lane.
                    score::<FUSED, LANES>(q, block, at.min(block.size - LANES), scale, scores);
                }
            } else {
                seen.clone().for_each(|at| score::<FUSED, 1>(q, block, at, scale, scores));
            }
            let scores = &mut scores[seen.clone()];
            let top = max(scores).max(running.top);
            let fade = exp::<FUSED>(running.top - top);
            running.sum = running.sum * fade + exp_shifted::<FUSED>(scores, top);
            running.top = top;
            let values = &block.values[seen.start * dim..seen.end * dim];
            let mut at = 0;
            while at + 4 * LANES <= dim {
                mix::<FUSED, { 4 * LANES }>(scores, values, at, fade, out);
                at += 4 * LANES;
            }
            while at + LANES <= dim {
                mix::<FUSED, LANES>(scores, values, at, fade, out);
                at += LANES;
            }
            while at < dim {
                mix::<FUSED, 1>(scores, values, at, fade, out);
                at += 1;
            }
        }
    }
}

/// Scores of positions `at..at + W`, each a sum over d in its order.
#[inline(always)]
fn score<const FUSED: bool, const W: usize>(
    q: &[f32],
    block: Block<'_>,
    at: usize,
    scale: f32,
    scores: &mut [f32],
) {
    let mut sums = [0f32; W];
    for (q, keys) in q.iter().zip(block.keys.chunks_exact(block.size)) {
        let keys = &keys[at..at + W];
        for lane in 0..W {
            sums[lane] = fma::<FUSED>(*q, keys[lane], sums[lane]);
        }
    }
    for (score, sum) in scores[at..at + W].iter_mut().zip(sums) {
        *score = sum * scale;
    }
}

/// `out = fade · out + Σ weight · value` for elements `at..at + W` of a head, positions in their order.
#[inline(always)]
fn mix<const FUSED: bool, const W: usize>(
    weights: &[f32],
    values: &[f32],
    at: usize,
    fade: f32,
    out: &mut [f32],
) {
    let dim = out.len();
    let out = &mut out[at..at + W];
    let mut sums = [0f32; W];
    for lane in 0..W {
        sums[lane] = out[lane] * fade;
    }
    for (weight, value) in weights.iter().zip(values.chunks_exact(dim)) {
        let value = &value[at..at + W];
        for lane in 0..W {
            sums[lane] = fma::<FUSED>(*weight, value[lane], sums[lane]);
        }
    }
    out.copy_from_slice(&sums);
}

#[cfg(test)]
mod tests;
