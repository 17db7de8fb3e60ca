//! Reading a request in Anthropic's form.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::call::AdapterField;
use super::super::chat::Content;
use super::super::naming::Names;
use super::super::sampling::SamplingAsk;
use super::fields::{COUNTED, MESSAGES};
use crate::domain::{
    Ask, Constraint, Input, Message, Reason, Role, Rule, ToolCall, ToolChoice, Toolset, join_parts,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Type {
    Text,
    ToolUse,
    ToolResult,
    Thinking,
    RedactedThinking,
}

#[derive(Debug, Deserialize)]
struct BlockAsk {
    r#type: Type,
    text: Option<String>,
    id: Option<String>,
    name: Option<String>,
    input: Option<Map<String, Value>>,
    tool_use_id: Option<String>,
    content: Option<Content>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Said {
    Text(String),
    Blocks(Vec<BlockAsk>),
}

#[derive(Debug, Deserialize)]
struct TurnAsk {
    role: Role,
    content: Said,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Whether {
    #[default]
    Auto,
    Any,
    Tool,
    None,
}

#[derive(Debug, Default, Deserialize)]
struct ChoiceAsk {
    r#type: Whether,
    name: Option<String>,
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Format {
    schema: Value,
}

#[derive(Debug, Deserialize)]
struct OutputAsk {
    format: Option<Format>,
}

#[derive(Debug, Deserialize)]
struct MessagesAsk {
    model: Option<String>,
    adapter: Option<AdapterField>,
    messages: Vec<TurnAsk>,
    system: Option<Content>,
    tools: Option<Vec<Map<String, Value>>>,
    tool_choice: Option<ChoiceAsk>,
    output_config: Option<OutputAsk>,
    max_tokens: Option<usize>,
    stop_sequences: Option<Vec<String>>,
    #[serde(flatten)]
    sampling: SamplingAsk,
}

/// A request, read and settled.
#[derive(Debug)]
pub(super) struct Asked {
    pub model: Option<String>,
    pub adapter: Option<AdapterField>,
    pub ask: Ask,
    pub names: Names,
    pub stream: bool,
}

/// What is only counted.
#[derive(Debug)]
pub(super) struct Counted {
    pub model: Option<String>,
    pub adapter: Option<AdapterField>,
    pub messages: Vec<Message>,
    pub tools: Toolset,
    pub names: Names,
}

impl Counted {
    pub fn read(body: Value) -> Result<Self, Reason> {
        Self::of(&mut COUNTED.take(body)?)
    }

    fn of(ask: &mut MessagesAsk) -> Result<Self, Reason> {
        let mut talk = Talk::default();
        if let Some(system) = ask.system.take() {
            talk.say("system".into(), Message::new(Role::System, system.text()));
        }
        let turns = std::mem::take(&mut ask.messages);
        let last = turns.len().saturating_sub(1);
        for (at, turn) in turns.into_iter().enumerate() {
            let place = format!("messages[{at}]");
            if at == last && turn.role == Role::Assistant {
                let why = "is an assistant's and the last: an answer begins a turn of its own";
                return Err(Reason::field(place, why));
            }
            talk.hear(&place, turn)?;
        }
        let names = Names {
            conversation: "messages",
            turns: talk.places,
            length: "max_tokens",
            schema: "input_schema",
        };
        let tools = ask.tools.take().unwrap_or_default();
        let tools = toolset(tools, ask.tool_choice.take().unwrap_or_default())
            .map_err(|reason| names.reason(reason))?;
        Ok(Self {
            model: ask.model.take(),
            adapter: ask.adapter.take(),
            messages: talk.messages,
            tools,
            names,
        })
    }
}

impl Asked {
    pub fn read(body: Value) -> Result<Self, Reason> {
        let mut ask: MessagesAsk = MESSAGES.take(body)?;
        let Counted {
            model,
            adapter,
            messages,
            tools,
            names,
        } = Counted::of(&mut ask)?;
        let format = ask.output_config.and_then(|output| output.format);
        let constraint = format.map(|Format { schema }| {
            Constraint::new("output_config.format.schema", Rule::JsonSchema(schema)).into()
        });
        let mut sampling = ask.sampling;
        sampling.stop_at(ask.stop_sequences.unwrap_or_default());
        let stream = sampling.delivery()?.stream;
        Ok(Self {
            model,
            adapter,
            ask: Ask {
                input: Input::Chat(messages),
                tools,
                constraint,
                n: 1,
                prompt_logprobs: false,
                cache_salt: sampling.cache_salt.take().unwrap_or_default(),
                urgency: sampling.urgency(),
                sampling: sampling.settle(ask.max_tokens, None)?,
            },
            names,
            stream,
        })
    }
}

/// The conversation as it is read, and where each turn of it was said.
#[derive(Debug, Default)]
struct Talk {
    messages: Vec<Message>,
    places: Vec<String>,
}

impl Talk {
    fn say(&mut self, place: String, message: Message) {
        self.messages.push(message);
        self.places.push(place);
    }

    /// One turn may be several: what a call returned is a turn of its own.
    fn hear(&mut self, place: &str, turn: TurnAsk) -> Result<(), Reason> {
        let blocks = match turn.content {
            Said::Text(text) => {
                self.say(place.to_owned(), Message::new(turn.role, text));
                return Ok(());
            }
            Said::Blocks(blocks) => blocks,
        };
        let before = self.messages.len();
        let (mut texts, mut tool_calls) = (Vec::new(), Vec::new());
        for (at, block) in blocks.into_iter().enumerate() {
            let path = format!("{place}.content[{at}]");
            let lacks = |field: &str| Reason::field(format!("{path}.{field}"), "is required");
            let only = |kind: &str, role: &str| {
                let why = format!("`{kind}` is for role `{role}`");
                Reason::field(format!("{path}.type"), why)
            };
            match (block.r#type, turn.role) {
                (Type::Text, _) => texts.push(block.text.ok_or_else(|| lacks("text"))?),
                (Type::ToolUse, Role::Assistant) => {
                    let id = block.id.ok_or_else(|| lacks("id"))?;
                    let name = block.name.ok_or_else(|| lacks("name"))?;
                    let function = json!({"name": name, "arguments": block.input});
                    let call = ToolCall::read(&json!({"id": id, "function": function}));
                    tool_calls.push(call.map_err(|(part, why)| {
                        let part = part.trim_start_matches("function.");
                        Reason::field(format!("{path}.{part}"), why)
                    })?);
                }
                (Type::ToolUse, _) => return Err(only("tool_use", "assistant")),
                (Type::ToolResult, Role::User) => {
                    let id = block.tool_use_id.ok_or_else(|| lacks("tool_use_id"))?;
                    self.texts(place, turn.role, &mut texts);
                    let text = block.content.map_or_else(String::new, Content::text);
                    let result = Message {
                        tool_call_id: Some(id),
                        ..Message::new(Role::Tool, text)
                    };
                    self.say(path, result);
                }
                (Type::ToolResult, _) => return Err(only("tool_result", "user")),
                (Type::Thinking | Type::RedactedThinking, _) => {}
            }
        }
        if !tool_calls.is_empty() {
            let text = join_parts(texts.iter().map(String::as_str));
            let called = Message {
                tool_calls,
                ..Message::new(turn.role, text)
            };
            self.say(place.to_owned(), called);
        } else if !texts.is_empty() || self.messages.len() == before {
            let text = join_parts(texts.iter().map(String::as_str));
            self.say(place.to_owned(), Message::new(turn.role, text));
        }
        Ok(())
    }

    /// What was said before a result.
    fn texts(&mut self, place: &str, role: Role, texts: &mut Vec<String>) {
        if !texts.is_empty() {
            let text = join_parts(texts.iter().map(String::as_str));
            self.say(place.to_owned(), Message::new(role, text));
            texts.clear();
        }
    }
}

/// As chat completions describe functions.
fn toolset(tools: Vec<Map<String, Value>>, choice: ChoiceAsk) -> Result<Toolset, Reason> {
    const TOLD: [(&str, &str); 4] = [
        ("name", "name"),
        ("description", "description"),
        ("input_schema", "parameters"),
        ("strict", "strict"),
    ];
    let wrapped = tools.into_iter().map(|mut tool| {
        let part = |(from, to): (&str, &str)| Some((to.to_owned(), tool.remove(from)?));
        let function: Map<String, Value> = TOLD.into_iter().filter_map(part).collect();
        json!({"type": "function", "function": function})
    });
    let named = |name: Option<String>| {
        name.ok_or_else(|| Reason::field("tool_choice.name", "is required with `tool`"))
    };
    let told = match (choice.r#type, choice.name) {
        (Whether::Tool, name) => ToolChoice::Named(named(name)?),
        (_, Some(_)) => {
            let why = "goes with the type `tool`";
            return Err(Reason::field("tool_choice.name", why));
        }
        (Whether::Auto, None) => ToolChoice::Auto,
        (Whether::Any, None) => ToolChoice::Required,
        (Whether::None, None) => ToolChoice::None,
    };
    let parallel = !choice.disable_parallel_tool_use.unwrap_or(false);
    Toolset::check(wrapped.collect(), told, parallel)
}
