//! Training rows of feedback. Pure.

use serde_json::{Map, Value, json};

use crate::domain::RowForm;
use crate::store::Given;
use crate::trainer::data::Record;

/// The row, or `None` where this feedback makes none. What liked answers need is `min_score`, or a score above 0.
pub(super) fn row(given: &Given, form: RowForm, min_score: Option<f64>) -> Option<Value> {
    let row = match form {
        RowForm::Sft => answered(given, min_score),
        RowForm::Dpo => compared(given),
    }?;
    // A row is what a job reads as one: a conversation that was answered may still be none, one without a question say.
    Record::read(row.clone()).is_ok().then_some(row)
}

/// The correction, or else the answer, as what is to be learned.
fn answered(given: &Given, min_score: Option<f64>) -> Option<Value> {
    let is_liked = given.score > 0.0 && min_score.is_none_or(|least| given.score >= least);
    let answer = match &given.correction {
        Some(correction) => correction,
        None if is_liked => &given.answer,
        None => return None,
    };
    match (&given.input["messages"], &given.input["prompt"]) {
        (Value::Array(messages), _) => {
            // Only this answer is learned: nobody has said anything of those before.
            let mut turns: Vec<Value> = messages.iter().map(unlearned).collect();
            turns.push(turn(answer));
            Some(json!({ "messages": turns }))
        }
        (_, Value::String(prompt)) => Some(json!({"prompt": prompt, "completion": answer})),
        _ => None,
    }
}

/// The correction as the better of two answers.
fn compared(given: &Given) -> Option<Value> {
    let correction = given.correction.as_ref()?;
    let answer = &given.answer;
    match (&given.input["messages"], &given.input["prompt"]) {
        (Value::Array(messages), _) => Some(
            json!({"prompt": messages, "chosen": [turn(correction)], "rejected": [turn(answer)]}),
        ),
        (_, Value::String(prompt)) => {
            Some(json!({"prompt": prompt, "chosen": correction, "rejected": answer}))
        }
        _ => None,
    }
}

fn turn(answer: &str) -> Value {
    json!({"role": "assistant", "content": answer})
}

fn unlearned(message: &Value) -> Value {
    let mut message: Map<String, Value> = message.as_object().cloned().unwrap_or_default();
    if message.get("role").is_some_and(|role| role == "assistant") {
        message.insert("weight".to_owned(), json!(0));
    }
    Value::Object(message)
}
