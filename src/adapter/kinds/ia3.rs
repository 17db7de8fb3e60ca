//! IA3 (Liu et al., 2022, arXiv:2205.05638) as PEFT stores it: one learned factor a feature on the output of chosen linear
//! layers, y = (W x + b) ∘ l, or on their input where they are feed-forward, y = W (x ∘ l) + b.

use std::collections::HashSet;
use std::sync::Arc;

use crate::adapter::around::Around;
use crate::adapter::catalogue::{AdapterKind, Folder, Parts};
use crate::adapter::fold::Outside;
use crate::adapter::own::Own;
use crate::adapter::peft::{Ia3Settings, Ia3Site, factor_name};
use crate::adapter::{AdapterFault, Fit, Scales, SiteMap};

pub struct Ia3;

/// For the root mean square of a layer's factors, which are around 1: what exceeds this was never trained.
const MOST: f64 = 1e4;

impl AdapterKind for Ia3 {
    fn name(&self) -> &'static str {
        "ia3"
    }

    fn peft_type(&self) -> Option<&'static str> {
        Some("IA3")
    }

    fn read(&self, folder: &Folder<'_>, fit: &Fit<'_>) -> Result<Parts, AdapterFault> {
        let settings = Ia3Settings::parse(&folder.config)?;
        let sites = settings.sites(fit.sites)?;
        let mut wanted: HashSet<String> =
            sites.iter().map(|at| factor_name(at.shape.site)).collect();
        let adapted = sites.iter().map(|at| at.shape.site).collect();
        let saved = (&settings.saved, adapted);
        let whole = super::lora::extras::modules(folder, fit, saved, &mut wanted)?;
        let around = Around {
            own: Own::new(&whole.values, fit.weights, whole.tied)?,
            ..Around::default()
        };
        // The first by name, so that the same folder always gives the same answer.
        let names = folder.weights.names().into_iter();
        if let Some(name) = names.filter(|name| !wanted.contains(*name)).min() {
            // Of a layer this base has: the configuration leaves it out.
            let mut shapes = fit.sites.iter();
            if let Some(shape) = shapes.find(|shape| factor_name(shape.site) == name)
                && let Some(key) = settings.selection.left_out_by(shape.site)?
            {
                let why = format!(
                    "leaves out `{}`, but the file has {name}",
                    shape.site.path()
                );
                return Err(AdapterFault::new(key, why));
            }
            let why = match name.contains(".ia3_l") {
                true => "belongs to no layer that the configuration chooses",
                false => "is no part of an IA3 adapter",
            };
            return Err(AdapterFault::new(name, why));
        }
        let mut scales = SiteMap::default();
        for at in &sites {
            let name = factor_name(at.shape.site);
            let has = |site| folder.weights.shape(&factor_name(site));
            let of_module = |other: &&Ia3Site| other.shape.site.module == at.shape.site.module;
            let mut alike = sites.iter().filter(of_module);
            if alike.all(|other| has(other.shape.site).is_none()) {
                let path = at.shape.site.path();
                let why = format!("chooses `{path}`, but the file has no factors for such layers");
                return Err(AdapterFault::new("target_modules", why));
            }
            let turned = Ia3Site {
                on_input: !at.on_input,
                ..*at
            };
            if has(at.shape.site).is_some_and(|found| found == turned.dims()) {
                let side = if at.on_input { "outputs" } else { "inputs" };
                let why = format!("and {name} disagree: those factors are for {side}");
                return Err(AdapterFault::new("feedforward_modules", why));
            }
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
            change: around.into_change(),
            resume: Some(Arc::new(settings)),
            outside: Some(Arc::new(Outside {
                whole: whole.values,
                tied: whole.tied,
                ..Outside::default()
            })),
            ..Parts::default()
        })
    }
}
