//! A bottleneck adapter as a folder that AdapterHub's library loads.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{BottleneckSettings, BottleneckWeights, bottleneck_names};
use crate::adapter::peft::writer::Writer;
use crate::adapter::peft::{Files, HUB_WEIGHTS_FILE};
use crate::adapter::points::{Reads, Sublayer};
use crate::device::{Array, Result};
use crate::kernels::nonlinear::Activation;

/// What is written.
pub struct Bottlenecks<'a> {
    pub settings: &'a BottleneckSettings,
    pub base_name: &'a str,
    pub hidden: usize,
    /// In f32.
    pub weights: &'a BTreeMap<Sublayer, BottleneckWeights<Array>>,
}

/// What adapters are called in their own files; the library's `load_as` gives another name.
pub const HUB_NAME: &str = "adapter";

/// Before the layers, in the files of a causal language model.
pub const HUB_PREFIX: &str = "model.";

impl Bottlenecks<'_> {
    /// `adapter_config.json` and `adapter.safetensors`. The same values give the same bytes.
    pub fn files(&self) -> Result<Files> {
        let mut writer = Writer::default();
        for (at, weights) in self.weights {
            let names = bottleneck_names(HUB_PREFIX, *at, HUB_NAME);
            for (number, (name, array)) in names.into_iter().zip(weights.each()).enumerate() {
                match number % 2 {
                    0 => writer.matrix(name, array),
                    _ => writer.vector(name, array),
                }
            }
        }
        writer.folder(&self.config(), HUB_WEIGHTS_FILE)
    }

    /// The keys of the library's `BnConfig`, and those around them.
    fn config(&self) -> Value {
        let BottleneckSettings {
            after_attention,
            after_feed_forward,
            reads,
            reduction,
            reductions,
            activation,
            scale,
            leave_out,
        } = self.settings;
        let reduction_factor = match reductions.is_empty() {
            true => json!(reduction),
            false => {
                let each = reductions.iter();
                let each = each.map(|(layer, factor)| (layer.to_string(), json!(factor)));
                let default = ("default".to_owned(), json!(reduction));
                Value::Object(each.chain([default]).collect::<Map<_, _>>())
            }
        };
        json!({
            "config": {
                "adapter_residual_before_ln": false,
                "cross_adapter": false,
                "dropout": 0.0,
                "init_weights": if *reads == Reads::Stream { "mam_adapter" } else { "bert" },
                "inv_adapter": null,
                "inv_adapter_reduction_factor": null,
                "is_parallel": *reads == Reads::Stream,
                "leave_out": leave_out,
                "ln_after": false,
                "ln_before": false,
                "mh_adapter": after_attention,
                "non_linearity": name_of(*activation),
                "original_ln_after": true,
                "original_ln_before": *reads == Reads::Sum,
                "output_adapter": after_feed_forward,
                "phm_layer": false,
                "reduction_factor": reduction_factor,
                "residual_before_ln": true,
                // A whole number would be none of the library's kinds of scaling.
                "scaling": scale,
                "use_gating": false,
            },
            "hidden_size": self.hidden,
            "model_class": null,
            "model_name": self.base_name,
            "model_type": null,
            "name": HUB_NAME,
            "version": "adapters.1.3.0",
        })
    }
}

fn name_of(activation: Activation) -> &'static str {
    match activation {
        Activation::Relu => "relu",
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_new",
        Activation::Silu => "swish",
        Activation::Tanh => "tanh",
    }
}
