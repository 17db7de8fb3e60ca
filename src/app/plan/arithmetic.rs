//! Sums that are often done by head, beside those of an account: full fine-tuning in f32, and LoRA on bases of fewer bits.

use super::Subject;
use crate::domain::{Reason, Recipe};
use crate::kernels::quant::Format;
use crate::model::Quant;
use crate::trainer::account::Outlined;

/// Smaller models fit anyway.
const FROM: u64 = 1_000_000_000;
/// Bytes of a number in f32.
const F32: u64 = 4;

/// One line: what, and its bytes.
pub struct Line {
    pub what: String,
    pub bytes: u64,
}

/// Nothing for small models.
pub(super) fn of(base: &Subject, recipe: &Recipe) -> Result<Vec<Line>, Reason> {
    let parameters = base.outline.parameters();
    if parameters < FROM {
        return Ok(Vec::new());
    }
    let line = |what: &str, bytes| Line {
        what: what.to_owned(),
        bytes,
    };
    let batch = recipe.batch_size as u64;
    let mut lines = vec![
        line("weights in f32, 4 bytes each", F32 * parameters),
        line("gradients", F32 * parameters),
        line("two moments of AdamW", 2 * F32 * parameters),
        line(
            "full fine-tuning in f32, before activations",
            4 * F32 * parameters,
        ),
    ];
    let bases = [
        ("16-bit base (bf16)", Quant::To(Format::Bf16)),
        ("8-bit base (LLM.int8)", Quant::Int8 { threshold: 6.0 }),
        ("4-bit base (q4_k)", Quant::To(Format::Q4K)),
    ];
    for (what, quant) in bases {
        let Some(outline) = base.outline_in(quant) else {
            continue;
        };
        let bytes = Outlined::of_lora(&outline, recipe.max_seq)?;
        let what = format!(
            "LoRA on a {what}, one row of {} tokens, checkpointing",
            recipe.max_seq
        );
        lines.push(Line { what, bytes });
    }
    lines.push(Line {
        what: format!("rule of thumb: 4 × parameters × batch of {batch}"),
        bytes: F32 * parameters * batch,
    });
    Ok(lines)
}
