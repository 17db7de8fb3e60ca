//! IA3: one factor a feature of chosen linear layers.

use std::sync::Arc;

use super::{Fitting, Masks, Method, Trainable, as_wish, not_resumed};
use crate::adapter::peft::{Files, Ia3, Ia3Settings, Ia3Site, factor_name};
use crate::adapter::{Adapt, Adapter, BaseWeights, Site, SiteMap};
use crate::device::{Array, Result};
use crate::domain::{self, Reason, Recipe, Wishes};
use crate::kernels::op::{Run, Value};
use crate::kernels::quant::Layer;
use crate::kernels::scale::Scale;
use crate::kernels::tape::Parameter;
use crate::trainer::account::{Footprint, Touch};

pub struct Kind;

impl super::Kind for Kind {
    fn method(&self) -> domain::Method {
        domain::Method::Ia3
    }

    fn shape(
        &self,
        parent: &Adapter,
        wishes: &Wishes,
        base: Fitting<'_>,
    ) -> std::result::Result<Wishes, Reason> {
        let settings = settings_of(parent)?;
        if let Some(wished) = &wishes.targets {
            let wished = Ia3Settings::of(wished.clone());
            wished
                .selection
                .check_names(base.sites, &[])
                .map_err(as_wish)?;
            if wished.sites(base.sites).map_err(as_wish)?
                != settings.sites(base.sites).map_err(as_wish)?
            {
                let why = "contradicts `from`: the adapter it continues changes other layers; leave it out to inherit";
                return Err(Reason::field("targets", why));
            }
        }
        Ok(Wishes {
            method: Some(domain::Method::Ia3),
            targets: Some(settings.selection.targets.clone()),
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
            Some(parent) => settings_of(parent)?.clone(),
            None => {
                let settings = Ia3Settings::of(recipe.targets.clone());
                settings
                    .selection
                    .check_names(base.sites, &[])
                    .map_err(as_wish)?;
                settings
            }
        };
        Ok(Box::new(Fitted {
            sites: settings.sites(base.sites).map_err(as_wish)?,
            settings,
            parent,
        }))
    }
}

fn settings_of(parent: &Adapter) -> std::result::Result<&Ia3Settings, Reason> {
    let settings: &Ia3Settings = parent.resume().ok_or_else(|| not_resumed(parent))?;
    match settings.saved.is_nothing() {
        true => Ok(settings),
        false => {
            let why = "is an adapter with `modules_to_save`, which cannot be trained further here";
            Err(Reason::field("from", why))
        }
    }
}

struct Fitted {
    settings: Ia3Settings,
    sites: Vec<Ia3Site>,
    parent: Option<Arc<Adapter>>,
}

impl Method for Fitted {
    fn count(&self) -> u64 {
        self.sites.iter().map(|site| site.width() as u64).sum()
    }

    fn rank(&self) -> usize {
        0
    }

    fn footprints(&self) -> Vec<Footprint> {
        let touches = self.sites.iter().map(|at| {
            let on_input = at.on_input;
            (at.shape.site, Touch::Scale { on_input })
        });
        vec![Footprint {
            linears: touches.collect(),
            ..Footprint::default()
        }]
    }

    /// Ones, as PEFT begins.
    fn start(&self, _: &dyn BaseWeights) -> Result<Box<dyn Trainable>> {
        let mut parts = SiteMap::default();
        for at in &self.sites {
            let site = at.shape.site;
            let scales = self.parent.as_ref().and_then(|parent| parent.scales(site));
            let continued = scales.and_then(|scales| match at.on_input {
                true => scales.input.as_ref(),
                false => scales.output.as_ref(),
            });
            let values = match continued {
                Some(factors) => factors.to_vec(),
                None => vec![1.0; at.width()],
            };
            parts.insert(site, (*at, Parameter::new(Array::row(values))));
        }
        Ok(Box::new(Factors {
            parts,
            settings: self.settings.clone(),
        }))
    }
}

/// The factors [1, n] of every adapted layer, by layer and module.
struct Factors {
    parts: SiteMap<(Ia3Site, Parameter)>,
    settings: Ia3Settings,
}

impl Trainable for Factors {
    fn parameters(&self) -> Vec<(String, &Parameter)> {
        let parts = self.parts.iter();
        parts
            .map(|(site, (_, factors))| (factor_name(site), factors))
            .collect()
    }

    fn learning(&self, _: Option<Masks>) -> Box<dyn Adapt + '_> {
        Box::new(Learning(&self.parts))
    }

    fn files(&self, base_name: &str) -> Result<Files> {
        let parts = self.parts.iter();
        let factors = parts
            .map(|(site, (at, factors))| (site, (*at, factors.array())))
            .collect();
        let ia3 = Ia3 {
            settings: &self.settings,
            base_name,
            factors: &factors,
        };
        ia3.files()
    }
}

struct Learning<'a>(&'a SiteMap<(Ia3Site, Parameter)>);

impl Adapt for Learning<'_> {
    fn through(&self, run: Run<'_, '_>, site: Site, x: &Value, layer: &Layer<'_>) -> Result<Value> {
        let Some((at, factors)) = self.0.get(site) else {
            return layer.forward(run, x);
        };
        let factors = run.parameter(factors);
        match at.on_input {
            true => layer.forward(run, &run.op(Scale, &[x, &factors])?),
            false => run.op(Scale, &[&layer.forward(run, x)?, &factors]),
        }
    }
}
