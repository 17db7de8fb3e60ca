//! What a job trains: the factors A and B of every adapted layer.

use std::collections::BTreeMap;

use super::rng::{self, Purpose};
use crate::adapter::peft::LoraSite;
use crate::adapter::{Adapt, Adapter, Precision, Site, SiteMap, Uniform};
use crate::device::{Array, Result, bail};
use crate::kernels::Dropout;
use crate::kernels::lowrank::{Setting, Through};
use crate::kernels::op::{Run, Value};
use crate::kernels::quant::Layer;
use crate::kernels::segmented::{Factors, LowRank, Matrix};
use crate::kernels::tape::Parameter;

/// The trainable tensors, in a fixed order: by layer and module, A before B.
pub struct Trainable {
    parts: SiteMap<Part>,
}

struct Part {
    /// [rank, inputs]
    a: Parameter,
    /// [outputs, rank]
    b: Parameter,
    scale: f32,
}

impl Trainable {
    /// A fresh adapter: A uniform in ±1/√inputs (Kaiming's rule with a = √5, PEFT's default), B zero.
    pub fn fresh(sites: &[LoraSite], seed: u64) -> Result<Self> {
        Self::build(sites, |LoraSite { shape, rank, .. }| {
            let at = [shape.site.layer as u64, shape.site.module as u64];
            let mut words = rng::stream(seed, Purpose::Init, &at);
            let bound = 1.0 / (shape.inputs as f32).sqrt();
            let values =
                (0..rank * shape.inputs).map(|_| bound * (2.0 * rng::unit(&mut words) - 1.0));
            let a = Array::new(values.collect(), (*rank, shape.inputs))?;
            Ok((a, Array::zeros((shape.outputs, *rank))))
        })
    }

    /// The factors of `parent`, to be trained further.
    pub fn continuing(sites: &[LoraSite], parent: &Adapter) -> Result<Self> {
        Self::build(sites, |site| match parent.lora_site(site.shape.site) {
            Some((a, b, _)) => Ok((a, b)),
            None => bail!(
                "the adapter to continue from has no factors for {}",
                site.shape.site.path()
            ),
        })
    }

    fn build(
        sites: &[LoraSite],
        factors: impl Fn(&LoraSite) -> Result<(Array, Array)>,
    ) -> Result<Self> {
        let mut parts = SiteMap::default();
        for site in sites {
            let (a, b) = factors(site)?;
            let part = Part {
                a: Parameter::new(a),
                b: Parameter::new(b),
                scale: site.scale as f32,
            };
            parts.insert(site.shape.site, part);
        }
        Ok(Self { parts })
    }

    /// Every trainable tensor with its name in an adapter's weights file.
    pub fn parameters(&self) -> impl Iterator<Item = (String, &Parameter)> {
        self.parts.iter().flat_map(|(site, part)| {
            crate::adapter::peft::tensor_names(site)
                .into_iter()
                .zip([&part.a, &part.b])
        })
    }

    /// All values, one flat vector a tensor.
    pub fn values(&self) -> Vec<Vec<f32>> {
        let parameters = self.parameters();
        parameters
            .map(|(_, parameter)| parameter.array().values().to_vec())
            .collect()
    }

    /// Takes over what `values` gave, changed.
    pub fn set(&self, values: &[Vec<f32>]) {
        for ((_, parameter), new) in self.parameters().zip(values) {
            parameter.update(|values| values.copy_from_slice(new));
        }
    }

    /// A and B of every site.
    pub fn weights(&self) -> BTreeMap<Site, (Array, Array)> {
        let parts = self.parts.iter();
        parts
            .map(|(site, part)| (site, (part.a.array(), part.b.array())))
            .collect()
    }

    /// Adapts a forward whose gradients are wanted.
    pub fn learning(&self, masks: Option<Masks>) -> Learning<'_> {
        Learning {
            parts: &self.parts,
            masks,
        }
    }

    /// The adapter as it will be served: packed to what registries of this precision hold in memory.
    pub fn packed(&self, precision: Precision) -> Result<Uniform> {
        let stored: Vec<Vec<[u8; 4]>> = self
            .values()
            .iter()
            .map(|values| values.iter().map(|value| value.to_le_bytes()).collect())
            .collect();
        let factors: Vec<Factors<'_>> = self
            .parts
            .iter()
            .zip(stored.chunks_exact(2))
            .map(|((_, part), stored)| {
                let ((rank, inputs), (outputs, _)) = (part.a.dims(), part.b.dims());
                Factors {
                    rank,
                    inputs,
                    outputs,
                    scale: part.scale,
                    a: Matrix::F32(&stored[0]),
                    b: Matrix::F32(&stored[1]),
                }
            })
            .collect();
        let Some(packed) = LowRank::pack(&factors, precision) else {
            bail!("factors A and B that do not fit each other")
        };
        let mut low_rank = SiteMap::default();
        for ((site, _), weights) in self.parts.iter().zip(packed) {
            low_rank.insert(site, weights);
        }
        Ok(Uniform { low_rank })
    }
}

/// Dropout of one forward: every site has its own mask, and every forward of every step another.
#[derive(Debug, Clone, Copy)]
pub struct Masks {
    pub rate: f32,
    pub seed: u64,
    pub step: u64,
    pub forward: u64,
}

impl Masks {
    fn at(&self, site: Site) -> Dropout {
        use rand_chacha::rand_core::RngCore;
        let place = [
            self.step,
            self.forward,
            site.layer as u64,
            site.module as u64,
        ];
        let mut key = [0; 32];
        rng::stream(self.seed, Purpose::Dropout, &place).fill_bytes(&mut key);
        Dropout {
            key,
            rate: self.rate,
        }
    }
}

pub struct Learning<'a> {
    parts: &'a SiteMap<Part>,
    masks: Option<Masks>,
}

impl Learning<'_> {
    fn setting(&self, site: Site, part: &Part) -> Setting {
        Setting {
            scale: part.scale,
            dropout: self.masks.map(|masks| masks.at(site)),
        }
    }
}

impl Adapt for Learning<'_> {
    fn through(&self, run: Run<'_, '_>, site: Site, x: &Value, layer: &Layer<'_>) -> Result<Value> {
        let Some(part) = self.parts.get(site) else {
            return layer.forward(run, x);
        };
        let op = Through {
            weight: layer.weight.clone(),
            bias: layer.bias.cloned(),
            setting: self.setting(site, part),
        };
        run.op(op, &[x, &run.parameter(&part.a), &run.parameter(&part.b)])
    }
}
