//! LoRA: factors A and B beside chosen linear layers, the embedding and the head, and biases of the base that learn with
//! them; and DoRA, which learns the lengths of their rows as well.

mod forward;
mod initial;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::initial::{continued, fresh, normal, uniform};
use super::{Fitting, Masks, Method, Trainable, as_wish, not_resumed};
use crate::adapter::peft::{
    self, Beside, Files, LoraOuter, LoraResume, LoraSettings, LoraSite, OuterFactors, Selection,
    bias_name, magnitude_name, outer_names, tensor_names,
};
use crate::adapter::{
    Adapt, Adapter, BaseShape, BaseTensor, BaseWeights, Outer, Place, Site, SiteMap, SiteShape,
};
use crate::device::{Array, Result, bail};
use crate::domain::{self, Bias, Patterns, Reason, Recipe, Targets, Wishes};
use crate::kernels::dora::{column_norms, row_norms};
use crate::kernels::quant::Matrix;
use crate::kernels::tape::Parameter;
use crate::trainer::account::Footprint;
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
            if Adapted::by(&wished, base)? != Adapted::by(settings, base)? {
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
            bias: Some(settings.bias),
            rank_pattern: Some(Patterns::of_ranks(&settings.rank_pattern)),
            alpha_pattern: Some(Patterns::of_alphas(&settings.alpha_pattern)),
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
            None => self.fresh(recipe, base)?,
        };
        let Adapted { sites, outer } = Adapted::by(&settings, base)?;
        Ok(Box::new(Lora {
            biases: biases(&settings, &sites, base.weights),
            sites,
            outer,
            settings,
            parent,
            seed: recipe.seed,
            plus_ratio: recipe.lora_plus_ratio,
        }))
    }
}

impl Kind {
    fn fresh(
        &self,
        recipe: &Recipe,
        base: Fitting<'_>,
    ) -> std::result::Result<LoraSettings, Reason> {
        let ranks = recipe.rank_pattern.ranks();
        let alphas = recipe.alpha_pattern.alphas();
        let selection = wanted(&recipe.targets, base.sites)?;
        let settings = LoraSettings {
            use_rslora: recipe.use_rslora,
            dropout: recipe.dropout,
            use_dora: self.method == domain::Method::Dora,
            bias: recipe.bias,
            rank_pattern: ranks.map_err(|why| Reason::field("rank_pattern", why))?,
            alpha_pattern: alphas.map_err(|why| Reason::field("alpha_pattern", why))?,
            ..LoraSettings::new(recipe.rank, recipe.alpha, selection)
        };
        let Adapted { sites, outer } = Adapted::by(&settings, base)?;
        let paths: Vec<String> = { sites.iter() }
            .map(|at| at.shape.site.path())
            .chain(outer.iter().map(|at| at.outer.path().to_owned()))
            .collect();
        match settings.unused_pattern(&paths).map_err(as_wish)? {
            None => Ok(settings),
            Some((key, pattern)) => {
                let why = format!("`{pattern}` is for no module that is adapted");
                Err(Reason::field(key, why))
            }
        }
    }
}

/// What is adapted of a base.
#[derive(PartialEq)]
struct Adapted {
    sites: Vec<LoraSite>,
    outer: Vec<LoraOuter>,
}

impl Adapted {
    fn by(settings: &LoraSettings, base: Fitting<'_>) -> std::result::Result<Self, Reason> {
        let shape: BaseShape = base.weights.shape();
        let outer = settings.outer(shape).map_err(as_wish)?;
        if shape.tied && settings.saved.tie && !outer.is_empty() {
            let why = "is an adapter that keeps embedding and head the same, which cannot be trained further here";
            return Err(Reason::field("from", why));
        }
        Ok(Self {
            sites: settings.sites(base.sites).map_err(as_wish)?,
            outer,
        })
    }
}

/// The base's biases that learn, in the order of a forward.
fn biases(
    settings: &LoraSettings,
    sites: &[LoraSite],
    weights: &dyn BaseWeights,
) -> BTreeMap<Site, Array> {
    if settings.bias == Bias::None {
        return BTreeMap::new();
    }
    let adapted = |site| sites.iter().any(|at| at.shape.site == site);
    let of_base = weights.tensors().into_iter();
    let of_base = of_base.filter_map(|(path, tensor)| match (Place::parse(&path)?, tensor) {
        (Place::Bias(site), BaseTensor::Vector(bias)) => Some((site, bias)),
        _ => None,
    });
    of_base
        .filter(|(site, _)| settings.bias == Bias::All || adapted(*site))
        .collect()
}

