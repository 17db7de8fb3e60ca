//! The weights of low-rank products, laid out so that a product reads them once and in order.

use std::ops::Range;
use std::sync::Arc;

use half::f16;
use serde::{Deserialize, Serialize};

use super::blob::Blob;
use super::layout::{self, Shape};
use crate::kernels::ahead::ask_for;
use crate::kernels::narrow::nearest_bf16;
use crate::kernels::pool;

/// A matrix as a file holds it: row after row, little-endian.
#[derive(Debug, Clone, Copy)]
pub enum Matrix<'a> {
    F32(&'a [[u8; 4]]),
    F16(&'a [[u8; 2]]),
    Bf16(&'a [[u8; 2]]),
}

/// What packed weights are rounded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Every number as it was given: in 16 bits where both factors came as bf16, else in 32.
    Exact,
    /// bf16, half the bytes to read in every step.
    Bf16,
}

/// What packed numbers are, and what they meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Numbers {
    F32,
    /// bf16, for rows as they are.
    Bf16,
    /// bf16, for rows that are rounded to it as well where the processor multiplies pairs of them.
    Bf16Pairs,
}

/// A [rank, inputs] and B [outputs, rank] of one product `scale · B A`.
#[derive(Debug, Clone, Copy)]
pub struct Factors<'a> {
    pub rank: usize,
    pub inputs: usize,
    pub outputs: usize,
    pub scale: f32,
    pub a: Matrix<'a>,
    pub b: Matrix<'a>,
}

/// All of a packed product but its numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Form {
    pub rank: usize,
    pub inputs: usize,
    pub outputs: usize,
    pub scale: f32,
    pub numbers: Numbers,
}

/// One low-rank product, a part of the memory that it shares with those packed beside it.
#[derive(Clone)]
pub struct LowRank {
    shape: Shape,
    scale: f32,
    numbers: Numbers,
    /// Where A begins in `memory`; B follows it.
    start: usize,
    memory: Arc<Blob>,
}

/// Packed numbers; bf16 as its bits.
#[derive(Clone, Copy)]
pub(super) enum Packed<'a> {
    F32(&'a [f32]),
    Bf16(&'a [u16]),
    Bf16Pairs(&'a [u16]),
}

impl Matrix<'_> {
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) | Self::Bf16(values) => values.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            Self::F32(values) => values.iter().map(|v| f32::from_le_bytes(*v)).collect(),
            Self::F16(values) => values.iter().map(|v| from_f16(*v)).collect(),
            Self::Bf16(values) => values.iter().map(|v| from_bf16(*v)).collect(),
        }
    }

    /// Place and value of the first number that is not within ±`most`; NaN never is.
    pub fn first_beyond(&self, most: f32) -> Option<(usize, f32)> {
        fn first<const N: usize>(
            values: &[[u8; N]],
            most: f32,
            read: impl Fn([u8; N]) -> f32,
        ) -> Option<(usize, f32)> {
            // Without an early end inside a chunk, so that it is compared many numbers at a time.
            let within = |chunk: &&[[u8; N]]| {
                chunk
                    .iter()
                    .fold(true, |all, bytes| all & (read(*bytes).abs() <= most))
            };
            let whole = values.chunks(1024).take_while(within).count();
            let from = whole * 1024;
            let rest = values.get(from..).unwrap_or_default().iter();
            rest.enumerate()
                .map(|(at, bytes)| (from + at, read(*bytes)))
                .find(|(_, value)| value.is_nan() || value.abs() > most)
        }
        match self {
            Self::F32(values) => first(values, most, f32::from_le_bytes),
            Self::F16(values) => first(values, most, from_f16),
            Self::Bf16(values) => first(values, most, from_bf16),
        }
    }

    /// √(mean of the squares); 0 of nothing.
    pub fn root_mean_square(&self) -> f64 {
        fn squares<const N: usize>(values: &[[u8; N]], read: impl Fn([u8; N]) -> f32) -> f64 {
            // Several sums side by side: one would wait for itself at every number.
            let mut sums = [0f64; 8];
            let (chunks, rest) = values.as_chunks::<8>();
            for chunk in chunks {
                for (sum, bytes) in sums.iter_mut().zip(chunk) {
                    let value = f64::from(read(*bytes));
                    *sum += value * value;
                }
            }
            let rest = rest.iter().map(|bytes| f64::from(read(*bytes)).powi(2));
            sums.iter().sum::<f64>() + rest.sum::<f64>()
        }
        let squares = match self {
            Self::F32(values) => squares(values, f32::from_le_bytes),
            Self::F16(values) => squares(values, from_f16),
            Self::Bf16(values) => squares(values, from_bf16),
        };
        (squares / self.len().max(1) as f64).sqrt()
    }
}

