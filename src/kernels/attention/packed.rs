//! Attention over packed records: block-diagonal and causal. The backward recomputes the weights from each row's saved
//! log-sum-exp (Dao et al., arXiv 2205.14135), so nothing of size length² outlives a block of queries.

use std::ops::Range;
use std::sync::Arc;

use super::super::gemm::{self, Place, View};
use super::super::op::{Holds, Op, Wants};
use super::super::pool::{self, Shared};
use super::super::simd::{exp, exp_shifted, max, simd_fn};
use super::{Attend, first_seen};
use crate::device::{Array, Result, bail};

/// Queries whose weights are held at a time.
const QUERIES: usize = 64;

/// For q [T, H·d], k and v [T, G·d]: [T, H·d]. Row t attends within the range that holds it, to rows up to itself; ranges
/// ascend without overlap, and rows outside all of them give 0.
#[derive(Debug, Clone)]
pub struct Packed {
    pub ranges: Arc<[Range<usize>]>,
    pub attend: Attend,
}

/// What the backward needs of a forward.
pub struct Kept {
    q: Array,
    k: Array,
    v: Array,
    out: Array,
    /// Log-sum-exp of each row and query head, [T, H].
    log_sums: Vec<f32>,
}

impl Holds for Kept {
    fn arrays(&mut self, show: &mut dyn FnMut(&mut Array)) {
        let Self { q, k, v, out, .. } = self;
        [q, k, v, out].into_iter().for_each(show);
    }
}

#[derive(Clone, Copy)]
struct Sizes {
    heads: usize,
    groups: usize,
    dim: usize,
}

impl Sizes {
    fn heads_of(self, group: usize) -> Range<usize> {
        let share = self.heads / self.groups;
        group * share..(group + 1) * share
    }

    /// Some rows of one query head.
    fn queries<'a>(self, values: &'a [f32], rows: &Range<usize>, head: usize) -> (usize, View<'a>) {
        self.view(values, rows, head, self.heads)
    }

    /// Some rows of one key head.
    fn keys<'a>(self, values: &'a [f32], rows: &Range<usize>, group: usize) -> (usize, View<'a>) {
        self.view(values, rows, group, self.groups)
    }

    fn view<'a>(
        self,
        values: &'a [f32],
        rows: &Range<usize>,
        head: usize,
        heads: usize,
    ) -> (usize, View<'a>) {
        let start = (rows.start * heads + head) * self.dim;
        (
            start,
            View::new(
                &values[start..],
                (rows.len(), self.dim),
                (heads * self.dim, 1),
            ),
        )
    }
}

/// A block of queries of one record.
struct Block {
    queries: Range<usize>,
    /// Every row that one of the queries sees.
    keys: Range<usize>,
}

impl Packed {
    fn check(&self, q: &Array, k: &Array, v: &Array) -> Result<Sizes> {
        let ((tokens, q_row), (key_tokens, k_row)) = (q.dims(), k.dims());
        let dim = self.attend.dim.max(1);
        let (heads, groups) = (q_row / dim, k_row / dim);
        let whole = q_row == heads * dim && k_row == groups * dim;
        let alike = v.dims() == k.dims() && key_tokens == tokens;
        if !alike || !whole || groups == 0 || !heads.is_multiple_of(groups) {
            bail!(
                "attention of queries {q:?} over keys {k:?} and values {v:?} with heads of {dim}"
            );
        }
        let mut end = 0;
        for range in self.ranges.iter() {
            if range.start < end || range.end < range.start || range.end > tokens {
                bail!("record {range:?} of {tokens} packed rows");
            }
            end = range.end;
        }
        Ok(Sizes { heads, groups, dim })
    }

    fn blocks_of(&self, range: &Range<usize>) -> impl Iterator<Item = Block> {
        let (range, window) = (range.clone(), self.attend.window);
        range.clone().step_by(QUERIES).map(move |start| {
            let queries = start..(start + QUERIES).min(range.end);
            let first = range.start + first_seen(start - range.start, window);
            Block {
                keys: first..queries.end,
                queries,
            }
        })
    }

