//! The host's arms of the operations, on plain vectors.

use std::ops::Range;
use std::sync::Arc;

use adapterd::device::Array;
use adapterd::kernels::norm::RmsNorm;
use adapterd::kernels::op::{Op, Wants};
use adapterd::kernels::quant::{self, Format, Layer, Matrix};
use adapterd::kernels::segmented::{self, Factors, LowRank, Precision};

fn array(values: &[f32], rows: usize) -> Array {
    Array::new(values.to_vec(), (rows, values.len() / rows)).unwrap()
}

/// x [rows, n · width] normalised in runs of `w`'s width.
pub fn rms_norm(x: &[f32], rows: usize, w: &[f32], eps: f32) -> Vec<f32> {
    let (norm, inputs) = (RmsNorm { eps }, [array(x, rows), array(w, 1)]);
    let done = norm.forward(&inputs.each_ref(), Wants::default());
    done.unwrap().0.into_values()
}

/// W [n, k] as the blocks of a Q8_0 file.
pub fn stored_q8_0(w: &[f32], n: usize) -> Vec<u8> {
    quant::encode(w.to_vec(), w.len() / n, Format::Q8_0).unwrap()
}

/// x [rows, k] · Wᵀ + bias for the blocks of W [n, k].
pub fn product(x: &[f32], rows: usize, w: &[f32], n: usize, bias: Option<&[f32]>) -> Vec<f32> {
    let weight = Matrix::quantize(&array(w, n), Format::Q8_0).unwrap();
    let mut y = weight.forward(&array(x, rows)).unwrap().into_values();
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
    // A layer of zeros, through which only updates come.
    let zeros = Array::zeros((outputs, inputs));
    let weight = Arc::new(Matrix::quantize(&zeros, Format::F32).unwrap());
    let layer = Layer {
        weight: &weight,
        bias: None,
    };
    let x = array(x, x.len() / inputs);
    let updates = segmented::through(&x, &[(&layer, segments)]).unwrap();
    let updates = updates[0].values();
    y.iter_mut()
        .zip(updates)
        .for_each(|(y, update)| *y += update);
}
