//! A trained adapter as the folder that is published: weights and configuration as PEFT reads them, and where they come
//! from.

use serde_json::{Value, json};

use super::fault::Fault;
use super::plan::Plan;
use super::run::Finished;
use crate::adapter::peft::{Files, Lora, PROVENANCE_FILE, Provenance};

/// The files, and what the held-out rows said of them (`None` where none were held out).
///
/// The same job always gives the same bytes.
pub fn files(
    plan: &Plan,
    base_name: &str,
    finished: &Finished,
) -> Result<(Files, Option<Value>), Fault> {
    let weights = finished.trainable.weights()?;
    let mut files = Lora {
        settings: &plan.settings,
        base_name,
        weights: &weights,
    }
    .files()?;
    let evaluation = evaluation(plan, finished);
    let provenance = Provenance {
        base: Some(base_name.to_owned()),
        base_digest: Some(plan.identity.base_digest.clone()),
        tokenizer_digest: Some(plan.identity.tokenizer_digest.clone()),
        data_digest: Some(plan.identity.data_digest.clone()),
        recipe: Some(serde_json::to_value(&plan.recipe).map_err(std::io::Error::other)?),
        evaluation: evaluation.clone(),
        parent_generation: plan.parent.as_ref().and_then(|parent| parent.generation),
    };
    let provenance = serde_json::to_vec_pretty(&provenance).map_err(std::io::Error::other)?;
    files.insert(PROVENANCE_FILE.to_owned(), provenance);
    Ok((files, evaluation))
}

/// Held-out scores of the base, of the adapter the job continued, and of the result.
fn evaluation(plan: &Plan, finished: &Finished) -> Option<Value> {
    let progress = &finished.progress;
    let adapter = progress.held_out?;
    Some(json!({
        "rows": plan.held_out.len(),
        "base": progress.base,
        "parent": progress.parent,
        "adapter": adapter,
    }))
}
