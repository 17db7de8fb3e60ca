//! The gateway's views as messages.

use super::recipe;
use crate::domain::{AdapterView, FileView, JobEvent, JobEventKind, JobView, Level, Tier};
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
    }
}

pub(super) fn file(view: FileView) -> pb::DataFile {
    pb::DataFile {
        id: view.id.to_string(),
        bytes: view.bytes,
        created_at: view.created_at,
        filename: view.filename,
        purpose: view.purpose,
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
        error: view.error.map(|(code, message, param)| pb::JobError {
            code,
            message,
            param: param.unwrap_or_default(),
        }),
    }
}

pub(super) fn event(event: JobEvent) -> pb::JobEvent {
    let metrics = matches!(event.kind, JobEventKind::Metrics).then(|| {
        let number = |name: &str| event.data[name].as_f64().unwrap_or(0.0);
        let count = |name: &str| event.data[name].as_u64().unwrap_or(0);
        pb::StepMetrics {
            step: count("step"),
            train_loss: number("train_loss"),
            learning_rate: number("learning_rate"),
            grad_norm: number("grad_norm"),
            tokens: count("tokens"),
            tokens_per_second: number("tokens_per_second"),
            loss_scale: event.data["loss_scale"].as_f64(),
            skipped: event.data["skipped"].as_bool().unwrap_or(false),
        }
    });
    pb::JobEvent {
        seq: event.seq,
        created_at: event.created_at,
        level: match event.level {
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
        .to_owned(),
        r#type: match event.kind {
            JobEventKind::Message => "message",
            JobEventKind::Metrics => "metrics",
        }
        .to_owned(),
        message: event.message,
        metrics,
        data_json: event.data.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::JobId;

    #[test]
    fn a_step_is_told_with_whether_it_was_skipped() {
        for (skipped, scale) in [(true, Some(1024.0)), (false, None)] {
            let told = event(JobEvent {
                seq: 7,
                job: JobId::new("a"),
                created_at: 0,
                level: Level::Info,
                kind: JobEventKind::Metrics,
                message: String::new(),
                data: serde_json::json!({
                    "step": 3, "train_loss": 1.5, "learning_rate": 0.1, "grad_norm": 2.5, "tokens": 40,
                    "tokens_per_second": 8.0, "loss_scale": scale, "skipped": skipped,
                }),
            });
            let metrics = told.metrics.unwrap();
            assert_eq!((metrics.step, metrics.tokens), (3, 40));
            assert_eq!((metrics.train_loss, metrics.grad_norm), (1.5, 2.5));
            assert_eq!((metrics.skipped, metrics.loss_scale), (skipped, scale));
        }
    }
}
