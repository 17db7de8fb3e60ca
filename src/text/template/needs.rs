//! What a template wants of messages that is not what clients send, and what it makes of tools. Templates are programs:
//! the first is told from their words, the second by looking at what they render.

use serde_json::{Value as Json, json};

use super::{ChatTemplate, Conversation};
use crate::domain::{Message, Role};

/// What the messages must have for it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Needs {
    /// It knows the role `developer`; older ones refuse or misplace it.
    pub developer: bool,
    /// It takes ids of calls only with nine letters and digits, as Mistral's do.
    short_ids: bool,
    /// It refuses results that do not say whose they are, as Hermes's do.
    names: bool,
    /// It tells an assistant that only calls by a content of null; to others an empty one is safer.
    null_content: bool,
}

/// Which parts of a conversation with tools a template writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToolParts {
    /// What can be called.
    pub tools: bool,
    /// Calls of an assistant.
    pub calls: bool,
    /// Results of calls.
    pub results: bool,
}

const ID_BYTES: usize = 9;

impl Needs {
    pub fn of(source: &str) -> Self {
        let says = |word: &str| source.contains(word);
        Self {
            developer: says("developer"),
            short_ids: says("length != 9") || says("length == 9"),
            names: says("require a 'name' key"),
            null_content: [
                "'content'] is none",
                "\"content\"] is none",
                ".content is none",
            ]
            .into_iter()
            .any(says),
        }
    }

    /// A conversation as the template is told of it.
    pub fn told(self, messages: &[Message]) -> Vec<Json> {
        let told = |(at, message): (usize, &Message)| {
            let mut told = message.told();
            let called = message.tool_call_id.as_ref();
            if self.null_content && message.content.is_empty() && !message.tool_calls.is_empty() {
                told.insert("content".into(), Json::Null);
            }
            if self.names && message.role == Role::Tool && message.name.is_none() {
                let before = messages[..at].iter().rev().flat_map(|m| &m.tool_calls);
                let call = before
                    .into_iter()
                    .find(|call| called.is_some() && call.id.as_ref() == called);
                if let Some(call) = call {
                    told.insert("name".into(), json!(call.name));
                }
            }
            if self.short_ids {
                if let Some(id) = called {
                    told.insert("tool_call_id".into(), json!(short(id)));
                }
                for call in told
                    .get_mut("tool_calls")
                    .and_then(Json::as_array_mut)
                    .into_iter()
                    .flatten()
                {
                    if let Some(id) = call["id"].as_str().map(short) {
                        call["id"] = json!(id);
                    }
                }
            }
            Json::Object(told)
        };
        messages.iter().enumerate().map(told).collect()
    }
}

/// Nine letters and digits that stand for an id; an id that is such stays.
fn short(id: &str) -> String {
    if id.len() == ID_BYTES && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return id.to_owned();
    }
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let hash = blake3::hash(id.as_bytes());
    let letters = hash.as_bytes()[..ID_BYTES].iter();
    letters
        .map(|byte| char::from(ALPHABET[usize::from(byte & 31)]))
        .collect()
}

/// Looks at the rendering of a conversation that holds all of them.
pub(super) fn tool_parts(template: &ChatTemplate) -> ToolParts {
    const FUNCTION: &str = "look_up_31415926";
    const GIVEN: &str = "27182818284590";
    const RESULT: &str = "16180339887498";
    let id = "abcdefghi";
    let call = json!({"id": id, "type": "function", "function": {"name": FUNCTION, "arguments": {"word": GIVEN}}});
    let tools = [
        json!({"type": "function", "function": {"name": FUNCTION, "description": "Looks up.", "parameters": {
        "type": "object", "properties": {"word": {"type": "string", "description": "What."}}, "required": ["word"]}}}),
    ];
    let asked = json!({"role": "user", "content": "Look up."});
    let messages = [
        asked.clone(),
        json!({"role": "assistant", "content": "", "tool_calls": [call]}),
        json!({"role": "tool", "name": FUNCTION, "tool_call_id": id, "content": RESULT}),
    ];
    let render = |messages: &[Json], tools| {
        template.render_with(&Conversation {
            messages,
            tools,
            add_generation_prompt: true,
            ..Conversation::default()
        })
    };
    let says = |word: &str| template.call_source().contains(word);
    let tools = match render(&messages[..1], Some(&tools)) {
        Ok(text) => text.contains(FUNCTION),
        Err(_) => says("tools"),
    };
    let (calls, results) = match render(&messages, None) {
        Ok(text) => (text.contains(GIVEN), text.contains(RESULT)),
        // It may want other messages than these.
        Err(_) => (says("tool_calls"), says("tool")),
    };
    ToolParts {
        tools,
        calls,
        results,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::domain::ToolCall;

    fn conversation(id: &str) -> Vec<Message> {
        let call = ToolCall {
            id: Some(id.into()),
            name: "f".into(),
            arguments: Map::new(),
        };
        vec![
            Message::new(Role::User, "q"),
            Message {
                tool_calls: vec![call],
                ..Message::new(Role::Assistant, "")
            },
            Message {
                tool_call_id: Some(id.into()),
                ..Message::new(Role::Tool, "r")
            },
        ]
    }

    #[test]
    fn messages_are_told_as_the_client_sent_them_unless_the_template_refuses_that() {
        let told = Needs::of("").told(&conversation("call_1"));
        assert_eq!(told[0], json!({"role": "user", "content": "q"}));
        assert_eq!(
            told[1],
            json!({"role": "assistant", "content": "", "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": {}}}]})
        );
        assert_eq!(
            told[2],
            json!({"role": "tool", "content": "r", "tool_call_id": "call_1"})
        );
    }

    #[test]
    fn a_template_gets_ids_names_and_nulls_as_it_wants_them() {
        let of = |source: &str, id: &str| Needs::of(source).told(&conversation(id));
        let mistral = of("{% if tool_call.id|length != 9 %}", "call_1");
        let id = mistral[1]["tool_calls"][0]["id"].as_str().unwrap();
        assert!(id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_eq!(mistral[2]["tool_call_id"], id);
        assert_eq!(
            of("length != 9", "aB3456789")[2]["tool_call_id"],
            "aB3456789"
        );
        assert_eq!(
            of("Tool response dicts require a 'name' key", "c")[2]["name"],
            "f"
        );
        assert_eq!(
            of("message['content'] is none", "c")[1]["content"],
            Json::Null
        );
    }

    #[test]
    fn what_a_template_writes_of_tools_is_seen_in_what_it_renders() {
        let of = |source: &str| ChatTemplate::new(source, None, None).unwrap().tool_parts();
        let plain = of("{% for m in messages %}{{ m.content }}{% endfor %}");
        assert_eq!(
            (plain.tools, plain.calls, plain.results),
            (false, false, true)
        );
        let all =
            of("{{ tools | tojson if tools }}{% for m in messages %}{{ m | tojson }}{% endfor %}");
        assert_eq!((all.tools, all.calls, all.results), (true, true, true));
        let picky =
            of("{% if not tools %}{{ raise_exception('no tool_calls') }}{% endif %}{{ tools }}");
        assert_eq!((picky.tools, picky.calls), (true, true));
    }
}
