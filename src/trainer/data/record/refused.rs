//! Keys that change what a row means and cannot be used: a row with them is refused rather than misread.

use serde_json::Value;

use super::fields::Fields;

const OLD_TOOLS: &str = "is an older form of `tools` and `tool_calls`; use those";
const PREFERENCE: &str = "answers that are only called good or bad cannot be trained on; give two answers to the same as `chosen` and `rejected`";
const MEDIA: &str = "only text can be trained on";
const THOUGHT: &str = "a thought of its own cannot be trained on yet; write it into the answer as the model's template has it";
const TEMPLATE: &str = "templates get nothing but the messages yet";

/// Of a row and of a turn alike.
const ANYWHERE: [(&str, &str); 14] = [
    ("functions", OLD_TOOLS),
    ("function_call", OLD_TOOLS),
    (
        "tool_choice",
        "is for requests: what a row trains is the answer it has",
    ),
    ("images", MEDIA),
    ("image", MEDIA),
    ("videos", MEDIA),
    ("video", MEDIA),
    ("audios", MEDIA),
    ("audio", MEDIA),
    ("reasoning_content", THOUGHT),
    ("thinking", THOUGHT),
    ("thought", THOUGHT),
    ("chat_template_kwargs", TEMPLATE),
    ("documents", TEMPLATE),
];

const OF_TURN: &str = "belongs to a turn";

const ROW: [(&str, &str); 5] = [
    ("tool_calls", OF_TURN),
    ("tool_call_id", OF_TURN),
    ("kto_tag", PREFERENCE),
    ("chat_template", TEMPLATE),
    ("suffix", "text cannot be filled in between two parts"),
];

/// Keys that say of a whole row whether it is trained on.
const ROW_FLAGS: [&str; 6] = ["loss", "train", "training", "trainable", "masked", "mask"];

pub(super) fn row(row: &Fields) -> Result<(), String> {
    any(row, &ANYWHERE)?;
    any(row, &ROW)?;
    if row
        .get("weight")
        .is_some_and(|weight| weight.as_f64() != Some(1.0))
    {
        return Err("`weight`: rows cannot be weighted; assistant turns can, by 0 or 1".into());
    }
    for key in ROW_FLAGS {
        let left_out = matches!(key, "masked" | "mask");
        if row.get(key) == Some(&Value::Bool(left_out)) {
            return Err(format!(
                "`{key}`: a row is not left out by a flag; take it out of the file"
            ));
        }
    }
    match row.get("label") {
        // True or false beside an answer: whether the answer is a good one.
        Some(Value::Bool(_)) => Err(format!("`label`: {PREFERENCE}")),
        _ => Ok(()),
    }
}

pub(super) fn turn(turn: &Fields) -> Result<(), String> {
    any(turn, &ANYWHERE)?;
    any(
        turn,
        &[
            ("reasoning", THOUGHT),
            ("tools", "belongs to the row, beside its turns"),
        ],
    )
}

/// As [`turn`], of the object that holds what is asked: it has tools as a row has.
pub(super) fn input(input: &Fields) -> Result<(), String> {
    any(input, &ANYWHERE)
}

/// Refuses `keys` beside a form that has no use for them.
pub(super) fn beside(row: &Fields, keys: &[&str], why: &str) -> Result<(), String> {
    match row.among(keys).first() {
        Some(key) => Err(format!("`{key}`: {why}")),
        None => Ok(()),
    }
}

fn any(fields: &Fields, table: &[(&str, &str)]) -> Result<(), String> {
    match table.iter().find(|(key, _)| fields.has(key)) {
        Some((key, why)) => Err(format!("{}: {why}", fields.named(key))),
        None => Ok(()),
    }
}
