//! What answers hold, for the OpenAPI document; tests hold these tables against what is sent.

mod doors;
mod feedback;
mod inference;
mod learning;
mod management;
mod report;

use super::shape::{COUNT, FLAG, Field, Kind, Shape, TEXT, TOKEN_ID};

pub(super) use doors::{
    ANTHROPIC_ERROR, MESSAGE, MESSAGE_EVENT, RESPONSE, RESPONSE_EVENT, TOKEN_COUNT,
};
pub(super) use feedback::{FEEDBACK, FEEDBACKS, FORGOTTEN, SCORES};
pub(super) use inference::{
    CHAT, CHAT_CHUNK, EMBEDDINGS, MODEL, MODELS, PROMPT, TEXT_COMPLETION, TOKENS,
};
pub(super) use learning::{CHECKPOINTS, EVENT, EVENTS, FILE, FILES, JOB, JOBS, PLAN};
pub(super) use management::{ADAPTER, ADAPTERS, AUDIT, AUDIT_STATE, ISSUED_KEY, KEY, KEYS, LORAS};
pub(super) use report::REPORT;

const fn list_of(object: &'static Kind) -> Kind {
    Kind::List {
        of: object,
        min: 0,
        max: usize::MAX,
    }
}

const fn shape(
    name: &'static str,
    about: &'static str,
    fields: &'static [&'static [Field]],
) -> Shape {
    Shape {
        name,
        about,
        fields,
    }
}

const LIST: Field = Field::new("object", Kind::Choice(&["list"]), "").required();
const ID: Field = Field::new("id", TEXT, "").required();
const CREATED: Field = Field::new("created", COUNT, "Unix seconds.").required();
const CREATED_AT: Field = Field::new("created_at", COUNT, "Unix seconds.").required();
const HAS_MORE: Field = Field::new("has_more", FLAG, "Older entries exist.").required();
const FIRST_ID: Field = Field::new("first_id", TEXT, "");
const LAST_ID: Field = Field::new("last_id", TEXT, "What `after` takes for the next page.");
const GENERATION: Field = Field::new(
    "adapter_generation",
    TEXT,
    "64 hex digits; null for the base.",
);
const IDS: Kind = list_of(&TOKEN_ID);
pub(super) const HEALTH: Shape = shape(
    "Health",
    "",
    &[&[Field::new("status", Kind::Choice(&["ok"]), "").required()]],
);

pub(super) const DELETED: Shape = shape(
    "Deleted",
    "",
    &[&[
        ID,
        Field::new("object", TEXT, "").required(),
        Field::new("deleted", FLAG, "").required(),
    ]],
);

const ERROR_ROW: Shape = shape(
    "BadRow",
    "A row of a training file.",
    &[&[
        Field::new("line", COUNT, "Counted from 1.").required(),
        Field::new("message", TEXT, "").required(),
    ]],
);
const ERROR_PARTS: Shape = shape(
    "ErrorDetail",
    "",
    &[&[
        Field::new("message", TEXT, "For people.").required(),
        Field::new("type", TEXT, "").required(),
        Field::new("param", TEXT, "The field at fault."),
        Field::new("code", TEXT, "For programs.").required(),
        Field::new(
            "rows",
            list_of(&Kind::Object(&ERROR_ROW)),
            "For `invalid_training_file`.",
        ),
    ]],
);
pub(super) const ERROR: Shape = shape(
    "Error",
    "Every error.",
    &[&[Field::new("error", Kind::Object(&ERROR_PARTS), "").required()]],
);
