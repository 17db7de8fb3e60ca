//! Answers about files and fine-tuning jobs.

use super::super::shape::{ANY_NUMBER, COUNT, FLAG, Field, Kind, Shape, TEXT};
use super::{CREATED_AT, FIRST_ID, HAS_MORE, ID, LAST_ID, LIST, list_of, shape};

const OWNER: Field = Field::new(
    "owner",
    TEXT,
    "Id of the key that made it; absent where keys were not asked for.",
);
pub(in super::super) const FILE: Shape = shape(
    "File",
    "An uploaded file.",
    &[&[
        ID,
        Field::new("object", Kind::Choice(&["file"]), "").required(),
        Field::new("bytes", COUNT, "").required(),
        CREATED_AT,
        Field::new("expires_at", COUNT, "Never."),
        Field::new("filename", TEXT, "").required(),
        Field::new("purpose", TEXT, "").required(),
        Field::new("status", Kind::Choice(&["processed"]), "").required(),
        Field::new("status_details", TEXT, ""),
        OWNER,
    ]],
);
pub(in super::super) const FILES: Shape = shape(
    "FileList",
    "",
    &[&[
        LIST,
        Field::new("data", list_of(&Kind::Object(&FILE)), "").required(),
        FIRST_ID,
        LAST_ID,
        HAS_MORE,
    ]],
);
const JOB_ERROR: Shape = shape(
    "JobError",
    "Why a job failed; all null where it did not.",
    &[&[
        Field::new("code", TEXT, ""),
        Field::new("message", TEXT, ""),
        Field::new("param", TEXT, ""),
    ]],
);
const PARAMETERS: Shape = shape(
    "ParameterCount",
    "As PEFT counts them.",
    &[&[
        Field::new("trainable", COUNT, "").required(),
        Field::new("all", COUNT, "").required(),
    ]],
);
const MAPPING: Shape = shape(
    "RecipeMapping",
    "What a key of a recipe from elsewhere became.",
    &[&[
        Field::new("key", TEXT, "Its path, the recipe's name first.").required(),
        Field::new("value", Kind::Any, "As the recipe has it.").required(),
        Field::new("becomes", TEXT, "For people.").required(),
        Field::new(
            "effect",
            Kind::Choice(&["setting", "none", "differs"]),
            "A setting; nothing, because it holds anyway or changes no result; or something else than the key says.",
        )
        .required(),
    ]],
);
const PROGRESS: Shape = shape(
    "JobProgress",
    "What OpenAI's job has no place for.",
    &[&[
        Field::new("name", TEXT, "The name it will be served under.").required(),
        Field::new("generation", TEXT, "What it made."),
        Field::new(
            "published",
            FLAG,
            "Whether the name serves, or served, what it made; otherwise that is only kept.",
        )
        .required(),
        Field::new("step", COUNT, "").required(),
        Field::new("total_steps", COUNT, "").required(),
        Field::new("train_loss", ANY_NUMBER, "Of the newest step."),
        Field::new("parameters", Kind::Object(&PARAMETERS), ""),
        Field::new("recipe", Kind::Any, "Every setting, resolved.").required(),
        OWNER,
        Field::new(
            "mappings",
            list_of(&Kind::Object(&MAPPING)),
            "Of every key of the recipes that came with it.",
        )
        .required(),
    ]],
);
const STATUSES: Kind = Kind::Choice(&[
    "validating_files",
    "queued",
    "running",
    "paused",
    "succeeded",
    "failed",
    "cancelled",
]);
pub(in super::super) const JOB: Shape = shape(
    "FineTuningJob",
    "A fine-tuning job.",
    &[&[
        ID,
        Field::new("object", Kind::Choice(&["fine_tuning.job"]), "").required(),
        CREATED_AT,
        Field::new("finished_at", COUNT, "Unix seconds."),
        Field::new("estimated_finish", COUNT, "Unix seconds."),
        Field::new("model", TEXT, "The base.").required(),
        Field::new(
            "fine_tuned_model",
            TEXT,
            "The served name, once it succeeded.",
        ),
        Field::new("organization_id", TEXT, "").required(),
        Field::new("status", STATUSES, "").required(),
        Field::new("training_file", TEXT, "").required(),
        Field::new("validation_file", TEXT, ""),
        Field::new("result_files", list_of(&TEXT), "").required(),
        Field::new("trained_tokens", COUNT, ""),
        Field::new("seed", COUNT, "").required(),
        Field::new("hyperparameters", Kind::Any, "").required(),
        Field::new("method", Kind::Any, "").required(),
        Field::new("integrations", list_of(&Kind::Any), "").required(),
        Field::new("metadata", Kind::Any, "").required(),
        Field::new("error", Kind::Object(&JOB_ERROR), "").required(),
        Field::new("adapterd", Kind::Object(&PROGRESS), "").required(),
    ]],
);
const PLANNED_CHANGE: Shape = shape(
    "PlannedChange",
    "A near job that takes less.",
    &[&[
        Field::new("settings", Kind::Any, "By their names.").required(),
        Field::new("training_bytes", COUNT, "").required(),
        Field::new("fits", FLAG, "").required(),
    ]],
);
pub(in super::super) const PLAN: Shape = shape(
    "FineTuningPlan",
    "What a job would be; none was created.",
    &[&[
        Field::new("object", Kind::Choice(&["fine_tuning.plan"]), "").required(),
        Field::new("model", TEXT, "The base.").required(),
        Field::new("name", TEXT, "The name it would be served under.").required(),
        Field::new("rows", COUNT, "To learn from.").required(),
        Field::new("held_out_rows", COUNT, "").required(),
        Field::new("tokens", COUNT, "Of the rows to learn from.").required(),
        Field::new("trained_tokens", COUNT, "Of them, those that are learned.").required(),
        Field::new("longest_row", COUNT, "In tokens.").required(),
        Field::new("steps_per_epoch", COUNT, "").required(),
        Field::new("steps", COUNT, "").required(),
        Field::new("parameters", Kind::Object(&PARAMETERS), "").required(),
        Field::new(
            "parts",
            Kind::Any,
            "Bytes at the peak by what they are for; they add up to `training_bytes`.",
        )
        .required(),
        Field::new(
            "training_bytes",
            COUNT,
            "What training takes at its peak beside what serves.",
        )
        .required(),
        Field::new("peak_at", TEXT, "The work that it is needed for.").required(),
        Field::new("memory_limit", COUNT, "As the job says."),
        Field::new("available_bytes", COUNT, "What the machine has left."),
        Field::new("fits", FLAG, "As asked for.").required(),
        Field::new(
            "fits_in_smaller_forwards",
            FLAG,
            "The job would run, with fewer rows in a forward or blocks computed again.",
        )
        .required(),
        Field::new(
            "changes",
            list_of(&Kind::Object(&PLANNED_CHANGE)),
            "What would fit, where it does not.",
        )
        .required(),
        Field::new("recipe", Kind::Any, "Every setting, resolved.").required(),
        Field::new("warnings", list_of(&TEXT), "").required(),
    ]],
);
pub(in super::super) const JOBS: Shape = shape(
    "FineTuningJobList",
    "",
    &[&[
        LIST,
        Field::new("data", list_of(&Kind::Object(&JOB)), "").required(),
        FIRST_ID,
        LAST_ID,
        HAS_MORE,
    ]],
);
pub(in super::super) const EVENT: Shape = shape(
    "FineTuningJobEvent",
    "One event; each optimizer step is one of type `metrics`.",
    &[&[
        ID,
        Field::new("object", Kind::Choice(&["fine_tuning.job.event"]), "").required(),
        CREATED_AT,
        Field::new("level", Kind::Choice(&["info", "warn", "error"]), "").required(),
        Field::new("message", TEXT, "").required(),
        Field::new("type", Kind::Choice(&["message", "metrics"]), "").required(),
        Field::new(
            "data",
            Kind::Any,
            "The step's numbers, for `metrics`; `loss_scale` is null where nothing scales the loss.",
        ),
    ]],
);
pub(in super::super) const EVENTS: Shape = shape(
    "FineTuningJobEventList",
    "",
    &[&[
        LIST,
        Field::new("data", list_of(&Kind::Object(&EVENT)), "").required(),
        FIRST_ID,
        LAST_ID,
        HAS_MORE,
    ]],
);
const CHECKPOINT: Shape = shape(
    "FineTuningJobCheckpoint",
    "",
    &[&[
        ID,
        Field::new("object", Kind::Choice(&["fine_tuning.job.checkpoint"]), "").required(),
        CREATED_AT,
        Field::new("fine_tuning_job_id", TEXT, "").required(),
        Field::new("fine_tuned_model_checkpoint", TEXT, "").required(),
        Field::new("step_number", COUNT, "").required(),
        Field::new("metrics", Kind::Any, "").required(),
    ]],
);
pub(in super::super) const CHECKPOINTS: Shape = shape(
    "FineTuningJobCheckpointList",
    "",
    &[&[
        LIST,
        Field::new("data", list_of(&Kind::Object(&CHECKPOINT)), "").required(),
        FIRST_ID,
        LAST_ID,
        HAS_MORE,
    ]],
);
