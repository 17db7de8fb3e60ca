//! From stored bytes to what a base computes with: values checked to be finite, rows quantized in parallel.

use std::borrow::Cow;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;

use super::WeightError;
use crate::kernels::quant::Matrix;

/// The format a base's matrices are held in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quant {
    AsStored,
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4K,
    Q4_0,
}

/// One tensor as it lies in its file. Rows are `width` values wide and independent of each other.
pub(super) struct Raw<'a> {
    pub name: &'a str,
    pub bytes: Cow<'a, [u8]>,
    pub dtype: GgmlDType,
    pub rows: usize,
    pub width: usize,
}

/// Rows turned to f32 at a time: bounds what a conversion holds beside its result.
const CHUNK_VALUES: usize = 1 << 18;

impl Raw<'_> {
    pub fn row_bytes(&self) -> usize {
        self.width / self.dtype.block_size() * self.dtype.type_size()
    }

    fn wrong(&self, why: impl Into<String>) -> WeightError {
        WeightError::new(self.name, why)
    }

    fn candle(&self, error: candle_core::Error) -> WeightError {
        self.wrong(error.to_string())
    }

    /// Rows `range` as f32. The bytes are known to be whole rows.
    fn dense(&self, range: std::ops::Range<usize>) -> Result<Vec<f32>, WeightError> {
        let bytes = &self.bytes[range.start * self.row_bytes()..range.end * self.row_bytes()];
        Ok(match self.dtype {
            GgmlDType::F32 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
            GgmlDType::F16 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| f16::from_le_bytes(*b).to_f32())
                .collect(),
            GgmlDType::BF16 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| bf16::from_le_bytes(*b).to_f32())
                .collect(),
            _ => qtensor(Cow::Borrowed(bytes), self.dtype, range.len(), self.width)
                .and_then(|q| q.dequantize(&Device::Cpu))
                .and_then(|t| t.flatten_all()?.to_vec1())
                .map_err(|e| self.candle(e))?,
        })
    }

    /// Fails on the first value that is not a finite number.
    pub fn check_finite(&self) -> Result<(), WeightError> {
        let bad = |what: &str| Err(self.wrong(format!("has {what} that are not finite numbers")));
        let finite16 =
            |block: &[u8], at: usize| f16::from_le_bytes([block[at], block[at + 1]]).is_finite();
        let all = |scales: &'static [usize]| {
            self.bytes
                .par_chunks_exact(self.dtype.type_size())
                .all(|block| scales.iter().all(|at| finite16(block, *at)))
        };
        // A block format holds small integers and half-precision scales; only the scales can be bad. Positions within a
        // block are those of ggml.
        let fine = match self.dtype {
            GgmlDType::F32 => {
                let exponent = 0x7f80_0000;
                !self.bytes.par_chunks(1 << 16).any(|part| {
                    part.as_chunks()
                        .0
                        .iter()
                        .any(|b| u32::from_le_bytes(*b) & exponent == exponent)
                })
            }
            GgmlDType::F16 => !self.any_half(0x7c00),
            GgmlDType::BF16 => !self.any_half(0x7f80),
            GgmlDType::Q4_0 | GgmlDType::Q5_0 | GgmlDType::Q8_0 => all(&[0]),
            GgmlDType::Q4_1
            | GgmlDType::Q5_1
            | GgmlDType::Q8_1
            | GgmlDType::Q4K
            | GgmlDType::Q5K => all(&[0, 2]),
            GgmlDType::Q2K => all(&[80, 82]),
            GgmlDType::Q3K => all(&[108]),
            GgmlDType::Q6K => all(&[208]),
            GgmlDType::Q8K => self
                .bytes
                .par_chunks_exact(self.dtype.type_size())
                .all(|block| {
                    f32::from_le_bytes([block[0], block[1], block[2], block[3]]).is_finite()
                }),
        };
        match (fine, self.dtype) {
            (true, _) => Ok(()),
            (false, GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16) => bad("values"),
            (false, _) => bad("scales"),
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

    /// The matrix in `dtype`, or in the nearest format that its row width allows.
    pub fn into_matrix(self, wanted: GgmlDType) -> Result<Matrix, WeightError> {
        self.check_finite()?;
        let target = fitting(wanted, self.dtype, self.width);
        if target != wanted {
            tracing::info!(tensor = self.name, width = self.width, wanted = ?wanted, used = ?target, "row width does not fit the format");
        }
        let (name, rows, width) = (self.name, self.rows, self.width);
        let made = if target == self.dtype {
            qtensor(self.bytes, target, rows, width)
        } else {
            qtensor(Cow::Owned(self.quantized(target)?), target, rows, width)
        };
        made.and_then(Matrix::from_qtensor)
            .map_err(|e| WeightError::new(name, e.to_string()))
    }

    fn quantized(&self, target: GgmlDType) -> Result<Vec<u8>, WeightError> {
        let at_once = (CHUNK_VALUES / self.width).max(1);
        let chunks: Vec<_> = (0..self.rows)
            .step_by(at_once)
            .map(|r| r..(r + at_once).min(self.rows))
            .collect();
        let parts = chunks
            .into_par_iter()
            .map(|range| {
                let rows = range.len();
                let dense = self.dense(range)?;
                if target == GgmlDType::F16 && dense.iter().any(|v| v.abs() > f16::MAX.to_f32()) {
                    return Err(self.wrong("has values beyond the range of f16; use bf16"));
                }
                let encode = || {
                    let tensor = Tensor::from_vec(dense, (rows, self.width), &Device::Cpu)?;
                    Ok(QTensor::quantize(&tensor, target)?.data()?.into_owned())
                };
                encode().map_err(|e| self.candle(e))
            })
            .collect::<Result<Vec<Vec<u8>>, _>>()?;
        Ok(parts.concat())
    }

    /// A norm or bias as f32 [n].
    pub fn into_vector(self) -> Result<Tensor, WeightError> {
        self.check_finite()?;
        let values = self.dense(0..self.rows)?;
        let len = values.len();
        Tensor::from_vec(values, len, &Device::Cpu).map_err(|e| self.candle(e))
    }
}

