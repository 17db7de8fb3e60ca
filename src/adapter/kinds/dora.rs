//! DoRA (Liu et al., 2024, arXiv:2402.09353) as PEFT stores it: LoRA, and a magnitude for each output:
//! y = m / ‖W + s B A‖ ∘ (W x + s B A x) + b, with the norm of each row. Those factors are computed once, at load, from what is
//! served: the base's weights and the packed A and B. Of an embedding, magnitudes are those of the columns.

use std::sync::Arc;

use crate::adapter::catalogue::{AdapterKind, Folder, Parts};
use crate::adapter::peft::{ConfigFile, LoraOuter, Product, magnitude_name};
use crate::adapter::{AdapterFault, Fit, Outer, Scales};
use crate::device::{Array, Result as Computed};
use crate::kernels::dora::{column_norms, factor, row_norms};
use crate::kernels::segmented::LowRank;

pub struct Dora;

/// A magnitude is about the length of a row of weights, thousands of numbers around 0.02.
const MOST: f64 = 1e4;

impl AdapterKind for Dora {
    fn name(&self) -> &'static str {
        "dora"
    }

    fn peft_type(&self) -> Option<&'static str> {
        Some("LORA")
    }

    fn is(&self, config: &ConfigFile) -> Result<bool, AdapterFault> {
        config.flag("use_dora")
    }

    fn read(&self, folder: &Folder<'_>, fit: &Fit<'_>) -> Result<Parts, AdapterFault> {
        let mut read = super::lora::read(folder, fit, true)?;
        let of_sites = read
            .parts
            .low_rank
            .iter()
            .map(|(site, _)| magnitude_name(site));
        let of_outer = read.outer.iter().map(|at| at.product().magnitude);
        let mut names = of_sites.chain(of_outer);
        if !names.any(|name| folder.weights.shape(&name).is_some()) {
            let why = "asks for magnitudes of rows, and the file has none";
            return Err(AdapterFault::new("use_dora", why));
        }
        drop(names);
        for (site, weights) in read.parts.low_rank.iter() {
            let (name, path) = (magnitude_name(site), site.path());
            let base = fit.weights.matrix(site);
            let base = base.ok_or_else(|| not_at_hand(&path))?;
            let own = magnitudes(folder, &name, weights.outputs())?;
            let (a, b) = packed(weights, &name)?;
            let norms = row_norms(&base, (&a, &b), weights.scale());
            let factors = factors(&name, &own, norms)?;
            read.resume.magnitudes.insert(site, own.into());
            let shift = read
                .parts
                .scales
                .get(site)
                .and_then(|known| known.shift.clone());
            let scale = Scales {
                around_bias: Some(factors),
                shift,
                ..Scales::default()
            };
            read.parts.scales.insert(site, scale);
        }
        for at in read.outer.clone() {
            outer(folder, fit, &mut read, &at)?;
        }
        Ok(read.into_parts())
    }
}

/// The embedding or the head.
fn outer(
    folder: &Folder<'_>,
    fit: &Fit<'_>,
    read: &mut super::lora::Read,
    at: &LoraOuter,
) -> Result<(), AdapterFault> {
    let Product {
        path,
        magnitude: name,
        scale,
        ..
    } = at.product();
    let base = { read.around.own.outer(at.outer) }.or_else(|| fit.weights.outer(at.outer));
    let base = base.ok_or_else(|| not_at_hand(&path))?;
    let Some(learned) = read.resume.outer.get_mut(&at.outer) else {
        return Err(AdapterFault::new(name, "has no factors"));
    };
    // As they are served: the head's are packed, the embedding's are not.
    let (a, b) = match &read.around.head.low_rank {
        Some(weights) if at.outer == Outer::Head => packed(weights, &name)?,
        _ => (learned.a.clone(), learned.b.clone()),
    };
    let (width, norms) = match at.outer {
        Outer::Head => (at.outputs, row_norms(&base, (&a, &b), scale as f32)),
        Outer::Embedding => (at.outputs, column_norms(&base, (&a, &b), scale as f32)),
    };
    let own = magnitudes(folder, &name, width)?;
    let factors = factors(&name, &own, norms)?;
    learned.magnitude = Some(Array::row(own));
    if let Some(update) = read.outside.updates.get_mut(&at.outer) {
        update.factors = Some(factors.clone());
    }
    match at.outer {
        Outer::Embedding => read.around.embedding.factors = Some(factors),
        Outer::Head => {
            let scales = read.around.head.scales.get_or_insert_default();
            scales.around_bias = Some(factors);
        }
    }
    Ok(())
}

fn not_at_hand(path: &str) -> AdapterFault {
    let why = format!("needs the weights of `{path}`, which are not at hand");
    AdapterFault::new("use_dora", why)
}

fn packed(weights: &LowRank, name: &str) -> Result<(Array, Array), AdapterFault> {
    let (rank, inputs, outputs) = (weights.rank(), weights.inputs(), weights.outputs());
    let of = |values, dims| {
        let array = Array::new(values, dims);
        array.map_err(|error| AdapterFault::new(name, error.to_string()))
    };
    Ok((
        of(weights.a(), (rank, inputs))?,
        of(weights.b(), (outputs, rank))?,
    ))
}

fn magnitudes(folder: &Folder<'_>, name: &str, width: usize) -> Result<Vec<f32>, AdapterFault> {
    let missing = || {
        let why = "is missing although the configuration adapts this layer";
        AdapterFault::new(name, why)
    };
    let stored = folder.weights.vector(name, width).ok_or_else(missing)??;
    let size = stored.root_mean_square();
    if size > MOST {
        let why = format!("has magnitudes of {size:.3e}; up to {MOST:e} is served");
        return Err(AdapterFault::new(name, why));
    }
    Ok(stored.to_f32())
}

fn factors(name: &str, own: &[f32], norms: Computed<Vec<f32>>) -> Result<Arc<[f32]>, AdapterFault> {
    let norms = norms.map_err(|error| AdapterFault::new(name, error.to_string()))?;
    let pairs = || own.iter().zip(&norms);
    let factors: Vec<f32> = pairs().map(|(m, n)| factor(*m, *n)).collect();
    let vanished = |(m, n): (&f32, &f32)| *n == 0.0 && *m != 0.0;
    let lost = pairs().position(vanished);
    if let Some(at) = lost.or_else(|| factors.iter().position(|f| !f.is_finite())) {
        let why = format!(
            "asks that output {at} be {} long, whose weights are {}",
            own[at], norms[at]
        );
        return Err(AdapterFault::new(name, why));
    }
    Ok(factors.into())
}
