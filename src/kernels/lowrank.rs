//! A trainable low-rank update of a linear layer, tracked to its input and to both factors.
//!
//! [`through`] is the layer and its update in one operation; [`update`] adds the update to an output that is there
//! already, tracked to that output as well. Both share their arithmetic.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::dropout::Dropout;
use super::gemm::{self, View};
use super::quant::Layer;
use super::values::{self, Values};

/// How the update is scaled, and which of its inputs it does not see.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub scale: f32,
    pub dropout: Option<Dropout>,
}

/// `layer(x) + scale · (drop(x) Aᵀ) Bᵀ` for x [T, in], A [r, in], B [out, r], all f32.
///
/// What is not tracked gets no gradient: the input of the first adapted layer depends on nothing that learns.
pub fn through(
    x: &Tensor,
    layer: &Layer<'_>,
    (a, b): (&Tensor, &Tensor),
    setting: Setting,
) -> Result<Tensor> {
    let op = Through {
        weight: layer.weight.clone(),
        bias: layer.bias.cloned(),
        setting,
        input_learns: x.track_op(),
        low: OnceLock::new(),
    };
    x.contiguous()?
        .apply_op3(&a.contiguous()?, &b.contiguous()?, op)
}

/// `y + scale · (drop(x) Aᵀ) Bᵀ` for y [T, out]; the rest as in [`through`].
pub fn update(
    y: &Tensor,
    x: &Tensor,
    (a, b): (&Tensor, &Tensor),
    setting: Setting,
) -> Result<Tensor> {
    let shrink = Shrink {
        setting,
        input_learns: x.track_op(),
    };
    let expand = Expand {
        output_learns: y.track_op(),
    };
    let low = x.contiguous()?.apply_op2(&a.contiguous()?, shrink)?;
    y.contiguous()?.apply_op3(&low, &b.contiguous()?, expand)
}

impl Setting {
    /// What the factors see of x: `None` where that is all of it.
    fn dropped(&self, x: &[f32], width: usize) -> Option<Vec<f32>> {
        self.dropout.map(|dropout| {
            let mut x = x.to_vec();
            dropout.apply(&mut x, width);
            x
        })
    }
}

/// A or B as a matrix that lies dense in memory.
#[derive(Clone, Copy)]
struct Factor<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
}

impl<'a> Factor<'a> {
    fn view(self) -> View<'a> {
        View::dense(self.values, self.rows, self.columns)
    }
}

/// low = scale · seen·Aᵀ: [T, r]
fn shrink(seen: &[f32], a: Factor<'_>, scale: f32) -> Vec<f32> {
    let tokens = seen.len() / a.columns.max(1);
    let mut low = vec![0.0; tokens * a.rows];
    gemm::parallel(
        View::dense(seen, tokens, a.columns),
        a.view().transposed(),
        &mut low,
        0.0,
        scale,
    );
    low
}

/// y += low·Bᵀ
fn expand(low: &[f32], b: Factor<'_>, y: &mut [f32]) {
    let tokens = low.len() / b.columns.max(1);
    gemm::parallel(
        View::dense(low, tokens, b.columns),
        b.view().transposed(),
        y,
        1.0,
        1.0,
    );
}

/// Gradients of low [T, r] and B [out, r] for dy [T, out].
fn expand_back(dy: &[f32], low: &[f32], b: Factor<'_>) -> (Vec<f32>, Vec<f32>) {
    let tokens = low.len() / b.columns.max(1);
    let dy = View::dense(dy, tokens, b.rows);
    let mut dlow = vec![0.0; tokens * b.columns];
    gemm::parallel(dy, b.view(), &mut dlow, 0.0, 1.0);
    let mut db = vec![0.0; b.rows * b.columns];
    gemm::parallel(
        dy.transposed(),
        View::dense(low, tokens, b.columns),
        &mut db,
        0.0,
        1.0,
    );
    (dlow, db)
}

