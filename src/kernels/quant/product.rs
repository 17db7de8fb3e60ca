//! x·Wᵀ for weights that read the same rows: cut into pieces, which all go through one loop over the threads.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::OnceLock;

use crate::device::{Result, bail};

use super::super::pool;
use super::activations::Rounded;
use super::packed::LANES;
use super::{Matrix, paired, vectorwise};

/// Multiply-adds below which a product stays on one thread, and those of a training tile (under half a millisecond).
const SERIAL: usize = 1 << 18;
const TILE: usize = 1 << 24;

/// How many of `tiles` tiles of 16 weight rows make a piece, for `values` values in all rows of x.
pub(super) fn tiles_at_once(tiles: usize, values: usize) -> usize {
    let cost = values * LANES;
    // Pieces enough that a thread which was held up leaves little behind; some kernels take tiles in pairs.
    let even = tiles.div_ceil(4 * pool::threads()).next_multiple_of(2);
    let at_once = match (tiles * cost < SERIAL, pool::trains()) {
        (true, _) => tiles,
        (false, false) => even,
        (false, true) => even.min(pool::rows_of(TILE, cost)),
    };
    at_once.max(1)
}

/// Columns that [`After`] takes begin at a multiple of this.
pub const COLUMNS: usize = 64;

/// What is added to results while the cache still has them.
pub trait After: Sync {
    /// Asks memory for what [`add`](Self::add) will read for these columns: their products are computed meanwhile.
    fn ask(&self, layer: usize, columns: Range<usize>);

    /// Adds to these columns of every row of a layer's result y, [m, n]. They begin at a multiple of [`COLUMNS`] and end
    /// at one, or at the last column.
    ///
    /// # Safety
    /// y has m rows of n numbers, and no other thread reads or writes these columns.
    unsafe fn add(&self, layer: usize, columns: Range<usize>, y: *mut f32);
}

/// Rows [m, k] that weights multiply, as they are and as some formats take them.
pub(super) struct Input<'a> {
    pub x: &'a [f32],
    pub rows: usize,
    k: usize,
    rounded: OnceLock<Rounded>,
    vectorwise: OnceLock<vectorwise::Rows>,
    paired: OnceLock<paired::Rows>,
}

impl<'a> Input<'a> {
    pub fn new(x: &'a [f32], rows: usize, k: usize) -> Self {
        Self {
            x,
            rows,
            k,
            rounded: OnceLock::new(),
            vectorwise: OnceLock::new(),
            paired: OnceLock::new(),
        }
    }

    /// As LLM.int8 takes them, for the threshold that was asked for first; `None` for another.
    pub fn vectorwise(&self, threshold: f32) -> Option<&vectorwise::Rows> {
        let rows = self
            .vectorwise
            .get_or_init(|| vectorwise::Rows::of(self.x, self.k, self.rows, threshold));
        (rows.threshold == threshold).then_some(rows)
    }

    /// As bf16.
    pub fn paired(&self) -> &paired::Rows {
        self.paired.get_or_init(|| paired::Rows::of(self.x, self.k))
    }

    /// As int8; rounded once for all products that take them.
    pub fn rounded(&self) -> &Rounded {
        self.rounded.get_or_init(|| Rounded::of(self.x, self.k))
    }
}

/// Where outputs [m, n] go. Each is written by one piece, and counts as written only after all pieces have run.
pub(super) struct Output<'a> {
    y: *mut f32,
    rows: usize,
    n: usize,
    bias: Option<&'a [f32]>,
    memory: PhantomData<&'a mut [f32]>,
}

