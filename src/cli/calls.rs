//! Calls of functions in a chat: put together from a stream, shown, and answered by the user.

use std::collections::VecDeque;
use std::path::Path;

use serde_json::{Value, json};

use super::Failure;

/// A file of functions: a list of them, or an object that has it as `tools`.
pub fn described(path: &Path) -> Result<Value, Failure> {
    let failed = |why: String| Failure::Failed(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let mut value: Value =
        serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
    if value.is_object() {
        value = value["tools"].take();
    }
    match value.is_array() {
        true => Ok(value),
        false => Err(failed(
            "is no list of functions, nor has one as `tools`".into(),
        )),
    }
}

/// Calls of one answer, by their index.
#[derive(Debug, Default)]
pub struct Calls(Vec<Call>);

#[derive(Debug, Default, Clone)]
struct Call {
    id: String,
    name: String,
    arguments: String,
}

impl Calls {
    /// Takes what a choice of a chunk says of calls.
    pub fn hear(&mut self, choice: &Value) {
        for piece in choice["delta"]["tool_calls"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let at = piece["index"]
                .as_u64()
                .and_then(|at| usize::try_from(at).ok());
            let at = at.unwrap_or(self.0.len());
            // Calls come one after the other.
            if at == self.0.len() {
                self.0.push(Call::default());
            }
            let Some(call) = self.0.get_mut(at) else {
                continue;
            };
            let function = &piece["function"];
            for (part, said) in [
                (&mut call.id, &piece["id"]),
                (&mut call.name, &function["name"]),
                (&mut call.arguments, &function["arguments"]),
            ] {
                part.push_str(said.as_str().unwrap_or_default());
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As a message has them.
    pub fn sent(&self) -> Value {
        let call = |call: &Call| {
            let function = json!({"name": call.name, "arguments": call.arguments});
            json!({"id": call.id, "type": "function", "function": function})
        };
        self.0.iter().map(call).collect()
    }

    /// A line for each.
    pub fn shown(&self) -> impl Iterator<Item = String> {
        self.0
            .iter()
            .map(|call| format!("call {}({})", call.name, given(&call.arguments)))
    }

    pub fn due(&self) -> VecDeque<Due> {
        let due = |call: &Call| Due {
            id: call.id.clone(),
            name: call.name.clone(),
        };
        self.0.iter().map(due).collect()
    }
}

/// `city: "Oslo", days: 2`, or the text itself where it is no object.
fn given(arguments: &str) -> String {
    match serde_json::from_str(arguments) {
        Ok(Value::Object(map)) => {
            let parts = map.iter().map(|(key, value)| format!("{key}: {value}"));
            parts.collect::<Vec<_>>().join(", ")
        }
        _ => arguments.to_owned(),
    }
}

/// A call whose result is still to be said.
#[derive(Debug)]
pub struct Due {
    id: String,
    name: String,
}

impl Due {
    pub fn prompt(&self) -> String {
        format!("result of {}> ", self.name)
    }

    /// The turn that says it.
    pub fn result(&self, said: &str) -> Value {
        json!({"role": "tool", "tool_call_id": self.id, "name": self.name, "content": said})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_calls_are_put_together_shown_and_sent_back() {
        let mut calls = Calls::default();
        let mut hear = |piece: Value| calls.hear(&json!({"delta": {"tool_calls": [piece]}}));
        hear(
            json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}),
        );
        hear(json!({"index": 0, "function": {"arguments": "{\"city\": "}}));
        hear(json!({"index": 0, "function": {"arguments": "\"Oslo\", \"days\": 2}"}}));
        hear(json!({"index": 1, "id": "call_2", "function": {"name": "now", "arguments": "{"}}));
        calls.hear(&json!({"delta": {"content": "a"}}));
        let shown: Vec<String> = calls.shown().collect();
        assert_eq!(
            shown,
            ["call weather(city: \"Oslo\", days: 2)", "call now({)"]
        );
        assert_eq!(
            calls.sent()[0]["function"]["arguments"],
            "{\"city\": \"Oslo\", \"days\": 2}"
        );
        let due = calls.due();
        assert_eq!(due[1].prompt(), "result of now> ");
        let turn = json!({"role": "tool", "tool_call_id": "call_1", "name": "weather", "content": "sunny"});
        assert_eq!(due[0].result("sunny"), turn);
    }

    #[test]
    fn a_file_of_functions_is_a_list_or_has_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tools.json");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            described(&path).map_err(|failure| failure.to_string())
        };
        assert_eq!(read("[{}]"), Ok(json!([{}])));
        assert_eq!(read(r#"{"tools": [{}]}"#), Ok(json!([{}])));
        assert!(read("{}").unwrap_err().contains("no list of functions"));
        assert!(read("[").is_err());
        assert!(described(&dir.path().join("absent")).is_err());
    }
}