pub(super) fn from_f16(bytes: [u8; 2]) -> f32 {
    f16::from_le_bytes(bytes).to_f32()
}

pub(super) fn from_bf16(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

impl LowRank {
    /// Products of finite factors in one piece of memory, in the order given, which should be the order of their use. `None`
    /// where the sizes of one do not agree or one is 0.
    pub fn pack(factors: &[Factors<'_>], precision: Precision) -> Option<Vec<Self>> {
        let mut forms = Vec::with_capacity(factors.len());
        for one in factors {
            let fits = one.rank.checked_mul(one.inputs) == Some(one.a.len())
                && one.rank.checked_mul(one.outputs) == Some(one.b.len());
            if !fits {
                return None;
            }
            forms.push(Form {
                rank: one.rank,
                inputs: one.inputs,
                outputs: one.outputs,
                scale: one.scale,
                numbers: match (precision, one.a, one.b) {
                    (Precision::Bf16, ..) => Numbers::Bf16Pairs,
                    (Precision::Exact, Matrix::Bf16(_), Matrix::Bf16(_)) => Numbers::Bf16,
                    (Precision::Exact, ..) => Numbers::F32,
                },
            });
        }
        let (places, total) = places(&forms)?;
        let mut memory = Blob::zeroed(total);
        for (one, (shape, start)) in factors.iter().zip(&places) {
            let part = &mut memory[*start..][..shape.words()];
            if shape.paired {
                let (a, b) = bytemuck::cast_slice_mut(part).split_at_mut(shape.a_len());
                layout::arrange(shape, one, a, b, |value| nearest_bf16(value).to_bits());
            } else {
                let (a, b) = bytemuck::cast_slice_mut(part).split_at_mut(shape.a_len());
                layout::arrange(shape, one, a, b, |value: f32| value);
            }
            pool::give_way();
        }
        Some(Self::sharing(memory, &forms, places))
    }

    /// Products whose [`LowRank::numbers`] were kept, one behind the other, in so many bytes; `fill` brings them all. `None`,
    /// and no memory is taken, where a size is 0 or these forms need another number of bytes.
    pub fn restore<E>(
        forms: &[Form],
        bytes: u64,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Option<Vec<Self>>, E> {
        let needs = |total: usize| (total as u64).checked_mul(size_of::<u32>() as u64);
        let Some((places, total)) = places(forms).filter(|(_, total)| needs(*total) == Some(bytes))
        else {
            return Ok(None);
        };
        let mut memory = Blob::any(total);
        fill(bytemuck::cast_slice_mut(&mut memory))?;
        Ok(Some(Self::sharing(memory, forms, places)))
    }

    fn sharing(memory: Blob, forms: &[Form], places: Vec<(Shape, usize)>) -> Vec<Self> {
        let memory = Arc::new(memory);
        let products = forms.iter().zip(places);
        products
            .map(|(form, (shape, start))| Self {
                shape,
                scale: form.scale,
                numbers: form.numbers,
                start,
                memory: memory.clone(),
            })
            .collect()
    }

    pub fn form(&self) -> Form {
        Form {
            rank: self.shape.rank,
            inputs: self.shape.inputs,
            outputs: self.shape.outputs,
            scale: self.scale,
            numbers: self.numbers,
        }
    }

    /// As they lie in memory, in this machine's order of bytes and the order of [`LAYOUT`].
    pub fn numbers(&self) -> &[u8] {
        bytemuck::cast_slice(self.part())
    }

    fn part(&self) -> &[u32] {
        &self.memory[self.start..][..self.shape.words()]
    }

    /// The same numbers, in the same memory, by another weight.
    pub fn weighted(&self, weight: f64) -> Self {
        Self {
            scale: (f64::from(self.scale) * weight) as f32,
            ..self.clone()
        }
    }

    pub fn rank(&self) -> usize {
        self.shape.rank
    }

    pub fn inputs(&self) -> usize {
        self.shape.inputs
    }

    pub fn outputs(&self) -> usize {
        self.shape.outputs
    }

    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// Memory of this product alone.
    pub fn bytes(&self) -> u64 {
        4 * self.shape.words() as u64
    }

    /// A [rank, inputs].
    pub fn a(&self) -> Vec<f32> {
        let at = |r, k| self.shape.a_index(r, k);
        self.unpack(self.shape.rank, self.shape.inputs, 0, at)
    }

    /// B [outputs, rank].
    pub fn b(&self) -> Vec<f32> {
        let at = |column, r| self.shape.b_index(r, column);
        let skipped = self.shape.a_len();
        self.unpack(self.shape.outputs, self.shape.rank, skipped, at)
    }

    fn unpack(
        &self,
        rows: usize,
        columns: usize,
        skipped: usize,
        at: impl Fn(usize, usize) -> usize,
    ) -> Vec<f32> {
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let places = places.map(|(row, column)| skipped + at(row, column));
        match self.packed() {
            Packed::F32(values) => places.map(|place| values[place]).collect(),
            Packed::Bf16(values) | Packed::Bf16Pairs(values) => places
                .map(|place| f32::from_bits(u32::from(values[place]) << 16))
                .collect(),
        }
    }

    /// Asks memory for the first `most` bytes of the blocks of some columns, which begin and end where blocks do. Returns how
    /// many these were.
    pub(super) fn ask_for_blocks(&self, columns: Range<usize>, most: usize) -> usize {
        let blocks = self.shape.blocks_of(columns);
        if blocks.is_empty() {
            return 0;
        }
        let first = self.shape.block(blocks.start).place.start;
        let place = first..self.shape.block(blocks.end - 1).place.end;
        let bytes: &[u8] = match self.packed() {
            Packed::F32(values) => bytemuck::cast_slice(&values[place]),
            Packed::Bf16(values) | Packed::Bf16Pairs(values) => {
                bytemuck::cast_slice(&values[place])
            }
        };
        let count = bytes.len().min(most);
        ask_for(bytes.as_ptr(), 0, count);
        count
    }

    pub(super) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// A as [`Shape::panel`] lays it out, then B as [`Shape::block`] does.
    pub(super) fn packed(&self) -> Packed<'_> {
        let len = self.shape.a_len() + self.shape.b_len();
        let part = self.part();
        match self.numbers {
            Numbers::F32 => Packed::F32(&bytemuck::cast_slice(part)[..len]),
            Numbers::Bf16 => Packed::Bf16(&bytemuck::cast_slice(part)[..len]),
            Numbers::Bf16Pairs => Packed::Bf16Pairs(&bytemuck::cast_slice(part)[..len]),
        }
    }
}

impl std::fmt::Debug for LowRank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LowRank")
            .field("shape", &self.shape)
            .field("scale", &self.scale)
            .field("numbers", &self.numbers)
            .finish_non_exhaustive()
    }
}

/// Shapes and where each begins, in words, and how many words there are in all.
fn places(forms: &[Form]) -> Option<(Vec<(Shape, usize)>, usize)> {
    let mut total = 0usize;
    let mut places = Vec::with_capacity(forms.len());
    for form in forms {
        let Form {
            rank,
            inputs,
            outputs,
            numbers,
            ..
        } = *form;
        let widest = inputs.max(outputs).checked_add(layout::LANES)?;
        let most = rank.checked_add(1)?;
        if rank == 0
            || inputs == 0
            || outputs == 0
            || widest.checked_mul(2)?.checked_mul(most)? > isize::MAX as usize / 4
        {
            return None;
        }
        let shape = Shape {
            rank,
            inputs,
            outputs,
            paired: numbers != Numbers::F32,
        };
        places.push((shape, total));
        total = total.checked_add(shape.words())?;
    }
    (total <= isize::MAX as usize / 4).then_some((places, total))
}
