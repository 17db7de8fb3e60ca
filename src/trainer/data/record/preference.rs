//! Two answers to the same, one preferred: TRL's rows and OpenAI's.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fields::Fields;
use super::{Body, Record, kind, refused, turns};
use crate::domain::{Message, Role};

/// The names of the better answer and of the other.
type Keys = [&'static str; 2];

const TRL: Keys = ["chosen", "rejected"];
const OPENAI: Keys = ["preferred_output", "non_preferred_output"];

/// The keys under which a row has two answers, where it has any of them.
pub(super) fn keys(row: &Fields) -> Option<Keys> {
    [OPENAI, TRL]
        .into_iter()
        .find(|keys| keys.iter().any(|key| row.has(key)))
}

pub(super) fn read(
    row: &mut Fields,
    keys: Keys,
    unused: &mut BTreeSet<String>,
) -> Result<Record, String> {
    for (key, other) in [(keys[0], keys[1]), (keys[1], keys[0])] {
        if !row.writes(key) {
            return Err(format!(
                "`{other}`: `{key}` is missing beside it, and two answers are compared"
            ));
        }
    }
    let others = [
        "messages",
        "conversations",
        "completion",
        "output",
        "history",
    ];
    refused::beside(row, &others, "does not belong beside two answers")?;
    let mut tools = Vec::new();
    let both = match keys {
        OPENAI => openai(row, &mut tools, unused)?,
        _ => {
            let lists = keys.map(|key| matches!(row.get(key), Some(Value::Array(_))));
            match lists {
                [true, true] => conversations(row, unused)?,
                [false, false] => texts(row)?,
                _ => {
                    return Err(
                        "one of `chosen` and `rejected` is a list of turns and the other is not"
                            .into(),
                    );
                }
            }
        }
    };
    if both[0] == both[1] {
        let [better, other] = keys;
        return Err(format!(
            "`{better}` and `{other}` are the same: nothing is preferred"
        ));
    }
    Ok(Record {
        form: match keys {
            OPENAI => "preferred output",
            _ => "chosen and rejected",
        },
        task: None,
        tools,
        body: Body::Preference(Box::new(both)),
    })
}

/// `input.messages`, and two lists of turns.
fn openai(
    row: &mut Fields,
    tools: &mut Vec<Value>,
    unused: &mut BTreeSet<String>,
) -> Result<[Body; 2], String> {
    let input = match row.take("input") {
        Some(Value::Object(map)) => map,
        Some(other) => {
            return Err(format!(
                "`input` is {}, not an object with `messages`",
                kind(&other)
            ));
        }
        None => return Err("`input` is missing".into()),
    };
    let mut input = Fields::new(input, "input");
    refused::input(&input)?;
    *tools = super::tools::offered(&mut input)?;
    let mut asked = turns::list(input.take("messages"), "input.messages", unused)?;
    input.leave(unused);
    turns::asks(&mut asked, "input.messages", "the two outputs")?;
    let answer = |row: &mut Fields, key: &'static str, unused: &mut BTreeSet<String>| {
        let turns = turns::list(row.take(key), key, unused)?;
        answered(&asked, turns, key)
    };
    Ok([
        answer(row, OPENAI[0], unused)?,
        answer(row, OPENAI[1], unused)?,
    ])
}

/// Lists of turns: after `prompt`, or with what is asked at the beginning of both.
fn conversations(row: &mut Fields, unused: &mut BTreeSet<String>) -> Result<[Body; 2], String> {
    let mut chosen = turns::list(row.take(TRL[0]), TRL[0], unused)?;
    let mut rejected = turns::list(row.take(TRL[1]), TRL[1], unused)?;
    let mut asked = match row.get("prompt") {
        Some(Value::Array(_)) => turns::list(row.take("prompt"), "prompt", unused)?,
        _ => {
            let shared = chosen
                .iter()
                .zip(&rejected)
                .take_while(|(a, b)| a == b)
                .count();
            // Both may end alike, too; what is asked ends before the first answer that differs.
            let asked: Vec<Message> = chosen.drain(..shared).collect();
            rejected.drain(..shared);
            prompted(row, asked)?
        }
    };
    asked = turns::with_system(row, asked, "prompt")?;
    turns::asks(&mut asked, "prompt", "`chosen` and `rejected`")?;
    Ok([
        answered(&asked, chosen, TRL[0])?,
        answered(&asked, rejected, TRL[1])?,
    ])
}

/// A prompt as text beside lists: the question itself, which the lists may begin with.
fn prompted(row: &mut Fields, shared: Vec<Message>) -> Result<Vec<Message>, String> {
    let Some(prompt) = row.text("prompt")?.filter(|text| !text.is_empty()) else {
        return match shared.is_empty() {
            true => Err("`chosen` and `rejected` do not begin with the same turns, and there is no `prompt`: nothing is asked".into()),
            false => Ok(shared),
        };
    };
    match shared.iter().any(|turn| turn.role == Role::User) {
        false => {
            let mut turns = shared;
            turns.push(Message::new(Role::User, prompt));
            Ok(turns)
        }
        true if shared.iter().any(|turn| turn.content == prompt) => Ok(shared),
        true => Err(
            "`prompt` is not what `chosen` and `rejected` begin with: give only one of them".into(),
        ),
    }
}

/// What is asked may be written before the answer once more.
fn answered(asked: &[Message], mut answer: Vec<Message>, key: &str) -> Result<Body, String> {
    let same = |(a, b): (&Message, &Message)| a.role == b.role && a.content == b.content;
    if answer.len() >= asked.len() && asked.iter().zip(&answer).all(same) {
        answer.drain(..asked.len());
    }
    turns::trainable(&answer, key)?;
    if answer
        .first()
        .is_some_and(|turn| turn.role != Role::Assistant)
    {
        return Err(format!(
            "`{key}` does not begin with an answer, nor with what is asked"
        ));
    }
    Ok(Body::Chat([asked, &answer].concat()))
}

/// Texts: after a raw `prompt`, or answers to a question that becomes a user's turn.
fn texts(row: &mut Fields) -> Result<[Body; 2], String> {
    let asks = row.among(&["prompt", "question", "instruction", "query"]);
    let key = match asks.as_slice() {
        [one] => *one,
        [] => return Err("`prompt` is missing".into()),
        [one, other, ..] => {
            return Err(format!(
                "`{one}` and `{other}` both ask: give only one of them"
            ));
        }
    };
    let asked = row.required(key)?;
    let [chosen, rejected] = [row.answer(TRL[0])?, row.answer(TRL[1])?];
    if key == "prompt" {
        let why = "raw text is trained on without a conversation around it; use lists of turns";
        refused::beside(row, &["system", "system_prompt"], why)?;
        return Ok([chosen, rejected].map(|completion| Body::Raw {
            prompt: asked.clone(),
            completion,
        }));
    }
    let user = match row.text("input")?.filter(|text| !text.is_empty()) {
        Some(input) => format!("{asked}\n{input}"),
        None => asked,
    };
    let asked = turns::with_system(row, vec![Message::new(Role::User, user)], key)?;
    Ok([chosen, rejected].map(|text| {
        let answer = Message::new(Role::Assistant, text);
        Body::Chat([asked.as_slice(), &[answer]].concat())
    }))
}
