//! Qwen2 and 2.5: queries, keys and values always have a bias, nothing else ever does.

use super::super::layers::{Attention, Block, GatedMlp};
use super::super::spec::Biases;
use super::super::supply::At;
use super::super::weights::WeightError;

pub(super) fn block(at: &mut At<'_>) -> Result<Block, WeightError> {
    let bias = Biases {
        qkv: true,
        ..Biases::default()
    };
    let attention = Attention::grouped(at, bias)?;
    let mlp = GatedMlp::silu(at, false)?;
    Block::pre_norm(at, attention, mlp)
}
