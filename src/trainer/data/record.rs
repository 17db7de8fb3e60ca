//! One training record: what it may look like, and why it may not be used.

use serde_json::{Map, Value};

use crate::domain::{Message, Role, join_parts};

/// A record whose answer can be trained on.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    Instruction {
        instruction: String,
        input: Option<String>,
        output: String,
    },
    /// At least one assistant turn has a weight other than 0.
    Messages(Vec<Message>),
    Completion {
        prompt: String,
        completion: String,
    },
}

/// Keys that change what a conversation means; rows with them are refused rather than misread.
const NOT_TRAINED: [&str; 5] = [
    "tools",
    "functions",
    "tool_calls",
    "function_call",
    "parallel_tool_calls",
];

impl Record {
    /// Reads one row. The error says what is wrong with it and where.
    pub fn from_value(value: Value) -> Result<Self, String> {
        let Value::Object(mut row) = value else {
            return Err(format!("a row is an object, not {}", kind(&value)));
        };
        refuse_untrained(&row, "")?;
        let marks = ["messages", "completion", "output"]
            .map(|key| row.get(key).is_some_and(|v| !v.is_null()));
        match marks {
            [true, false, false] => messages(row.remove("messages")),
            [false, true, false] => Ok(Self::Completion {
                prompt: required_text(&mut row, "prompt")?,
                completion: answer(required_text(&mut row, "completion")?, "completion")?,
            }),
            [false, false, true] => {
                let instruction = required_text(&mut row, "instruction")?;
                let input = text(&mut row, "input")?.filter(|input| !input.is_empty());
                if instruction.trim().is_empty() && input.is_none() {
                    return Err("`instruction` is empty: nothing is asked".into());
                }
                Ok(Self::Instruction {
                    instruction,
                    input,
                    output: answer(required_text(&mut row, "output")?, "output")?,
                })
            }
            [false, false, false] => {
                Err("has none of `output` (with `instruction`), `messages`, `completion` (with `prompt`)".into())
            }
            _ => Err("mixes kinds of records: give only one of `output`, `messages`, `completion`".into()),
        }
    }

    /// The conversation of an instruction record: the instruction, a new line and the input are the user's turn.
    pub fn conversation(instruction: &str, input: Option<&str>, output: &str) -> Vec<Message> {
        let asked = match input {
            Some(input) => format!("{instruction}\n{input}"),
            None => instruction.to_owned(),
        };
        vec![
            Message::new(Role::User, asked),
            Message::new(Role::Assistant, output),
        ]
    }

    /// The text that is asked for, as far as reports need it.
    pub fn answer(&self) -> &str {
        match self {
            Self::Instruction { output, .. } => output,
            Self::Completion { completion, .. } => completion,
            Self::Messages(turns) => turns
                .iter()
                .rfind(|turn| is_trained(turn))
                .map_or("", |turn| &turn.content),
        }
    }
}

/// Whether a turn is one whose tokens the loss covers.
pub(super) fn is_trained(turn: &Message) -> bool {
    turn.role == Role::Assistant && turn.weight != Some(0.0)
}

fn messages(value: Option<Value>) -> Result<Record, String> {
    let Some(Value::Array(items)) = value else {
        return Err("`messages` is not a list".into());
    };
    let turns = items
        .into_iter()
        .enumerate()
        .map(|(at, item)| message(at, item))
        .collect::<Result<Vec<_>, _>>()?;
    if !turns.iter().any(is_trained) {
        return Err("`messages` has no assistant turn to train on".into());
    }
    Ok(Record::Messages(turns))
}

fn message(at: usize, value: Value) -> Result<Message, String> {
    let place = format!("messages[{at}]");
    let Value::Object(mut turn) = value else {
        return Err(format!("`{place}` is not an object"));
    };
    refuse_untrained(&turn, &format!("{place}."))?;
    let role = required_text(&mut turn, "role").map_err(|why| format!("`{place}`: {why}"))?;
    let role: Role = serde_json::from_value(Value::String(role.clone())).map_err(|_| {
        format!("`{place}.role`: `{role}` is not system, developer, user, assistant or tool")
    })?;
    let content =
        content(turn.remove("content")).map_err(|why| format!("`{place}.content`: {why}"))?;
    let name = text(&mut turn, "name").map_err(|why| format!("`{place}`: {why}"))?;
    let weight = match turn.remove("weight") {
        None | Some(Value::Null) => None,
        Some(_) if role != Role::Assistant => {
            return Err(format!(
                "`{place}.weight`: only assistant turns have a weight"
            ));
        }
        Some(value) => match value.as_f64() {
            Some(weight) if weight == 0.0 || weight == 1.0 => Some(weight as f32),
            _ => return Err(format!("`{place}.weight`: {value} is neither 0 nor 1")),
        },
    };
    if role == Role::User && content.trim().is_empty() {
        return Err(format!("`{place}.content` is empty: nothing is asked"));
    }
    if role == Role::Assistant && weight != Some(0.0) {
        answer(content.clone(), &format!("{place}.content"))?;
    }
    Ok(Message {
        role,
        content,
        name,
        weight,
    })
}