/// Gradient of A [r, in].
fn shrink_back(dlow: &[f32], seen: &[f32], a: Factor<'_>, scale: f32) -> Vec<f32> {
    let tokens = dlow.len() / a.rows.max(1);
    let mut da = vec![0.0; a.rows * a.columns];
    let dlow = View::dense(dlow, tokens, a.rows).transposed();
    gemm::parallel(
        dlow,
        View::dense(seen, tokens, a.columns),
        &mut da,
        0.0,
        scale,
    );
    da
}

/// Adds the gradient that reaches x by way of the factors to `dx` [T, in].
fn input_back(dlow: &[f32], a: Factor<'_>, setting: &Setting, dx: &mut [f32]) {
    let tokens = dlow.len() / a.rows.max(1);
    let dlow = View::dense(dlow, tokens, a.rows);
    match &setting.dropout {
        None => gemm::parallel(dlow, a.view(), dx, 1.0, setting.scale),
        Some(dropout) => {
            let mut seen = vec![0.0; dx.len()];
            gemm::parallel(dlow, a.view(), &mut seen, 0.0, setting.scale);
            dropout.apply(&mut seen, a.columns);
            dx.iter_mut().zip(seen).for_each(|(dx, seen)| *dx += seen);
        }
    }
}

struct Through {
    weight: Arc<super::quant::Matrix>,
    bias: Option<Arc<[f32]>>,
    setting: Setting,
    input_learns: bool,
    /// The product with A, kept for the gradient of B.
    low: OnceLock<Vec<f32>>,
}

impl CustomOp3 for Through {
    fn name(&self) -> &'static str {
        "low-rank-through"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (tokens, inputs) = x_layout.shape().dims2()?;
        let (outputs, width) = self.weight.dims();
        let rank = fitting(a_layout.shape(), b_layout.shape(), (inputs, outputs))?;
        if width != inputs {
            bail!("a weight [{outputs}, {width}] for an input [{tokens}, {inputs}]");
        }
        let x = values::slice(x, x_layout)?;
        let a = Factor {
            values: values::slice(a, a_layout)?,
            rows: rank,
            columns: inputs,
        };
        let b = Factor {
            values: values::slice(b, b_layout)?,
            rows: outputs,
            columns: rank,
        };
        let mut y = self.weight.product_and_bias(x, self.bias.as_deref())?;
        let dropped = self.setting.dropped(x, inputs);
        let low = shrink(dropped.as_deref().unwrap_or(x), a, self.setting.scale);
        expand(&low, b, &mut y);
        // An operation runs forward once; were it run again, the product would be the same.
        let _ = self.low.set(low);
        values::result(y, (tokens, outputs))
    }

    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (tokens, inputs) = x.dims2()?;
        let (outputs, rank) = b.dims2()?;
        let Some(low) = self.low.get() else {
            bail!("a backward pass without its forward")
        };
        let dy = grad.contiguous()?;
        let (dy, x, a, b) = (
            Values::of(&dy)?,
            Values::of(x)?,
            Values::of(a)?,
            Values::of(b)?,
        );
        let a = Factor {
            values: &a,
            rows: rank,
            columns: inputs,
        };
        let b = Factor {
            values: &b,
            rows: outputs,
            columns: rank,
        };
        let (dlow, db) = expand_back(&dy, low, b);
        let dropped = self.setting.dropped(&x, inputs);
        let da = shrink_back(
            &dlow,
            dropped.as_deref().unwrap_or(&x),
            a,
            self.setting.scale,
        );
        let dx = if self.input_learns {
            let mut dx = self.weight.transposed_product(&dy)?;
            input_back(&dlow, a, &self.setting, &mut dx);
            Some(values::tensor(dx, (tokens, inputs))?)
        } else {
            None
        };
        Ok((
            dx,
            Some(values::tensor(da, (rank, inputs))?),
            Some(values::tensor(db, (outputs, rank))?),
        ))
    }
}

