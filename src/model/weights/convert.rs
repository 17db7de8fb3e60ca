//! From stored bytes to what a base computes with: values checked to be finite, rows quantized in parallel.

use std::borrow::Cow;

use half::{bf16, f16};
use rayon::prelude::*;

use super::WeightError;
use crate::device::Error;
use crate::kernels::quant::{Format, Matrix, Stored, encode};

/// The format a base's matrices are held in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Quant {
    AsStored,
    To(Format),
    /// LLM.int8 between embedding and head: features of activations as large as the threshold keep all their bits.
    Int8 {
        threshold: f32,
    },
}

/// One tensor as it lies in its file. Rows are `width` values wide and independent of each other.
pub(super) struct Raw<'a> {
    pub name: &'a str,
    pub bytes: Cow<'a, [u8]>,
    pub format: Format,
    pub rows: usize,
    pub width: usize,
}

/// Rows turned to f32 at a time: bounds what a conversion holds beside its result.
const CHUNK_VALUES: usize = 1 << 18;

impl Raw<'_> {
    pub fn row_bytes(&self) -> usize {
        self.width / self.format.block() * self.format.bytes_of_block()
    }

    fn wrong(&self, why: impl Into<String>) -> WeightError {
        WeightError::new(self.name, why)
    }

    fn kernel(&self, error: Error) -> WeightError {
        self.wrong(error.to_string())
    }

    /// Rows `range` as f32. The bytes are known to be whole rows.
    pub(super) fn dense(&self, range: std::ops::Range<usize>) -> Result<Vec<f32>, WeightError> {
        let bytes = &self.bytes[range.start * self.row_bytes()..range.end * self.row_bytes()];
        Ok(match self.format {
            Format::F32 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
            Format::F16 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| f16::from_le_bytes(*b).to_f32())
                .collect(),
            Format::Bf16 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| bf16::from_le_bytes(*b).to_f32())
                .collect(),
            format => {
                let stored = Stored {
                    bytes: Cow::Borrowed(bytes),
                    format,
                    rows: range.len(),
                    width: self.width,
                };
                stored.decode().map_err(|e| self.kernel(e))?
            }
        })
    }

    /// Fails on the first value that is not a finite number.
    pub fn check_finite(&self) -> Result<(), WeightError> {
        let bad = |what: &str| Err(self.wrong(format!("has {what} that are not finite numbers")));
        let finite16 =
            |block: &[u8], at: usize| f16::from_le_bytes([block[at], block[at + 1]]).is_finite();
        // A block format holds small integers and half-precision scales; only the scales can be bad.
        let fine = match self.format {
            Format::F32 => {
                let exponent = 0x7f80_0000;
                !self.bytes.par_chunks(1 << 16).any(|part| {
                    part.as_chunks()
                        .0
                        .iter()
                        .any(|b| u32::from_le_bytes(*b) & exponent == exponent)
                })
            }
            Format::F16 => !self.any_half(0x7c00),
            Format::Bf16 => !self.any_half(0x7f80),
            blocks => self
                .bytes
                .par_chunks_exact(blocks.bytes_of_block())
                .all(|block| blocks.scales().iter().all(|at| finite16(block, *at))),
        };
        match (fine, self.format.is_dense()) {
            (true, _) => Ok(()),
            (false, true) => bad("values"),
            (false, false) => bad("scales"),
        }
    }

    fn any_half(&self, exponent: u16) -> bool {
        self.bytes.par_chunks(1 << 16).any(|part| {
            part.as_chunks()
                .0
                .iter()
                .any(|b| u16::from_le_bytes(*b) & exponent == exponent)
        })
    }

    /// The matrix as `quant` wants it; `edge`: the embedding or the head.
    pub fn into_wanted(self, quant: Quant, edge: bool) -> Result<Matrix, WeightError> {
        match quant {
            Quant::Int8 { threshold } if !edge => self.into_int8(threshold),
            _ => {
                let target = wanted(quant, self.format, edge);
                self.into_matrix(target)
            }
        }
    }

    fn into_int8(self, threshold: f32) -> Result<Matrix, WeightError> {
        self.check_finite()?;
        let rows = |rows| self.dense(rows).map_err(Refused::Weight);
        Matrix::int8((self.rows, self.width), threshold, rows).map_err(|refused| match refused {
            Refused::Weight(error) => error,
            Refused::Kernel(error) => self.kernel(error),
        })
    }

    /// The matrix in `wanted`, or in the nearest format that its row width allows.
    pub fn into_matrix(self, wanted: Format) -> Result<Matrix, WeightError> {
        self.check_finite()?;
        let target = wanted.fitting(self.width).unwrap_or(self.format);
        if target != wanted {
            tracing::info!(tensor = self.name, width = self.width, %wanted, used = %target, "row width does not fit the format");
        }
        if target.computed_as() != target {
            tracing::info!(tensor = self.name, stored = %target, used = %target.computed_as(), "no kernels of its own");
        }
        let (name, rows, width) = (self.name, self.rows, self.width);
        let bytes = match target == self.format {
            true => self.bytes,
            false => Cow::Owned(self.quantized(target)?),
        };
        let stored = Stored {
            bytes,
            format: target,
            rows,
            width,
        };
        Matrix::from_stored(stored).map_err(|e| WeightError::new(name, e.to_string()))
    }

    fn quantized(&self, target: Format) -> Result<Vec<u8>, WeightError> {
        let at_once = (CHUNK_VALUES / self.width).max(1);
        let chunks: Vec<_> = (0..self.rows)
            .step_by(at_once)
            .map(|r| r..(r + at_once).min(self.rows))
            .collect();
        let parts = chunks
            .into_par_iter()
            .map(|range| {
                let dense = self.dense(range)?;
                if target == Format::F16 && dense.iter().any(|v| v.abs() > f16::MAX.to_f32()) {
                    return Err(self.wrong("has values beyond the range of f16; use bf16"));
                }
                encode(dense, self.width, target).map_err(|e| self.kernel(e))
            })
            .collect::<Result<Vec<Vec<u8>>, _>>()?;
        Ok(parts.concat())
    }

    /// A norm or bias as f32.
    pub fn into_vector(self) -> Result<Vec<f32>, WeightError> {
        self.check_finite()?;
        self.dense(0..self.rows)
    }
}

/// What refused rows on their way to int8.
enum Refused {
    Weight(WeightError),
    Kernel(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Kernel(error)
    }
}

/// What `quant` means for one matrix. The embedding and the head (`edge`) keep more bits than the formats below six give:
/// every token passes through them, and they hold the rarest rows.
pub(super) fn wanted(quant: Quant, stored: Format, edge: bool) -> Format {
    match quant {
        Quant::AsStored => stored,
        // Blocks of their own scales lose less than whole rows with one. A file that is quantized already keeps its bits.
        Quant::Int8 { .. } if stored.is_dense() => Format::Q8_0,
        Quant::Int8 { .. } => stored,
        Quant::To(format) if edge && format.bits() < Format::Q6K.bits() => Format::Q6K,
        Quant::To(format) => format,
    }
}

/// The format that a weight of `width` inputs, stored so, is held in; `None`: int8.
pub(super) fn held(quant: Quant, stored: Format, edge: bool, width: usize) -> Option<Format> {
    if matches!(quant, Quant::Int8 { .. }) && !edge {
        return None;
    }
    Some(wanted(quant, stored, edge).fitting(width).unwrap_or(stored))
}

#[cfg(test)]
mod tests;
