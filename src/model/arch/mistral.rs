//! Mistral: a Llama with a sliding window in every layer.

use super::super::weights::{Fields, LARGEST, WeightError};
use super::{Defaults, Family, Gguf, NO_BIAS, Windows, fixed, llama};

pub static MISTRAL: Family = Family {
    name: "mistral",
    class: "MistralForCausalLM",
    gguf: Gguf {
        name: "llama",
        paired: true,
        one_window: true,
    },
    defaults: Defaults {
        kv_heads: Some(8),
        head_dim: None,
        context: 131_072,
    },
    biases: NO_BIAS,
    head_norm: false,
    switches: fixed,
    windows,
    block: llama::block,
};

fn windows(fields: &mut Fields<'_>, layers: usize) -> Result<Windows, WeightError> {
    let default = (!fields.present("sliding_window")).then_some(4096);
    let window = fields.size_or_none("sliding_window", LARGEST)?.or(default);
    Ok(vec![window; layers])
}
