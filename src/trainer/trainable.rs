//! What a job trains: the factors A and B of every adapted layer.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor, Var, bail};

use super::rng::{self, Purpose};
use crate::adapter::peft::LoraSite;
use crate::adapter::{Adapt, Adapter, Precision, Site, SiteMap, Uniform};
use crate::kernels::Dropout;
use crate::kernels::lowrank::{self, Setting};
use crate::kernels::quant::Layer;
use crate::kernels::segmented::{Factors, LowRank, Matrix};

/// The trainable tensors, in a fixed order: by layer and module, A before B.
pub struct Trainable {
    parts: SiteMap<Part>,
}

struct Part {
    /// [rank, inputs]
    a: Var,
    /// [outputs, rank]
    b: Var,
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
            let a = Tensor::from_vec(
                values.collect::<Vec<f32>>(),
                (*rank, shape.inputs),
                &Device::Cpu,
            )?;
            Ok((
                a,
                Tensor::zeros(
                    (shape.outputs, *rank),
                    candle_core::DType::F32,
                    &Device::Cpu,
                )?,
            ))
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
        factors: impl Fn(&LoraSite) -> Result<(Tensor, Tensor)>,
    ) -> Result<Self> {
        let mut parts = SiteMap::default();
        for site in sites {
            let (a, b) = factors(site)?;
            let part = Part {
                a: Var::from_tensor(&a)?,
                b: Var::from_tensor(&b)?,
                scale: site.scale as f32,
            };
            parts.insert(site.shape.site, part);
        }
        Ok(Self { parts })
    }

    /// Every trainable tensor with its name in an adapter's weights file.
    pub fn variables(&self) -> impl Iterator<Item = (String, &Var)> {
        self.parts.iter().flat_map(|(site, part)| {
            crate::adapter::peft::tensor_names(site)
                .into_iter()
                .zip([&part.a, &part.b])
        })
    }

    /// All values, one flat vector a tensor.
    pub fn values(&self) -> Result<Vec<Vec<f32>>> {
        self.variables()
            .map(|(_, var)| var.flatten_all()?.to_vec1())
            .collect()
    }

    /// Takes over what `values` gave, changed.
    pub fn set(&self, values: &[Vec<f32>]) -> Result<()> {
        for ((_, var), values) in self.variables().zip(values) {
            var.set(&Tensor::from_slice(values, var.shape(), &Device::Cpu)?)?;
        }
        Ok(())
    }

    /// A and B of every site, detached.
    pub fn weights(&self) -> Result<BTreeMap<Site, (Tensor, Tensor)>> {
        self.parts
            .iter()
            .map(|(site, part)| {
                Ok((
                    site,
                    (
                        part.a.as_detached_tensor().copy()?,
                        part.b.as_detached_tensor().copy()?,
                    ),
                ))
            })
            .collect()
    }

    /// Adapts a forward whose gradients are wanted.
    pub fn learning(&self, masks: Option<Masks>) -> Learning<'_> {
        Learning {
            parts: &self.parts,
            masks,
        }
    }

    /// The adapter as it will be served: packed to what registries of this precision hold in memory. Without a graph.
    pub fn packed(&self, precision: Precision) -> Result<Uniform> {
        let stored: Vec<Vec<[u8; 4]>> = self
            .values()?
            .iter()
            .map(|values| values.iter().map(|value| value.to_le_bytes()).collect())
            .collect();
        let factors: Vec<Factors<'_>> = self
            .parts
            .iter()
            .zip(stored.chunks_exact(2))
            .map(|((_, part), stored)| {
                let ((rank, inputs), outputs) = (part.a.dims2()?, part.b.dim(0)?);
                Ok(Factors {
                    rank,
                    inputs,
                    outputs,
                    scale: part.scale,
                    a: Matrix::F32(&stored[0]),
                    b: Matrix::F32(&stored[1]),
                })
            })
            .collect::<Result<_>>()?;
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
    fn apply(&self, site: Site, x: &Tensor, y: Tensor) -> Result<Tensor> {
        match self.parts.get(site) {
            None => Ok(y),
            Some(part) => lowrank::update(&y, x, (&part.a, &part.b), self.setting(site, part)),
        }
    }

    fn through(&self, site: Site, x: &Tensor, layer: &Layer<'_>) -> Result<Tensor> {
        match self.parts.get(site) {
            None => layer.forward(x),
            Some(part) => lowrank::through(x, layer, (&part.a, &part.b), self.setting(site, part)),
        }
    }
}
