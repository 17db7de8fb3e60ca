//! Attention of a ragged batch over cached keys and values, with a running softmax over spans of each sequence (Milakov
//! and Gimelshein, arXiv 1805.02867; split over spans as Dao et al., Flash-Decoding).
//!
//! Spans begin at fixed positions, each is taken by itself, and what they give is put together in their order, whatever
//! else is in the batch, however rows are cut into tiles and however many threads there are: a row's result is the same
//! bit for bit.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::super::pool::{self, Shared};
use super::super::room::{room, written};
use super::super::rotary::Angles;
use super::super::simd::{Tier, exp, fma, simd_fn, tier};
use super::cells::Cell;
use super::lanes::LANES;
use super::pages::{Cells, Pages, Panel, Part, Slab};
use super::span::{COLUMNS, Mixed, PANELS, Parts, Span, groups};
use super::{Attend, first_seen};
use crate::device::{Array, Result, bail};

/// Rows of one sequence that share the reading of a span, at most and at least, where there are so many.
const ROWS: Range<usize> = 8..32;
/// Tiles a thread should find, so that none ends long before the others.
const SHARES: usize = 4;

/// Rows of a batch that belong to one sequence.
pub struct Query<'a> {
    pub rows: Range<usize>,
    /// The position of the first of them.
    pub start: usize,
    /// Blocks of the sequence, covering at least the position of its last row.
    pub table: &'a [u32],
}

