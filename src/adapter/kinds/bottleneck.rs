//! Bottleneck adapters as AdapterHub's library stores them: two narrow products with a non-linearity between them, after
//! attention and feed-forward (Houlsby et al., arXiv 1902.00751), after feed-forward alone (Pfeiffer et al., arXiv
//! 2005.00247), or beside it (He et al., arXiv 2110.04366). What they make is added to the residual stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::adapter::catalogue::{AdapterKind, Folder, Parts};
use crate::adapter::peft::{
    BottleneckResume, BottleneckSettings, BottleneckWeights, ConfigFile, HUB_PREFIX,
    bottleneck_names, is_of_hub,
};
use crate::adapter::points::{Change, Inserted, Part, Sublayer};
use crate::adapter::{AdapterFault, BaseShape, Fit};
use crate::device::Array;
use crate::kernels::pool;
use crate::kernels::segmented::{Bottleneck as Served, Factors, LowRank, Matrix};

pub struct Bottleneck;

/// For the root mean square of a tensor. Weights of a base are around 0.02: what exceeds this was never trained.
const MOST: f64 = 1e3;

impl AdapterKind for Bottleneck {
    fn name(&self) -> &'static str {
        "bottleneck"
    }

    fn peft_type(&self) -> Option<&'static str> {
        None
    }

    fn is(&self, config: &ConfigFile) -> Result<bool, AdapterFault> {
        Ok(is_of_hub(config))
    }

    fn read(&self, folder: &Folder<'_>, fit: &Fit<'_>) -> Result<Parts, AdapterFault> {
        let (settings, name) = BottleneckSettings::parse(&folder.config)?;
        let base = base_of(fit);
        check_hidden(&folder.config, base)?;
        let places = settings.places(base)?;
        // As a base model saves its adapters, or one with a head.
        let stored = folder.weights.names();
        let with_prefix = stored.iter().any(|name| name.starts_with(HUB_PREFIX));
        let prefix = if with_prefix { HUB_PREFIX } else { "" };
        let names: Vec<[String; 4]> = places
            .iter()
            .map(|(at, _)| bottleneck_names(prefix, *at, &name))
            .collect();
        refuse_surplus(folder, &names)?;
        check_widths(folder, &settings, &places, &names, base)?;
        let mut read = Vec::with_capacity(places.len());
        for ((_, width), names) in places.iter().zip(&names) {
            read.push(weights(folder, *width, base.hidden, names)?);
        }
        let factors: Vec<Factors<'_>> = places
            .iter()
            .zip(&read)
            .map(|((_, width), weights)| Factors {
                rank: *width,
                inputs: base.hidden,
                outputs: base.hidden,
                scale: 1.0,
                a: weights.down,
                b: weights.up,
            })
            .collect();
        let packed = LowRank::pack(&factors, fit.precision)
            .ok_or_else(|| AdapterFault::new("hidden_size", "leaves a layer without weights"))?;
        let (mut served, mut kept) = (Bottlenecks::default(), BTreeMap::new());
        for (((at, width), weights), packed) in places.iter().zip(&read).zip(packed) {
            let biases = [weights.down_bias.to_f32(), weights.up_bias.to_f32()];
            let scale = settings.scale as f32;
            let bottleneck = Served::new(packed, settings.activation, scale, biases);
            let bottleneck = bottleneck
                .ok_or_else(|| AdapterFault::new("hidden_size", "contradicts the tensors"))?;
            let reads = settings.reads;
            served.insert(*at, Inserted { reads, bottleneck });
            kept.insert(*at, arrays(weights, *width, base.hidden)?);
            pool::give_way();
        }
        Ok(Parts {
            change: Some(Arc::new(served)),
            resume: Some(Arc::new(BottleneckResume {
                settings,
                weights: kept,
            })),
            ..Parts::default()
        })
    }
}

/// As its layers say.
fn base_of(fit: &Fit<'_>) -> BaseShape {
    let layers = fit.sites.iter().map(|shape| shape.site.layer + 1).max();
    BaseShape {
        layers: layers.unwrap_or(0),
        ..fit.weights.shape()
    }
}

fn check_hidden(config: &ConfigFile, base: BaseShape) -> Result<(), AdapterFault> {
    const KEY: &str = "hidden_size";
    match config.count(KEY)? {
        Some(hidden) if hidden != base.hidden => {
            let why = format!("is {hidden}; that of this base is {}", base.hidden);
            Err(AdapterFault::new(KEY, why))
        }
        _ => Ok(()),
    }
}

