//! One training record: the forms it may have, and why it may not be used.
//!
//! Here is decided which form a row has; `turns` and `pair` read lists of turns and questions with their answers,
//! `flags` what is trained on, and `refused` names what cannot be used. Keys that are not used are reported (`fields`).

mod fields;
mod flags;
mod pair;
mod preference;
mod refused;
#[cfg(test)]
mod tests;
mod tools;
mod turns;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::domain::{Message, Objective, Role};
use fields::Fields;

/// A record whose answer can be trained on.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What reports call its form.
    pub form: &'static str,
    /// What is to be done, where the row says it apart from what it is done with.
    pub task: Option<String>,
    /// Functions that the answers may call, as chat templates are told of them.
    pub tools: Vec<Value>,
    pub body: Body,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// At least one assistant turn has a weight other than 0.
    Chat(Vec<Message>),
    /// Text without a template: the completion is trained on. A prompt may be empty.
    Raw { prompt: String, completion: String },
    /// Two answers to the same, the better one first; each a whole body.
    Preference(Box<[Body; 2]>),
}

/// Names of what asks.
const ASKS: [&str; 4] = ["instruction", "question", "query", "prompt"];
/// Names of answers. The first two make a row's form by themselves; the others are common beside other forms as well
/// and make one only where something is asked.
const ANSWERS: [&str; 4] = ["output", "completion", "response", "answer"];
const LISTS: [&str; 3] = ["messages", "conversations", "conversation"];

const FORMS: &str = "`output` (with `instruction`), `messages`, `conversations`, `completion` (with `prompt`), \
                     `answer` or `response` (with `question`), `text`, or two answers: `chosen` and `rejected` (with `prompt`), \
                     `preferred_output` and `non_preferred_output` (with `input`)";

impl Record {
    /// Reads one row. Also the names of its keys that are not used.
    ///
    /// # Errors
    /// What is wrong with the row and where in it.
    pub fn read(value: Value) -> Result<(Self, BTreeSet<String>), String> {
        let Value::Object(map) = value else {
            return Err(format!("a row is an object, not {}", kind(&value)));
        };
        let mut row = Fields::new(map, "");
        refused::row(&row)?;
        let mut unused = BTreeSet::new();
        let tools = tools::offered(&mut row)?;
        if let Some(keys) = preference::keys(&row) {
            let record = preference::read(&mut row, keys, &mut unused)?;
            row.leave(&mut unused);
            return Ok((record.with(tools)?, unused));
        }
        let record = match form(&row)? {
            key @ ("messages" | "conversations" | "conversation") => {
                turns::conversation(&mut row, key, &mut unused)?
            }
            "text" => text(&mut row)?,
            "completion" if row.among(&["instruction", "question", "query"]).is_empty() => {
                completion(&mut row, &mut unused)?
            }
            answer => pair::pair(&mut row, answer)?,
        };
        row.leave(&mut unused);
        Ok((record.with(tools)?, unused))
    }

    /// Says what can be called, unless the record says so itself.
    fn with(mut self, tools: Vec<Value>) -> Result<Self, String> {
        if tools.is_empty() {
            return Ok(self);
        }
        if !self.tools.is_empty() {
            return Err("`tools` stands in two places: give only one of them".into());
        }
        if !self.body.is_chat() {
            return Err("`tools`: raw text is trained on without them; use `messages`".into());
        }
        self.tools = tools;
        Ok(self)
    }

    /// The text that is asked for, as far as reports need it.
    pub fn answer(&self) -> &str {
        self.body.answer()
    }
}

impl Body {
    fn is_chat(&self) -> bool {
        match self {
            Self::Chat(_) => true,
            Self::Raw { .. } => false,
            Self::Preference(both) => both[0].is_chat(),
        }
    }

    /// What a job with such rows learns.
    pub const fn objective(&self) -> Objective {
        match self {
            Self::Raw { .. } | Self::Chat(_) => Objective::Sft,
            Self::Preference(_) => Objective::Dpo,
        }
    }

