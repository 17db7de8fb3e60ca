//! Several LoRA adapters as one, as PEFT's `add_weighted_adapter` defines it.
//!
//! `linear` joins their ranks and is exact (PEFT's `cat`); reduced to a rank it is PEFT's `svd`. The others work on the
//! factors A and B by themselves where all ranks are the same and none is asked for (`ties`, `dare_linear`, `dare_ties`),
//! else on the products B A, of which singular vectors make factors again (`ties_svd`, …).

mod merge;

use std::collections::BTreeMap;
use std::ops::Range;

use super::peft::{Files, Lora, LoraSettings, Selection};
use super::{Adapter, AdapterFault, Site, SiteShape};
use crate::device::{Array, Error, Result};
use crate::domain::{BlendMethod, Targets};
use crate::kernels::gemm::{self, View};
use crate::kernels::{factor, pool};
use merge::{Keep, merged};

/// Numbers of products that are merged at a time.
const BLOCK: usize = 1 << 20;

/// How adapters are blended.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    pub method: BlendMethod,
    pub density: f64,
    /// What results are reduced to.
    pub rank: Option<usize>,
    /// The largest rank that is served.
    pub most: usize,
    pub seed: u64,
}

/// One adapter's part of a blend.
#[derive(Debug)]
pub struct Share {
    /// Read exactly.
    pub adapter: Adapter,
    pub weight: f64,
}

/// What one adapter has for a site.
struct Factors {
    /// Of the shares.
    number: usize,
    a: Array,
    b: Array,
    scale: f64,
    weight: f64,
}

/// The folder of the blend, in f32. `sites`: those of the base.
pub fn blended(
    shares: &[Share],
    mix: Mix,
    sites: &[SiteShape],
    base_name: &str,
) -> std::result::Result<Files, AdapterFault> {
    let joined_rank = |at: &SiteShape| {
        let each = shares
            .iter()
            .filter_map(|share| share.adapter.low_rank(at.site));
        each.map(|weights| weights.rank()).sum::<usize>()
    };
    let joined_rank = sites.iter().map(joined_rank).max().unwrap_or(0);
    if mix.method == BlendMethod::Linear && mix.rank.is_none() && joined_rank > mix.most {
        let why = format!(
            "is needed: joining ranks makes rank {joined_rank}, and at most {} is served",
            mix.most
        );
        return Err(AdapterFault::new("rank", why));
    }
    let ranks: Vec<usize> = { shares.iter() }
        .flat_map(|share| share.adapter.low_ranks().map(|(_, weights)| weights.rank()))
        .collect();
    let largest = ranks.iter().copied().max().unwrap_or(0);
    let alike = ranks.iter().all(|rank| *rank == largest);
    let reduced = match mix.method {
        BlendMethod::Linear => mix.rank,
        _ if alike => mix.rank,
        _ => Some(mix.rank.unwrap_or(largest)),
    };
    let mut weights = BTreeMap::new();
    for shape in sites {
        let factors: Vec<Factors> = { shares.iter().enumerate() }
            .filter_map(|(number, share)| {
                let (a, b, scale) = share.adapter.lora_site(shape.site)?;
                let weight = share.weight;
                Some(Factors {
                    number,
                    a,
                    b,
                    scale,
                    weight,
                })
            })
            .collect();
        if factors.is_empty() {
            continue;
        }
        let made = match (mix.method, reduced) {
            (BlendMethod::Linear, None) => joined(&factors),
            (BlendMethod::Linear, Some(rank)) => {
                joined(&factors).and_then(|(a, b)| factor::reduced((&a, &b), rank))
            }
            (_, None) => by_factors(&factors, mix, shape.site),
            (_, Some(rank)) => {
                by_products(&factors, mix, shape).and_then(|all| factor::truncated(&all, rank))
            }
        };
        let made = made.map_err(|error| AdapterFault::new(shape.site.path(), error.to_string()))?;
        weights.insert(shape.site, made);
        pool::give_way();
    }
    let settings = settings(&weights, sites);
    let lora = Lora {
        settings: &settings,
        base_name,
        weights: &weights,
        magnitudes: &BTreeMap::new(),
    };
    let files = lora.files();
    files.map_err(|error| AdapterFault::new("from", error.to_string()))
}

/// A of all under each other, and B beside each other, which have the weights in them.
fn joined(factors: &[Factors]) -> Result<(Array, Array)> {
    let rank: usize = factors.iter().map(|of| of.a.rows()).sum();
    let (inputs, outputs) = (factors[0].a.width(), factors[0].b.rows());
    let a = factors.iter().flat_map(|of| of.a.values()).copied();
    let a = Array::new(a.collect(), (rank, inputs))?;
    let mut b = Array::zeros((outputs, rank));
    let mut first = 0;
    for of in factors {
        let (own, by) = (of.b.width(), of.scale * of.weight);
        let rows = b.values_mut().chunks_exact_mut(rank);
        for (to, from) in rows.zip(of.b.values().chunks_exact(own)) {
            let places = to[first..first + own].iter_mut().zip(from);
            places.for_each(|(to, from)| *to = (f64::from(*from) * by) as f32);
        }
        first += own;
    }
    Ok((a, b))
}

