//! A LoRA adapter as a folder that PEFT loads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::writer::Writer;
use super::{
    Files, LoraSettings, OuterFactors, Saved, Selection, WEIGHTS_FILE, bias_name, magnitude_name,
    outer_names, tensor_names,
};
use crate::adapter::{Outer, Site};
use crate::device::{Array, Result};
use crate::domain::{Named, Targets};

/// What is written.
pub struct Lora<'a> {
    /// Must choose exactly the sites of `weights`, at their ranks.
    pub settings: &'a LoraSettings,
    pub base_name: &'a str,
    /// A [r, in] and B [out, r] of each site; written in f32.
    pub weights: &'a BTreeMap<Site, (Array, Array)>,
    /// Magnitudes [1, out] of each site where the settings say `use_dora`, else none.
    pub magnitudes: &'a BTreeMap<Site, Array>,
}

/// What a folder has beside that, as its settings say.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    pub outer: BTreeMap<Outer, OuterFactors>,
    /// [1, out] of each layer whose bias is the adapter's own.
    pub biases: BTreeMap<Site, Array>,
    /// Tensors of other parts, by their names, with their sizes.
    pub others: Vec<(String, Vec<usize>, Array)>,
}

impl Lora<'_> {
    /// `adapter_config.json` and `adapter_model.safetensors`. The same values give the same bytes.
    pub fn files(&self) -> Result<Files> {
        self.files_with(&Beside::default())
    }

    /// As [`files`](Self::files), with what else the settings ask for.
    pub fn files_with(&self, beside: &Beside) -> Result<Files> {
        let mut writer = Writer::default();
        for (site, factors) in self.weights {
            let [a, b] = tensor_names(*site);
            writer.matrix(a, &factors.0);
            writer.matrix(b, &factors.1);
        }
        for (site, lengths) in self.magnitudes {
            writer.vector(magnitude_name(*site), lengths);
        }
        for (outer, factors) in &beside.outer {
            let [a, b, magnitude] = outer_names(*outer);
            writer.matrix(a, &factors.a);
            writer.matrix(b, &factors.b);
            if let Some(lengths) = &factors.magnitude {
                writer.vector(magnitude, lengths);
            }
        }
        for (site, bias) in &beside.biases {
            let name = bias_name(*site, self.weights.contains_key(site));
            writer.vector(name, bias);
        }
        for (name, dims, array) in &beside.others {
            writer.shaped(name, dims.clone(), array);
        }
        writer.folder(&self.config(), WEIGHTS_FILE)
    }

    /// The keys of PEFT's `LoraConfig`, in its order.
    fn config(&self) -> Value {
        let LoraSettings {
            rank,
            alpha,
            use_rslora,
            dropout,
            selection,
            rank_pattern,
            alpha_pattern,
            use_dora,
            bias,
            saved:
                Saved {
                    lora_bias,
                    modules,
                    tokens,
                    tie,
                },
        } = self.settings;
        let Selection {
            targets,
            exclude,
            layers,
            layers_pattern,
        } = selection;
        let pairs = |pairs: Vec<(&String, Value)>| -> Map<String, Value> {
            pairs
                .into_iter()
                .map(|(key, value)| (key.clone(), value))
                .collect()
        };
        json!({
            "task_type": "CAUSAL_LM",
            "peft_type": "LORA",
            "auto_mapping": null,
            "peft_version": null,
            "base_model_name_or_path": self.base_name,
            "revision": null,
            "inference_mode": true,
            "r": rank,
            "target_modules": self.target_modules(targets),
            "exclude_modules": exclude,
            "lora_alpha": number(*alpha),
            "lora_dropout": dropout,
            "fan_in_fan_out": false,
            "bias": bias.name(),
            "use_rslora": use_rslora,
            "modules_to_save": if modules.is_empty() { Value::Null } else { json!(modules) },
            "init_lora_weights": true,
            "layers_to_transform": if layers.is_empty() { Value::Null } else { json!(layers) },
            "layers_pattern": if layers_pattern.is_empty() { Value::Null } else { json!(layers_pattern) },
            "rank_pattern": pairs(rank_pattern.iter().map(|(key, rank)| (key, json!(rank))).collect()),
            "alpha_pattern": pairs(alpha_pattern.iter().map(|(key, alpha)| (key, number(*alpha))).collect()),
            "megatron_config": null,
            "megatron_core": "megatron.core",
            "trainable_token_indices": if tokens.is_empty() { Value::Null } else { pairs(tokens.iter().map(|(name, ids)| (name, json!(ids))).collect()).into() },
            "loftq_config": {},
            "eva_config": null,
            "corda_config": null,
            "use_dora": use_dora,
            "alora_invocation_tokens": null,
            "use_qalora": false,
            "qalora_group_size": 16,
            "layer_replication": null,
            "lora_bias": lora_bias,
            "target_parameters": null,
            "arrow_config": null,
            "ensure_weight_tying": tie
        })
    }

    /// `all-linear` is spelt out, as PEFT does when it saves: other readers know only names and patterns.
    fn target_modules(&self, targets: &Targets) -> Value {
        match targets {
            Targets::Pattern(text) if !text.eq_ignore_ascii_case("all-linear") => json!(text),
            Targets::Pattern(_) => {
                let names: BTreeSet<&str> =
                    self.weights.keys().map(|site| site.module.name()).collect();
                json!(names)
            }
            Targets::List(names) => json!(names.iter().collect::<BTreeSet<_>>()),
        }
    }
}

