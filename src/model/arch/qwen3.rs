//! Qwen3 (dense): each head of queries and keys is normalised; attention biases where the spec asks for them.

use super::super::layers::{Attention, Block, GatedMlp};
use super::super::supply::At;
use super::super::weights::WeightError;

pub(super) fn block(at: &mut At<'_>) -> Result<Block, WeightError> {
    let bias = at.spec().bias;
    let attention = Attention::grouped(at, bias)?.with_head_norm(at)?;
    let mlp = GatedMlp::silu(at, false)?;
    Block::pre_norm(at, attention, mlp)
}