/// A text, or a list of text parts, which are joined.
fn content(value: Option<Value>) -> Result<String, String> {
    match value {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(parts)) => parts
            .iter()
            .map(|part| {
                match (
                    part.get("type").and_then(Value::as_str),
                    part.get("text").and_then(Value::as_str),
                ) {
                    (Some("text"), Some(text)) => Ok(text),
                    _ => Err("only text parts can be trained on".to_owned()),
                }
            })
            .collect::<Result<Vec<_>, _>>()
            .map(join_parts),
        None | Some(Value::Null) => Err("is missing".into()),
        Some(other) => Err(format!("is {}, not text", kind(&other))),
    }
}

fn refuse_untrained(object: &Map<String, Value>, place: &str) -> Result<(), String> {
    match NOT_TRAINED
        .iter()
        .find(|key| object.get(**key).is_some_and(|value| !value.is_null()))
    {
        Some(key) => Err(format!("`{place}{key}`: tool calls cannot be trained on")),
        None => Ok(()),
    }
}

fn text(object: &mut Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match object.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!("`{key}` is {}, not text", kind(&other))),
    }
}

fn required_text(object: &mut Map<String, Value>, key: &str) -> Result<String, String> {
    text(object, key)?.ok_or_else(|| format!("`{key}` is missing"))
}

fn answer(text: String, place: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err(format!(
            "`{place}` is empty: there is nothing to learn from it"
        ));
    }
    Ok(text)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_three_kinds_are_told_apart_by_their_answer() {
        let record =
            Record::from_value(json!({"instruction": "Name it.", "input": "", "output": "x"}))
                .unwrap();
        assert_eq!(
            record,
            Record::Instruction {
                instruction: "Name it.".into(),
                input: None,
                output: "x".into()
            }
        );
        let record = Record::from_value(json!({"prompt": "", "completion": "x"})).unwrap();
        assert_eq!(
            record,
            Record::Completion {
                prompt: String::new(),
                completion: "x".into()
            }
        );
        let record = Record::from_value(json!({"messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": "c", "weight": 1},
        ]}));
        let Ok(Record::Messages(turns)) = record else {
            panic!("{record:?}")
        };
        assert_eq!(
            (turns[0].content.as_str(), turns[1].weight),
            ("a\nb", Some(1.0))
        );
    }

    #[test]
    fn unusable_rows_say_what_is_wrong_and_where() {
        let cases = [
            (json!(3), "a row is an object, not a number"),
            (json!({"instruction": "x"}), "has none of"),
            (json!({"output": "x"}), "`instruction` is missing"),
            (
                json!({"instruction": "x", "output": 3}),
                "`output` is a number, not text",
            ),
            (
                json!({"instruction": "x", "output": " "}),
                "`output` is empty",
            ),
            (
                json!({"instruction": " ", "input": "", "output": "x"}),
                "`instruction` is empty",
            ),
            (
                json!({"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "x"}]}),
                "`messages[0].content` is empty",
            ),
            (
                json!({"instruction": "x", "output": "y", "messages": []}),
                "mixes kinds",
            ),
            (json!({"messages": []}), "no assistant turn"),
            (
                json!({"messages": [{"role": "robot", "content": "x"}]}),
                "`messages[0].role`: `robot`",
            ),
            (
                json!({"messages": [{"role": "user"}]}),
                "`messages[0].content`: is missing",
            ),
            (
                json!({"messages": [{"role": "assistant", "content": "x", "weight": 0}]}),
                "no assistant turn",
            ),
            (
                json!({"messages": [{"role": "assistant", "content": "x", "weight": 0.5}]}),
                "neither 0 nor 1",
            ),
            (
                json!({"messages": [{"role": "assistant", "content": "x", "tool_calls": [1]}]}),
                "tool calls",
            ),
        ];
        for (row, expected) in cases {
            let why = Record::from_value(row.clone()).unwrap_err();
            assert!(why.contains(expected), "{row}: {why}");
        }
    }
}
