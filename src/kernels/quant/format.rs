//! The catalogue of weight formats.

use candle_core::Device;
use candle_core::quantized::{GgmlDType, QTensor};

use super::packed::{Layout, Weight};
use super::{Packed, dense, layouts};
use crate::device::Result;

/// How the values of a frozen weight are stored. The block formats are those of GGUF files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q5_1,
    Q5_0,
    Q4_1,
    Q4_0,
    Q6K,
    Q5K,
    Q4K,
    Q3K,
    Q2K,
}

/// What is to be known about a format besides its arithmetic.
struct Row {
    format: Format,
    name: &'static str,
    ggml: GgmlDType,
    /// Its number in GGUF files.
    code: u32,
    /// Where in a block half-precision scales lie, by byte; all else in a block is small integers.
    scales: &'static [usize],
    /// Taken where rows are not whole blocks: shorter blocks, at least the precision.
    shorter: Format,
    pack: Pack,
    held: Held,
}

/// From stored bytes [n, k] to what products are computed with.
type Pack = fn(QTensor, usize, usize) -> Result<Box<dyn Packed>>;

/// Bytes that a weight [n, k] takes then.
type Held = fn(usize, usize) -> u64;

const CATALOGUE: [Row; 13] = {
    use Format::*;
    use GgmlDType as G;
    use layouts as l;
    [
        row(F32, "f32", G::F32, 0, &[], F32, plain::<f32>()),
        row(F16, "f16", G::F16, 1, &[], F16, plain::<half::f16>()),
        row(Bf16, "bf16", G::BF16, 30, &[], Bf16, BF16),
        row(Q8_0, "q8_0", G::Q8_0, 8, &[0], Q8_0, blocks::<l::Q8_0>()),
        row(Q5_1, "q5_1", G::Q5_1, 7, &[0, 2], Q5_1, blocks::<l::Q5_1>()),
        row(Q5_0, "q5_0", G::Q5_0, 6, &[0], Q5_0, blocks::<l::Q5_0>()),
        row(Q4_1, "q4_1", G::Q4_1, 3, &[0, 2], Q4_1, blocks::<l::Q4_1>()),
        row(Q4_0, "q4_0", G::Q4_0, 2, &[0], Q4_0, blocks::<l::Q4_0>()),
        row(Q6K, "q6_k", G::Q6K, 14, &[208], Q8_0, blocks::<l::Q6K>()),
        row(Q5K, "q5_k", G::Q5K, 13, &[0, 2], Q5_1, blocks::<l::Q5K>()),
        row(Q4K, "q4_k", G::Q4K, 12, &[0, 2], Q5_0, blocks::<l::Q4K>()),
        row(Q3K, "q3_k", G::Q3K, 11, &[108], Q4_0, blocks::<l::Q3K>()),
        row(Q2K, "q2_k", G::Q2K, 10, &[80, 82], Q4_0, ROUNDED_ANEW),
    ]
};

/// How a weight is packed, and what it takes then.
type Packing = (Pack, Held);

const fn plain<T: dense::Number>() -> Packing {
    (dense::pack::<T>, dense::held::<T>)
}

const fn blocks<L: Layout>() -> Packing {
    (pack::<L>, Weight::<L>::held)
}

const BF16: Packing = (dense::pack_bf16, dense::held_bf16);
const ROUNDED_ANEW: Packing = (rounded_anew, Weight::<layouts::Q6K>::held);

/// From stored blocks to a packed weight.
fn pack<L: Layout>(weight: QTensor, n: usize, k: usize) -> Result<Box<dyn Packed>> {
    Ok(Box::new(Weight::<L>::pack(&weight.data()?, n, k)?))
}

/// For a format without kernels of its own: as the nearest that has them and loses less than the rounding did.
fn rounded_anew(weight: QTensor, n: usize, k: usize) -> Result<Box<dyn Packed>> {
    let dense = weight.dequantize(&Device::Cpu)?;
    pack::<layouts::Q6K>(QTensor::quantize(&dense, GgmlDType::Q6K)?, n, k)
}

const fn row(
    format: Format,
    name: &'static str,
    ggml: GgmlDType,
    code: u32,
    scales: &'static [usize],
    shorter: Format,
    (pack, held): Packing,
) -> Row {
    Row {
        format,
        name,
        ggml,
        code,
        scales,
        shorter,
        pack,
        held,
    }
}

impl Format {
    pub fn all() -> impl Iterator<Item = Self> {
        CATALOGUE.iter().map(|row| row.format)
    }

    fn row(self) -> &'static Row {
        // The catalogue has a row for each format, in their order; a test holds it.
        &CATALOGUE[self as usize]
    }

    pub fn name(self) -> &'static str {
        self.row().name
    }

    pub fn ggml(self) -> GgmlDType {
        self.row().ggml
    }

    /// `None` for the two types that only hold activations.
    pub fn from_ggml(ggml: GgmlDType) -> Option<Self> {
        Self::all().find(|format| format.ggml() == ggml)
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|format| format.name() == name)
    }

    /// Its number in GGUF files.
    pub fn code(self) -> u32 {
        self.row().code
    }

    pub fn from_code(code: u32) -> Option<Self> {
        Self::all().find(|format| format.code() == code)
    }

    /// Byte offsets of the half-precision scales in a block; none where values are plain numbers.
    pub fn scales(self) -> &'static [usize] {
        self.row().scales
    }

    /// The format itself where rows of `width` are whole blocks, else one of shorter blocks and no less precision.
    pub fn fitting(self, width: usize) -> Option<Self> {
        [self, self.row().shorter, Self::Q8_0]
            .into_iter()
            .find(|format| width.is_multiple_of(format.block()))
    }

    pub(super) fn pack(self, weight: QTensor, n: usize, k: usize) -> Result<Box<dyn Packed>> {
        (self.row().pack)(weight, n, k)
    }

    /// Bytes that a weight [n, k] takes in memory.
    pub(super) fn held(self, n: usize, k: usize) -> u64 {
        (self.row().held)(n, k)
    }

    /// The format whose kernels multiply it: its own, but for two that are held in another.
    pub fn computed_as(self) -> Self {
        match self {
            Self::Q3K | Self::Q2K => Self::Q6K,
            other => other,
        }
    }

    /// Bits a value takes, scales included.
    pub fn bits(self) -> f64 {
        8.0 * self.bytes_of_block() as f64 / self.block() as f64
    }

    /// Values of a block; rows are a multiple of it long.
    pub fn block(self) -> usize {
        self.ggml().block_size()
    }

    pub fn bytes_of_block(self) -> usize {
        self.ggml().type_size()
    }

    /// Stored as plain numbers, one a value.
    pub fn is_dense(self) -> bool {
        self.block() == 1
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_finds_its_own_row() {
        for (at, format) in Format::all().enumerate() {
            assert_eq!(format as usize, at, "{format}");
            assert_eq!(Format::from_ggml(format.ggml()), Some(format));
        }
    }
}