fn qtensor(
    bytes: Cow<'_, [u8]>,
    dtype: GgmlDType,
    rows: usize,
    width: usize,
) -> candle_core::Result<QTensor> {
    let storage = if (bytes.as_ptr() as usize).is_multiple_of(align_of::<f32>()) {
        QStorage::from_data(bytes, &Device::Cpu, dtype)?
    } else {
        // candle reads blocks in place and insists on their alignment; a tensor may lie anywhere in its file.
        let mut words = vec![0f32; bytes.len().div_ceil(size_of::<f32>())];
        let aligned = &mut bytemuck::cast_slice_mut(&mut words)[..bytes.len()];
        aligned.copy_from_slice(&bytes);
        QStorage::from_data(Cow::Borrowed(aligned), &Device::Cpu, dtype)?
    };
    QTensor::new(storage, (rows, width))
}

/// What `quant` means for one matrix. The embedding and the head keep more bits than the 4-bit formats give: every
/// token passes through them, and they hold the rarest rows.
pub(super) fn wanted(quant: Quant, stored: GgmlDType, edge: bool) -> GgmlDType {
    match (quant, edge) {
        (Quant::AsStored, _) => stored,
        (Quant::F32, _) => GgmlDType::F32,
        (Quant::F16, _) => GgmlDType::F16,
        (Quant::Bf16, _) => GgmlDType::BF16,
        (Quant::Q8_0, _) => GgmlDType::Q8_0,
        (Quant::Q4K | Quant::Q4_0, true) => GgmlDType::Q6K,
        (Quant::Q4K, false) => GgmlDType::Q4K,
        (Quant::Q4_0, false) => GgmlDType::Q4_0,
    }
}

/// The nearest format with at least the precision of `wanted` whose blocks divide a row.
pub(super) fn fitting(wanted: GgmlDType, stored: GgmlDType, width: usize) -> GgmlDType {
    let fits = |dtype: GgmlDType| width.is_multiple_of(dtype.block_size());
    let next = match wanted {
        GgmlDType::Q4K => GgmlDType::Q5_0,
        _ => GgmlDType::Q8_0,
    };
    [wanted, next]
        .into_iter()
        .find(|d| fits(*d))
        .unwrap_or(stored)
}

#[cfg(test)]
mod tests;
