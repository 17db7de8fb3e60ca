//! The gateway's views as messages.

use super::{recipe, rollout};
use crate::domain::recipes::Mapping;
use crate::domain::{
    AdapterView, EventData, FileView, JobEvent, JobPlan, JobView, KeyId, PlannedChange, Tier,
};
use crate::pb;

pub(super) fn adapter(view: AdapterView) -> pb::Adapter {
    pb::Adapter {
        id: view.id.to_string(),
        generation: view.generation.to_string(),
        previous_generation: view
            .previous_generation
            .map(|generation| generation.to_string())
            .unwrap_or_default(),
        kind: view.kind,
        rank: u32::try_from(view.rank).unwrap_or(u32::MAX),
        bytes: view.bytes,
        tier: match view.tier {
            Tier::Disk => "disk",
            Tier::Resident => "resident",
        }
        .to_owned(),
        pinned: view.pinned,
        created_at: view.created_at,
        base: view.base,
        source: view.source,
        evaluation_json: view
            .evaluation
            .map(|value| value.to_string())
            .unwrap_or_default(),
        route: Some(rollout::route(view.route)),
        generations: { view.generations.iter() }
            .map(ToString::to_string)
            .collect(),
    }
}

fn owner(key: Option<KeyId>) -> String {
    key.map(|key| key.to_string()).unwrap_or_default()
}

pub(super) fn file(view: FileView) -> pb::DataFile {
    pb::DataFile {
        id: view.id.to_string(),
        bytes: view.bytes,
        created_at: view.created_at,
        filename: view.filename,
        purpose: view.purpose,
        owner: owner(view.owner),
    }
}

fn mapping(mapping: Mapping) -> pb::Mapping {
    pb::Mapping {
        value: mapping.value.to_string(),
        effect: mapping.effect.as_str().to_owned(),
        key: mapping.key,
        becomes: mapping.becomes,
    }
}

pub(super) fn job(view: JobView) -> pb::Job {
    let text = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    let (trainable, all) = view.trainable_parameters.unzip();
    pb::Job {
        id: view.id.to_string(),
        status: view.status.as_str().to_owned(),
        created_at: view.created_at,
        finished_at: view.finished_at,
        estimated_finish: view.estimated_finish,
        model: view.model,
        name: view.name,
        generation: view
            .generation
            .map(|generation| generation.to_string())
            .unwrap_or_default(),
        published: view.published,
        training_file: view.training_file.to_string(),
        validation_file: view
            .validation_file
            .map(|file| file.to_string())
            .unwrap_or_default(),
        recipe: Some(recipe::message(view.recipe)),
        metadata: view
            .metadata
            .into_iter()
            .map(|(key, value)| (key, text(value)))
            .collect(),
        trained_tokens: view.trained_tokens,
        step: view.step,
        total_steps: view.total_steps,
        train_loss: view.train_loss,
        trainable_parameters: trainable,
        all_parameters: all,
        mappings: { view.mappings.into_iter() }.map(mapping).collect(),
        owner: owner(view.owner),
        error: view.error.map(|(code, message, param)| pb::JobError {
            code,
            message,
            param: param.unwrap_or_default(),
        }),
    }
}

pub(super) fn plan(plan: JobPlan) -> pb::JobPlan {
    let memory = plan.memory;
    let change = |change: PlannedChange| pb::PlannedChange {
        settings: { change.settings.into_iter() }
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        training_bytes: change.peak,
        fits: change.fits,
    };
    let parts = memory.parts.into_iter();
    pb::JobPlan {
        model: plan.model,
        name: plan.name,
        recipe: Some(recipe::message(plan.recipe)),
        rows: plan.rows,
        held_out_rows: plan.held_out,
        tokens: plan.tokens,
        trained_tokens: plan.trained_tokens,
        longest_row: plan.longest,
        steps_per_epoch: plan.steps_per_epoch,
        steps: plan.steps,
        trainable_parameters: plan.parameters.0,
        all_parameters: plan.parameters.1,
        parts: parts
            .map(|(part, bytes)| (part.to_owned(), bytes))
            .collect(),
        training_bytes: memory.peak,
        peak_at: memory.peak_at.to_owned(),
        memory_limit: memory.limit,
        available_bytes: memory.available,
        fits: memory.fits,
        fits_in_smaller_forwards: memory.fits_smaller,
        changes: memory.changes.into_iter().map(change).collect(),
        warnings: plan.warnings,
    }
}

pub(super) fn event(event: JobEvent) -> pb::JobEvent {
    let metrics = match &event.data {
        EventData::Step(step) => Some(pb::StepMetrics {
            step: step.step,
            train_loss: step.train_loss.unwrap_or(0.0),
            learning_rate: step.learning_rate,
            grad_norm: step.grad_norm.unwrap_or(0.0),
            tokens: step.tokens,
            tokens_per_second: step.tokens_per_second,
            loss_scale: step.loss_scale,
            skipped: step.skipped,
            rewards: step.rewards.map(|rewards| pb::Rewards {
                chosen: rewards.chosen,
                rejected: rewards.rejected,
                margin: rewards.margin,
                accuracy: rewards.accuracy,
            }),
        }),
        _ => None,
    };
    pb::JobEvent {
        seq: event.seq,
        created_at: event.created_at,
        level: event.level.as_str().to_owned(),
        r#type: event.data.kind().to_owned(),
        message: event.message,
        metrics,
        data_json: event.data.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{JobId, Level, StepMetrics};

    #[test]
    fn a_step_is_told_with_whether_it_was_skipped() {
        for (skipped, scale) in [(true, Some(1024.0)), (false, None)] {
            let told = event(JobEvent {
                seq: 7,
                job: JobId::new("a"),
                created_at: 0,
                level: Level::Info,
                message: String::new(),
                data: EventData::Step(StepMetrics {
                    step: 3,
                    train_loss: Some(1.5),
                    grad_norm: Some(2.5),
                    tokens: 40,
                    loss_scale: scale,
                    skipped,
                    ..StepMetrics::default()
                }),
            });
            let metrics = told.metrics.unwrap();
            assert_eq!((metrics.step, metrics.tokens), (3, 40));
            assert_eq!((metrics.train_loss, metrics.grad_norm), (1.5, 2.5));
            assert_eq!((metrics.skipped, metrics.loss_scale), (skipped, scale));
        }
    }
}
