//! What a PEFT LoRA configuration says: rank and scale of every site, and which keys would change the result in a way
//! that is not supported here. Those are refused by name; nothing is ever applied in part.

mod product;
mod saved;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::config::{self, ConfigFile};
use super::targets::{Patterns, Selection};
use crate::adapter::{AdapterFault, BaseShape, Outer, Site, SiteMap, SiteShape};
use crate::device::Array;
use crate::domain::{Bias, Named, Targets};

pub use product::{LoraOuter, LoraSite, Product};
pub use saved::{Saved, TokenRows};

/// What it takes to train a LoRA or DoRA further, beside its factors at linear layers of blocks.
#[derive(Debug, Clone)]
pub struct LoraResume {
    pub settings: LoraSettings,
    /// Lengths of rows that a DoRA learned, [outputs].
    pub magnitudes: SiteMap<Arc<[f32]>>,
    pub outer: BTreeMap<Outer, OuterFactors>,
    /// [1, outputs] of each layer whose bias is the adapter's own.
    pub biases: BTreeMap<Site, Array>,
}

/// The factors of an update of the embedding or the head.
#[derive(Debug, Clone, PartialEq)]
pub struct OuterFactors {
    /// [rank, inputs]
    pub a: Array,
    /// [outputs, rank]
    pub b: Array,
    /// DoRA's, [1, outputs]
    pub magnitude: Option<Array>,
}

/// The keys that give an adapter its numbers; enough to write it again or to train it further.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraSettings {
    pub rank: usize,
    pub alpha: f64,
    /// Scale by alpha/√rank instead of alpha/rank.
    pub use_rslora: bool,
    /// Used in training only.
    pub dropout: f64,
    pub selection: Selection,
    /// Ranks of modules that differ; the first pattern that matches wins.
    pub rank_pattern: Vec<(String, usize)>,
    pub alpha_pattern: Vec<(String, f64)>,
    /// Rows of the result have learned lengths.
    pub use_dora: bool,
    /// Which biases of the base are the adapter's own.
    pub bias: Bias,
    /// What it replaces of the base.
    pub saved: Saved,
}

impl LoraSettings {
    /// A plain LoRA.
    pub fn new(rank: usize, alpha: f64, selection: Selection) -> Self {
        Self {
            rank,
            alpha,
            use_rslora: false,
            dropout: 0.0,
            selection,
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
            use_dora: false,
            bias: Bias::None,
            saved: Saved::default(),
        }
    }

    pub fn parse(file: &ConfigFile) -> Result<Self, AdapterFault> {
        refuse_keys(file, &HARMLESS, &[])?;
        check_types(file)?;
        let need = |key: &str| AdapterFault::new(key, "is missing");
        Ok(Self {
            rank: positive("r", file.count("r")?.ok_or_else(|| need("r"))?)?,
            alpha: alpha(
                "lora_alpha",
                file.number("lora_alpha")?
                    .ok_or_else(|| need("lora_alpha"))?,
            )?,
            use_rslora: file.flag("use_rslora")?,
            dropout: dropout(file)?,
            selection: selection(file)?,
            rank_pattern: file.patterns("rank_pattern", |key, value| {
                positive(key, config::count(key, value)?)
            })?,
            alpha_pattern: file.patterns("alpha_pattern", |key, value| {
                alpha(key, config::finite(key, value)?)
            })?,
            use_dora: file.flag("use_dora")?,
            bias: bias(file)?,
            saved: Saved::parse(file)?,
        })
    }

    /// The sites of a base this configuration adapts, each with its rank and scale, in the order of `sites`.
    pub fn sites(&self, sites: &[SiteShape]) -> Result<Vec<LoraSite>, AdapterFault> {
        let sizes = Sizes::of(self)?;
        let (chosen, _) = self.selection.sites_and_outer(sites)?;
        let adapted = chosen
            .into_iter()
            .filter(|shape| !self.saved.holds(&shape.site.path()));
        let sites = adapted.map(|shape| {
            let (rank, rank_key, scale, alpha_key) = sizes.at(&shape.site.path())?;
            Ok(LoraSite {
                shape,
                rank,
                rank_key,
                scale,
                alpha_key,
            })
        });
        sites.collect()
    }

