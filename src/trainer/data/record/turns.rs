//! Lists of turns: `messages`, ShareGPT's `conversations`, and prompts and completions that are conversations.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fields::{Fields, not_blank};
use super::{Body, Record, flags, is_trained, kind, refused, tools};
use crate::domain::{Message, Role, join_parts};

/// `messages`, `conversations` or `conversation`, and what is said before them.
pub(super) fn conversation(
    row: &mut Fields,
    key: &'static str,
    unused: &mut BTreeSet<String>,
) -> Result<Record, String> {
    let why = "belongs to instruction rows; write its turns into the list";
    refused::beside(row, &["history"], why)?;
    let turns = list(row.take(key), key, unused)?;
    let turns = with_system(row, turns, key)?;
    trainable(&turns, key)?;
    Ok(Record {
        form: key,
        task: None,
        tools: Vec::new(),
        body: Body::Chat(turns),
    })
}

/// `prompt` and `completion` as two lists: only the assistant turns of the completion are trained on.
pub(super) fn prompted(row: &mut Fields, unused: &mut BTreeSet<String>) -> Result<Record, String> {
    let why = "belongs to instruction rows; write its turns into `prompt`";
    refused::beside(row, &["history"], why)?;
    let mut turns = list(row.take("prompt"), "prompt", unused)?;
    asks(&mut turns, "prompt", "`completion`")?;
    let completion = list(row.take("completion"), "completion", unused)?;
    trainable(&completion, "completion")?;
    turns = with_system(row, turns, "prompt")?;
    turns.extend(completion);
    Ok(Record {
        form: "prompt and completion as messages",
        task: None,
        tools: Vec::new(),
        body: Body::Chat(turns),
    })
}

/// Turns that an answer follows; none of their own is trained on. `answers`: where the answers are.
pub(super) fn asks(turns: &mut [Message], key: &str, answers: &str) -> Result<(), String> {
    match turns.last().map(|turn| turn.role) {
        None => return Err(format!("`{key}` has no turn: nothing is asked")),
        Some(Role::Assistant) => {
            let at = turns.len() - 1;
            return Err(format!(
                "`{key}[{at}]` is an assistant turn: an answer that was begun cannot be continued"
            ));
        }
        Some(_) => {}
    }
    for (at, turn) in turns.iter_mut().enumerate() {
        if turn.role == Role::Assistant {
            if turn.weight == Some(1.0) {
                return Err(format!(
                    "`{key}[{at}]` is flagged to be trained on: only turns of {answers} are"
                ));
            }
            turn.weight = Some(0.0);
        }
    }
    Ok(())
}

pub(super) fn trainable(turns: &[Message], key: &str) -> Result<(), String> {
    if !turns.iter().any(is_trained) {
        return Err(format!("`{key}` has no assistant turn to train on"));
    }
    let follows = ["completion", "chosen", "rejected"].contains(&key) || key.ends_with("_output");
    if !follows && turns.first().is_some_and(is_trained) {
        return Err(format!(
            "`{key}[0]` is an answer to nothing: a turn must come before it"
        ));
    }
    Ok(())
}

/// The text of `system` (or `system_prompt`).
pub(super) fn system(row: &mut Fields) -> Result<Option<String>, String> {
    let mut text = None;
    for key in ["system", "system_prompt"] {
        if !row.has(key) {
            continue;
        }
        let found = content(row.take(key)).map_err(|why| format!("`{key}` {why}"))?;
        match &text {
            Some(other) if *other != found => {
                return Err("`system` and `system_prompt` differ: give only one of them".into());
            }
            _ => text = Some(found).filter(|text| !text.is_empty()),
        }
    }
    Ok(text)
}

/// A system turn first, where the row names one beside its list.
pub(super) fn with_system(
    row: &mut Fields,
    mut turns: Vec<Message>,
    key: &str,
) -> Result<Vec<Message>, String> {
    let Some(text) = system(row)? else {
        return Ok(turns);
    };
    match turns.first() {
        Some(first) if matches!(first.role, Role::System | Role::Developer) => {
            if first.content != text {
                return Err(format!(
                    "`system` beside the {} turn `{key}[0]`: give only one of them",
                    first.role.as_str()
                ));
            }
        }
        _ => turns.insert(0, Message::new(Role::System, text)),
    }
    Ok(turns)
}

pub(super) fn list(
    value: Option<Value>,
    key: &str,
    unused: &mut BTreeSet<String>,
) -> Result<Vec<Message>, String> {
    match value {
        Some(Value::Array(items)) => items
            .into_iter()
            .enumerate()
            .map(|(at, item)| turn(&format!("{key}[{at}]"), item, unused))
            .collect(),
        Some(other) => Err(format!("`{key}` is {}, not a list of turns", kind(&other))),
        None => Err(format!("`{key}` is missing")),
    }
}

