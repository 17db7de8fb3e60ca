//! quant: frozen weights in the format they are stored in, and products with them.
//!
//! The type that others use is [`Matrix`]: it multiplies, gives rows back as f32, and multiplies by its transpose for a
//! backward pass; [`frozen`] is the same as an operation of a tape. How a format is laid out is not known outside, and
//! nothing here holds plain numbers of more than 32 MiB of a matrix at a time.

mod activations;
mod codec;
mod dense;
mod format;
mod frozen;
mod layouts;
mod packed;
mod paired;
mod product;
#[cfg(test)]
mod tests;
mod vectorwise;

use std::ops::Range;

use candle_core::quantized::QTensor;
use half::bf16;

pub use codec::{Stored, encode};
pub(super) use dense::single;
pub use format::Format;
pub use frozen::{Frozen, Layer};
pub(super) use paired::{Part, product, product_by_rows, product_of_turned};
pub(in crate::kernels) use product::{After, COLUMNS, product_each};

use product::{Input, Output};

use super::gemm::{self, View};
use super::pool;
use crate::device::{Array, Half, Result, bail};

/// Bytes that codes are asked for in advance by kernels that multiply whole numbers. Asking for less leaves a loop waiting
/// that takes eight rows; for more, codes that wait to be used would push others out of a first-level cache.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 8 << 10;
/// Half of the values that are unpacked at a time when a product needs plain numbers: 1 MiB, which stays in cache.
const UNPACKED: usize = 1 << 18;
/// Values that are held as pairs of bf16 at a time when a product takes such: 32 MiB. Every part's sums are added to those
/// before.
const PAIRED: usize = 1 << 24;
/// Sums of a product with unpacked blocks that are worked on at a time: 8 MiB, which a shared cache holds.
const SUMMED: usize = 1 << 21;

/// What a family of formats must be able to do. Sizes are checked by [`Matrix`].
trait Packed: Send + Sync {
    fn bytes(&self) -> u64;

    /// The instructions that multiply it.
    fn unit(&self) -> &'static str;