/// The rank of factors that fit a layer of `inputs` and `outputs`.
fn fitting(a: &Shape, b: &Shape, (inputs, outputs): (usize, usize)) -> Result<usize> {
    let (rank, width) = a.dims2()?;
    if width != inputs || b.dims() != [outputs, rank] {
        bail!("factors {a:?} and {b:?} for a layer from {inputs} to {outputs}");
    }
    Ok(rank)
}

/// `scale · drop(x) Aᵀ`
struct Shrink {
    setting: Setting,
    input_learns: bool,
}

impl CustomOp2 for Shrink {
    fn name(&self) -> &'static str {
        "low-rank-shrink"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (tokens, inputs) = x_layout.shape().dims2()?;
        let (rank, width) = a_layout.shape().dims2()?;
        if width != inputs {
            bail!("A [{rank}, {width}] for an input [{tokens}, {inputs}]");
        }
        let x = values::slice(x, x_layout)?;
        let a = Factor {
            values: values::slice(a, a_layout)?,
            rows: rank,
            columns: inputs,
        };
        let dropped = self.setting.dropped(x, inputs);
        let low = shrink(dropped.as_deref().unwrap_or(x), a, self.setting.scale);
        values::result(low, (tokens, rank))
    }

    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        _low: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (tokens, inputs) = x.dims2()?;
        let rank = a.dims2()?.0;
        let grad = grad.contiguous()?;
        let (dlow, x, a) = (Values::of(&grad)?, Values::of(x)?, Values::of(a)?);
        let a = Factor {
            values: &a,
            rows: rank,
            columns: inputs,
        };
        let dropped = self.setting.dropped(&x, inputs);
        let da = shrink_back(
            &dlow,
            dropped.as_deref().unwrap_or(&x),
            a,
            self.setting.scale,
        );
        let dx = if self.input_learns {
            let mut dx = vec![0.0; tokens * inputs];
            input_back(&dlow, a, &self.setting, &mut dx);
            Some(values::tensor(dx, (tokens, inputs))?)
        } else {
            None
        };
        Ok((dx, Some(values::tensor(da, (rank, inputs))?)))
    }
}

/// `y + low Bᵀ`
struct Expand {
    output_learns: bool,
}

impl CustomOp3 for Expand {
    fn name(&self) -> &'static str {
        "low-rank-expand"
    }

    fn cpu_fwd(
        &self,
        y: &CpuStorage,
        y_layout: &Layout,
        low: &CpuStorage,
        low_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (tokens, outputs) = y_layout.shape().dims2()?;
        let (rows, rank) = low_layout.shape().dims2()?;
        if rows != tokens || b_layout.shape().dims() != [outputs, rank] {
            bail!(
                "B {:?} for an output [{tokens}, {outputs}] at rank {rank}",
                b_layout.shape()
            );
        }
        let mut sum = values::slice(y, y_layout)?.to_vec();
        let b = Factor {
            values: values::slice(b, b_layout)?,
            rows: outputs,
            columns: rank,
        };
        expand(values::slice(low, low_layout)?, b, &mut sum);
        values::result(sum, (tokens, outputs))
    }

    fn bwd(
        &self,
        _y: &Tensor,
        low: &Tensor,
        b: &Tensor,
        _sum: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (tokens, rank) = low.dims2()?;
        let outputs = b.dims2()?.0;
        let dy = grad.contiguous()?;
        let (dlow, db) = {
            let (grad, low, b) = (Values::of(&dy)?, Values::of(low)?, Values::of(b)?);
            expand_back(
                &grad,
                &low,
                Factor {
                    values: &b,
                    rows: outputs,
                    columns: rank,
                },
            )
        };
        let (dlow, db) = (
            values::tensor(dlow, (tokens, rank))?,
            values::tensor(db, (outputs, rank))?,
        );
        Ok((self.output_learns.then_some(dy), Some(dlow), Some(db)))
    }
}

#[cfg(test)]
mod tests;