    /// The answer; of two, the better one.
    pub fn answer(&self) -> &str {
        match self {
            Self::Raw { completion, .. } => completion,
            Self::Chat(turns) => turns.iter().rfind(|turn| is_trained(turn)).map_or("", said),
            Self::Preference(both) => both[0].answer(),
        }
    }

    /// What is asked and answered, as one text; of two answers, the better one.
    pub fn text(&self) -> String {
        match self {
            Self::Raw { prompt, completion } => [prompt.as_str(), completion].join("\n"),
            Self::Chat(turns) => {
                let turns = turns.iter().map(|turn| turn.content.as_str());
                turns.collect::<Vec<_>>().join("\n")
            }
            Self::Preference(both) => both[0].text(),
        }
    }

    /// What the row is to be told with others by: the system's turn, else the first question.
    pub fn task(&self) -> Option<String> {
        match self {
            Self::Raw { .. } => None,
            Self::Chat(turns) => {
                let of = |role| turns.iter().find(|turn| turn.role == role);
                let first = of(Role::System).or_else(|| of(Role::User));
                Some(first.map_or_else(String::new, |turn| turn.content.clone()))
            }
            Self::Preference(both) => both[0].task(),
        }
    }
}

/// The key that says which form a row has.
fn form(row: &Fields) -> Result<&'static str, String> {
    let asks = !row.among(&ASKS).is_empty() || row.has("input");
    let mut found = row.among(&LISTS);
    found.extend(row.among(&ANSWERS[..2]));
    if asks {
        found.extend(row.among(&ANSWERS[2..]));
    }
    // Published Alpaca files carry the whole row as one text, too.
    if row.has("text") && !(row.has("instruction") && row.has("output")) {
        found.push("text");
    }
    match found.as_slice() {
        [one] => Ok(one),
        [one, other, ..] => Err(format!(
            "mixes forms of records: `{one}` and `{other}`; give only one of them"
        )),
        // Empty, but named: what is wrong with it is better said than that there is nothing.
        [] => LISTS
            .into_iter()
            .chain(ANSWERS)
            .chain(["text"])
            .find(|key| row.writes(key))
            .ok_or_else(|| format!("has none of {FORMS}")),
    }
}

/// Raw text, or two lists of turns.
fn completion(row: &mut Fields, unused: &mut BTreeSet<String>) -> Result<Record, String> {
    let lists = ["prompt", "completion"].map(|key| matches!(row.get(key), Some(Value::Array(_))));
    match lists {
        [true, true] => return turns::prompted(row, unused),
        [false, false] => {}
        _ => {
            return Err(
                "one of `prompt` and `completion` is a list of turns and the other is not".into(),
            );
        }
    }
    raw_has_none(row)?;
    Ok(Record {
        form: "completion",
        task: None,
        tools: Vec::new(),
        body: Body::Raw {
            prompt: row.required("prompt")?,
            completion: row.answer("completion")?,
        },
    })
}

/// Raw text that is trained on from its first token to its last.
fn text(row: &mut Fields) -> Result<Record, String> {
    raw_has_none(row)?;
    refused::beside(
        row,
        &["label", "labels"],
        "labels of texts cannot be trained on; give the text as `prompt` and the label as `completion`",
    )?;
    Ok(Record {
        form: "text",
        task: None,
        tools: Vec::new(),
        body: Body::Raw {
            prompt: String::new(),
            completion: row.answer("text")?,
        },
    })
}

fn raw_has_none(row: &Fields) -> Result<(), String> {
    let why = "raw text is trained on without a conversation around it; use `messages`";
    refused::beside(row, &["system", "system_prompt", "history"], why)
}

/// Whether a turn is one whose tokens the loss covers.
pub(super) fn is_trained(turn: &Message) -> bool {
    turn.role == Role::Assistant && turn.weight != Some(0.0)
}

/// What reports take for a turn's text: of one that only calls, the name of what it calls first.
pub(super) fn said(turn: &Message) -> &str {
    match turn.tool_calls.first() {
        Some(call) if turn.content.is_empty() => &call.name,
        _ => &turn.content,
    }
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