/// q [T, H·d] over cached pages of G heads: [T, H·d]. With angles, q is turned by those of its rows on the way.
/// Keys and values of the queries' own positions have been written before. Rows of no query give 0.
pub fn paged(
    q: &Array,
    angles: Option<&Angles>,
    pages: &Pages,
    queries: &[Query<'_>],
    attend: Attend,
) -> Result<Array> {
    with_tier(tier(), q, angles, pages, queries, attend)
}

fn with_tier(
    tier: Tier,
    q: &Array,
    angles: Option<&Angles>,
    pages: &Pages,
    queries: &[Query<'_>],
    attend: Attend,
) -> Result<Array> {
    let (tokens, row) = q.dims();
    check(tokens, row, pages, queries, attend)?;
    if let Some(angles) = angles {
        angles.fit(tokens, attend.dim)?;
    }
    let work = Work {
        q: q.values(),
        angles,
        attend,
        tier,
        heads: row / attend.dim,
    };
    let mut out = room(tokens * row);
    {
        let out = Shared::new(&mut out);
        match pages.slab() {
            Slab::F32(cells) => work.run(cells, queries, &out),
            Slab::F16(cells) => work.run(cells, queries, &out),
            Slab::Q8(cells) => work.run(cells, queries, &out),
        }
    }
    // SAFETY: tiles have written all heads of every query's rows, and `clear_gaps` what is between and after them.
    let out = unsafe { written(out) };
    Array::new(out, (tokens, row))
}

fn check(
    tokens: usize,
    row: usize,
    pages: &Pages,
    queries: &[Query<'_>],
    attend: Attend,
) -> Result<()> {
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
        let reach = query.table.len() * pages.part().block_size;
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
    Ok(())
}

/// What is the same for every tile.
struct Work<'a> {
    q: &'a [f32],
    angles: Option<&'a Angles>,
    attend: Attend,
    tier: Tier,
    heads: usize,
}

/// Some rows of one sequence and the query heads that share a kv head.
struct Tile<'a> {
    query: &'a Query<'a>,
    rows: Range<usize>,
    group: usize,
}

impl Work<'_> {
    fn run<T: Cell>(
        &self,
        cells: &Cells<T>,
        queries: &[Query<'_>],
        out: &Shared<'_, MaybeUninit<f32>>,
    ) {
        let part = cells.part();
        let groups = part.heads;
        let rows = queries.iter().map(|query| query.rows.len()).sum::<usize>();
        let tiles_wanted = SHARES * pool::threads();
        let size = (rows * groups / tiles_wanted).clamp(ROWS.start, ROWS.end);
        let tiles: Vec<Tile<'_>> = queries
            .iter()
            .flat_map(|query| {
                let rows = query.rows.clone();
                rows.step_by(size).flat_map(move |start| {
                    (0..groups).map(move |group| Tile {
                        query,
                        rows: start..(start + size).min(query.rows.end),
                        group,
                    })
                })
            })
            .collect();
        self.clear_gaps(queries, out);
        let spans = Spans(part);
        let spot = |tile| Spot::new(self, tile, cells, spans);
        let spans_of = |tile: &Tile<'_>| spans.of_tile(tile, self.attend.window);
        if tiles.len() >= tiles_wanted {
            pool::for_each(tiles.len(), |i| {
                // The last tiles of a prompt see most: they go first, so that no thread is left with one at the end.
                let mut spot = spot(&tiles[tiles.len() - 1 - i]);
                let (mut sum, mut mixed) = (spot.nothing(), spot.nothing());
                for span in spans_of(spot.tile) {
                    spot.take(span, &mut mixed);
                    merge(&mut sum, &mixed, part.padded());
                }
                spot.finish(&sum, out);
            });
            return;
        }
        // Few rows: their spans go to different threads.
        let pieces: Vec<(usize, usize)> = tiles
            .iter()
            .enumerate()
            .flat_map(|(i, tile)| spans_of(tile).map(move |span| (i, span)))
            .collect();
        let mut parts: Vec<Mixed> = pieces.iter().map(|_| Mixed::default()).collect();
        let some = pieces.len().div_ceil(2 * tiles_wanted).max(1);
        pool::over_rows(&mut parts, 1, some, |range, parts| {
            let pieces = &pieces[range];
            for (pieces, parts) in of_one_tile(pieces, parts) {
                let mut spot = spot(&tiles[pieces[0].0]);
                for (part, (_, span)) in parts.iter_mut().zip(pieces) {
                    *part = spot.nothing();
                    spot.take(*span, part);
                }
            }
        });
        for (pieces, parts) in of_one_tile(&pieces, &mut parts) {
            let spot = spot(&tiles[pieces[0].0]);
            let mut sum = spot.nothing();
            parts
                .iter()
                .for_each(|next| merge(&mut sum, next, part.padded()));
            spot.finish(&sum, out);
        }
    }

    /// Rows of no query.
    fn clear_gaps(&self, queries: &[Query<'_>], out: &Shared<'_, MaybeUninit<f32>>) {
        let row = self.heads * self.attend.dim;
        let mut end = 0;
        let starts = queries.iter().map(|query| query.rows.clone());
        for rows in starts.chain([out.len() / row.max(1)..0]) {
            // SAFETY: no other thread writes yet.
            unsafe { out.part(end * row..rows.start * row) }.fill(MaybeUninit::new(0.0));
            end = rows.end;
        }
    }
}

/// Pieces (tile, span) and what they give, those of one tile together.
fn of_one_tile<'a>(
    pieces: &'a [(usize, usize)],
    mut parts: &'a mut [Mixed],
) -> impl Iterator<Item = (&'a [(usize, usize)], &'a mut [Mixed])> {
    pieces.chunk_by(|a, b| a.0 == b.0).map(move |pieces| {
        let (own, rest) = std::mem::take(&mut parts).split_at_mut(pieces.len());
        parts = rest;
        (pieces, own)
    })
}

/// How a sequence is cut into spans: its panels, those of all blocks counted through, [`PANELS`] at a time.
#[derive(Clone, Copy)]
struct Spans(Part);

impl Spans {
    fn of_tile(self, tile: &Tile<'_>, window: Option<usize>) -> std::ops::RangeInclusive<usize> {
        let position = |row: usize| tile.query.start + row - tile.query.rows.start;
        let first = first_seen(position(tile.rows.start), window);
        self.column(first) / COLUMNS..=self.column(position(tile.rows.end - 1)) / COLUMNS
    }

    /// Where a position lies: 16 columns a panel.
    fn column(self, position: usize) -> usize {
        let (size, panels) = (self.0.block_size, self.0.panels());
        position / size * panels * LANES + position % size
    }

    /// What of a span a row at `position` sees.
    fn seen(self, span: usize, position: usize, window: Option<usize>) -> Range<usize> {
        let begin = self
            .column(first_seen(position, window))
            .max(span * COLUMNS);
        let end = (self.column(position) + 1).min((span + 1) * COLUMNS);
        begin.saturating_sub(span * COLUMNS)..end.saturating_sub(span * COLUMNS)
    }

    /// Columns of a span that are no positions.
    fn holes(self, span: usize) -> impl Iterator<Item = Range<usize>> {
        let (size, panels) = (self.0.block_size, self.0.panels());
        let filled = size - (panels - 1) * LANES;
        (0..PANELS)
            .filter(move |at| filled < LANES && (span * PANELS + at + 1).is_multiple_of(panels))
            .map(move |at| at * LANES + filled..(at + 1) * LANES)
    }
}

/// A tile being worked on.
struct Spot<'a, T> {
    work: &'a Work<'a>,
    tile: &'a Tile<'a>,
    cells: &'a Cells<T>,
    spans: Spans,
    share: usize,
    groups: Vec<Range<usize>>,
    /// Of each group [d, heads], turned and scaled.
    q: Vec<f32>,
    // Room.
    panels: Vec<Panel<'a, T>>,
    seen: Vec<Range<usize>>,
}

