//! Bottleneck adapters: two narrow products with a non-linearity between them, after sublayers or beside them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Fitting, Masks, Method, Trainable, as_wish, not_resumed};
use crate::adapter::peft::{
    BottleneckResume, BottleneckSettings, BottleneckWeights, Bottlenecks, Files, HUB_NAME,
    HUB_PREFIX, bottleneck_names,
};
use crate::adapter::{Adapt, Adapter, BaseWeights, Part, Reads, Sublayer};
use crate::device::{Array, Result};
use crate::domain::{self, NonLinearity, Reason, Recipe, Wishes};
use crate::kernels::activation::Residual;
use crate::kernels::linear::Linear;
use crate::kernels::nonlinear::{Activate, Activation, PlusScaled};
use crate::kernels::op::{Run, Value};
use crate::kernels::tape::Parameter;
use crate::trainer::account::Footprint;
use crate::trainer::rng::{self, Purpose};

pub struct Kind;

impl super::Kind for Kind {
    fn method(&self) -> domain::Method {
        domain::Method::Bottleneck
    }

    fn shape(
        &self,
        parent: &Adapter,
        wishes: &Wishes,
        _: Fitting<'_>,
    ) -> std::result::Result<Wishes, Reason> {
        let settings = &resume_of(parent)?.settings;
        let (placement, non_linearity) = (settings.placement(), named(settings.activation));
        // A folder made elsewhere may have what no wish can name: it is inherited, and nothing else can be asked for.
        let unnamed = [
            (
                "placement",
                wishes.placement.is_some() && placement.is_none(),
            ),
            (
                "non_linearity",
                wishes.non_linearity.is_some() && non_linearity.is_none(),
            ),
        ];
        if let Some((field, _)) = unnamed.into_iter().find(|(_, unnamed)| *unnamed) {
            let why =
                "contradicts `from`: the adapter it continues has another; leave it out to inherit";
            return Err(Reason::field(field, why));
        }
        Ok(Wishes {
            method: Some(domain::Method::Bottleneck),
            placement,
            reduction_factor: Some(settings.reduction),
            non_linearity,
            bottleneck_scale: Some(settings.scale),
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
            Some(parent) => resume_of(parent)?.settings.clone(),
            None => BottleneckSettings::of(
                recipe.placement,
                recipe.reduction_factor,
                activation(recipe.non_linearity),
                recipe.bottleneck_scale,
            ),
        };
        let shape = base.weights.shape();
        Ok(Box::new(Fitted {
            places: settings.places(shape).map_err(as_wish)?,
            hidden: shape.hidden,
            settings,
            parent,
            seed: recipe.seed,
        }))
    }
}

fn resume_of(parent: &Adapter) -> std::result::Result<&BottleneckResume, Reason> {
    parent.resume().ok_or_else(|| not_resumed(parent))
}

fn activation(named: NonLinearity) -> Activation {
    match named {
        NonLinearity::Relu => Activation::Relu,
        NonLinearity::Gelu => Activation::Gelu,
        NonLinearity::Silu => Activation::Silu,
        NonLinearity::Tanh => Activation::Tanh,
    }
}

fn named(activation: Activation) -> Option<NonLinearity> {
    match activation {
        Activation::Relu => Some(NonLinearity::Relu),
        Activation::Gelu => Some(NonLinearity::Gelu),
        Activation::GeluTanh => None,
        Activation::Silu => Some(NonLinearity::Silu),
        Activation::Tanh => Some(NonLinearity::Tanh),
    }
}

struct Fitted {
    settings: BottleneckSettings,
    /// Each with its width.
    places: Vec<(Sublayer, usize)>,
    hidden: usize,
    parent: Option<Arc<Adapter>>,
    seed: u64,
}

impl Method for Fitted {
    fn count(&self) -> u64 {
        let of = |width: usize| 2 * self.hidden * width + width + self.hidden;
        self.places.iter().map(|(_, width)| of(*width) as u64).sum()
    }

    fn rank(&self) -> usize {
        0
    }

    /// Weights that are served take 16 bits each, or 32.
    fn sizes(&self) -> (u64, u64) {
        (4 * self.count(), 2 * self.count())
    }

    fn footprints(&self) -> Vec<Footprint> {
        let reads = self.settings.reads;
        let places = self.places.iter();
        vec![Footprint {
            bottlenecks: places.map(|(at, width)| (*at, (*width, reads))).collect(),
            ..Footprint::default()
        }]
    }