    /// The columns of a block that its row `query` sees.
    fn seen(&self, block: &Block, range: &Range<usize>, query: usize) -> Range<usize> {
        let first = range.start + first_seen(query - range.start, self.attend.window);
        first - block.keys.start..query + 1 - block.keys.start
    }

    fn run(
        &self,
        q: &[f32],
        k: &[f32],
        v: &[f32],
        sizes: Sizes,
        tokens: usize,
    ) -> (Vec<f32>, Vec<f32>) {
        let Sizes { heads, groups, dim } = sizes;
        let mut out = vec![0.0; tokens * heads * dim];
        let mut log_sums = vec![0.0; tokens * heads];
        let blocks: Vec<(&Range<usize>, Block)> = self
            .ranges
            .iter()
            .flat_map(|range| self.blocks_of(range).map(move |block| (range, block)))
            .collect();
        let (shared_out, shared_sums) = (Shared::new(&mut out), Shared::new(&mut log_sums));
        pool::for_each(blocks.len() * groups, |i| {
            let (range, block) = &blocks[i / groups];
            let group = i % groups;
            let (_, keys) = sizes.keys(k, &block.keys, group);
            let (_, values) = sizes.keys(v, &block.keys, group);
            let columns = block.keys.len();
            let mut weights = vec![0.0; block.queries.len() * columns];
            for head in sizes.heads_of(group) {
                let (start, queries) = sizes.queries(q, &block.queries, head);
                gemm::product(
                    queries,
                    keys.transposed(),
                    &mut weights,
                    columns,
                    0.0,
                    self.attend.scale,
                );
                for (row, query) in weights.chunks_exact_mut(columns).zip(block.queries.clone()) {
                    let at = query * heads + head;
                    // SAFETY: one tile has this head's rows of this block.
                    let log_sum = unsafe { &mut shared_sums.part(at..at + 1)[0] };
                    *log_sum = softmax(row, self.seen(block, range, query));
                }
                let weights = View::dense(&weights, block.queries.len(), columns);
                let place = Place {
                    start,
                    row: heads * dim,
                    keep: 0.0,
                };
                // SAFETY: as above.
                unsafe { gemm::product_into(weights, values, &shared_out, place, 1.0) };
            }
        });
        (out, log_sums)
    }

    /// With P the weights, dP = dO·Vᵀ and dS = P ∘ (dP − rowsum(dO ∘ O)): dV = Pᵀ·dO, dQ = scale·dS·K, dK = scale·dSᵀ·Q.
    fn run_back(
        &self,
        [q, k, v, out, dout]: [&[f32]; 5],
        log_sums: &[f32],
        sizes: Sizes,
        grads: [&mut [f32]; 3],
    ) {
        let [dq, dk, dv] = grads.map(Shared::new);
        let Sizes { heads, groups, dim } = sizes;
        pool::for_each(self.ranges.len() * groups, |i| {
            let (range, group) = (&self.ranges[i / groups], i % groups);
            let longest = self
                .blocks_of(range)
                .map(|b| b.keys.len() * b.queries.len())
                .max()
                .unwrap_or(0);
            let (mut weights, mut slopes) = (vec![0.0; longest], vec![0.0; longest]);
            for block in self.blocks_of(range) {
                pool::give_way();
                let columns = block.keys.len();
                let size = block.queries.len() * columns;
                let (weights, slopes) = (&mut weights[..size], &mut slopes[..size]);
                let (key_start, keys) = sizes.keys(k, &block.keys, group);
                let (_, values) = sizes.keys(v, &block.keys, group);
                let (query_row, key_row) = (heads * dim, groups * dim);
                for head in sizes.heads_of(group) {
                    let (query_start, queries) = sizes.queries(q, &block.queries, head);
                    let (_, slope_out) = sizes.queries(dout, &block.queries, head);
                    gemm::product(
                        queries,
                        keys.transposed(),
                        weights,
                        columns,
                        0.0,
                        self.attend.scale,
                    );
                    gemm::product(slope_out, values.transposed(), slopes, columns, 0.0, 1.0);
                    let rows = weights
                        .chunks_exact_mut(columns)
                        .zip(slopes.chunks_exact_mut(columns));
                    for ((weights, slopes), query) in rows.zip(block.queries.clone()) {
                        let at = query * heads + head;
                        let own = at * dim..(at + 1) * dim;
                        let seen = self.seen(&block, range, query);
                        recompute(
                            weights,
                            slopes,
                            seen,
                            log_sums[at],
                            &out[own.clone()],
                            &dout[own],
                        );
                    }
                    let weights = View::dense(weights, block.queries.len(), columns);
                    let slopes = View::dense(slopes, block.queries.len(), columns);
                    let at_keys = || Place {
                        start: key_start,
                        row: key_row,
                        keep: 1.0,
                    };
                    let at_queries = Place {
                        start: query_start,
                        row: query_row,
                        keep: 0.0,
                    };
                    // SAFETY: one tile has all rows of this record for this group of heads.
                    unsafe {
                        gemm::product_into(weights.transposed(), slope_out, &dv, at_keys(), 1.0);
                        gemm::product_into(
                            slopes.transposed(),
                            queries,
                            &dk,
                            at_keys(),
                            self.attend.scale,
                        );
                        gemm::product_into(slopes, keys, &dq, at_queries, self.attend.scale);
                    }
                }
            }
        });
    }
}

