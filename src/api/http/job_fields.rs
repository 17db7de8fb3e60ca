//! The tables of a fine-tuning job's settings.

use super::shape::{FLAG, Field, Kind, NAME, Neutral, Shape, TEXT};

const AUTO: Kind = Kind::Choice(&["auto"]);
const SIZE: Kind = Kind::Either(&[
    Kind::Integer {
        min: 1,
        max: 1 << 40,
    },
    AUTO,
]);
const SEED: Kind = Kind::Integer {
    min: 0,
    max: i64::MAX,
};
const POSITIVE: Kind = Kind::Either(&[
    Kind::Above {
        low: 0.0,
        max: f64::INFINITY,
    },
    AUTO,
]);
const FROM_ZERO: Kind = Kind::Either(&[
    Kind::Number {
        min: 0.0,
        max: f64::INFINITY,
    },
    AUTO,
]);
const SHARE: Kind = Kind::Either(&[Kind::Number { min: 0.0, max: 1.0 }, AUTO]);
/// What clients write where they leave a setting to the server, also for settings that are no numbers.
const LEFT_OPEN: &[Neutral] = &[Neutral::Text("auto")];

/// The `train` command's flags, by the same names.
const FLAGS: &[Field] = &[
    Field::new("method", NAME, "`lora`."),
    Field::new("rank", SIZE, "Rank of the update."),
    Field::new("alpha", POSITIVE, "Scale: alpha over rank."),
    Field::new(
        "use_rslora",
        FLAG,
        "Scale by the square root of the rank instead.",
    )
    .neutral(LEFT_OPEN),
    Field::new(
        "dropout",
        SHARE,
        "Probability of dropping an input of the update.",
    ),
    Field::new(
        "targets",
        Kind::Either(&[
            NAME,
            Kind::List {
                of: &NAME,
                min: 1,
                max: 1024,
            },
        ]),
        "A list of module names, a regular expression over whole paths, or `all-linear`.",
    ),
    Field::new(
        "epochs",
        POSITIVE,
        "Passes over the data; not with `steps`.",
    ),
    Field::new("steps", SIZE, "Optimizer steps; not with `epochs`."),
    Field::new("batch_size", SIZE, "Rows in one optimizer step."),
    Field::new("micro_batch", SIZE, "Rows in one forward."),
    Field::new("accumulate", SIZE, "Their ratio; any two give the third."),
    Field::new("lr", FROM_ZERO, "Peak learning rate."),
    Field::new(
        "schedule",
        Kind::Choice(&["linear", "cosine", "constant"]),
        "How the learning rate falls.",
    )
    .neutral(LEFT_OPEN),
    Field::new(
        "warmup",
        FROM_ZERO,
        "Steps when at least 1, a share of all steps below.",
    ),
    Field::new("max_seq", SIZE, "Longest record in tokens."),
    Field::new("seed", SEED, "Seeds initial weights, order and dropout.").neutral(LEFT_OPEN),
    Field::new(
        "eval_split",
        FROM_ZERO,
        "Held-out rows: a share below 1, a count from 1.",
    ),
    Field::new("eval_every", SIZE, "Steps between evaluations."),
    Field::new("save_every", SIZE, "Steps between checkpoints."),
    Field::new("weight_decay", FROM_ZERO, "AdamW's weight decay."),
    Field::new("adam_beta1", SHARE, "AdamW's first decay rate."),
    Field::new("adam_beta2", SHARE, "AdamW's second decay rate."),
    Field::new("adam_epsilon", FROM_ZERO, "AdamW's epsilon."),
    Field::new(
        "max_grad_norm",
        FROM_ZERO,
        "Gradient norm limit; 0 switches it off.",
    ),
    Field::new(
        "from",
        NAME,
        "An adapter or a folder under the adapter root to continue from.",
    )
    .neutral(&[Neutral::Text("")]),
    Field::new("no_shuffle", FLAG, "Keep the file's order.").neutral(LEFT_OPEN),
    Field::new("no_pack", FLAG, "One record a row.").neutral(LEFT_OPEN),
];

const OPENAI: &[Field] = &[
    Field::new("n_epochs", POSITIVE, "As `epochs`."),
    Field::new(
        "learning_rate_multiplier",
        POSITIVE,
        "Scales the default learning rate.",
    ),
];

pub(super) const HYPERPARAMETERS: Shape = Shape {
    name: "Hyperparameters",
    about: "How to train; `auto` is as good as absent.",
    fields: &[OPENAI, FLAGS],
};

pub(super) const SETTINGS: Shape = Shape {
    name: "TrainSettings",
    about: "How to train.",
    fields: &[FLAGS],
};

const SUPERVISED: Shape = Shape {
    name: "Supervised",
    about: "Supervised fine-tuning.",
    fields: &[&[Field::new(
        "hyperparameters",
        Kind::Object(&HYPERPARAMETERS),
        "",
    )]],
};

const METHOD: Shape = Shape {
    name: "FineTuningMethod",
    about: "Which kind of fine-tuning.",
    fields: &[&[
        Field::new("type", Kind::Choice(&["supervised"]), "Only supervised.").required(),
        Field::new("supervised", Kind::Object(&SUPERVISED), ""),
        Field::unbuilt(
            "dpo",
            "preference training is not available",
            &[Neutral::Empty],
        ),
        Field::unbuilt(
            "reinforcement",
            "reinforcement training is not available",
            &[Neutral::Empty],
        ),
    ]],
};

const PAIR: Kind = Kind::Text { min: 0, max: 512 };
const INTEGRATION: Kind = Kind::Map {
    of: &Kind::Any,
    max: 16,
};

pub(super) const JOB: Shape = Shape {
    name: "FineTuningJobRequest",
    about: "A fine-tuning job.",
    fields: &[&[
        Field::new(
            "model",
            NAME,
            "The base, or an adapter to continue from; absent means the base.",
        ),
        Field::new("training_file", NAME, "An uploaded file.").required(),
        Field::new(
            "validation_file",
            NAME,
            "An uploaded file of held-out records.",
        )
        .neutral(&[Neutral::Empty]),
        Field::new(
            "suffix",
            TEXT,
            "The name the adapter is served under; one is made up when absent.",
        )
        .neutral(&[Neutral::Empty]),
        Field::new("seed", SEED, "As in the hyperparameters."),
        Field::new(
            "metadata",
            Kind::Map { of: &PAIR, max: 16 },
            "Kept with the job.",
        )
        .neutral(&[Neutral::Empty]),
        Field::new(
            "integrations",
            Kind::List {
                of: &INTEGRATION,
                min: 0,
                max: 8,
            },
            "Ignored, with a warning event.",
        )
        .neutral(&[Neutral::Empty]),
        Field::new(
            "method",
            Kind::Object(&METHOD),
            "OpenAI's place for hyperparameters.",
        )
        .neutral(&[Neutral::Empty]),
        Field::new(
            "hyperparameters",
            Kind::Object(&HYPERPARAMETERS),
            "OpenAI's deprecated place for them.",
        )
        .neutral(&[Neutral::Empty]),
        Field::new("adapterd", Kind::Object(&SETTINGS), "Our place for them."),
    ]],
};
