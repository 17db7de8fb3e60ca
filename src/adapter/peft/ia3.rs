//! What a PEFT IA3 configuration says, and the folder it is written as.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::config::ConfigFile;
use super::lora::{Saved, check_types, refuse_keys, selection, targets};
use super::targets::{Selection, suffix_or_pattern};
use super::writer::Writer;
use super::{Files, WEIGHTS_FILE};
use crate::adapter::{AdapterFault, Module, Site, SiteShape};
use crate::device::{Array, Result};
use crate::domain::Targets;

/// The keys that give an IA3 adapter its places.
#[derive(Debug, Clone, PartialEq)]
pub struct Ia3Settings {
    pub selection: Selection,
    /// Of the chosen layers, those whose input is scaled; the others' output is.
    pub feedforward: Option<Targets>,
    /// Of which it has whole modules alone.
    pub saved: Saved,
}

/// One site a configuration adapts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ia3Site {
    pub shape: SiteShape,
    /// Scales the layer's input, else its output.
    pub on_input: bool,
}

impl Ia3Site {
    /// Factors of the site.
    pub fn width(&self) -> usize {
        match self.on_input {
            true => self.shape.inputs,
            false => self.shape.outputs,
        }
    }

    /// As PEFT stores them: [1, in], or [out, 1].
    pub fn dims(&self) -> [usize; 2] {
        match self.on_input {
            true => [1, self.shape.inputs],
            false => [self.shape.outputs, 1],
        }
    }
}

/// The name of a site's factors in a weights file.
pub fn factor_name(site: Site) -> String {
    format!("base_model.model.{}.ia3_l", site.path())
}

impl Ia3Settings {
    /// For chosen layers: down_proj by its input, the others by their output, as PEFT's defaults do.
    pub fn of(targets: Targets) -> Self {
        Self {
            selection: Selection::of(targets),
            feedforward: Some(names(&[Module::Down])),
            saved: Saved::default(),
        }
    }

    pub fn parse(file: &ConfigFile) -> std::result::Result<Self, AdapterFault> {
        let harmless = ["feedforward_modules", "init_ia3_weights", "modules_to_save"];
        refuse_keys(file, &harmless, &[])?;
        check_types(file)?;
        let selection = selection(file)?;
        let feedforward = match file.get("feedforward_modules") {
            // PEFT's default for every family that is served.
            None => Some(names(&[Module::Down])),
            Some(_) => targets(file, "feedforward_modules")?,
        };
        if let (Targets::List(chosen), Some(Targets::List(inner))) =
            (&selection.targets, &feedforward)
            && let Some(name) = inner.iter().find(|name| !chosen.contains(name))
        {
            let why = format!("names `{name}`, which `target_modules` does not");
            return Err(AdapterFault::new("feedforward_modules", why));
        }
        Ok(Self {
            selection,
            feedforward,
            saved: Saved::parse(file)?,
        })
    }

    /// The sites of a base this configuration adapts, in the order of `sites`.
    pub fn sites(&self, sites: &[SiteShape]) -> std::result::Result<Vec<Ia3Site>, AdapterFault> {
        let chosen = self.selection.sites(sites)?.into_iter();
        chosen
            .filter(|shape| !self.saved.holds(&shape.site.path()))
            .map(|shape| {
                let path = shape.site.path();
                let on_input = match &self.feedforward {
                    None => false,
                    Some(said) => suffix_or_pattern("feedforward_modules", said, &path)?,
                };
                Ok(Ia3Site { shape, on_input })
            })
            .collect()
    }
}

fn names(modules: &[Module]) -> Targets {
    let names = modules.iter().map(|module| module.name().to_owned());
    Targets::List(names.collect())
}

/// What is written.
pub struct Ia3<'a> {
    pub settings: &'a Ia3Settings,
    pub base_name: &'a str,
    /// Factors [1, n] of each site the settings choose; written in f32.
    pub factors: &'a BTreeMap<Site, (Ia3Site, Array)>,
}

impl Ia3<'_> {
    /// `adapter_config.json` and `adapter_model.safetensors`. The same values give the same bytes.
    pub fn files(&self) -> Result<Files> {
        let mut writer = Writer::default();
        for (site, (at, factors)) in self.factors {
            writer.shaped(factor_name(*site), at.dims().to_vec(), factors);
        }
        writer.folder(&self.config(), WEIGHTS_FILE)
    }

    /// The keys of PEFT's `IA3Config`. Both lists are spelt out by the names of the layers that have factors.
    fn config(&self) -> Value {
        let of = |on_input: bool| -> BTreeSet<&str> {
            let sites = self.factors.values().map(|(site, _)| site);
            let sites = sites.filter(|site| !on_input || site.on_input);
            sites.map(|site| site.shape.site.module.name()).collect()
        };
        let said = |targets: &Targets| match targets {
            Targets::Pattern(text) if !text.eq_ignore_ascii_case("all-linear") => json!(text),
            Targets::Pattern(_) => json!(of(false)),
            Targets::List(names) => json!(names.iter().collect::<BTreeSet<_>>()),
        };
        // PEFT wants each name of one list in the other, where both are lists.
        let inner = |chosen: &Value| {
            let names = of(true);
            let listed = chosen.as_array().is_some_and(|chosen| {
                let mut names = names.iter();
                names.all(|name| chosen.iter().any(|known| known == name))
            });
            match listed || names.is_empty() {
                true => json!(names),
                false => {
                    let names: Vec<&str> = names.into_iter().collect();
                    json!(format!(r".*\.(?:{})", names.join("|")))
                }
            }
        };
        let Selection {
            targets, exclude, ..
        } = &self.settings.selection;
        let chosen = said(targets);
        json!({
            "task_type": "CAUSAL_LM",
            "peft_type": "IA3",
            "auto_mapping": null,
            "peft_version": null,
            "base_model_name_or_path": self.base_name,
            "revision": null,
            "inference_mode": true,
            "target_modules": chosen,
            "exclude_modules": exclude,
            "feedforward_modules": match &self.settings.feedforward {
                Some(Targets::Pattern(text)) => json!(text),
                _ => inner(&chosen),
            },
            "fan_in_fan_out": false,
            "modules_to_save": null,
            "init_ia3_weights": true
        })
    }
}
