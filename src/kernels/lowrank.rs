//! A frozen linear layer and its trainable low-rank update, in one operation.

use std::sync::Arc;

use super::dropout::Dropout;
use super::gemm::{self, View};
use super::op::{Holds, Op, Wants};
use super::quant::Matrix;
use crate::device::{Array, Result, bail};

/// How the update is scaled, and which of its inputs it does not see.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub scale: f32,
    pub dropout: Option<Dropout>,
}

/// `x·Wᵀ + bias + scale · (drop(x) Aᵀ) Bᵀ` for x [T, in], A [r, in], B [out, r].
pub struct Through {
    pub weight: Arc<Matrix>,
    /// [out]
    pub bias: Option<Arc<[f32]>>,
    pub setting: Setting,
}

impl Setting {
    /// What the factors see of x: `None` where that is all of it.
    pub(super) fn dropped(&self, x: &[f32], width: usize) -> Option<Vec<f32>> {
        self.dropout.map(|dropout| {
            let mut x = x.to_vec();
            dropout.apply(&mut x, width);
            x
        })
    }
}

/// A or B as a matrix that lies dense in memory.
#[derive(Clone, Copy)]
pub(super) struct Factor<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
}

impl<'a> Factor<'a> {
    pub(super) fn of(array: &'a Array) -> Self {
        Self {
            values: array.values(),
            rows: array.rows(),
            columns: array.width(),
        }
    }

    fn view(self) -> View<'a> {
        View::dense(self.values, self.rows, self.columns)
    }
}

/// low = scale · seen·Aᵀ: [T, r]
pub(super) fn shrink(seen: &[f32], a: Factor<'_>, scale: f32) -> Vec<f32> {
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
pub(super) fn expand(low: &[f32], b: Factor<'_>, y: &mut [f32]) {
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
pub(super) fn expand_back(dy: &[f32], low: &[f32], b: Factor<'_>) -> (Vec<f32>, Vec<f32>) {
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
pub(super) fn shrink_back(dlow: &[f32], seen: &[f32], a: Factor<'_>, scale: f32) -> Vec<f32> {
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
pub(super) fn input_back(dlow: &[f32], a: Factor<'_>, setting: &Setting, dx: &mut [f32]) {
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

/// What the backward needs of a forward: x, A, B, and the product with A.
pub struct Kept {
    x: Array,
    a: Array,
    b: Array,
    low: Vec<f32>,
}

impl Holds for Kept {
    fn arrays(&mut self, show: &mut dyn FnMut(&mut Array)) {
        show(&mut self.x);
    }
}

impl Op for Through {
    type Saved = Kept;

    fn forward(&self, inputs: &[&Array], _: Wants) -> Result<(Array, Kept)> {
        let [x, a, b] = inputs else {
            bail!("a low-rank update takes rows and two factors")
        };
        let (outputs, width) = self.weight.dims();
        if x.width() != width || a.width() != width || b.dims() != (outputs, a.rows()) {
            bail!("{x:?} and factors {a:?} and {b:?} for a weight [{outputs}, {width}]");
        }
        let mut y = self.weight.product_and_bias(x, self.bias.as_deref())?;
        let dropped = self.setting.dropped(x.values(), width);
        let seen = dropped.as_deref().unwrap_or(x.values());
        let low = shrink(seen, Factor::of(a), self.setting.scale);
        expand(&low, Factor::of(b), y.values_mut());
        let kept = Kept {
            x: (*x).clone(),
            a: (*a).clone(),
            b: (*b).clone(),
            low,
        };
        Ok((y, kept))
    }

    fn backward(&self, kept: Kept, grad: Array, wants: Wants) -> Result<Vec<Option<Array>>> {
        let Kept { x, a, b, low } = kept;
        let (factor_a, factor_b) = (Factor::of(&a), Factor::of(&b));
        let (dlow, db) = expand_back(grad.values(), &low, factor_b);
        let dropped = self.setting.dropped(x.values(), x.width());
        let seen = dropped.as_deref().unwrap_or(x.values());
        let da = shrink_back(&dlow, seen, factor_a, self.setting.scale);
        // The input of the first adapted layer depends on nothing that learns.
        let dx = match wants.has(0) {
            true => {
                let mut dx = self.weight.backward_input(&grad)?;
                input_back(&dlow, factor_a, &self.setting, dx.values_mut());
                Some(dx)
            }
            false => None,
        };
        Ok(vec![
            dx,
            Some(Array::new(da, a.dims())?),
            Some(Array::new(db, b.dims())?),
        ])
    }
}

#[cfg(test)]
mod tests;