/// A tensor without a place would mean that the adapter is only half applied.
fn refuse_surplus(folder: &Folder<'_>, names: &[[String; 4]]) -> Result<(), AdapterFault> {
    let wanted: BTreeSet<&str> = names.iter().flatten().map(String::as_str).collect();
    // The first by name, so that the same folder always gives the same answer.
    let stored = folder.weights.names().into_iter();
    let Some(name) = stored.filter(|name| !wanted.contains(name)).min() else {
        return Ok(());
    };
    let why = match name.contains("_adapters.adapters.") {
        true => "belongs to no bottleneck that the configuration describes",
        false => "is no part of a bottleneck adapter",
    };
    Err(AdapterFault::new(name, why))
}

/// Where the tensors agree with each other but not with the configuration, the configuration is at fault.
fn check_widths(
    folder: &Folder<'_>,
    settings: &BottleneckSettings,
    places: &[(Sublayer, usize)],
    names: &[[String; 4]],
    base: BaseShape,
) -> Result<(), AdapterFault> {
    for ((at, width), [down, down_bias, up, _]) in places.iter().zip(names) {
        let of = |name: &str| folder.weights.shape(name).unwrap_or_default();
        if let ([first, inputs], [outputs, second], [third]) =
            (&of(down)[..], &of(up)[..], &of(down_bias)[..])
            && first == second
            && first == third
            && (*inputs, *outputs) == (base.hidden, base.hidden)
            && first != width
        {
            let factor = settings.reductions.get(&at.layer);
            let factor = factor.unwrap_or(&settings.reduction);
            let why = format!(
                "of {factor} makes layer {} {width} wide, but its tensors have {first}",
                at.layer
            );
            return Err(AdapterFault::new("config.reduction_factor", why));
        }
    }
    Ok(())
}

fn weights<'a>(
    folder: &Folder<'a>,
    width: usize,
    hidden: usize,
    [down, down_bias, up, up_bias]: &[String; 4],
) -> Result<BottleneckWeights<Matrix<'a>>, AdapterFault> {
    let checked = |name: &String, stored: Option<Result<Matrix<'a>, AdapterFault>>| {
        let missing = || {
            let why = "is missing although the configuration has a bottleneck there";
            AdapterFault::new(name, why)
        };
        let stored = stored.ok_or_else(missing)??;
        let size = stored.root_mean_square();
        if size > MOST {
            let why = format!("has weights of {size:.3e}; up to {MOST:e} is served");
            return Err(AdapterFault::new(name, why));
        }
        Ok(stored)
    };
    let file = &folder.weights;
    Ok(BottleneckWeights {
        down: checked(down, file.matrix(down, [width, hidden]))?,
        down_bias: checked(down_bias, file.vector(down_bias, width))?,
        up: checked(up, file.matrix(up, [hidden, width]))?,
        up_bias: checked(up_bias, file.vector(up_bias, hidden))?,
    })
}

fn arrays(
    weights: &BottleneckWeights<Matrix<'_>>,
    width: usize,
    hidden: usize,
) -> Result<BottleneckWeights<Array>, AdapterFault> {
    let matrix = |stored: &Matrix<'_>, dims| {
        let array = Array::new(stored.to_f32(), dims);
        array.map_err(|error| AdapterFault::new("hidden_size", error.to_string()))
    };
    Ok(BottleneckWeights {
        down: matrix(&weights.down, (width, hidden))?,
        down_bias: Array::row(weights.down_bias.to_f32()),
        up: matrix(&weights.up, (hidden, width))?,
        up_bias: Array::row(weights.up_bias.to_f32()),
    })
}

/// Bottlenecks by their places.
#[derive(Debug, Default)]
struct Bottlenecks {
    /// Of each layer, after attention and after feed-forward.
    layers: Vec<[Option<Inserted>; 2]>,
}

impl Bottlenecks {
    fn insert(&mut self, at: Sublayer, one: Inserted) {
        if self.layers.len() <= at.layer {
            self.layers.resize_with(at.layer + 1, Default::default);
        }
        self.layers[at.layer][index(at.part)] = Some(one);
    }
}

fn index(part: Part) -> usize {
    match part {
        Part::Attention => 0,
        Part::FeedForward => 1,
    }
}

impl Change for Bottlenecks {
    fn bytes(&self) -> u64 {
        let all = self.layers.iter().flatten().flatten();
        all.map(|one| one.bottleneck.bytes()).sum()
    }

    fn inserted(&self, at: Sublayer) -> Option<&Inserted> {
        self.layers.get(at.layer)?[index(at.part)].as_ref()
    }
}
