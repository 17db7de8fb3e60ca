//! Frozen layers that read the same rows, and what adapters add to each.

use candle_core::{Error, Result, Tensor};

use super::{Output, Rows, RowsMut, Segment, add};
use crate::kernels::quant::{Layer, product_each};
use crate::kernels::values::{self, Values};

/// `layer(x)` with every segment's update, [T, n] for each layer, for x [T, k]. The updates of all layers go through
/// their A in one pass, and through their B in another. Untracked.
pub fn through(x: &Tensor, layers: &[(&Layer<'_>, Vec<Segment<'_>>)]) -> Result<Vec<Tensor>> {
    let (rows, width) = x.dims2()?;
    let x = x.contiguous()?;
    let x = Values::of(&x)?;
    let weights: Vec<_> = layers
        .iter()
        .map(|(layer, _)| (&**layer.weight, layer.bias.map(|bias| &**bias)))
        .collect();
    let mut products = product_each(&x, &weights)?;
    let outputs = products.iter_mut().zip(layers);
    let mut outputs: Vec<_> = outputs
        .map(|(y, (layer, segments))| Output {
            y: RowsMut {
                data: y,
                stride: layer.weight.dims().0,
            },
            segments,
        })
        .collect();
    let x = Rows {
        data: &x,
        stride: width,
    };
    add(x, &mut outputs).map_err(Error::wrap)?;
    let products = products.into_iter().zip(layers);
    products
        .map(|(y, (layer, _))| values::tensor(y, (rows, layer.weight.dims().0)))
        .collect()
}
