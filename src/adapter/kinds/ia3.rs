//! IA3 (Liu et al., 2022, arXiv:2205.05638) as PEFT stores it: one learned factor a feature on the output of chosen linear
//! layers, y = (W x + b) ∘ l, or on their input where they are feed-forward, y = W (x ∘ l) + b.

use std::collections::HashSet;

use crate::adapter::catalogue::{AdapterKind, Folder, Parts};
use crate::adapter::peft::{Ia3Settings, factor_name};
use crate::adapter::{AdapterFault, Fit, Scales, SiteMap};

pub struct Ia3;

/// For the root mean square of a layer's factors, which are around 1: what exceeds this was never trained.
const MOST: f64 = 1e4;

impl AdapterKind for Ia3 {
    fn name(&self) -> &'static str {
        "ia3"
    }

    fn peft_type(&self) -> &'static str {
        "IA3"
    }

    fn read(&self, folder: &Folder<'_>, fit: &Fit<'_>) -> Result<Parts, AdapterFault> {
        let settings = Ia3Settings::parse(&folder.config)?;
        let sites = settings.sites(fit.sites)?;
        let wanted: HashSet<String> = sites.iter().map(|at| factor_name(at.shape.site)).collect();
        // The first by name, so that the same folder always gives the same answer.
        let names = folder.weights.names().into_iter();
        if let Some(name) = names.filter(|name| !wanted.contains(*name)).min() {
            let why = match name.contains(".ia3_l") {
                true => "belongs to no layer that the configuration chooses",
                false => "is no part of an IA3 adapter",
            };
            return Err(AdapterFault::new(name, why));
        }
        let mut scales = SiteMap::default();
        for at in &sites {
            let name = factor_name(at.shape.site);
            let missing = || {
                let why = "is missing although the configuration adapts this layer";
                AdapterFault::new(&*name, why)
            };
            let factors = folder
                .weights
                .matrix(&name, at.dims())
                .ok_or_else(missing)??;
            let size = factors.root_mean_square();
            if size > MOST {
                let why = format!("has factors of {size:.3e}; up to {MOST:e} is served");
                return Err(AdapterFault::new(name, why));
            }
            let factors = factors.to_f32().into();
            let scale = match at.on_input {
                true => Scales {
                    input: Some(factors),
                    ..Scales::default()
                },
                false => Scales {
                    output: Some(factors),
                    ..Scales::default()
                },
            };
            scales.insert(at.shape.site, scale);
        }
        Ok(Parts {
            scales,
            ia3: Some(settings),
            ..Parts::default()
        })
    }
}