fn resume_of(parent: &Adapter) -> std::result::Result<&LoraResume, Reason> {
    parent.resume().ok_or_else(|| not_resumed(parent))
}

fn settings_of(parent: &Adapter) -> std::result::Result<&LoraSettings, Reason> {
    let settings = &resume_of(parent)?.settings;
    if !settings.saved.is_nothing() {
        let why = "is an adapter with `modules_to_save`, `trainable_token_indices` or `lora_bias`, which cannot be trained further here";
        return Err(Reason::field("from", why));
    }
    Ok(settings)
}

/// What a user asks for; unlike in a folder that was trained elsewhere, every name must be one of this base's.
fn wanted(targets: &Targets, sites: &[SiteShape]) -> std::result::Result<Selection, Reason> {
    let selection = Selection::of(targets.clone());
    selection.check_names(sites, &Outer::ALL).map_err(as_wish)?;
    Ok(selection)
}

struct Lora {
    settings: LoraSettings,
    sites: Vec<LoraSite>,
    outer: Vec<LoraOuter>,
    /// As the base has them.
    biases: BTreeMap<Site, Array>,
    parent: Option<Arc<Adapter>>,
    seed: u64,
    plus_ratio: f64,
}

impl Method for Lora {
    fn count(&self) -> u64 {
        let of_base: usize = self.biases.values().map(Array::len).sum();
        self.added() + of_base as u64
    }

    fn added(&self) -> u64 {
        let of = |rank: usize, inputs: usize, outputs: usize| {
            let lengths = if self.settings.use_dora { outputs } else { 0 };
            (rank * (inputs + outputs) + lengths) as u64
        };
        let sites = self.sites.iter();
        let sites = sites.map(|at| of(at.rank, at.shape.inputs, at.shape.outputs));
        let outer = self.outer.iter();
        sites
            .chain(outer.map(|at| of(at.rank, at.inputs, at.outputs)))
            .sum()
    }

    fn rank(&self) -> usize {
        let outer = self.outer.iter().map(|at| at.rank);
        let ranks = self.sites.iter().map(|at| at.rank).chain(outer);
        ranks.max().unwrap_or(0)
    }

    fn sizes(&self) -> (u64, u64) {
        // A vocabulary is large.
        match self.outer.is_empty() {
            true => (0, 0),
            false => (4 * self.count(), 4 * self.count()),
        }
    }

    fn footprints(&self) -> Vec<Footprint> {
        vec![self.footprint()]
    }

    fn start(&self, weights: &dyn BaseWeights) -> Result<Box<dyn Trainable>> {
        let mut parts = SiteMap::default();
        for at in &self.sites {
            let site = at.shape.site;
            let (a, b) = match &self.parent {
                Some(parent) => continued(parent, at)?,
                None => fresh(at, self.seed)?,
            };
            let known = self
                .resumed()
                .and_then(|resume| resume.magnitudes.get(site));
            let magnitude = match (self.settings.use_dora, known) {
                (false, _) => None,
                (true, Some(lengths)) => Some(lengths.to_vec()),
                (true, None) => match weights.matrix(site) {
                    Some(weight) => Some(row_norms(&weight, (&a, &b), at.scale as f32)?),
                    None => bail!("the weights of {} are not at hand", site.path()),
                },
            };
            parts.insert(site, Part::new(a, b, magnitude, at.scale));
        }
        let mut outer = BTreeMap::new();
        for at in &self.outer {
            let Some(weight) = weights.outer(at.outer) else {
                bail!("the weights of {} are not at hand", at.outer.path())
            };
            let part = self.outer_part(at, &weight)?;
            outer.insert(at.outer, (part, weight));
        }
        let known = |site| self.resumed().and_then(|resume| resume.biases.get(site));
        let biases = self.biases.iter();
        Ok(Box::new(Factors {
            parts,
            outer,
            biases: biases
                .map(|(site, bias)| (*site, Parameter::new(known(site).unwrap_or(bias).clone())))
                .collect(),
            settings: self.settings.clone(),
            plus_ratio: self.plus_ratio,
        }))
    }
}

impl Lora {
    fn resumed(&self) -> Option<&LoraResume> {
        self.parent.as_ref()?.resume()
    }

