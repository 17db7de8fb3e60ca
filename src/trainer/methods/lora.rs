//! LoRA: factors A and B beside chosen linear layers; and DoRA, which learns the lengths of their rows as well.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Fitting, Masks, Method, Trainable, as_wish, not_resumed};
use crate::adapter::peft::{
    self, Files, LoraResume, LoraSettings, LoraSite, Selection, magnitude_name, tensor_names,
};
use crate::adapter::{Adapt, Adapter, BaseWeights, Site, SiteMap, SiteShape};
use crate::device::{Array, Result, bail};
use crate::domain::{self, Reason, Recipe, Targets, Wishes};
use crate::kernels::activation::Residual;
use crate::kernels::dora::{Drop, Magnitude, row_norms};
use crate::kernels::lowrank::{Setting, Through};
use crate::kernels::op::{Run, Value};
use crate::kernels::quant::Layer;
use crate::kernels::tape::Parameter;
use crate::trainer::rng::{self, Purpose};

pub struct Kind {
    method: domain::Method,
}

pub const LORA: Kind = Kind {
    method: domain::Method::Lora,
};
pub const DORA: Kind = Kind {
    method: domain::Method::Dora,
};

impl super::Kind for Kind {
    fn method(&self) -> domain::Method {
        self.method
    }

    fn shape(
        &self,
        parent: &Adapter,
        wishes: &Wishes,
        base: Fitting<'_>,
    ) -> std::result::Result<Wishes, Reason> {
        let settings = settings_of(parent)?;
        if let Some(wished) = &wishes.targets {
            let selection = wanted(wished, base.sites)?;
            let wished = LoraSettings {
                selection,
                ..settings.clone()
            };
            if sites_of(&wished, base.sites)? != sites_of(settings, base.sites)? {
                let why = "contradicts `from`: the adapter it continues changes other layers; leave it out to inherit";
                return Err(Reason::field("targets", why));
            }
        }
        Ok(Wishes {
            method: Some(self.method),
            rank: Some(settings.rank),
            alpha: Some(settings.alpha),
            use_rslora: Some(settings.use_rslora),
            targets: Some(settings.selection.targets.clone()),
            ..Wishes::default()
        })
    }

    fn settle(
        &self,
        recipe: &Recipe,
        parent: Option<Arc<Adapter>>,
        base: Fitting<'_>,
    ) -> std::result::Result<Box<dyn Method>, Reason> {
        let settings = match &parent {
            Some(parent) => LoraSettings {
                dropout: recipe.dropout,
                ..settings_of(parent)?.clone()
            },
            None => LoraSettings {
                use_rslora: recipe.use_rslora,
                dropout: recipe.dropout,
                use_dora: self.method == domain::Method::Dora,
                ..LoraSettings::new(
                    recipe.rank,
                    recipe.alpha,
                    wanted(&recipe.targets, base.sites)?,
                )
            },
        };
        Ok(Box::new(Lora {
            sites: sites_of(&settings, base.sites)?,
            settings,
            parent,
            seed: recipe.seed,
            plus_ratio: recipe.lora_plus_ratio,
        }))
    }
}

fn resume_of(parent: &Adapter) -> std::result::Result<&LoraResume, Reason> {
    parent.resume().ok_or_else(|| not_resumed(parent))
}

fn settings_of(parent: &Adapter) -> std::result::Result<&LoraSettings, Reason> {
    let resume = resume_of(parent)?;
    let settings = &resume.settings;
    let cannot = |what: &str| {
        let why = format!("is an adapter with {what}, which cannot be trained further here");
        Err(Reason::field("from", why))
    };
    if !settings.saved.is_nothing() {
        return cannot("`modules_to_save`, `trainable_token_indices` or `lora_bias`");
    }
    if settings.bias != domain::Bias::None || !resume.outer.is_empty() {
        return cannot("biases, embeddings or a head");
    }
    Ok(settings)
}

fn sites_of(
    settings: &LoraSettings,
    sites: &[SiteShape],
) -> std::result::Result<Vec<LoraSite>, Reason> {
    settings.sites(sites).map_err(as_wish)
}

/// What a user asks for; unlike in a folder that was trained elsewhere, every name must be one of this base's.
fn wanted(targets: &Targets, sites: &[SiteShape]) -> std::result::Result<Selection, Reason> {
    let selection = Selection::of(targets.clone());
    selection.check_names(sites, &[]).map_err(as_wish)?;
    Ok(selection)
}

struct Lora {
    settings: LoraSettings,
    sites: Vec<LoraSite>,
    parent: Option<Arc<Adapter>>,
    seed: u64,
    plus_ratio: f64,
}

impl Method for Lora {
    fn count(&self) -> u64 {
        let of = |site: &LoraSite| {
            let (inputs, outputs) = (site.shape.inputs, site.shape.outputs);
            let lengths = if self.settings.use_dora { outputs } else { 0 };
            (site.rank * (inputs + outputs) + lengths) as u64
        };
        self.sites.iter().map(of).sum()
    }

    fn rank(&self) -> usize {
        self.sites.iter().map(|site| site.rank).max().unwrap_or(0)
    }

