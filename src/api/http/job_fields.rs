//! The tables of a fine-tuning job's settings.

use super::shape::{Field, Kind, NAME, Neutral, Shape, TEXT};
use crate::domain::settings::TABLE;
use crate::domain::{Range, recipes};

/// What clients write where they leave a setting to the server.
const AUTO: Neutral = Neutral::Text("auto");

/// The `train` command's flags, by the same names.
const FLAGS: [Field; TABLE.len()] = {
    let mut fields = Field::all_of(TABLE);
    let mut at = 0;
    while at < TABLE.len() {
        fields[at].neutral = match fields[at].kind {
            Kind::Text { .. } => &[AUTO, Neutral::Text("")],
            _ => &[AUTO],
        };
        at += 1;
    }
    fields
};

/// Their other names.
const ALIASES: [Field; ALIASED] = {
    let mut fields = [FLAGS[0]; ALIASED];
    let (mut at, mut found) = (0, 0);
    while at < TABLE.len() {
        if let [alias] = TABLE[at].aliases {
            fields[found] = FLAGS[at];
            fields[found].name = alias;
            found += 1;
        }
        at += 1;
    }
    fields
};

const ALIASED: usize = {
    let (mut at, mut found) = (0, 0);
    while at < TABLE.len() {
        found += TABLE[at].aliases.len();
        at += 1;
    }
    found
};

/// Files of other programs, which say settings too.
const RECIPES: [Field; recipes::NAMES.len()] = {
    let mut fields = [Field::new("", RECIPE, ""); recipes::NAMES.len()];
    let mut at = 0;
    while at < recipes::NAMES.len() {
        fields[at] = Field::new(recipes::NAMES[at], RECIPE, recipes::ABOUT[at]);
        fields[at].neutral = &[Neutral::Empty];
        at += 1;
    }
    fields
};

const RECIPE: Kind = Kind::Map {
    of: &Kind::Any,
    max: 1024,
};

const OPENAI: &[Field] = &[Field::new(
    "learning_rate_multiplier",
    Kind::Number(Range::above(0.0)),
    "Scales the default learning rate.",
)
.neutral(&[AUTO])];

const SEED: Kind = Kind::Integer {
    min: 0,
    max: i64::MAX,
};

pub(super) const HYPERPARAMETERS: Shape = Shape {
    name: "Hyperparameters",
    about: "How to train; `auto` is as good as absent.",
    fields: &[OPENAI, &ALIASES, &FLAGS, &RECIPES],
};

pub(super) const SETTINGS: Shape = Shape {
    name: "TrainSettings",
    about: "How to train.",
    fields: &[&FLAGS, &RECIPES],
};

/// How a name learns from its feedback: the settings of a job, and when.
pub(super) const RETRAIN: Shape = Shape {
    name: "RetrainRequest",
    about: "A retraining; every setting of a job may be said.",
    fields: &[
        &[
            Field::new(
                "min_rows",
                SEED,
                "New rows of feedback that it needs; 1 where absent.",
            ),
            Field::new(
                "min_corrections",
                SEED,
                "New corrections that it needs among them; none where absent.",
            ),
        ],
        &FLAGS,
        &RECIPES,
    ],
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

const PREFERENCE: Shape = Shape {
    name: "Preference",
    about: "Direct preference optimization.",
    fields: SUPERVISED.fields,
};

const METHOD: Shape = Shape {
    name: "FineTuningMethod",
    about: "Which kind of fine-tuning.",
    fields: &[&[
        Field::new(
            "type",
            Kind::Choice(&["supervised", "dpo"]),
            "Learn answers, or to prefer one of two.",
        )
        .required(),
        Field::new(
            "supervised",
            Kind::Object(&SUPERVISED),
            "Where that is the type.",
        ),
        Field::new("dpo", Kind::Object(&PREFERENCE), "Where that is the type."),
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