    /// The parent's factors of the embedding or the head, or fresh ones: as PEFT begins, A of an embedding is zero.
    fn outer_part(&self, at: &LoraOuter, weight: &Matrix) -> Result<Part> {
        let (a, b, known) = match (&self.parent, self.resumed()) {
            (None, _) => {
                let place = [u64::MAX, at.outer as u64];
                let mut words = rng::stream(self.seed, Purpose::Init, &place);
                let (a, b) = ((at.rank, at.inputs), (at.outputs, at.rank));
                match at.outer {
                    Outer::Head => (uniform(a, &mut words)?, Array::zeros(b), None),
                    Outer::Embedding => (Array::zeros(a), normal(b, &mut words)?, None),
                }
            }
            (Some(_), resume) => match resume.and_then(|resume| resume.outer.get(&at.outer)) {
                Some(OuterFactors { a, b, magnitude }) => (a.clone(), b.clone(), magnitude.clone()),
                None => bail!(
                    "the adapter to continue from has no factors for {}",
                    at.outer.path()
                ),
            },
        };
        let scale = at.scale as f32;
        let magnitude = match (self.settings.use_dora, known, at.outer) {
            (false, ..) => None,
            (true, Some(lengths), _) => Some(lengths.into_values()),
            (true, None, Outer::Head) => Some(row_norms(weight, (&a, &b), scale)?),
            (true, None, Outer::Embedding) => Some(column_norms(weight, (&a, &b), scale)?),
        };
        Ok(Part::new(a, b, magnitude, at.scale))
    }
}

/// A and B of every adapted layer, by layer and module; then those of the embedding and the head, and biases.
struct Factors {
    parts: SiteMap<Part>,
    /// Each with the base's weight.
    outer: BTreeMap<Outer, (Part, Arc<Matrix>)>,
    /// [1, outputs]
    biases: BTreeMap<Site, Parameter>,
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

impl Part {
    fn new(a: Array, b: Array, magnitude: Option<Vec<f32>>, scale: f64) -> Self {
        Self {
            a: Parameter::new(a),
            b: Parameter::new(b),
            magnitude: magnitude.map(|lengths| Parameter::new(Array::row(lengths))),
            scale: scale as f32,
        }
    }

    /// A, B and magnitudes under these names.
    fn named(&self, [a, b, magnitude]: [String; 3]) -> impl Iterator<Item = (String, &Parameter)> {
        let lengths = self.magnitude.as_ref().map(|lengths| (magnitude, lengths));
        [(a, &self.a), (b, &self.b)].into_iter().chain(lengths)
    }
}

impl Factors {
    fn all(&self) -> impl Iterator<Item = &Part> {
        let parts = self.parts.iter().map(|(_, part)| part);
        parts.chain(self.outer.values().map(|(part, _)| part))
    }
}

impl Trainable for Factors {
    fn parameters(&self) -> Vec<(String, &Parameter)> {
        let parts = self.parts.iter().flat_map(|(site, part)| {
            let [a, b] = tensor_names(site);
            part.named([a, b, magnitude_name(site)])
        });
        let outer = self.outer.iter();
        let outer = outer.flat_map(|(outer, (part, _))| part.named(outer_names(*outer)));
        let biases = self.biases.iter().map(|(site, bias)| {
            let adapted = self.parts.get(*site).is_some();
            (bias_name(*site, adapted), bias)
        });
        parts.chain(outer).chain(biases).collect()
    }

    /// LoRA+ (Hayou et al., arXiv 2402.12354), grouped as PEFT's `create_loraplus_optimizer` does: all but A is faster.
    fn rates(&self) -> Vec<f64> {
        let parts = self.all().flat_map(|part| {
            let others = 1 + usize::from(part.magnitude.is_some());
            std::iter::once(1.0).chain(std::iter::repeat_n(self.plus_ratio, others))
        });
        let biases = std::iter::repeat_n(self.plus_ratio, self.biases.len());
        parts.chain(biases).collect()
    }

    fn learning(&self, masks: Option<Masks>) -> Box<dyn Adapt + '_> {
        Box::new(forward::Learning { of: self, masks })
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
        let outer = self.outer.iter().map(|(outer, (part, _))| {
            let factors = OuterFactors {
                a: part.a.array(),
                b: part.b.array(),
                magnitude: part.magnitude.as_ref().map(Parameter::array),
            };
            (*outer, factors)
        });
        let biases = self.biases.iter();
        let beside = Beside {
            outer: outer.collect(),
            biases: biases.map(|(site, bias)| (*site, bias.array())).collect(),
            ..Beside::default()
        };
        let lora = peft::Lora {
            settings: &self.settings,
            base_name,
            weights: &weights,
            magnitudes: &magnitudes,
        };
        lora.files_with(&beside)
    }
}
