//! Where the numbers of A and B lie. Each is cut into pieces that a kernel reads from end to end:
//!
//! * A [rank, inputs] into panels of up to eight rows; a panel is [blocks of 16 inputs][rows][16].
//! * Bᵀ [rank, outputs] into blocks of 64 columns, and of 16 where no 64 are left; a block is [rank][columns].
//!
//! Zeros fill the last 16 of both. Numbers of 16 bits lie in pairs, as instructions take them: a block of B is
//! [pairs of rows][columns][2] then, and an odd rank has one row of zeros more in both.

use std::ops::Range;

use super::store::{Factors, Matrix, from_bf16, from_f16};

/// Numbers that lie side by side: a multiple of every tier's vector.
pub(super) const LANES: usize = 16;
/// Rows of a panel of A.
pub(super) const PANEL: usize = 8;
/// Columns of a wide block of B.
pub(super) const BLOCK: usize = 64;

/// Names the order described above. Another order needs another number: packed adapters are kept on disk.
pub const LAYOUT: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub rank: usize,
    pub inputs: usize,
    pub outputs: usize,
    /// Whether numbers lie in pairs.
    pub paired: bool,
}

/// Some rows of A, or some columns of B, and where they lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// The first row, or column.
    pub first: usize,
    /// Rows, or columns, with the zeros that fill the last.
    pub width: usize,
    /// In the packed numbers of A and B together.
    pub place: Range<usize>,
}

impl Shape {
    /// Inputs with the zeros that fill the last block.
    pub fn depth(&self) -> usize {
        self.inputs.next_multiple_of(LANES)
    }

    /// Rows of A and of Bᵀ, with zeros.
    pub fn rows(&self) -> usize {
        match self.paired {
            true => self.rank.next_multiple_of(2),
            false => self.rank,
        }
    }

    pub fn a_len(&self) -> usize {
        self.rows() * self.depth()
    }

    pub fn b_len(&self) -> usize {
        self.rows() * self.outputs.next_multiple_of(LANES)
    }

    /// Words of 32 bits for all numbers, which have 16 where they lie in pairs. Lengths are multiples of [`LANES`], so
    /// whatever follows begins where whole vectors do.
    pub fn words(&self) -> usize {
        let len = self.a_len() + self.b_len();
        if self.paired { len / 2 } else { len }
    }

    pub fn panels(&self) -> usize {
        self.rank.div_ceil(PANEL)
    }

    pub fn panel(&self, at: usize) -> Piece {
        let first = at * PANEL;
        let width = PANEL.min(self.rows() - first);
        let start = first * self.depth();
        Piece {
            first,
            width,
            place: start..start + width * self.depth(),
        }
    }

    pub fn blocks(&self) -> usize {
        self.outputs / BLOCK + (self.outputs % BLOCK).div_ceil(LANES)
    }

    pub fn block(&self, at: usize) -> Piece {
        let wide = self.outputs / BLOCK;
        let (first, width) = match at < wide {
            true => (at * BLOCK, BLOCK),
            false => (wide * BLOCK + (at - wide) * LANES, LANES),
        };
        let start = self.a_len() + first * self.rows();
        Piece {
            first,
            width,
            place: start..start + width * self.rows(),
        }
    }

    /// The blocks of these columns, which begin and end where blocks do.
    pub fn blocks_of(&self, columns: Range<usize>) -> Range<usize> {
        let end = match columns.end < self.outputs {
            true => columns.end / BLOCK,
            false => self.blocks(),
        };
        columns.start / BLOCK..end
    }

    /// Place of A[r, k] among the numbers of A.
    pub fn a_index(&self, r: usize, k: usize) -> usize {
        let panel = self.panel(r / PANEL);
        panel.place.start + (k / LANES * panel.width + r % PANEL) * LANES + k % LANES
    }

    /// Place of B[column, r] among the numbers of B.
    pub fn b_index(&self, r: usize, column: usize) -> usize {
        let wide = self.outputs / BLOCK;
        let block = self.block(match column / BLOCK < wide {
            true => column / BLOCK,
            false => wide + (column - wide * BLOCK) / LANES,
        });
        block.place.start - self.a_len() + within(self.paired, block.width, r, column - block.first)
    }
}

/// Place of row `r` and a column in a block of B so wide.
pub(super) fn within(paired: bool, width: usize, r: usize, column: usize) -> usize {
    match paired {
        true => (r / 2 * width + column) * 2 + r % 2,
        false => r * width + column,
    }
}

/// Writes the numbers of both factors to their places, as `store` keeps them. Places of zeros are left alone.
pub(super) fn arrange<T>(
    shape: &Shape,
    factors: &Factors<'_>,
    a: &mut [T],
    b: &mut [T],
    store: impl Fn(f32) -> T,
) {
    match factors.a {
        Matrix::F32(values) => arrange_a(shape, values, |v| store(f32::from_le_bytes(v)), a),
        Matrix::F16(values) => arrange_a(shape, values, |v| store(from_f16(v)), a),
        Matrix::Bf16(values) => arrange_a(shape, values, |v| store(from_bf16(v)), a),
    }
    match factors.b {
        Matrix::F32(values) => arrange_b(shape, values, |v| store(f32::from_le_bytes(v)), b),
        Matrix::F16(values) => arrange_b(shape, values, |v| store(from_f16(v)), b),
        Matrix::Bf16(values) => arrange_b(shape, values, |v| store(from_bf16(v)), b),
    }
}

fn arrange_a<T, V: Copy>(shape: &Shape, values: &[V], read: impl Fn(V) -> T, out: &mut [T]) {
    for panel in (0..shape.panels()).map(|at| shape.panel(at)) {
        let rows = values[panel.first * shape.inputs..].chunks_exact(shape.inputs);
        for (r, row) in rows.take(panel.width).enumerate() {
            for (block, values) in row.chunks(LANES).enumerate() {
                let at = panel.place.start + (block * panel.width + r) * LANES;
                let out = out[at..][..LANES].iter_mut();
                out.zip(values).for_each(|(out, value)| *out = read(*value));
            }
        }
    }
}

fn arrange_b<T, V: Copy>(shape: &Shape, values: &[V], read: impl Fn(V) -> T, out: &mut [T]) {
    for block in (0..shape.blocks()).map(|at| shape.block(at)) {
        let place = block.place.start - shape.a_len()..block.place.end - shape.a_len();
        let out = &mut out[place];
        let columns = values[block.first * shape.rank..].chunks_exact(shape.rank);
        for (column, factors) in columns.take(block.width).enumerate() {
            for (r, value) in factors.iter().enumerate() {
                out[within(shape.paired, block.width, r, column)] = read(*value);
            }
        }
    }
}
