//! Qwen3 (dense): each head of queries and keys is normalised; attention biases where the spec asks for them.

use super::super::layers::{Attention, Block, GatedMlp};
use super::super::supply::At;
use super::super::weights::WeightError;
use super::{Defaults, Family, Gguf, NO_BIAS, attention_bias, qwen2};

pub static QWEN3: Family = Family {
    name: "qwen3",
    class: "Qwen3ForCausalLM",
    gguf: Gguf {
        name: "qwen3",
        paired: false,
        one_window: false,
    },
    defaults: Defaults {
        kv_heads: Some(32),
        head_dim: Some(128),
        context: 32_768,
    },
    biases: NO_BIAS,
    head_norm: true,
    switches: attention_bias,
    windows: qwen2::windows,
    block,
};

fn block(at: &mut At<'_>) -> Result<Block, WeightError> {
    let bias = at.spec().bias;
    let attention = Attention::grouped(at, bias)?.with_head_norm(at)?;
    let mlp = GatedMlp::silu(at, bias.mlp)?;
    Block::pre_norm(at, attention, mlp)
}
