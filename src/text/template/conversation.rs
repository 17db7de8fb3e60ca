//! What a template is given.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde_json::{Map, Value as Json};

use crate::text::jinja::{Dict, Value};

/// A conversation as clients send it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Conversation<'a> {
    /// Objects with a `role` and whatever else the template reads: `content`, `tool_calls`, `reasoning_content`, …
    pub messages: &'a [Json],
    /// Descriptions of functions; `None` where there are none to call, which templates tell from an empty list.
    pub tools: Option<&'a [Json]>,
    /// Variables of the template, such as `enable_thinking`. They stand in for special tokens and `documents` of the
    /// same name, but not for the other fields of this.
    pub variables: Option<&'a Map<String, Json>>,
    /// End with what begins an answer.
    pub add_generation_prompt: bool,
}

/// What reasoning is called, the name that templates read first.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

impl Conversation<'_> {
    pub(super) fn values(&self, knows_developer: bool) -> IndexMap<String, Value> {
        let messages = self.messages.iter().map(|message| match message {
            Json::Object(fields) => Value::dict(Dict::from(&*normal(fields, knows_developer))),
            other => Value::from(other),
        });
        let messages = messages.collect();
        let mut values = base(messages);
        for (name, value) in self.variables.into_iter().flatten() {
            if !matches!(name.as_str(), "messages" | "tools") {
                values.insert(name.clone(), Value::from(value));
            }
        }
        if let Some(tools) = self.tools {
            let tools = tools.iter().map(Value::from).collect();
            values.insert("tools".into(), list(tools));
        }
        let prompt = Value::Bool(self.add_generation_prompt);
        values.insert("add_generation_prompt".into(), prompt);
        values
    }
}

fn list(items: Vec<Value>) -> Value {
    Value::list(items).unwrap_or(Value::None)
}

fn base(messages: Vec<Value>) -> IndexMap<String, Value> {
    IndexMap::from([
        ("messages".to_owned(), list(messages)),
        ("tools".to_owned(), Value::None),
        ("documents".to_owned(), Value::None),
    ])
}

/// The fields of a message as templates know them: reasoning under every name that one of them reads.
fn normal(fields: &Map<String, Json>, knows_developer: bool) -> Cow<'_, Map<String, Json>> {
    let mut fields = Cow::Borrowed(fields);
    let reasoning = REASONING.iter().find_map(|name| {
        let found = fields.get(*name);
        found.filter(|value| !value.is_null()).cloned()
    });
    if let Some(reasoning) = reasoning {
        let mut made = Map::new();
        made.insert("thinking".into(), reasoning.clone());
        made.extend(fields.iter().map(|(k, v)| (k.clone(), v.clone())));
        made.insert("reasoning_content".into(), reasoning);
        fields = Cow::Owned(made);
    }
    // The newer name of the same thing; older templates refuse or misplace it.
    if !knows_developer && fields.get("role").is_some_and(|role| role == "developer") {
        fields.to_mut().insert("role".into(), "system".into());
    }
    fields
}