/// Writes the files into an existing folder. Durable only once the caller has synchronised them.
pub fn write(dir: &Path, lora: &Lora<'_>) -> std::io::Result<()> {
    for (name, bytes) in lora.files().map_err(std::io::Error::other)? {
        std::fs::write(dir.join(name), bytes)?;
    }
    Ok(())
}

/// PEFT's alpha is a whole number wherever it can be.
fn number(alpha: f64) -> Value {
    if alpha.fract() == 0.0 && alpha.abs() < 9e15 {
        json!(alpha as i64)
    } else {
        json!(alpha)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::peft::{CONFIG_FILE, read, scale};
    use crate::adapter::testing::{fit, settings, sites, specimen, weights};

    #[test]
    fn what_is_written_reads_back_number_for_number() {
        let sites = sites(2);
        for mut wanted in [
            settings(Targets::Pattern("all-linear".into())),
            settings(Targets::List(vec!["v_proj".into(), "q_proj".into()])),
            settings(Targets::Pattern(r".*\.1\.mlp\.(up|down)_proj".into())),
        ] {
            wanted.use_rslora = true;
            wanted.alpha = 2.5;
            wanted.rank_pattern = vec![("q_proj".into(), 7), ("layers.1.mlp.up_proj".into(), 1)];
            wanted.alpha_pattern = vec![(".*up_proj".into(), 12.0)];
            let weights = weights(&wanted, &sites, 3);
            let files = Lora {
                settings: &wanted,
                base_name: "tiny",
                weights: &weights,
                magnitudes: &BTreeMap::new(),
            }
            .files()
            .unwrap();
            let adapter = read(&files, &fit(&sites)).unwrap();
            assert_eq!(
                adapter.sites().collect::<Vec<_>>(),
                weights.keys().copied().collect::<Vec<_>>()
            );
            for (site, (a, b)) in &weights {
                let (read_a, read_b, read_scale) = adapter.lora_site(*site).unwrap();
                assert_eq!((&read_a, &read_b), (a, b));
                let path = site.path();
                let alpha = if path.ends_with("up_proj") { 12.0 } else { 2.5 };
                assert!(
                    (read_scale - scale(alpha, a.rows(), true)).abs() < 1e-6,
                    "{path}"
                );
            }
            let again = &adapter
                .resume::<super::super::LoraResume>()
                .unwrap()
                .settings;
            assert_eq!(
                (again.rank, again.alpha, &again.rank_pattern),
                (wanted.rank, 2.5, &wanted.rank_pattern)
            );
        }
    }

    #[test]
    fn the_same_weights_give_the_same_bytes() {
        assert_eq!(specimen(2, 1), specimen(2, 1));
        assert_ne!(specimen(2, 1), specimen(2, 2));
    }

    #[test]
    fn all_linear_is_spelt_out() {
        let config: Value = serde_json::from_slice(&specimen(1, 1)[CONFIG_FILE]).unwrap();
        assert_eq!(config["target_modules"].as_array().unwrap().len(), 7);
        assert_eq!(config["lora_alpha"], json!(8));
    }
}
