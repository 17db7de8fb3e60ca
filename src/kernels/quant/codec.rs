//! Blocks of weight formats to numbers and back, by candle's codecs.

use std::borrow::Cow;

use candle_core::quantized::{QStorage, QTensor};
use candle_core::{Device, Tensor};

use super::Format;
use crate::device::Result;

/// Rows of `width` values as a format stores them.
pub struct Stored<'a> {
    pub bytes: Cow<'a, [u8]>,
    pub format: Format,
    pub rows: usize,
    pub width: usize,
}

impl Stored<'_> {
    /// [rows, width]
    pub fn decode(self) -> Result<Vec<f32>> {
        let decoded = self.blocks()?.dequantize(&Device::Cpu)?;
        Ok(decoded.flatten_all()?.to_vec1()?)
    }

    pub(super) fn blocks(self) -> Result<QTensor> {
        let Self {
            bytes,
            format,
            rows,
            width,
        } = self;
        let storage = if (bytes.as_ptr() as usize).is_multiple_of(align_of::<f32>()) {
            QStorage::from_data(bytes, &Device::Cpu, format.ggml())?
        } else {
            // candle reads blocks in place and insists on their alignment; a tensor may lie anywhere in its file.
            let mut words = vec![0f32; bytes.len().div_ceil(size_of::<f32>())];
            let aligned = &mut bytemuck::cast_slice_mut(&mut words)[..bytes.len()];
            aligned.copy_from_slice(&bytes);
            QStorage::from_data(Cow::Borrowed(aligned), &Device::Cpu, format.ggml())?
        };
        Ok(QTensor::new(storage, (rows, width))?)
    }
}

/// Rows of `width` values, a whole number of the format's blocks, as it stores them.
pub fn encode(values: Vec<f32>, width: usize, format: Format) -> Result<Vec<u8>> {
    Ok(rounded(values, width, format)?.data()?.into_owned())
}

pub(super) fn rounded(values: Vec<f32>, width: usize, format: Format) -> Result<QTensor> {
    let rows = values.len() / width.max(1);
    let dense = Tensor::from_vec(values, (rows, width), &Device::Cpu)?;
    Ok(QTensor::quantize(&dense, format.ggml())?)
}
