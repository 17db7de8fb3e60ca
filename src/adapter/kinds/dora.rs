//! DoRA (Liu et al., 2024, arXiv:2402.09353) as PEFT stores it: LoRA, and a magnitude for each output:
//! y = m / ‖W + s B A‖ ∘ (W x + s B A x) + b, with the norm of each row. Those factors are computed once, at load, from what is
//! served: the base's weights and the packed A and B.

use std::sync::Arc;

use crate::adapter::catalogue::{AdapterKind, Folder, Parts};
use crate::adapter::peft::{ConfigFile, LoraResume, LoraSettings, magnitude_name};
use crate::adapter::{AdapterFault, Fit, Scales, SiteMap};
use crate::device::Array;
use crate::kernels::dora::{factor, row_norms};

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
        let mut parts = super::lora::read(folder, fit, true)?;
        let has = |site| folder.weights.shape(&magnitude_name(site)).is_some();
        if !parts.low_rank.iter().any(|(site, _)| has(site)) {
            let why = "asks for magnitudes of rows, and the file has none";
            return Err(AdapterFault::new("use_dora", why));
        }
        let (mut scales, mut magnitudes) = (SiteMap::default(), SiteMap::default());
        for (site, weights) in parts.low_rank.iter() {
            let name = magnitude_name(site);
            let missing = || {
                let why = "is missing although the configuration adapts this layer";
                AdapterFault::new(&*name, why)
            };
            let outputs = weights.outputs();
            let stored = folder
                .weights
                .vector(&name, outputs)
                .ok_or_else(missing)??;
            let size = stored.root_mean_square();
            if size > MOST {
                let why = format!("has magnitudes of {size:.3e}; up to {MOST:e} is served");
                return Err(AdapterFault::new(name, why));
            }
            let own: Vec<f32> = stored.to_f32();
            let Some(base) = fit.weights.matrix(site) else {
                let why = format!(
                    "needs the weights of `{}`, which are not at hand",
                    site.path()
                );
                return Err(AdapterFault::new("use_dora", why));
            };
            let of = |values, dims| Array::new(values, dims);
            let norms = of(weights.a(), (weights.rank(), weights.inputs())).and_then(|a| {
                let b = of(weights.b(), (outputs, weights.rank()))?;
                row_norms(&base, (&a, &b), weights.scale())
            });
            let norms = norms.map_err(|error| AdapterFault::new(&*name, error.to_string()))?;
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
            let scale = Scales {
                around_bias: Some(factors.into()),
                ..Scales::default()
            };
            scales.insert(site, scale);
            magnitudes.insert(site, own.into());
        }
        parts.scales = scales;
        let settings = LoraSettings::parse(&folder.config)?;
        parts.resume = Some(Arc::new(LoraResume {
            settings,
            magnitudes,
        }));
        Ok(parts)
    }
}
