//! Llama (1 to 3): biases only where the spec asks for them.

use super::super::layers::{Attention, Block, GatedMlp};
use super::super::spec::Biases;
use super::super::supply::At;
use super::super::weights::{Fields, WeightError};
use super::{Defaults, Family, Gguf, NO_BIAS, attention_bias};

pub static LLAMA: Family = Family {
    name: "llama",
    class: "LlamaForCausalLM",
    gguf: Gguf {
        name: "llama",
        paired: true,
        one_window: true,
    },
    defaults: Defaults {
        kv_heads: None,
        head_dim: None,
        context: 2048,
    },
    biases: NO_BIAS,
    head_norm: false,
    switches,
    windows: |_, layers| Ok(vec![None; layers]),
    block,
};

fn switches(fields: &mut Fields<'_>) -> Result<Biases, WeightError> {
    Ok(Biases {
        mlp: fields.flag_or("mlp_bias", false)?,
        ..attention_bias(fields)?
    })
}

pub(super) fn block(at: &mut At<'_>) -> Result<Block, WeightError> {
    let bias = at.spec().bias;
    let attention = Attention::grouped(at, bias)?;
    let mlp = GatedMlp::silu(at, bias.mlp)?;
    Block::pre_norm(at, attention, mlp)
}