    /// Makes of x what products take, before threads ask for it.
    fn prepare(&self, x: &Input<'_>);

    /// How many rows of so many it is best given at a time.
    fn height(&self, rows: usize) -> usize {
        rows
    }

    /// Writes the outputs of some tiles of 16 rows of W, the last of which may have fewer, for some rows of x: a part that
    /// begins at a multiple of [`height`](Self::height).
    fn tiles(&self, tiles: Range<usize>, rows: Range<usize>, x: &Input<'_>, y: &Output<'_>);

    /// Writes those rows of W to `out`, [rows, k].
    fn unpack(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()>;
}

/// A frozen weight W, [n outputs, k inputs].
pub struct Matrix {
    packed: Box<dyn Packed>,
    format: Option<Format>,
    n: usize,
    k: usize,
}

impl Matrix {
    /// A weight as a file holds it.
    pub fn from_stored(weight: Stored<'_>) -> Result<Self> {
        Self::of(weight.blocks()?)
    }

    fn of(weight: QTensor) -> Result<Self> {
        let (n, k) = weight.shape().dims2()?;
        let Some(format) = Format::from_ggml(weight.dtype()) else {
            bail!("{:?} is not a weight format", weight.dtype());
        };
        let packed = format.pack(weight, n, k)?;
        Ok(Self {
            packed,
            format: Some(format),
            n,
            k,
        })
    }

    /// A weight [n, k] for LLM.int8, of rows that are asked for as f32, some at a time and from several threads. Features
    /// of x as large as `threshold` keep all their bits; 0 lets none.
    pub fn int8<E: Send + From<crate::device::Error>>(
        (n, k): (usize, usize),
        threshold: f32,
        rows: impl Fn(Range<usize>) -> std::result::Result<Vec<f32>, E> + Sync,
    ) -> std::result::Result<Self, E> {
        Ok(Self {
            packed: Box::new(vectorwise::Vectorwise::pack((n, k), threshold, rows)?),
            format: None,
            n,
            k,
        })
    }

    /// Rounds `weight` [n, k] to `format`. Fails where rows are not whole blocks.
    pub fn quantize(weight: &Array, format: Format) -> Result<Self> {
        let (_, k) = weight.dims();
        if !k.is_multiple_of(format.block()) {
            bail!(
                "rows of {k} values cannot be stored as {format}, in blocks of {}",
                format.block()
            );
        }
        Self::of(codec::rounded(weight.values().to_vec(), k, format)?)
    }

    /// (n outputs, k inputs)
    pub fn dims(&self) -> (usize, usize) {
        (self.n, self.k)
    }

    /// None for int8, which is no format of stored weights.
    pub fn format(&self) -> Option<Format> {
        self.format
    }

    /// Memory this weight holds.
    pub fn bytes(&self) -> u64 {
        self.packed.bytes()
    }

    /// Memory that a weight [n, k] of this format would hold; `None`: of int8.
    pub fn bytes_held(format: Option<Format>, (n, k): (usize, usize)) -> u64 {
        match format {
            Some(format) => format.held(n, k),
            None => vectorwise::Vectorwise::held(n, k),
        }
    }

    /// The instructions its products use on this processor: `amx_int8`, `avx2`.
    pub fn unit(&self) -> &'static str {
        self.packed.unit()
    }

    /// x·Wᵀ for x [T, k]: [T, n].
    pub fn forward(&self, x: &Array) -> Result<Array> {
        self.product_and_bias(x, None)
    }

    /// dy·W for dy [T, n]: [T, k], the gradient of [`forward`](Self::forward)'s input.
    pub fn backward_input(&self, dy: &Array) -> Result<Array> {
        let dx = self.turned(dy.values(), in_pairs(dy))?;
        Array::new(dx, (dy.rows(), self.k))
    }

    /// Rows as f32, [rows, k] flat.
    pub fn rows(&self, rows: Range<usize>) -> Result<Vec<f32>> {
        if rows.start > rows.end || rows.end > self.n {
            bail!("rows {rows:?} of a weight of {}", self.n);
        }
        let mut out = vec![0.0; rows.len() * self.k];
        self.packed.unpack(rows.clone(), &mut out)?;
        Ok(out)
    }

    /// The rows with these numbers as f32, [ids, k]: an embedding.
    pub fn gather(&self, ids: &[u32]) -> Result<Array> {
        let mut out = vec![0.0; ids.len() * self.k];
        for (id, row) in ids.iter().zip(out.chunks_exact_mut(self.k.max(1))) {
            let id = *id as usize;
            if id >= self.n {
                bail!("row {id} of a weight of {}", self.n);
            }
            self.packed.unpack(id..id + 1, row)?;
        }
        Array::new(out, (ids.len(), self.k))
    }

    /// x·Wᵀ on slices: x is [m, k], the result [m, n].
    pub(super) fn product(&self, x: &[f32]) -> Result<Vec<f32>> {
        Ok(product_each(x, &[(self, None)], None)?.remove(0))
    }

    /// x·Wᵀ + bias for x [T, k] and a bias [n]: [T, n].
    pub(super) fn product_and_bias(&self, x: &Array, bias: Option<&[f32]>) -> Result<Array> {
        let y = product_each(x.values(), &[(self, bias)], None)?.remove(0);
        Array::new(y, (x.rows(), self.n))
    }

    /// Bytes that a product of so many rows with the transpose of a weight [n, k] needs beside its result, where rows are
    /// numbers of `half`.
    pub fn bytes_turned((n, k): (usize, usize), rows: usize, half: Option<Half>) -> u64 {
        let bytes = match takes_pairs(half) {
            false => rows_unpacked(n, k) * k * size_of::<f32>(),
            true => {
                let step = rows_paired(n, k);
                let more = if step < n { rows * k } else { 0 };
                // A block that each thread unpacks.
                let blocks = pool::threads().min(step.div_ceil(paired::ROWS)) * paired::ROWS * k;
                size_of::<bf16>() * step * (rows + k) + size_of::<f32>() * (more + blocks)
            }
        };
        bytes as u64
    }

    /// dy·W on slices, by blocks of rows: dy is [m, n], the result [m, k].
    pub(super) fn transposed_product(&self, dy: &[f32]) -> Result<Vec<f32>> {
        self.turned(dy, false)
    }

    /// The same; `in_pairs` where a unit is to take dy and W as pairs of bf16.
    pub(super) fn turned(&self, dy: &[f32], in_pairs: bool) -> Result<Vec<f32>> {
        let m = self.rows_in(dy, self.n)?;
        let (n, k) = (self.n, self.k);
        if in_pairs && m > 0 {
            return self.turned_in_pairs(dy, m);
        }
        let mut dx = vec![0.0; m * k];
        let step = rows_unpacked(n, k);
        let mut block = vec![0.0; step * k];
        // Sums of some rows of dy at a time, which the cache holds while the blocks pass.
        let height = (SUMMED / k.max(1)).max(1).next_multiple_of(64);
        for (dy, dx) in dy
            .chunks(height * n.max(1))
            .zip(dx.chunks_mut(height * k.max(1)))
        {
            for start in (0..n).step_by(step) {
                let rows = start..(start + step).min(n);
                let block = &mut block[..rows.len() * k];
                self.unpack_in_parallel(rows.clone(), block)?;
                let part = View::new(&dy[start..], (dy.len() / n, rows.len()), (n, 1));
                gemm::parallel(part, View::dense(block, rows.len(), k), dx, 1.0, 1.0);
            }
        }
        Ok(dx)
    }

    fn turned_in_pairs(&self, dy: &[f32], m: usize) -> Result<Vec<f32>> {
        let (n, k) = (self.n, self.k);
        let mut dx: Option<Vec<f32>> = None;
        let step = rows_paired(n, k);
        for start in (0..n).step_by(step) {
            let rows = start..(start + step).min(n);
            let part = Part {
                values: &dy[start..],
                rows: m,
                columns: rows.len(),
                stride: n,
            };
            let found = paired::product_with(part, k, |some, out| {
                let some = rows.start + some.start..rows.start + some.end;
                self.packed.unpack(some, out)
            })?;
            match &mut dx {
                None => dx = Some(found),
                Some(dx) => pool::over_rows(dx, 1, 1 << 14, |range, dx| {
                    let pairs = dx.iter_mut().zip(&found[range]);
                    pairs.for_each(|(dx, found)| *dx += found);
                }),
            }
        }
        Ok(dx.unwrap_or_default())
    }

    fn unpack_in_parallel(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let tile = pool::rows_of(1 << 14, self.k);
        let failure = pool::Failure::default();
        pool::over_rows(out, self.k, tile, |part, out| {
            let part = rows.start + part.start..rows.start + part.end;
            failure.of(self.packed.unpack(part, out));
        });
        failure.end()
    }

    fn rows_in(&self, values: &[f32], width: usize) -> Result<usize> {
        if width == 0 || !values.len().is_multiple_of(width) {
            bail!(
                "{} values are not rows of {width} for a weight [{}, {}]",
                values.len(),
                self.n,
                self.k
            );
        }
        Ok(values.len() / width)
    }
}

/// Rows of a weight [n, k] that a product with its transpose unpacks at a time. By the weight's size alone: the blocks' sums
/// are added in order, which must not change with the threads.
fn rows_unpacked(n: usize, k: usize) -> usize {
    (2 * (UNPACKED / k.max(1)).max(1)).min(n.max(1))
}

/// The same where its numbers go to a unit as pairs of bf16.
fn rows_paired(n: usize, k: usize) -> usize {
    (PAIRED / k.max(1))
        .max(1)
        .next_multiple_of(32)
        .min(n.max(1))
}

/// Whether products with these rows, which are numbers of bf16, go to a unit that multiplies pairs of such.
pub(super) fn in_pairs(rows: &Array) -> bool {
    takes_pairs(rows.half())
}

fn takes_pairs(half: Option<Half>) -> bool {
    half == Some(Half::Bf16) && paired::Paired::learns()
}

impl std::fmt::Debug for Matrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let format = self.format.map_or("int8", Format::name);
        write!(f, "Matrix[{}, {}; {format}]", self.n, self.k)
    }
}