fn turn(place: &str, value: Value, unused: &mut BTreeSet<String>) -> Result<Message, String> {
    let Value::Object(map) = value else {
        return Err(format!("`{place}` is not an object"));
    };
    let mut turn = Fields::new(map, place);
    refused::turn(&turn)?;
    let speaker = one_of(&turn, place, "role", "from")?;
    let said = one_of(&turn, place, "content", "value")?;
    let name = turn
        .text(speaker)
        .map_err(|_| format!("`{place}.{speaker}` is not a text"))?
        .ok_or_else(|| format!("`{place}`: `role` is missing"))?;
    let role = role(&name).map_err(|why| format!("`{place}.{speaker}`: `{name}` {why}"))?;
    let (tool_calls, tool_call_id) = tools::of_turn(&mut turn, role)?;
    let calls = !tool_calls.is_empty();
    let value = turn.take(said);
    tell_parts(&value, &format!("{place}.{said}"), unused);
    let content = match value {
        // An answer may be calls alone.
        None if calls => String::new(),
        value => content(value).map_err(|why| format!("`{place}.{said}`: {why}"))?,
    };
    let weight = flags::take(&mut turn, role)?;
    let name = turn.text("name")?.filter(|name| !name.is_empty());
    turn.leave(unused);
    if role == Role::User && content.trim().is_empty() {
        return Err(format!("`{place}.{said}` is empty: nothing is asked"));
    }
    let content = match role == Role::Assistant && weight != Some(0.0) && !calls {
        true => not_blank(content, &format!("`{place}.{said}`"))?,
        false => content,
    };
    Ok(Message {
        role,
        content,
        name,
        tool_calls,
        tool_call_id,
        weight,
    })
}

/// Which of two names of the same thing a turn uses.
fn one_of(
    turn: &Fields,
    place: &str,
    usual: &'static str,
    other: &'static str,
) -> Result<&'static str, String> {
    match (turn.writes(usual), turn.writes(other)) {
        (true, true) if turn.has(other) && turn.has(usual) => Err(format!(
            "`{place}` carries both `{usual}` and `{other}`: give only one of them"
        )),
        (_, true) if !turn.has(usual) => Ok(other),
        _ => Ok(usual),
    }
}

/// A role by its own name, or by those that ShareGPT files have for it.
fn role(name: &str) -> Result<Role, &'static str> {
    match name {
        "system" => Ok(Role::System),
        "developer" => Ok(Role::Developer),
        "user" | "human" => Ok(Role::User),
        "assistant" | "gpt" | "chatgpt" | "bot" | "model" => Ok(Role::Assistant),
        "tool" => Ok(Role::Tool),
        "function" | "function_call" | "function_response" | "observation" => {
            Err("belongs to a tool call of another form; use `tool_calls` and the role `tool`")
        }
        _ => Err("is not system, developer, user, assistant or tool"),
    }
}

/// A text, or a list of text parts, which are joined.
fn content(value: Option<Value>) -> Result<String, String> {
    match value {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(parts)) => parts
            .iter()
            .map(part)
            .collect::<Result<Vec<_>, _>>()
            .map(join_parts),
        None => Err("is missing".into()),
        Some(other) => Err(format!("is {}, not text", kind(&other))),
    }
}

fn part(part: &Value) -> Result<&str, String> {
    let of = |key: &str| part.get(key).and_then(Value::as_str);
    match (of("type"), of("text")) {
        (Some("text"), Some(text)) => Ok(text),
        (Some(other), _) if other != "text" => Err(format!(
            "only text parts can be trained on, not one of type `{other}`"
        )),
        _ => Err("only text parts (`type` and `text`) can be trained on".into()),
    }
}

/// Keys of parts beside their type and text.
fn tell_parts(value: &Option<Value>, place: &str, unused: &mut BTreeSet<String>) {
    for part in value.iter().filter_map(Value::as_array).flatten() {
        if let Value::Object(map) = part {
            let mut map = map.clone();
            map.remove("type");
            map.remove("text");
            let place = match place.split_once('[').zip(place.rsplit_once('.')) {
                Some(((list, _), (_, said))) => format!("{list}[].{said}[]"),
                None => place.to_owned(),
            };
            let mut rest = BTreeSet::new();
            Fields::new(map, "").leave(&mut rest);
            unused.extend(rest.into_iter().map(|key| format!("{place}.{key}")));
        }
    }
}
