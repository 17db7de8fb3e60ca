//! The host's arms of the operations, on plain vectors.

use std::ops::Range;

use adapterd::kernels::norm;
use adapterd::kernels::quant::Matrix;
use adapterd::kernels::segmented::{self, Factors, LowRank, Output, Precision, RowsMut};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

fn tensor(values: &[f32], rows: usize) -> Tensor {
    Tensor::from_slice(values, (rows, values.len() / rows), &Device::Cpu).unwrap()
}

fn flat(tensor: Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// x [rows, n · width] normalised in runs of `w`'s width.
pub fn rms_norm(x: &[f32], rows: usize, w: &[f32], eps: f32) -> Vec<f32> {
    let w = Tensor::from_slice(w, w.len(), &Device::Cpu).unwrap();
    flat(norm::rms_norm(&tensor(x, rows), &w, f64::from(eps)).unwrap())
}

/// W [n, k] as the blocks of a Q8_0 file.
pub fn stored_q8_0(w: &[f32], n: usize) -> Vec<u8> {
    let stored = QTensor::quantize(&tensor(w, n), GgmlDType::Q8_0).unwrap();
    stored.data().unwrap().to_vec()
}

/// x [rows, k] · Wᵀ + bias for the blocks of W [n, k].
pub fn product(x: &[f32], rows: usize, w: &[f32], n: usize, bias: Option<&[f32]>) -> Vec<f32> {
    let stored = QTensor::quantize(&tensor(w, n), GgmlDType::Q8_0).unwrap();
    let weight = Matrix::from_qtensor(stored).unwrap();
    let mut y = flat(weight.forward(&tensor(x, rows)).unwrap());
    if let Some(bias) = bias {
        let rows = y.chunks_exact_mut(n);
        rows.for_each(|row| row.iter_mut().zip(bias).for_each(|(y, b)| *y += b));
    }
    y
}

/// Adds what the segments' factors make of their rows of x [rows, inputs] to those of y [rows, outputs].
pub fn segmented(
    x: &[f32],
    y: &mut [f32],
    (inputs, outputs): (usize, usize),
    segments: &[(Range<usize>, Factors<'_>)],
) {
    let packed: Vec<LowRank> = segments
        .iter()
        .map(|(_, factors)| {
            LowRank::pack(&[*factors], Precision::Exact)
                .unwrap()
                .remove(0)
        })
        .collect();
    let segments: Vec<_> = segments
        .iter()
        .zip(&packed)
        .map(|((rows, _), weights)| segmented::Segment {
            rows: rows.clone(),
            weights,
        })
        .collect();
    let x = segmented::Rows {
        data: x,
        stride: inputs,
    };
    let y = RowsMut {
        data: y,
        stride: outputs,
    };
    let segments = &segments;
    segmented::add(x, &mut [Output { y, segments }]).unwrap();
}