impl<'a, T: Cell> Spot<'a, T> {
    fn new(work: &'a Work<'a>, tile: &'a Tile<'a>, cells: &'a Cells<T>, spans: Spans) -> Self {
        let share = work.heads / cells.part().heads;
        let mut spot = Self {
            work,
            tile,
            cells,
            spans,
            share,
            groups: groups(work.tier, tile.rows.len(), share),
            q: Vec::new(),
            panels: Vec::new(),
            seen: Vec::new(),
        };
        spot.q = spot.gather();
        spot
    }

    fn gather(&self) -> Vec<f32> {
        let (work, dim) = (self.work, self.cells.part().dim);
        let width = self.share * dim;
        let mut turned = vec![0.0; self.tile.rows.len() * width];
        for (row, turned) in self.tile.rows.clone().zip(turned.chunks_exact_mut(width)) {
            let q = &work.q[self.place(row)];
            match work.angles {
                Some(angles) => angles.turn(row, q, turned),
                None => turned.copy_from_slice(q),
            }
        }
        let mut q = Vec::with_capacity(turned.len());
        for group in &self.groups {
            let heads = &turned[group.start * dim..group.end * dim];
            for i in 0..dim {
                let of_heads = heads.iter().skip(i).step_by(dim);
                q.extend(of_heads.map(|q| q * work.attend.scale));
            }
        }
        q
    }

    /// Where this tile's heads of a row lie.
    fn place(&self, row: usize) -> Range<usize> {
        let Part { heads, dim, .. } = self.cells.part();
        let width = self.share * dim;
        let start = (row * heads + self.tile.group) * width;
        start..start + width
    }

    fn nothing(&self) -> Mixed {
        let heads = self.tile.rows.len() * self.share;
        Mixed::nothing(heads, self.cells.part().padded())
    }

    /// What span `span` gives.
    fn take(&mut self, span: usize, mixed: &mut Mixed) {
        let (part, query, cells, spans) =
            (self.cells.part(), self.tile.query, self.cells, self.spans);
        let all = query.table.len() * part.panels();
        let panels = span * PANELS..((span + 1) * PANELS).min(all);
        self.panels.clear();
        self.panels.extend(panels.map(|at| {
            let block = query.table[at / part.panels()];
            cells.panel(block, self.tile.group, at % part.panels())
        }));
        let window = self.work.attend.window;
        self.seen.clear();
        self.seen.extend(self.tile.rows.clone().map(|row| {
            let position = query.start + row - query.rows.start;
            spans.seen(span, position, window)
        }));
        let there = |hole: &Range<usize>| hole.end <= self.panels.len() * LANES;
        let holes: Vec<_> = spans.holes(span).filter(there).collect();
        let span = Span {
            panels: &self.panels,
            part,
            share: self.share,
            groups: &self.groups,
            q: &self.q,
            seen: &self.seen,
            holes: &holes,
        };
        span.mix(self.work.tier, mixed);
    }

    fn finish(&self, sum: &Mixed, out: &Shared<'_, MaybeUninit<f32>>) {
        let part = self.cells.part();
        let Parts { sums, values, .. } = sum.parts();
        let heads = sums.chunks_exact(self.share);
        let values = values.chunks_exact(self.share * part.padded());
        for ((row, sums), values) in self.tile.rows.clone().zip(heads).zip(values) {
            // SAFETY: this tile alone has these rows of these heads.
            let out = unsafe { out.part(self.place(row)) };
            let heads = values.chunks_exact(part.padded()).zip(sums);
            for (out, (values, sum)) in out.chunks_exact_mut(part.dim).zip(heads) {
                let by = 1.0 / sum;
                for (out, value) in out.iter_mut().zip(values) {
                    out.write(value * by);
                }
            }
        }
    }
}

simd_fn! {
    /// Adds what the next span gave.
    fn merge(sum: &mut Mixed, next: &Mixed, padded: usize) {
        let (sum, next) = (sum.parts_mut(), next.parts());
        let values = sum.values.chunks_exact_mut(padded).zip(next.values.chunks_exact(padded));
        for (head, (value, next_value)) in values.enumerate() {
            let (next_top, next_sum) = (next.tops[head], next.sums[head]);
            // A row that sees nothing of a span.
            if next_sum == 0.0 {
                continue;
            }
            if sum.sums[head] == 0.0 {
                (sum.tops[head], sum.sums[head]) = (next_top, next_sum);
                value.copy_from_slice(next_value);
                continue;
            }
            let top = if next_top > sum.tops[head] { next_top } else { sum.tops[head] };
            let (fade, by) = (exp::<FUSED>(sum.tops[head] - top), exp::<FUSED>(next_top - top));
            sum.tops[head] = top;
            sum.sums[head] = fma::<FUSED>(sum.sums[head], fade, next_sum * by);
            for (value, next) in value.iter_mut().zip(next_value) {
                *value = fma::<FUSED>(*value, fade, next * by);
            }
        }
    }
}

#[cfg(test)]
mod tests;
