//! What factors are before the first step.

use crate::adapter::Adapter;
use crate::adapter::peft::LoraSite;
use crate::device::{Array, Result, bail};
use crate::trainer::rng::{self, Purpose};

/// A uniform in ±1/√inputs (Kaiming's rule with a = √5, PEFT's default), B zero.
pub fn fresh(LoraSite { shape, rank, .. }: &LoraSite, seed: u64) -> Result<(Array, Array)> {
    let at = [shape.site.layer as u64, shape.site.module as u64];
    let mut words = rng::stream(seed, Purpose::Init, &at);
    let a = uniform((*rank, shape.inputs), &mut words)?;
    Ok((a, Array::zeros((shape.outputs, *rank))))
}

pub fn uniform(
    dims: (usize, usize),
    words: &mut impl rand_chacha::rand_core::RngCore,
) -> Result<Array> {
    let bound = 1.0 / (dims.1 as f32).sqrt();
    let values = (0..dims.0 * dims.1).map(|_| bound * (2.0 * rng::unit(words) - 1.0));
    Array::new(values.collect(), dims)
}

/// Standard normal.
pub fn normal(
    dims: (usize, usize),
    words: &mut impl rand_chacha::rand_core::RngCore,
) -> Result<Array> {
    let values = (0..dims.0 * dims.1).map(|_| rng::normal(words));
    Array::new(values.collect(), dims)
}

/// The parent's factors.
pub fn continued(parent: &Adapter, site: &LoraSite) -> Result<(Array, Array)> {
    match parent.lora_site(site.shape.site) {
        Some((a, b, _)) => Ok((a, b)),
        None => bail!(
            "the adapter to continue from has no factors for {}",
            site.shape.site.path()
        ),
    }
}
