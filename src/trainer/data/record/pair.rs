//! A question and its answer: Alpaca's rows, Dolly's, and those of question answering.

use serde_json::Value;

use super::fields::{Fields, not_blank};
use super::{ASKS, Body, Record, kind, turns};
use crate::domain::{Message, Role};

/// What stands under `answer` answers what stands under `instruction` or one of its other names.
pub(super) fn pair(row: &mut Fields, answer: &'static str) -> Result<Record, String> {
    let asked = asked(row, answer)?;
    let instruction = row.text(asked)?;
    let input = input(row)?;
    let task = instruction.clone().unwrap_or_default();
    let user = match (instruction, input) {
        (None, None | Some((_, "context"))) => return Err(format!("`{asked}` is missing")),
        (Some(text), None) if text.trim().is_empty() => {
            return Err(format!("`{asked}` is empty: nothing is asked"));
        }
        (None, Some((input, _))) => input,
        (Some(text), None) => text,
        (Some(text), Some((input, _))) => format!("{text}\n{input}"),
    };
    let output = row.answer(answer)?;
    let mut said: Vec<Message> = turns::system(row)?
        .map(|text| Message::new(Role::System, text))
        .into_iter()
        .collect();
    said.extend(history(row.take("history"))?);
    said.push(Message::new(Role::User, user));
    said.push(Message::new(Role::Assistant, output));
    let form = match asked {
        "instruction" => "instruction",
        _ => "question and answer",
    };
    Ok(Record {
        form,
        task: Some(task).filter(|task| !task.is_empty()),
        tools: Vec::new(),
        body: Body::Chat(said),
    })
}

/// The one key that asks.
fn asked(row: &Fields, answer: &str) -> Result<&'static str, String> {
    let mut asks = row.among(&ASKS);
    if asks.contains(&"instruction") && answer == "output" {
        // Published Alpaca files carry the whole row as a prompt, too.
        asks.retain(|key| *key != "prompt");
    }
    match asks.as_slice() {
        [one] => Ok(one),
        [] => Ok(ASKS
            .into_iter()
            .find(|key| row.writes(key))
            .unwrap_or(match answer {
                "output" => "instruction",
                "completion" => "prompt",
                _ => "question",
            })),
        [one, other, ..] => Err(format!(
            "`{one}` and `{other}` both ask: give only one of them"
        )),
    }
}

/// What an instruction is about, and the name it has.
fn input(row: &mut Fields) -> Result<Option<(String, &'static str)>, String> {
    let key = match row.among(&["input", "context"]).as_slice() {
        [] => return Ok(None),
        [one] => *one,
        _ => return Err("`input` and `context` mean the same: give only one of them".into()),
    };
    Ok(row.text(key)?.map(|text| (text, key)))
}

/// Earlier questions and answers. The answers are trained on, as all assistant turns of a conversation are.
fn history(value: Option<Value>) -> Result<Vec<Message>, String> {
    let items = match value {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) if text.is_empty() => return Ok(Vec::new()),
        Some(Value::Object(map)) if map.is_empty() => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(other) => {
            return Err(format!(
                "`history` is {}, not a list of pairs",
                kind(&other)
            ));
        }
    };
    let mut turns = Vec::with_capacity(2 * items.len());
    for (at, item) in items.iter().enumerate() {
        let pair = item.as_array().map(Vec::as_slice);
        let Some([Value::String(asked), Value::String(answered)]) = pair else {
            return Err(format!(
                "`history[{at}]` is not a pair of two texts: what was asked and what was answered"
            ));
        };
        if asked.trim().is_empty() {
            return Err(format!("`history[{at}][0]` is empty: nothing is asked"));
        }
        turns.push(Message::new(Role::User, asked.as_str()));
        let answered = not_blank(answered.clone(), &format!("`history[{at}][1]`"))?;
        turns.push(Message::new(Role::Assistant, answered));
    }
    Ok(turns)
}
