//! A linear layer of a block: the place where adapters act.

use std::sync::Arc;

use super::weight::{Bias, Weight};
use super::{At, Step};
use crate::adapter::{BaseTensor, Module, Site, SiteShape};
use crate::device::{Result, bail};
use crate::kernels::op::Value;
use crate::kernels::quant::Matrix;
use crate::model::weights::WeightError;

pub(in crate::model) struct Linear {
    weight: Weight,
    bias: Option<Bias>,
    shape: SiteShape,
}

impl Linear {
    pub fn new(
        at: &mut At<'_>,
        module: Module,
        (outputs, inputs): (usize, usize),
        bias: bool,
    ) -> std::result::Result<Self, WeightError> {
        let site = Site {
            layer: at.layer(),
            module,
        };
        let weight = at.matrix(&format!("{}.weight", site.path()), (outputs, inputs))?;
        let bias = match bias {
            true => {
                let path = format!("{}.bias", site.path());
                let vector = at.vector(&path, outputs)?;
                Some(Bias::new(vector))
            }
            false => None,
        };
        Ok(Self {
            weight,
            bias,
            shape: SiteShape {
                site,
                inputs,
                outputs,
            },
        })
    }

    pub fn shape(&self) -> SiteShape {
        self.shape
    }

    /// Its weight and bias by their paths, where they are frozen.
    pub fn tensors(&self) -> Vec<(String, BaseTensor)> {
        let path = self.shape.site.path();
        let weight = self.matrix().map(BaseTensor::Matrix);
        let bias = self.bias.as_ref().and_then(Bias::array);
        let weight = weight.map(|weight| (format!("{path}.weight"), weight));
        let bias = bias.map(|bias| (format!("{path}.bias"), BaseTensor::Vector(bias)));
        weight.into_iter().chain(bias).collect()
    }

    /// The weight, where it is frozen.
    pub fn matrix(&self) -> Option<Arc<Matrix>> {
        match &self.weight {
            Weight::Frozen(matrix) => Some(matrix.clone()),
            Weight::Learning(_) => None,
        }
    }

    /// What each of `linears`, which read the same x, makes of it.
    pub fn each<const N: usize>(
        linears: [&Self; N],
        x: &Value,
        step: &Step<'_, '_>,
    ) -> Result<[Value; N]> {
        let frozen = linears.iter().map(|linear| {
            let layer = linear.weight.frozen_layer(linear.bias.as_ref())?;
            Some((linear.shape.site, layer))
        });
        let outputs = match frozen.collect::<Option<Vec<_>>>() {
            Some(layers) => step.adapt.through_each(step.run, x, &layers)?,
            None => {
                let outputs = linears.iter().map(|linear| linear.forward(x, step));
                outputs.collect::<Result<_>>()?
            }
        };
        let count = outputs.len();
        let Ok(outputs) = outputs.try_into() else {
            bail!("{count} outputs of {N} layers")
        };
        Ok(outputs)
    }

    /// x [T, inputs]: [T, outputs], as the step's adapters change it.
    pub fn forward(&self, x: &Value, step: &Step<'_, '_>) -> Result<Value> {
        let site = self.shape.site;
        if let Some(layer) = self.weight.frozen_layer(self.bias.as_ref()) {
            return step.adapt.through(step.run, site, x, &layer);
        }
        // What learns all its weights has no adapter.
        self.weight.project(step.run, x, self.bias.as_ref())
    }
}
