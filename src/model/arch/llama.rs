//! Llama (1 to 3), and Mistral through its spec's window: biases only where the spec asks for them.

use super::super::layers::{Attention, Block, GatedMlp};
use super::super::supply::At;
use super::super::weights::WeightError;

pub(super) fn block(at: &mut At<'_>) -> Result<Block, WeightError> {
    let bias = at.spec().bias;
    let attention = Attention::grouped(at, bias)?;
    let mlp = GatedMlp::silu(at, bias.mlp)?;
    Block::pre_norm(at, attention, mlp)
}