// SAFETY: every writer promises that no other has its places, so this is a set of `&mut [f32]`.
unsafe impl Send for Output<'_> {}
// SAFETY: as above.
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    /// Room for rows of `n`, at the start of `memory`.
    ///
    /// # Panics
    /// When there is less.
    pub fn new(
        memory: &'a mut [std::mem::MaybeUninit<f32>],
        rows: usize,
        n: usize,
        bias: Option<&'a [f32]>,
    ) -> Self {
        assert!(memory.len() >= rows * n && bias.is_none_or(|bias| bias.len() == n));
        Self {
            y: memory.as_mut_ptr().cast(),
            rows,
            n,
            bias,
            memory: PhantomData,
        }
    }

    /// Writes `values`, and the bias on them, at columns `first..` of a row; those beyond the last column are padding.
    ///
    /// # Safety
    /// The places belong to the calling piece.
    #[inline(always)]
    pub unsafe fn put<const N: usize>(&self, row: usize, first: usize, values: &[f32; N]) {
        assert!(row < self.rows && first < self.n);
        let mut values = *values;
        let count = N.min(self.n - first);
        if let Some(bias) = self.bias {
            let bias = &bias[first..first + count];
            values.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
        }
        // SAFETY: the row has `count` places from `first` on, which are the caller's.
        unsafe {
            let place = self.y.add(row * self.n + first);
            if count == N {
                // Of a length known beforehand, so one store.
                place.cast::<[f32; N]>().write_unaligned(values);
            } else {
                place.copy_from_nonoverlapping(values.as_ptr(), count);
            }
        }
    }
}

/// x·Wᵀ + bias on slices, and what `after` adds, for each of `layers`: x is [m, k], a result [m, n].
pub fn product_each(
    x: &[f32],
    layers: &[(&Matrix, Option<&[f32]>)],
    after: Option<&dyn After>,
) -> Result<Vec<Vec<f32>>> {
    let Some((first, _)) = layers.first() else {
        return Ok(Vec::new());
    };
    let (rows, k) = (first.rows_in(x, first.k)?, first.k);
    for (matrix, bias) in layers {
        if matrix.k != k {
            bail!(
                "rows of {k} values for a weight [{}, {}]",
                matrix.n,
                matrix.k
            );
        }
        if let Some(bias) = bias.filter(|bias| bias.len() != matrix.n) {
            bail!("a bias of {} for {} outputs", bias.len(), matrix.n);
        }
    }
    let input = Input::new(x, rows, k);
    for (matrix, _) in layers {
        matrix.packed.prepare(&input);
    }
    let mut results: Vec<Vec<f32>> = layers
        .iter()
        .map(|(matrix, _)| Vec::with_capacity(rows * matrix.n))
        .collect();
    let (mut outputs, mut pieces) = (Vec::new(), Vec::new());
    for (at, (result, (matrix, bias))) in results.iter_mut().zip(layers).enumerate() {
        let memory = result.spare_capacity_mut();
        outputs.push(Output::new(memory, rows, matrix.n, *bias));
        let tiles = matrix.n.div_ceil(LANES);
        let (at_once, height) = match after {
            // What is added is of all rows.
            Some(_) => {
                let at_once = tiles_at_once(tiles, x.len()).next_multiple_of(COLUMNS / LANES);
                (at_once, rows)
            }
            None => {
                let height = matrix.packed.height(rows).clamp(1, rows.max(1));
                (tiles_at_once(tiles, height * k), height)
            }
        };
        // Tiles of the same rows follow one another.
        for down in (0..rows).step_by(height.max(1)) {
            let starts = (0..tiles).step_by(at_once);
            let part = down..(down + height).min(rows);
            pieces.extend(starts.map(|start| {
                let some = start..(start + at_once).min(tiles);
                (at, some, part.clone())
            }));
        }
    }
    pool::for_each(pieces.len(), |piece| {
        let (at, tiles, rows) = &pieces[piece];
        let (matrix, y) = (layers[*at].0, &outputs[*at]);
        let columns = tiles.start * LANES..(tiles.end * LANES).min(matrix.n);
        if let Some(after) = after {
            after.ask(*at, columns.clone());
        }
        matrix.packed.tiles(tiles.clone(), rows.clone(), &input, y);
        if let Some(after) = after {
            // SAFETY: these columns are this piece's, which has just written all of them.
            unsafe { after.add(*at, columns, y.y) };
        }
    });
    drop(outputs);
    for (result, (matrix, _)) in results.iter_mut().zip(layers) {
        // SAFETY: all tiles of this weight have been multiplied, and each writes its outputs of every row.
        unsafe { result.set_len(rows * matrix.n) };
    }
    Ok(results)
}