    /// A rank or alpha that none of these modules takes: its key and its pattern.
    pub fn unused_pattern(
        &self,
        paths: &[String],
    ) -> Result<Option<(&'static str, &str)>, AdapterFault> {
        let ranks = self
            .rank_pattern
            .iter()
            .map(|(pattern, _)| ("rank_pattern", pattern));
        let alphas = self
            .alpha_pattern
            .iter()
            .map(|(pattern, _)| ("alpha_pattern", pattern));
        for (key, pattern) in ranks.chain(alphas) {
            let rule = [(pattern.clone(), ())];
            let rule = Patterns::new(key, &rule)?;
            let mut used = false;
            for path in paths {
                used |= rule.get(path)?.is_some();
            }
            if !used {
                return Ok(Some((key, pattern)));
            }
        }
        Ok(None)
    }

    /// The embedding and the head of a base where this configuration adapts them.
    pub fn outer(&self, base: BaseShape) -> Result<Vec<LoraOuter>, AdapterFault> {
        let sizes = Sizes::of(self)?;
        let mut chosen = self.selection.outer()?;
        if base.tied && self.saved.tie && self.selection.means_tied()? {
            chosen = Outer::ALL.to_vec();
        }
        chosen.retain(|outer| !self.saved.holds(outer.path()));
        let outer = chosen.into_iter().map(|outer| {
            let (rank, rank_key, scale, alpha_key) = sizes.at(outer.path())?;
            let (inputs, outputs) = match outer {
                Outer::Embedding => (base.vocab, base.hidden),
                Outer::Head => (base.hidden, base.vocab),
            };
            Ok(LoraOuter {
                outer,
                inputs,
                outputs,
                rank,
                rank_key,
                scale,
                alpha_key,
            })
        });
        outer.collect()
    }
}

/// Ranks and scales by paths.
struct Sizes<'a> {
    settings: &'a LoraSettings,
    ranks: Patterns<'a, usize>,
    alphas: Patterns<'a, f64>,
}

impl<'a> Sizes<'a> {
    fn of(settings: &'a LoraSettings) -> Result<Self, AdapterFault> {
        Ok(Self {
            settings,
            ranks: Patterns::new("rank_pattern", &settings.rank_pattern)?,
            alphas: Patterns::new("alpha_pattern", &settings.alpha_pattern)?,
        })
    }

    /// Rank, the key that says so, scale, and the key that gives its alpha.
    fn at(&self, path: &str) -> Result<(usize, &'static str, f64, &'static str), AdapterFault> {
        let own = self.settings;
        let (rank, rank_key) =
            { self.ranks.get(path)? }.map_or((own.rank, "r"), |rank| (rank, "rank_pattern"));
        let (alpha, alpha_key) = { self.alphas.get(path)? }
            .map_or((own.alpha, "lora_alpha"), |alpha| (alpha, "alpha_pattern"));
        Ok((
            rank,
            rank_key,
            scale(alpha, rank, own.use_rslora),
            alpha_key,
        ))
    }
}

fn bias(file: &ConfigFile) -> Result<Bias, AdapterFault> {
    const FIELD: &str = "bias";
    let Some(name) = file.text(FIELD)? else {
        return Ok(Bias::None);
    };
    Bias::named(name).ok_or_else(|| {
        let why = format!("is `{name}`; served are {}", Bias::NAMES.join(", "));
        AdapterFault::new(FIELD, why)
    })
}

/// alpha/r, or alpha/√r with rank-stabilised LoRA.
pub fn scale(alpha: f64, rank: usize, use_rslora: bool) -> f64 {
    let rank = rank as f64;
    alpha / if use_rslora { rank.sqrt() } else { rank }
}

fn positive(field: &str, rank: usize) -> Result<usize, AdapterFault> {
    if rank == 0 {
        Err(AdapterFault::new(field, "is 0; a rank is at least 1"))
    } else {
        Ok(rank)
    }
}

fn alpha(field: &str, alpha: f64) -> Result<f64, AdapterFault> {
    if alpha > 0.0 && alpha <= f64::from(f32::MAX) {
        return Ok(alpha);
    }
    Err(AdapterFault::new(
        field,
        format!("is {alpha}; an alpha is a positive number"),
    ))
}

fn dropout(file: &ConfigFile) -> Result<f64, AdapterFault> {
    const FIELD: &str = "lora_dropout";
    let share = file.number(FIELD)?.unwrap_or(0.0);
    if (0.0..=1.0).contains(&share) {
        return Ok(share);
    }
    let why = format!("is {share}; a dropout is a share from 0 to 1");
    Err(AdapterFault::new(FIELD, why))
}

/// Keys whose values are not used are still what PEFT means by them: a file that says otherwise is no PEFT file.
pub(super) fn check_types(file: &ConfigFile) -> Result<(), AdapterFault> {
    for key in ["base_model_name_or_path", "revision", "peft_version"] {
        file.text(key)?;
    }
    for key in ["inference_mode", "ensure_weight_tying"] {
        file.flag(key)?;
    }
    Ok(())
}

