//! One adapter in memory.

use std::collections::BTreeSet;

use super::catalogue::Parts;
use super::peft::{Ia3Settings, LoraSettings};
use super::{Scales, Site};
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
        let bytes = products.chain(scales).sum();
        Self {
            generation,
            kind,
            bytes,
            parts,
        }
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
        let all: BTreeSet<Site> = products.chain(scales).collect();
        all.into_iter()
    }

    /// Lengths of a layer's rows that a DoRA learned, where it was read from its folder.
    pub fn magnitudes(&self, site: Site) -> Option<&[f32]> {
        self.parts.magnitudes.get(site).map(|lengths| &lengths[..])
    }

    /// What it takes to train this adapter further, where it is a LoRA or DoRA and was read from its folder.
    pub fn lora(&self) -> Option<&LoraSettings> {
        self.parts.lora.as_ref()
    }

    /// What it takes to train this adapter further, where it is an IA3 and was read from its folder.
    pub fn ia3(&self) -> Option<&Ia3Settings> {
        self.parts.ia3.as_ref()
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
