//! Qwen2 and 2.5: queries, keys and values always have a bias, nothing else ever does.

use super::super::spec::Biases;
use super::super::weights::{Fields, LARGEST, WeightError};
use super::{Defaults, Family, Gguf, NO_BIAS, Windows, fixed, llama};

pub static QWEN2: Family = Family {
    name: "qwen2",
    class: "Qwen2ForCausalLM",
    gguf: Gguf {
        name: "qwen2",
        paired: false,
        one_window: false,
    },
    defaults: Defaults {
        kv_heads: Some(32),
        head_dim: None,
        context: 32_768,
    },
    biases: Biases {
        qkv: true,
        ..NO_BIAS
    },
    head_norm: false,
    switches: fixed,
    windows,
    block: llama::block,
};

/// Layers from `max_window_layers` on have the window, or those `layer_types` says, where `use_sliding_window` is set.
pub(super) fn windows(fields: &mut Fields<'_>, layers: usize) -> Result<Windows, WeightError> {
    let on = fields.flag_or("use_sliding_window", false)?;
    let default = (!fields.present("sliding_window")).then_some(4096);
    let window = fields
        .size_or_none("sliding_window", LARGEST)?
        .or(default)
        .filter(|_| on);
    let first = fields.count_or("max_window_layers", 28)?;
    let Some(kinds) = fields.strings("layer_types")? else {
        return Ok((0..layers).map(|i| window.filter(|_| i >= first)).collect());
    };
    if kinds.len() != layers {
        let why = format!("has {} entries for {layers} layers", kinds.len());
        return Err(fields.wrong("layer_types", why));
    }
    kinds
        .iter()
        .map(|kind| match (kind.as_str(), window) {
            ("full_attention", _) => Ok(None),
            ("sliding_attention", Some(window)) => Ok(Some(window)),
            ("sliding_attention", None) => Err(fields.wrong(
                "layer_types",
                "has sliding_attention but no sliding_window is in use",
            )),
            (other, _) => Err(fields.wrong("layer_types", format!("`{other}` is not supported"))),
        })
        .collect()
}
