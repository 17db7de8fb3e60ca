//! A forward through factors and biases that learn.

use std::sync::Arc;

use super::{Factors, Lora, Part};
use crate::adapter::{Adapt, Outer, Site};
use crate::device::Result;
use crate::kernels::Dropout;
use crate::kernels::activation::Residual;
use crate::kernels::dora::{Drop, Magnitude, column_norms, row_norms};
use crate::kernels::lookup::LowRankLookup;
use crate::kernels::loss::AdaptedHead;
use crate::kernels::lowrank::{Setting, Through};
use crate::kernels::op::{Run, Value};
use crate::kernels::quant::{Layer, Matrix};
use crate::kernels::scale::Shift;
use crate::trainer::account::{Bias, Footprint, Outermost, Touch};
use crate::trainer::methods::Masks;

pub(super) struct Learning<'a> {
    pub of: &'a Factors,
    pub masks: Option<Masks>,
}

impl Adapt for Learning<'_> {
    fn through(&self, run: Run<'_, '_>, site: Site, x: &Value, layer: &Layer<'_>) -> Result<Value> {
        let bias = self.of.biases.get(&site);
        let layer = Layer {
            weight: layer.weight,
            bias: layer.bias.filter(|_| bias.is_none()),
        };
        let dropout = self.masks.map(|masks| masks.at(site));
        let y = match self.of.parts.get(site) {
            None => layer.forward(run, x)?,
            Some(part) => adapted(run, part, x, &layer, dropout)?,
        };
        match bias {
            None => Ok(y),
            Some(bias) => run.op(Shift, &[&y, &run.parameter(bias)]),
        }
    }

    fn embedded(&self, run: Run<'_, '_>, tokens: &[u32], x: Value) -> Result<Value> {
        let Some((part, weight)) = self.of.outer.get(&Outer::Embedding) else {
            return Ok(x);
        };
        let (a, b) = (run.parameter(&part.a), run.parameter(&part.b));
        let lookup = LowRankLookup {
            ids: tokens.into(),
            scale: part.scale,
        };
        let sum = run.op(Residual, &[&x, &run.op(lookup, &[&a, &b])?])?;
        let Some(magnitude) = &part.magnitude else {
            return Ok(sum);
        };
        let op = Magnitude {
            norms: column_norms(weight, (&a, &b), part.scale)?.into(),
            bias: None,
        };
        run.op(op, &[&sum, &run.parameter(magnitude)])
    }

    fn head(&self, run: Run<'_, '_>, x: &Value, head: &Layer<'_>) -> Result<Value> {
        match self.of.outer.get(&Outer::Head) {
            None => head.forward(run, x),
            Some((part, _)) => adapted(run, part, x, head, None),
        }
    }

    fn token_losses(
        &self,
        run: Run<'_, '_>,
        hidden: &Value,
        targets: &[u32],
        head: &Arc<Matrix>,
    ) -> Result<Value> {
        let Some((part, _)) = self.of.outer.get(&Outer::Head) else {
            return crate::adapter::Unadapted.token_losses(run, hidden, targets, head);
        };
        let (a, b) = (run.parameter(&part.a), run.parameter(&part.b));
        let norms = match part.magnitude {
            None => None,
            Some(_) => Some(row_norms(head, (&a, &b), part.scale)?.into()),
        };
        let op = AdaptedHead {
            weight: head.clone(),
            targets: targets.into(),
            setting: Setting {
                scale: part.scale,
                dropout: self.masks.map(Masks::at_head),
            },
            norms,
        };
        match &part.magnitude {
            None => run.op(op, &[hidden, &a, &b]),
            Some(lengths) => run.op(op, &[hidden, &a, &b, &run.parameter(lengths)]),
        }
    }
}

impl Lora {
    /// What such a forward does, as far as memory goes.
    pub(super) fn footprint(&self) -> Footprint {
        let (magnitude, dropout) = (self.settings.use_dora, self.settings.dropout > 0.0);
        let touches = self.sites.iter().map(|at| {
            let touch = Touch::LowRank {
                rank: at.rank,
                magnitude,
                dropout,
            };
            (at.shape.site, touch)
        });
        let outermost = |wanted| {
            let found = self.outer.iter().find(|at| at.outer == wanted);
            found.map_or(Outermost::Frozen, |at| Outermost::LowRank {
                rank: at.rank,
                magnitude,
            })
        };
        let biases = self.biases.keys();
        Footprint {
            linears: touches.collect(),
            biases: biases.map(|site| (*site, Bias::Shift)).collect(),
            embedding: outermost(Outer::Embedding),
            head: outermost(Outer::Head),
            ..Footprint::default()
        }
    }
}

/// What comes out of a layer with its update.
fn adapted(
    run: Run<'_, '_>,
    part: &Part,
    x: &Value,
    layer: &Layer<'_>,
    dropout: Option<Dropout>,
) -> Result<Value> {
    let (a, b) = (run.parameter(&part.a), run.parameter(&part.b));
    let Some(magnitude) = &part.magnitude else {
        let op = Through {
            weight: layer.weight.clone(),
            bias: layer.bias.cloned(),
            setting: Setting {
                scale: part.scale,
                dropout,
            },
        };
        return run.op(op, &[x, &a, &b]);
    };
    // As PEFT: norms are constants of a step, the layer's bias is not scaled, and what dropout takes from both products
    // goes through the base alone.
    let norms = row_norms(layer.weight, (&a, &b), part.scale)?;
    let seen = match dropout {
        Some(dropout) => &run.op(
            Drop {
                dropout,
                rest: false,
            },
            &[x],
        )?,
        None => x,
    };
    let op = Through {
        weight: layer.weight.clone(),
        bias: None,
        setting: Setting {
            scale: part.scale,
            dropout: None,
        },
    };
    let sum = run.op(op, &[seen, &a, &b])?;
    let op = Magnitude {
        norms: norms.into(),
        bias: layer.bias.cloned(),
    };
    let y = run.op(op, &[&sum, &run.parameter(magnitude)])?;
    let Some(dropout) = dropout else {
        return Ok(y);
    };
    let rest = Drop {
        dropout,
        rest: true,
    };
    let plain = Layer {
        weight: layer.weight,
        bias: None,
    };
    let rest = plain.forward(run, &run.op(rest, &[x])?)?;
    run.op(Residual, &[&y, &rest])
}