    fn start(&self, weights: &dyn BaseWeights) -> Result<Box<dyn Trainable>> {
        let mut parts = SiteMap::default();
        for site in &self.sites {
            let (a, b) = match &self.parent {
                Some(parent) => continued(parent, site)?,
                None => fresh(site, self.seed)?,
            };
            let magnitude = match self.settings.use_dora {
                true => Some(self.magnitude(site, (&a, &b), weights)?),
                false => None,
            };
            let part = Part {
                a: Parameter::new(a),
                b: Parameter::new(b),
                magnitude: magnitude.map(|lengths| Parameter::new(Array::row(lengths))),
                scale: site.scale as f32,
            };
            parts.insert(site.shape.site, part);
        }
        Ok(Box::new(Factors {
            parts,
            settings: self.settings.clone(),
            plus_ratio: self.plus_ratio,
        }))
    }
}

impl Lora {
    /// The parent's, else the lengths that rows have at the start.
    fn magnitude(
        &self,
        site: &LoraSite,
        factors: (&Array, &Array),
        weights: &dyn BaseWeights,
    ) -> Result<Vec<f32>> {
        let at = site.shape.site;
        if let Some(lengths) = self
            .parent
            .as_ref()
            .and_then(|parent| parent.resume::<LoraResume>()?.magnitudes.get(at))
        {
            return Ok(lengths.to_vec());
        }
        match weights.matrix(at) {
            Some(weight) => row_norms(&weight, factors, site.scale as f32),
            None => bail!("the weights of {} are not at hand", at.path()),
        }
    }
}

/// A uniform in ±1/√inputs (Kaiming's rule with a = √5, PEFT's default), B zero.
fn fresh(LoraSite { shape, rank, .. }: &LoraSite, seed: u64) -> Result<(Array, Array)> {
    let at = [shape.site.layer as u64, shape.site.module as u64];
    let mut words = rng::stream(seed, Purpose::Init, &at);
    let bound = 1.0 / (shape.inputs as f32).sqrt();
    let values = (0..rank * shape.inputs).map(|_| bound * (2.0 * rng::unit(&mut words) - 1.0));
    let a = Array::new(values.collect(), (*rank, shape.inputs))?;
    Ok((a, Array::zeros((shape.outputs, *rank))))
}

/// The parent's factors.
fn continued(parent: &Adapter, site: &LoraSite) -> Result<(Array, Array)> {
    match parent.lora_site(site.shape.site) {
        Some((a, b, _)) => Ok((a, b)),
        None => bail!(
            "the adapter to continue from has no factors for {}",
            site.shape.site.path()
        ),
    }
}

/// A and B of every adapted layer, by layer and module.
struct Factors {
    parts: SiteMap<Part>,
    settings: LoraSettings,
    plus_ratio: f64,
}

struct Part {
    /// [rank, inputs]
    a: Parameter,
    /// [outputs, rank]
    b: Parameter,
    /// DoRA's [1, outputs].
    magnitude: Option<Parameter>,
    scale: f32,
}

impl Trainable for Factors {
    fn parameters(&self) -> Vec<(String, &Parameter)> {
        let parts = self.parts.iter();
        parts
            .flat_map(|(site, part)| {
                let factors = tensor_names(site).into_iter().zip([&part.a, &part.b]);
                let magnitude = part.magnitude.as_ref();
                factors.chain(magnitude.map(|lengths| (magnitude_name(site), lengths)))
            })
            .collect()
    }

    /// LoRA+ (Hayou et al., arXiv 2402.12354), grouped as PEFT's `create_loraplus_optimizer` does: all but A is faster.
    fn rates(&self) -> Vec<f64> {
        let parts = self.parts.iter();
        parts
            .flat_map(|(_, part)| {
                let others = 1 + usize::from(part.magnitude.is_some());
                std::iter::once(1.0).chain(std::iter::repeat_n(self.plus_ratio, others))
            })
            .collect()
    }

    fn learning(&self, masks: Option<Masks>) -> Box<dyn Adapt + '_> {
        Box::new(Learning {
            parts: &self.parts,
            masks,
        })
    }

    fn files(&self, base_name: &str) -> Result<Files> {
        let parts = self.parts.iter();
        let weights: BTreeMap<Site, (Array, Array)> = parts
            .map(|(site, part)| (site, (part.a.array(), part.b.array())))
            .collect();
        let parts = self.parts.iter();
        let magnitudes = parts
            .filter_map(|(site, part)| Some((site, part.magnitude.as_ref()?.array())))
            .collect();
        let lora = peft::Lora {
            settings: &self.settings,
            base_name,
            weights: &weights,
            magnitudes: &magnitudes,
        };
        lora.files()
    }
}

struct Learning<'a> {
    parts: &'a SiteMap<Part>,
    masks: Option<Masks>,
}

impl Adapt for Learning<'_> {
    fn through(&self, run: Run<'_, '_>, site: Site, x: &Value, layer: &Layer<'_>) -> Result<Value> {
        let Some(part) = self.parts.get(site) else {
            return layer.forward(run, x);
        };
        let (a, b) = (run.parameter(&part.a), run.parameter(&part.b));
        let dropout = self.masks.map(|masks| masks.at(site));
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
}
