//! The catalogue of weight formats.

use candle_core::quantized::GgmlDType;

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
}

const CATALOGUE: [Row; 13] = [
    row(Format::F32, "f32", GgmlDType::F32),
    row(Format::F16, "f16", GgmlDType::F16),
    row(Format::Bf16, "bf16", GgmlDType::BF16),
    row(Format::Q8_0, "q8_0", GgmlDType::Q8_0),
    row(Format::Q5_1, "q5_1", GgmlDType::Q5_1),
    row(Format::Q5_0, "q5_0", GgmlDType::Q5_0),
    row(Format::Q4_1, "q4_1", GgmlDType::Q4_1),
    row(Format::Q4_0, "q4_0", GgmlDType::Q4_0),
    row(Format::Q6K, "q6_k", GgmlDType::Q6K),
    row(Format::Q5K, "q5_k", GgmlDType::Q5K),
    row(Format::Q4K, "q4_k", GgmlDType::Q4K),
    row(Format::Q3K, "q3_k", GgmlDType::Q3K),
    row(Format::Q2K, "q2_k", GgmlDType::Q2K),
];

const fn row(format: Format, name: &'static str, ggml: GgmlDType) -> Row {
    Row { format, name, ggml }
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
        CATALOGUE
            .iter()
            .find(|row| row.ggml == ggml)
            .map(|row| row.format)
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
