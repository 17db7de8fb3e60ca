//! How fine-tuning jobs, their events and their checkpoints look.

use serde_json::{Map, Value, json};

use crate::domain::settings::TABLE;
use crate::domain::{
    CheckpointView, JobEvent, JobPlan, JobStatus, JobView, Objective, Reason, Recipe,
    checkpoint_name,
};

const EVENT: &str = "ftevent-";

/// The settings that the recipe's method uses.
fn settings(recipe: &Recipe) -> Result<Value, Reason> {
    let mut all =
        serde_json::to_value(recipe).map_err(|fault| Reason::Internal(fault.to_string()))?;
    if let Some(fields) = all.as_object_mut() {
        for setting in TABLE {
            if !setting.methods.contains(&recipe.method) {
                fields.remove(setting.field);
            }
        }
    }
    Ok(all)
}

pub(super) fn plan(plan: &JobPlan) -> Result<Value, Reason> {
    let memory = &plan.memory;
    let parts = memory.parts.iter();
    let parts: Map<String, Value> = parts
        .map(|(part, bytes)| ((*part).to_owned(), json!(bytes)))
        .collect();
    let changes = memory.changes.iter().map(|change| {
        let settings = change.settings.iter();
        let settings: Map<String, Value> = settings
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        json!({"settings": settings, "training_bytes": change.peak, "fits": change.fits})
    });
    let (trainable, all) = plan.parameters;
    Ok(json!({
        "object": "fine_tuning.plan",
        "model": plan.model,
        "name": plan.name,
        "rows": plan.rows,
        "held_out_rows": plan.held_out,
        "tokens": plan.tokens,
        "trained_tokens": plan.trained_tokens,
        "longest_row": plan.longest,
        "steps_per_epoch": plan.steps_per_epoch,
        "steps": plan.steps,
        "parameters": {"trainable": trainable, "all": all},
        "parts": parts,
        "training_bytes": memory.peak,
        "peak_at": memory.peak_at,
        "memory_limit": memory.limit,
        "available_bytes": memory.available,
        "fits": memory.fits,
        "fits_in_smaller_forwards": memory.fits_smaller,
        "changes": changes.collect::<Vec<_>>(),
        "recipe": settings(&plan.recipe)?,
        "warnings": plan.warnings,
    }))
}

/// What a request names to be answered by what the job made: what is only kept has no name of its own.
fn answers_as(job: &JobView) -> String {
    match (job.published, job.generation) {
        (false, Some(generation)) => format!("{}@{generation}", job.name),
        _ => job.name.clone(),
    }
}

pub(super) fn job(job: &JobView) -> Result<Value, Reason> {
    let recipe = settings(&job.recipe)?;
    let hyperparameters = hyperparameters(&job.recipe);
    // An object in any case, as OpenAI sends it: clients read its `message` before they know of a fault.
    let error = match &job.error {
        Some((code, message, param)) => json!({"code": code, "message": message, "param": param}),
        None => json!({"code": null, "message": null, "param": null}),
    };
    let parameters = job
        .trainable_parameters
        .map(|(trainable, all)| json!({"trainable": trainable, "all": all}));
    let mut view = json!({
        "id": job.id,
        "object": "fine_tuning.job",
        "created_at": job.created_at,
        "finished_at": job.finished_at,
        "estimated_finish": job.estimated_finish,
        "model": job.model,
        "fine_tuned_model": (job.status == JobStatus::Succeeded).then(|| answers_as(job)),
        "organization_id": "adapterd",
        "status": job.status,
        "training_file": job.training_file,
        "validation_file": job.validation_file,
        "result_files": [],
        "trained_tokens": job.trained_tokens,
        "seed": job.recipe.seed,
        "hyperparameters": hyperparameters,
        "method": method(&job.recipe),
        "integrations": [],
        "metadata": job.metadata,
        "error": error,
        "adapterd": {
            "name": job.name,
            "generation": job.generation,
            "published": job.published,
            "step": job.step,
            "total_steps": job.total_steps,
            "train_loss": job.train_loss,
            "parameters": parameters,
            "recipe": recipe,
            "mappings": job.mappings,
        },
    });
    if let Some(owner) = &job.owner {
        view["adapterd"]["owner"] = json!(owner);
    }
    Ok(view)
}

fn method(recipe: &Recipe) -> Value {
    let mut hyperparameters = hyperparameters(recipe);
    match recipe.objective {
        Objective::Sft => {
            json!({"type": "supervised", "supervised": {"hyperparameters": hyperparameters}})
        }
        Objective::Dpo => {
            hyperparameters["beta"] = json!(recipe.dpo_beta);
            json!({"type": "dpo", "dpo": {"hyperparameters": hyperparameters}})
        }
    }
}

/// OpenAI's three. Clients expect whole epochs to be integers; a job counted in steps has no number of epochs.
fn hyperparameters(recipe: &Recipe) -> Value {
    let epochs = match recipe.epochs {
        Some(epochs) if epochs.fract() == 0.0 => json!(epochs as u64),
        Some(epochs) => json!(epochs),
        None => json!("auto"),
    };
    json!({"n_epochs": epochs, "batch_size": recipe.batch_size, "learning_rate_multiplier": "auto"})
}

pub(super) fn event(event: &JobEvent) -> Value {
    json!({
        "id": format!("{EVENT}{}", event.seq),
        "object": "fine_tuning.job.event",
        "created_at": event.created_at,
        "level": event.level,
        "message": event.message,
        "type": event.data.kind(),
        "data": event.data,
    })
}

/// The number in an event's id.
pub(super) fn event_number(id: &str) -> Result<i64, Reason> {
    let number = id
        .strip_prefix(EVENT)
        .and_then(|number| number.parse().ok());
    number.ok_or_else(|| Reason::field("after", format!("is not the id of an event (`{EVENT}…`)")))
}

/// `name`: what the job's adapter is served under.
pub(super) fn checkpoint(checkpoint: &CheckpointView, name: &str) -> Value {
    json!({
        "id": checkpoint.id,
        "object": "fine_tuning.job.checkpoint",
        "created_at": checkpoint.created_at,
        "fine_tuning_job_id": checkpoint.job,
        "fine_tuned_model_checkpoint": checkpoint_name(name, checkpoint.step),
        "step_number": checkpoint.step,
        "metrics": checkpoint.metrics,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_events_id_leads_back_to_its_number() {
        assert_eq!(event_number("ftevent-12"), Ok(12));
        assert!(event_number("12x").is_err() && event_number("ftevent-").is_err());
    }
}