    fn start(&self, _: &dyn BaseWeights) -> Result<Box<dyn Trainable>> {
        let resume: Option<&BottleneckResume> =
            self.parent.as_ref().and_then(|parent| parent.resume());
        let mut parts = BTreeMap::new();
        for (at, width) in &self.places {
            let continued = resume.and_then(|resume| resume.weights.get(at));
            let BottleneckWeights {
                down,
                down_bias,
                up,
                up_bias,
            } = match continued {
                Some(weights) => weights.clone(),
                None => self.fresh(*at, *width)?,
            };
            let part = BottleneckWeights {
                down: Parameter::new(down),
                down_bias: Parameter::new(down_bias),
                up: Parameter::new(up),
                up_bias: Parameter::new(up_bias),
            };
            parts.insert(*at, part);
        }
        Ok(Box::new(Learned {
            parts,
            settings: self.settings.clone(),
            hidden: self.hidden,
        }))
    }
}

impl Fitted {
    /// As AdapterHub's library begins. In sequence: weights normal with deviation 0.02, so that the first answers are nearly
    /// the base's and everything has a gradient. In parallel: the first product uniform in ±1/√hidden, the second zero.
    fn fresh(&self, at: Sublayer, width: usize) -> Result<BottleneckWeights<Array>> {
        let hidden = self.hidden;
        let part = match at.part {
            Part::Attention => 0,
            Part::FeedForward => 1,
        };
        let mut words = rng::stream(self.seed, Purpose::Init, &[at.layer as u64, part]);
        let parallel = self.settings.reads == Reads::Stream;
        let mut weight = |dims: (usize, usize), uniform: f32| {
            let values = (0..dims.0 * dims.1).map(|_| match parallel {
                true => uniform * (2.0 * rng::unit(&mut words) - 1.0),
                false => 0.02 * rng::normal(&mut words),
            });
            Array::new(values.collect(), dims)
        };
        Ok(BottleneckWeights {
            down: weight((width, hidden), 1.0 / (hidden as f32).sqrt())?,
            down_bias: Array::zeros((1, width)),
            up: weight((hidden, width), 0.0)?,
            up_bias: Array::zeros((1, hidden)),
        })
    }
}

/// The bottlenecks that a job trains, in the order of a forward.
struct Learned {
    parts: BTreeMap<Sublayer, BottleneckWeights<Parameter>>,
    settings: BottleneckSettings,
    hidden: usize,
}

impl Trainable for Learned {
    fn parameters(&self) -> Vec<(String, &Parameter)> {
        let parts = self.parts.iter();
        parts
            .flat_map(|(at, part)| {
                let names = bottleneck_names(HUB_PREFIX, *at, HUB_NAME);
                names.into_iter().zip(part.each())
            })
            .collect()
    }

    fn learning(&self, _: Option<Masks>) -> Box<dyn Adapt + '_> {
        Box::new(Learning(self))
    }

    fn files(&self, base_name: &str) -> Result<Files> {
        let parts = self.parts.iter();
        let weights = parts
            .map(|(at, part)| {
                let weights = BottleneckWeights {
                    down: part.down.array(),
                    down_bias: part.down_bias.array(),
                    up: part.up.array(),
                    up_bias: part.up_bias.array(),
                };
                (*at, weights)
            })
            .collect();
        let bottlenecks = Bottlenecks {
            settings: &self.settings,
            base_name,
            hidden: self.hidden,
            weights: &weights,
        };
        bottlenecks.files()
    }
}

struct Learning<'a>(&'a Learned);

impl Adapt for Learning<'_> {
    fn residual(&self, run: Run<'_, '_>, at: Sublayer, x: &Value, y: &Value) -> Result<Value> {
        let sum = run.op(Residual, &[x, y])?;
        let Learned {
            parts, settings, ..
        } = self.0;
        let Some(part) = parts.get(&at) else {
            return Ok(sum);
        };
        let [down, down_bias, up, up_bias] = part.each().map(|parameter| run.parameter(parameter));
        let read = match settings.reads {
            Reads::Stream => x,
            Reads::Output => y,
            Reads::Sum => &sum,
        };
        let inner = run.op(Linear, &[read, &down, &down_bias])?;
        let inner = run.op(Activate(settings.activation), &[&inner])?;
        let made = run.op(Linear, &[&inner, &up, &up_bias])?;
        run.op(PlusScaled(settings.scale as f32), &[&sum, &made])
    }
}
