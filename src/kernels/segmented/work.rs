//! How a call is shared among threads: pieces of weights, each with some rows, in two rounds. Every sum is one thread's
//! and runs in the order of its index, so how the work is cut changes nothing.

use std::ops::Range;

use super::layout::Piece;
use super::store::{LowRank, Packed};
use super::{Rows, RowsMut, Segment, plain};
use crate::kernels::pool::{self, Shared};
use crate::kernels::simd::Tier;
#[cfg(target_arch = "x86_64")]
use crate::kernels::unit;

/// Rows that go through a piece of weights together: many enough to read them from memory seldom, few enough to share a
/// prompt among threads.
const ROWS: usize = 32;
/// Blocks of B in a piece: about as many numbers as in a panel of A.
const BLOCKS: usize = 8;
/// Reading a weight costs about as much as multiplying it with this many rows.
const READ: usize = 8;
/// Cost below which handing work to another thread takes longer than doing it.
const WORTH: usize = 1 << 17;
/// Bytes of B that are asked for before a product, at most: more would push each other out of a core's cache before they are used.
const ASKED: usize = 128 << 10;
/// Shares for each thread, so that one that was held up leaves little behind.
const SHARES: usize = 3;

/// Some rows against some rows of A.
pub(super) struct Shrink<'a> {
    pub rows: usize,
    pub inputs: usize,
    /// Rows of A.
    pub width: usize,
    /// The same with the row of zeros that fills the last pair.
    pub padded: usize,
    pub scale: f32,
    x: Rows<'a>,
    /// Of the first row.
    hidden: *mut f32,
    /// The first of these rows of A.
    first: usize,
    rank: usize,
}

/// What some rows became by A, against some columns of B.
pub(super) struct Expand<'a> {
    pub rows: usize,
    pub rank: usize,
    pub outputs: usize,
    /// [rows, rank]; of pairs, each row begins with as many bf16.
    hidden: &'a [f32],
    /// Of the first row.
    y: *mut f32,
    stride: usize,
}

impl Shrink<'_> {
    pub fn x_row(&self, row: usize) -> &[f32] {
        &self.x.data[row * self.x.stride..][..self.inputs]
    }

    /// Where the sum of row and `j`th row of A goes.
    pub fn hidden_at(&self, row: usize, j: usize) -> *mut f32 {
        assert!(row < self.rows && j < self.width);
        self.hidden.wrapping_add(row * self.rank + self.first + j)
    }

    /// Where it goes as a bf16: the numbers of a row lie together where the row begins.
    #[cfg(target_arch = "x86_64")]
    pub fn pair_at(&self, row: usize, j: usize) -> *mut u16 {
        assert!(row < self.rows && j < self.width);
        let start = self.hidden.wrapping_add(row * self.rank).cast::<u16>();
        start.wrapping_add(self.first + j)
    }
}

impl Expand<'_> {
    pub fn hidden_row(&self, row: usize) -> &[f32] {
        &self.hidden[row * self.rank..][..self.rank]
    }

    /// The same as pairs of bf16, the last with a zero where the rank is odd.
    #[cfg(target_arch = "x86_64")]
    pub fn pairs_row(&self, row: usize) -> &[u32] {
        bytemuck::cast_slice(&self.hidden_row(row)[..self.rank.div_ceil(2)])
    }

    /// The part of an output row that begins at `first`: `width` columns, or what is left of the row.
    ///
    /// # Safety
    /// The columns are of this task, and no other part of them is alive.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn y_row(&self, row: usize, first: usize, width: usize) -> &mut [f32] {
        assert!(row < self.rows && first < self.outputs);
        let width = width.min(self.outputs - first);
        // SAFETY: callers of `Call` have checked the rows of segments against this output's memory; the rest is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.y.add(row * self.stride + first), width) }
    }
}

/// Some rows of one segment.
struct Part<'a> {
    output: usize,
    /// Its number among those of the output.
    segment: usize,
    /// How many segments before it are over the same rows of this output.
    layer: usize,
    rows: Range<usize>,
    weights: &'a LowRank,
    /// Where its sums are in the call's, [rows, rank].
    hidden: usize,
}

/// A part with some of its panels, or blocks.
struct Task<'p, 'a> {
    part: &'p Part<'a>,
    pieces: Range<usize>,
    cost: usize,
}

/// A checked call.
pub(super) struct Call<'a> {
    tier: Tier,
    x: Rows<'a>,
    /// Whether pairs are multiplied as they are.
    #[cfg(target_arch = "x86_64")]
    pairs: bool,
    parts: Vec<Part<'a>>,
    /// Most segments over the same rows of an output.
    layers: usize,
    hidden: usize,
}