pub(super) fn selection(file: &ConfigFile) -> Result<Selection, AdapterFault> {
    let targets = targets(file, "target_modules")?.ok_or_else(|| {
        AdapterFault::new(
            "target_modules",
            "is missing; the adapted modules must be named",
        )
    })?;
    let layers = match file.get("layers_to_transform") {
        None => Vec::new(),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| config::count("layers_to_transform", item))
            .collect::<Result<_, _>>()?,
        Some(one) => vec![config::count("layers_to_transform", one)?],
    };
    let layers_pattern = match file.get("layers_pattern") {
        Some(Value::String(text)) if text.is_empty() => Vec::new(),
        Some(Value::String(text)) => vec![text.clone()],
        _ => file.texts("layers_pattern")?.unwrap_or_default(),
    };
    for key in ["layers_to_transform", "layers_pattern"] {
        if matches!(targets, Targets::Pattern(_)) && file.get(key).is_some() {
            return Err(AdapterFault::new(
                key,
                "cannot be combined with a `target_modules` that is a string",
            ));
        }
    }
    if !layers_pattern.is_empty() && file.get("layers_to_transform").is_none() {
        return Err(AdapterFault::new(
            "layers_pattern",
            "needs `layers_to_transform`",
        ));
    }
    Ok(Selection {
        targets,
        exclude: self::targets(file, "exclude_modules")?,
        layers,
        layers_pattern,
    })
}

/// A list of names, or a pattern. Empty `exclude_modules` excludes nothing.
pub(super) fn targets(file: &ConfigFile, key: &str) -> Result<Option<Targets>, AdapterFault> {
    match file.get(key) {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(Targets::Pattern(text.clone()))),
        Some(Value::Array(_)) => Ok(file
            .texts(key)?
            .filter(|names| !names.is_empty())
            .map(Targets::List)),
        Some(_) => Err(AdapterFault::new(
            key,
            "is neither a list of names nor a pattern",
        )),
    }
}

/// Keys of every kind that say how an adapter was made or by whom, or that are read elsewhere; none changes what it
/// computes.
const COMMON: [&str; 9] = [
    "peft_type",
    "auto_mapping",
    "peft_version",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "target_modules",
    "exclude_modules",
    "runtime_config",
];

/// Those of LoRA.
const HARMLESS: [&str; 21] = [
    "bias",
    "lora_bias",
    "modules_to_save",
    "trainable_token_indices",
    "use_dora",
    "layers_to_transform",
    "layers_pattern",
    "r",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "megatron_core",
    "loftq_config",
    "eva_config",
    "corda_config",
    "lora_ga_config",
    "qalora_group_size",
    "ensure_weight_tying",
    "ephemeral_gpu_offload",
];

/// Refuses every key that would change the result in a way that is not supported: those of `harmless` do not, and `own`
/// says why for some of a kind.
pub(super) fn refuse_keys(
    file: &ConfigFile,
    harmless: &[&str],
    own: &[(&str, &'static str)],
) -> Result<(), AdapterFault> {
    for (key, value) in file.keys() {
        let key = key.as_str();
        let why = match key {
            _ if COMMON.contains(&key) || harmless.contains(&key) => continue,
            "task_type" => match value.as_str() {
                None if value.is_null() => continue,
                Some("CAUSAL_LM") => continue,
                _ => "is not supported: only CAUSAL_LM adapters are served",
            },
            "bias" => match value.as_str() {
                None if value.is_null() => continue,
                Some("none") => continue,
                _ => "is not supported: an adapter may not change biases",
            },
            // These change the base's own weights when PEFT sets the adapter up.
            "init_lora_weights" => match value.as_str().map(str::to_ascii_lowercase) {
                Some(name)
                    if ["pissa", "corda", "olora", "loftq", "lora_ga"]
                        .iter()
                        .any(|start| name.starts_with(start)) =>
                {
                    "is not supported: this initialisation changes the base; convert the adapter to plain LoRA"
                }
                _ => continue,
            },
            _ if is_neutral(value) => continue,
            "fan_in_fan_out" => "is not supported: the layers of this base keep [out, in]",
            _ => own
                .iter()
                .find(|(name, _)| *name == key)
                .map_or("is not supported and would change the result", |own| own.1),
        };
        return Err(AdapterFault::new(key, why));
    }
    Ok(())
}

/// What every key that is off looks like, whichever version of PEFT wrote it.
pub(super) fn is_neutral(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(keys) => keys.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}
