//! Frozen layers that read the same rows, and what adapters add to each.

use std::ops::Range;

use super::work::Call;
use super::{Rows, RowsMut, Segment, check};
use crate::device::{Array, Error, Result, bail};
use crate::kernels::quant::{After, COLUMNS, Layer, product_each};
use crate::kernels::simd;

/// Rows of a segment, on average, from which their outputs are more to read again than its B: it is added to outputs as
/// they come then. With fewer, each B is read from end to end, which memory likes better than one piece of each at a time.
const MANY: usize = 4;

/// `layer(x)` with every segment's update, [T, n] for each layer, for x [T, k]. The updates of all layers go through
/// their A in one pass, and through their B in another or as outputs come: the numbers are the same.
pub fn through(x: &Array, layers: &[(&Layer<'_>, Vec<Segment<'_>>)]) -> Result<Vec<Array>> {
    let (rows, width) = x.dims();
    let x = x.values();
    let weights: Vec<_> = layers
        .iter()
        .map(|(layer, _)| (&**layer.weight, layer.bias.map(|bias| &**bias)))
        .collect();
    let from = Rows {
        data: x,
        stride: width,
    };
    for (layer, segments) in layers {
        let (outputs, inputs) = layer.weight.dims();
        if inputs != width {
            bail!("rows of {width} values for a weight [{outputs}, {inputs}]");
        }
        check(from, (rows * outputs, outputs), segments).map_err(Error::of)?;
    }
    let call = Call::new(
        simd::tier(),
        from,
        layers.iter().map(|(_, segments)| &segments[..]),
    );
    let all = layers.iter().flat_map(|(_, segments)| segments);
    let (count, of_adapters) = all.fold((0, 0), |(count, rows), segment| {
        (count + 1, rows + segment.rows.len())
    });
    let products = if of_adapters >= MANY * count && count > 0 {
        let updates = Updates::of(call, layers);
        product_each(x, &weights, Some(&updates))?
    } else {
        let mut products = product_each(x, &weights, None)?;
        let outputs = products.iter_mut().zip(layers);
        let mut outputs: Vec<_> = outputs
            .map(|(y, (layer, _))| RowsMut {
                data: y,
                stride: layer.weight.dims().0,
            })
            .collect();
        call.run(&mut outputs);
        products
    };
    let products = products.into_iter().zip(layers);
    products
        .map(|(y, (layer, _))| Array::new(y, (rows, layer.weight.dims().0)))
        .collect()
}

/// What adapters add, up to their B.
struct Updates<'a> {
    call: Call<'a>,
    hidden: Vec<f32>,
    /// Numbers of a row of each layer's result.
    strides: Vec<usize>,
}

// Pieces of results end where blocks of B do.
const _: () = assert!(COLUMNS == super::layout::BLOCK);

impl<'a> Updates<'a> {
    fn of(call: Call<'a>, layers: &[(&Layer<'_>, Vec<Segment<'_>>)]) -> Self {
        Self {
            hidden: call.shrink(),
            call,
            strides: layers.iter().map(|layer| layer.0.weight.dims().0).collect(),
        }
    }
}

impl After for Updates<'_> {
    fn ask(&self, layer: usize, columns: Range<usize>) {
        self.call.ask_for_columns(layer, columns);
    }

    unsafe fn add(&self, layer: usize, columns: Range<usize>, y: *mut f32) {
        let stride = self.strides[layer];
        // SAFETY: `through` has checked segments and weights against the rows that results have; the rest is the caller's
        // promise.
        unsafe {
            self.call
                .expand_columns(&self.hidden, layer, columns, y, stride);
        }
    }
}