impl<'a> Call<'a> {
    /// Of each output's segments, which lie within `x` and it, ascending and without overlap but for those over the same
    /// rows, which follow each other. The processor has the tier.
    pub fn new(tier: Tier, x: Rows<'a>, outputs: impl Iterator<Item = &'a [Segment<'a>]>) -> Self {
        let (mut parts, mut layers, mut hidden) = (Vec::new(), 1, 0);
        for (output, segments) in outputs.enumerate() {
            let (mut last, mut layer) = (0..0, 0);
            for (at, segment) in segments.iter().enumerate() {
                if segment.rows.is_empty() {
                    continue;
                }
                layer = if segment.rows == last { layer + 1 } else { 0 };
                layers = layers.max(layer + 1);
                last = segment.rows.clone();
                let mut start = segment.rows.start;
                while start < segment.rows.end {
                    let end = segment.rows.end.min(start + ROWS);
                    parts.push(Part {
                        output,
                        segment: at,
                        layer,
                        rows: start..end,
                        weights: segment.weights,
                        hidden,
                    });
                    hidden += (end - start) * segment.weights.rank();
                    start = end;
                }
            }
        }
        Self {
            tier,
            x,
            #[cfg(target_arch = "x86_64")]
            pairs: tier == Tier::Avx512 && unit::multiplies_pairs(),
            parts,
            layers,
            hidden,
        }
    }

    /// Both rounds; each layer's rows are those that its segments were checked against.
    pub fn run(&self, outputs: &mut [RowsMut<'_>]) {
        self.expand_each(&self.shrink(), outputs);
    }

    /// The second round: what B makes of `hidden`, which [`shrink`](Self::shrink) gave.
    pub fn expand_each(&self, hidden: &[f32], outputs: &mut [RowsMut<'_>]) {
        let rows: Vec<_> = outputs
            .iter_mut()
            .map(|y| (Shared::new(y.data), y.stride))
            .collect();
        // What is added to the same rows comes one after the other.
        for layer in 0..self.layers {
            self.share(
                |part| part.layer == layer,
                |weights| (weights.shape().blocks(), BLOCKS),
                |weights, at| weights.shape().block(at),
                |part, piece| {
                    let (data, stride) = &rows[part.output];
                    // SAFETY: as long as callers have checked the rows against this output, which is borrowed here alone;
                    // each piece of a part has its own columns, and parts of an output that share a layer have rows of
                    // their own.
                    unsafe { self.expand(hidden, part, &piece, data.as_mut_ptr(), *stride) };
                },
            );
        }
    }

    /// Between the rounds: `change` gets every row's sums, with the number of its segment among those of its output, and
    /// changes them. Where sums are kept in 16 bits, they are rounded to these again.
    pub fn change_each(&self, hidden: &mut [f32], change: impl Fn(usize, &mut [f32]) + Sync) {
        let sums = Shared::new(hidden);
        let of_part = |part: &Part<'_>| {
            let rank = part.weights.rank();
            // SAFETY: every part has sums of its own.
            let sums = unsafe { sums.part(part.hidden..part.hidden + part.rows.len() * rank) };
            for row in sums.chunks_exact_mut(rank) {
                #[cfg(target_arch = "x86_64")]
                if self.pairs && matches!(part.weights.packed(), Packed::Bf16Pairs(_)) {
                    let stored = &mut bytemuck::cast_slice_mut::<f32, u16>(row)[..rank];
                    let mut wide: Vec<f32> =
                        stored.iter().map(|v| plain::Widen::widen(*v)).collect();
                    change(part.segment, &mut wide);
                    let places = stored.iter_mut().zip(wide);
                    places.for_each(|(stored, value)| {
                        *stored = half::bf16::from_f32(value).to_bits()
                    });
                    continue;
                }
                change(part.segment, row);
            }
        };
        match self.hidden < WORTH / READ {
            true => self.parts.iter().for_each(of_part),
            false => pool::for_each(self.parts.len(), |at| of_part(&self.parts[at])),
        }
    }

    /// The first round: what A makes of every part's rows.
    pub fn shrink(&self) -> Vec<f32> {
        let mut hidden = vec![0f32; self.hidden];
        let sums = Shared::new(&mut hidden);
        self.share(
            |_| true,
            |weights| (weights.shape().panels(), 1),
            |weights, at| weights.shape().panel(at),
            |part, piece| {
                let task = Shrink {
                    rows: part.rows.len(),
                    inputs: part.weights.inputs(),
                    width: piece.width.min(part.weights.rank() - piece.first),
                    padded: piece.width,
                    scale: part.weights.scale(),
                    x: Rows {
                        data: &self.x.data[part.rows.start * self.x.stride..],
                        stride: self.x.stride,
                    },
                    hidden: sums.as_mut_ptr().wrapping_add(part.hidden),
                    first: piece.first,
                    rank: part.weights.rank(),
                };
                match part.weights.packed() {
                    Packed::F32(values) => shrink(self.tier, &task, &values[piece.place]),
                    #[cfg(target_arch = "x86_64")]
                    Packed::Bf16Pairs(values) if self.pairs => {
                        // SAFETY: the processor multiplies pairs.
                        unsafe { super::pairs::shrink(&task, &values[piece.place]) }
                    }
                    Packed::Bf16(values) | Packed::Bf16Pairs(values) => {
                        shrink(self.tier, &task, &values[piece.place]);
                    }
                }
            },
        );
        hidden
    }

    fn parts_of(&self, output: usize) -> impl Iterator<Item = &Part<'a>> {
        self.parts.iter().filter(move |part| part.output == output)
    }

    /// Asks memory for what [`expand_columns`](Self::expand_columns) will read of B first.
    pub fn ask_for_columns(&self, output: usize, columns: Range<usize>) {
        let (mut before, mut left): (Option<&LowRank>, _) = (None, ASKED);
        for part in self.parts_of(output) {
            // Parts of one segment follow each other.
            if before.is_none_or(|before| !std::ptr::eq(before, part.weights)) {
                left -= part.weights.ask_for_blocks(columns.clone(), left);
            }
            before = Some(part.weights);
        }
    }

    /// The second round for some columns of an output, which begin and end where blocks do.
    ///
    /// # Safety
    /// The output's rows are at `y`, `stride` apart, as they were checked, and no other thread reads or writes these
    /// columns.
    pub unsafe fn expand_columns(
        &self,
        hidden: &[f32],
        output: usize,
        columns: Range<usize>,
        y: *mut f32,
        stride: usize,
    ) {
        for part in self.parts_of(output) {
            let shape = part.weights.shape();
            for at in shape.blocks_of(columns.clone()) {
                // SAFETY: as this function demands.
                unsafe { self.expand(hidden, part, &shape.block(at), y, stride) };
            }
        }
    }

    /// # Safety
    /// As [`expand_columns`](Self::expand_columns), for the columns of `piece`.
    unsafe fn expand(
        &self,
        hidden: &[f32],
        part: &Part<'_>,
        piece: &Piece,
        y: *mut f32,
        stride: usize,
    ) {
        let rank = part.weights.rank();
        let task = Expand {
            rows: part.rows.len(),
            rank,
            outputs: part.weights.outputs(),
            hidden: &hidden[part.hidden..][..part.rows.len() * rank],
            y: y.wrapping_add(part.rows.start * stride),
            stride,
        };
        let place = piece.place.clone();
        match part.weights.packed() {
            Packed::F32(values) => expand(self.tier, &task, &values[place], piece),
            #[cfg(target_arch = "x86_64")]
            Packed::Bf16Pairs(values) if self.pairs => {
                // SAFETY: as above; `shrink` left pairs.
                unsafe { super::pairs::expand(&task, &values[place], piece) }
            }
            Packed::Bf16(values) | Packed::Bf16Pairs(values) => {
                expand(self.tier, &task, &values[place], piece);
            }
        }
    }

    /// One round: runs every piece of every part that takes part. `pieces` says how many there are and how many are worth a
    /// task.
    fn share(
        &self,
        takes_part: impl Fn(&Part<'_>) -> bool,
        pieces: impl Fn(&LowRank) -> (usize, usize),
        piece: impl Fn(&LowRank, usize) -> Piece + Sync,
        run: impl Fn(&Part<'_>, Piece) + Sync,
    ) {
        let mut tasks = Vec::new();
        for part in self.parts.iter().filter(|part| takes_part(part)) {
            let (count, some) = pieces(part.weights);
            for start in (0..count).step_by(some) {
                let pieces = start..count.min(start + some);
                let first = piece(part.weights, start).place.start;
                let end = piece(part.weights, pieces.end - 1).place.end;
                let cost = (end - first) * (READ + part.rows.len());
                tasks.push(Task { part, pieces, cost });
            }
        }
        let shares = shares(&tasks);
        let all = |share: &Range<usize>| {
            for task in &tasks[share.clone()] {
                let pieces = task.pieces.clone();
                pieces.for_each(|at| run(task.part, piece(task.part.weights, at)));
            }
        };
        match &shares[..] {
            [one] => all(one),
            many => pool::for_each(many.len(), |at| all(&many[at])),
        }
    }
}

/// Cuts a round into runs of tasks of about equal cost.
fn shares(tasks: &[Task<'_, '_>]) -> Vec<Range<usize>> {
    let total: usize = tasks.iter().map(|task| task.cost).sum();
    let count = (total / WORTH).min(pool::threads() * SHARES).max(1);
    let (mut shares, mut start, mut before) = (Vec::with_capacity(count), 0, 0);
    for (at, task) in tasks.iter().enumerate() {
        before += task.cost;
        if before * count >= total * (shares.len() + 1) {
            shares.push(start..at + 1);
            start = at + 1;
        }
    }
    shares
}

fn shrink<T: plain::Number>(tier: Tier, task: &Shrink<'_>, panel: &[T]) {
    match tier {
        // SAFETY (both): callers of `Call` name only tiers that this processor has.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => unsafe { super::x86::avx2::shrink(task, panel) },
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => unsafe { super::x86::avx512::shrink(task, panel) },
        _ => plain::shrink(task, panel),
    }
}

fn expand<T: plain::Number>(tier: Tier, task: &Expand<'_>, block: &[T], piece: &Piece) {
    match tier {
        // SAFETY (both): callers of `Call` name only tiers that this processor has.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => unsafe { super::x86::avx2::expand(task, block, piece) },
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => unsafe { super::x86::avx512::expand(task, block, piece) },
        _ => plain::expand(task, block, piece),
    }
}