/// Each factor by itself; a weight is shared between the two, and its sign is A's.
fn by_factors(factors: &[Factors], mix: Mix, site: Site) -> Result<(Array, Array)> {
    let one = |name: &str, of: fn(&Factors) -> &Array, signed: bool| {
        let mut parts: Vec<Vec<f32>> = Vec::new();
        for factors in factors {
            let mut values = of(factors).values().to_vec();
            let mut keep = Keep::new(mix, &[name, &site.path()], factors.number, || {
                values.clone()
            });
            keep.prune(&mut values);
            parts.push(values);
        }
        let weights: Vec<f32> = factors
            .iter()
            .map(|of| {
                let whole = of.scale * of.weight;
                let sign = if signed && whole < 0.0 { -1.0 } else { 1.0 };
                (whole.abs().sqrt() * sign) as f32
            })
            .collect();
        Array::new(merged(mix.method, &parts, &weights), of(&factors[0]).dims())
    };
    Ok((one("A", |of| &of.a, true)?, one("B", |of| &of.b, false)?))
}

/// Of the products s · B A, some rows at a time.
fn by_products(factors: &[Factors], mix: Mix, shape: &SiteShape) -> Result<Array> {
    let (outputs, inputs) = (shape.outputs, shape.inputs);
    let mut keeps: Vec<Keep> = { factors.iter() }
        .map(|of| {
            let path = shape.site.path();
            Keep::new(mix, &["BA", &path], of.number, || product(of, 0..outputs))
        })
        .collect();
    let weights: Vec<f32> = factors.iter().map(|of| of.weight as f32).collect();
    let mut all = Array::zeros((outputs, inputs));
    let at_once = pool::rows_of(BLOCK, inputs);
    for start in (0..outputs).step_by(at_once) {
        let rows = start..(start + at_once).min(outputs);
        let parts: Vec<Vec<f32>> = { factors.iter().zip(&mut keeps) }
            .map(|(of, keep)| {
                let mut values = product(of, rows.clone());
                keep.prune(&mut values);
                values
            })
            .collect();
        let place = rows.start * inputs..rows.end * inputs;
        all.values_mut()[place].copy_from_slice(&merged(mix.method, &parts, &weights));
        pool::give_way();
    }
    Ok(all)
}

/// Some rows of s · B A.
fn product(of: &Factors, rows: Range<usize>) -> Vec<f32> {
    let (rank, inputs) = of.a.dims();
    let mut out = vec![0.0; rows.len() * inputs];
    let b = View::dense(
        &of.b.values()[rows.start * rank..rows.end * rank],
        rows.len(),
        rank,
    );
    let a = View::dense(of.a.values(), rank, inputs);
    gemm::parallel(b, a, &mut out, 0.0, of.scale as f32);
    out
}

/// A configuration that chooses exactly these sites, each at its rank, and scales none.
fn settings(weights: &BTreeMap<Site, (Array, Array)>, sites: &[SiteShape]) -> LoraSettings {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for (a, _) in weights.values() {
        *counts.entry(a.rows()).or_default() += 1;
    }
    let usual = counts.iter().max_by_key(|(_, count)| **count);
    let rank = usual.map_or(1, |(rank, _)| *rank);
    let others: Vec<(String, usize)> = { weights.iter() }
        .filter(|(_, (a, _))| a.rows() != rank)
        .map(|(site, (a, _))| (site.path().replace('.', r"\."), a.rows()))
        .collect();
    // A module by its name where every layer has it, else layer by layer.
    let whole = |site: &Site| {
        let mut alike = sites.iter().filter(|at| at.site.module == site.module);
        alike.all(|at| weights.contains_key(&at.site))
    };
    let mut names: Vec<String> = { weights.keys() }
        .map(|site| match whole(site) {
            true => site.module.name().to_owned(),
            false => site.path(),
        })
        .collect();
    names.sort();
    names.dedup();
    let selection = Selection::of(Targets::List(names));
    LoraSettings {
        alpha_pattern: { others.iter() }
            .map(|(path, rank)| (path.clone(), *rank as f64))
            .collect(),
        rank_pattern: others,
        ..LoraSettings::new(rank, rank as f64, selection)
    }
}

impl From<Error> for AdapterFault {
    fn from(error: Error) -> Self {
        Self::new("from", error.to_string())
    }
}