simd_fn! {
    /// Turns the scores of the seen columns into weights, the rest into 0; returns the log of the sum of exponentials.
    fn softmax(row: &mut [f32], seen: Range<usize>) -> f32 {
        row[..seen.start].fill(0.0);
        row[seen.end..].fill(0.0);
        let scores = &mut row[seen];
        let top = max(scores);
        let sum = exp_shifted::<FUSED>(scores, top);
        let by = 1.0 / sum;
        scores.iter_mut().for_each(|weight| *weight *= by);
        top + sum.ln()
    }
}

simd_fn! {
    /// Turns scores into weights again, and the weights' gradients into those of the scores.
    fn recompute(
        weights: &mut [f32],
        slopes: &mut [f32],
        seen: Range<usize>,
        log_sum: f32,
        out: &[f32],
        dout: &[f32],
    ) {
        let mean = super::super::simd::dot::<FUSED>(out, dout);
        for row in [&mut *weights, &mut *slopes] {
            row[..seen.start].fill(0.0);
            row[seen.end..].fill(0.0);
        }
        for (weight, slope) in weights[seen.clone()].iter_mut().zip(&mut slopes[seen]) {
            *weight = exp::<FUSED>(*weight - log_sum);
            *slope = *weight * (*slope - mean);
        }
    }
}

impl Op for Packed {
    type Saved = Kept;

    fn forward(&self, inputs: &[&Array], _: Wants) -> Result<(Array, Kept)> {
        let [q, k, v] = inputs else {
            bail!("attention takes queries, keys and values")
        };
        let sizes = self.check(q, k, v)?;
        let (out, log_sums) = self.run(q.values(), k.values(), v.values(), sizes, q.rows());
        let out = Array::new(out, q.dims())?;
        let kept = Kept {
            q: (*q).clone(),
            k: (*k).clone(),
            v: (*v).clone(),
            out: out.clone(),
            log_sums,
        };
        Ok((out, kept))
    }

    fn backward(&self, kept: Kept, grad: Array, _: Wants) -> Result<Vec<Option<Array>>> {
        let Kept {
            q,
            k,
            v,
            out,
            log_sums,
        } = &kept;
        let sizes = self.check(q, k, v)?;
        let mut grads = [q, k, v].map(|input| vec![0.0; input.len()]);
        let inputs = [q, k, v, out, &grad].map(Array::values);
        let [dq, dk, dv] = &mut grads;
        self.run_back(inputs, log_sums, sizes, [dq, dk, dv]);
        let grads = grads.into_iter().zip([q, k, v]);
        grads
            .map(|(grad, input)| Array::new(grad, input.dims()).map(Some))
            .collect()
    }
}

#[cfg(test)]
mod tests;
