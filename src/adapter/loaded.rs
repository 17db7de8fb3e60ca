//! One adapter in memory.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::catalogue::Parts;
use super::fold::Outside;
use super::{Change, Scales, Site};
use crate::device::Array;
use crate::domain::Generation;
use crate::kernels::segmented::LowRank;

/// A checked, immutable adapter, its weights in one piece of memory.
#[derive(Debug)]
pub struct Adapter {
    generation: Generation,
    kind: &'static str,
    bytes: u64,
    parts: Parts,
}

impl Adapter {
    pub(super) fn new(generation: Generation, kind: &'static str, parts: Parts) -> Self {
        let products = parts.low_rank.iter().map(|(_, weights)| weights.bytes());
        let scales = parts.scales.iter().map(|(_, scales)| scales.bytes());
        let change = parts.change.iter().map(|change| change.bytes());
        let bytes = products.chain(scales).chain(change).sum();
        Self {
            generation,
            kind,
            bytes,
            parts,
        }
    }

    /// As it is served: what it takes to train it further or to fold it is let go.
    pub fn to_serve(mut self) -> Self {
        self.parts.resume = None;
        self.parts.outside = None;
        self
    }

    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// `lora`, …
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The largest rank of any site.
    pub fn rank(&self) -> usize {
        self.parts.rank
    }

    /// Of the weights in memory.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What this adapter adds at a linear layer.
    pub fn low_rank(&self, site: Site) -> Option<&LowRank> {
        self.parts.low_rank.get(site)
    }

    /// All that is added at a linear layer, in this order.
    pub fn products(&self, site: Site) -> impl Iterator<Item = &LowRank> {
        let blended = self.parts.blended.get(site).into_iter().flatten();
        self.low_rank(site).into_iter().chain(blended)
    }

    /// Whether low-rank products on linear layers are all it is.
    pub fn is_low_rank(&self) -> bool {
        self.parts.scales.iter().next().is_none() && self.parts.change.is_none()
    }

    /// Several as one, each by its weight, over the same memory. Adds what each adds; nothing else of them is looked at.
    pub fn blended(generation: Generation, members: &[(Arc<Self>, f64)]) -> Self {
        let mut parts = Parts::default();
        let mut blended: BTreeMap<Site, Vec<LowRank>> = BTreeMap::new();
        for (adapter, weight) in members.iter().filter(|(_, weight)| *weight != 0.0) {
            parts.rank += adapter.rank();
            for (site, weights) in adapter.low_ranks() {
                blended
                    .entry(site)
                    .or_default()
                    .push(weights.weighted(*weight));
            }
        }
        for (site, products) in blended {
            parts.blended.insert(site, products);
        }
        Self::new(generation, "lora", parts)
    }

    /// All it adds at linear layers, in the order of the layers.
    pub(super) fn low_ranks(&self) -> impl Iterator<Item = (Site, &LowRank)> {
        self.parts.low_rank.iter()
    }

    /// How it scales a linear layer.
    pub fn scales(&self, site: Site) -> Option<&Scales> {
        self.parts.scales.get(site)
    }

    /// All its scales, in the order of the layers.
    pub(super) fn all_scales(&self) -> impl Iterator<Item = (Site, &Scales)> {
        self.parts.scales.iter()
    }

    /// The sites it changes, in the order of the layers.
    pub fn sites(&self) -> impl Iterator<Item = Site> {
        let products = self.parts.low_rank.iter().map(|(site, _)| site);
        let scales = self.parts.scales.iter().map(|(site, _)| site);
        let blended = self.parts.blended.iter().map(|(site, _)| site);
        let own = self.change().map(Change::sites).unwrap_or_default();
        let all: BTreeSet<Site> = products.chain(scales).chain(blended).chain(own).collect();
        all.into_iter()
    }

    /// What it does beyond products and scales.
    pub fn change(&self) -> Option<&dyn Change> {
        self.parts.change.as_deref()
    }

    /// Tokens that it puts before every prompt.
    pub fn virtual_tokens(&self) -> usize {
        self.change().map_or(0, Change::virtual_tokens)
    }

    /// What it takes to train it further, where its kind has such settings and it was read from its folder.
    pub fn resume<T: Any>(&self) -> Option<&T> {
        self.parts.resume.as_ref()?.downcast_ref()
    }

    /// What it does beside linear layers, for folding.
    pub(super) fn outside(&self) -> Option<&Outside> {
        self.parts.outside.as_deref()
    }

    /// A [r, in], B [out, r] and the scale of a LoRA site.
    pub fn lora_site(&self, site: Site) -> Option<(Array, Array, f64)> {
        let weights = self.low_rank(site)?;
        let (rank, inputs, outputs) = (weights.rank(), weights.inputs(), weights.outputs());
        let a = Array::new(weights.a(), (rank, inputs)).ok()?;
        let b = Array::new(weights.b(), (outputs, rank)).ok()?;
        Some((a, b, f64::from(weights.scale())))
    }
}
