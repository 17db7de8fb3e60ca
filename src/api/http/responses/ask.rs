//! Reading a Responses request.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::call::AdapterField;
use super::super::chat::Content;
use super::super::naming::Names;
use super::super::sampling::SamplingAsk;
use super::fields::RESPONSE;
use crate::domain::{
    Ask, Constraint, Input, Message, Reason, Role, Rule, ToolCall, ToolChoice, Toolset,
};

const LOGPROBS: &str = "message.output_text.logprobs";

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum InputAsk {
    Text(String),
    Items(Vec<Item>),
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Type {
    #[default]
    Message,
    FunctionCall,
    FunctionCallOutput,
    Reasoning,
}

#[derive(Debug, Deserialize)]
struct Item {
    #[serde(default)]
    r#type: Option<Type>,
    role: Option<Role>,
    content: Option<Content>,
    call_id: Option<String>,
    name: Option<String>,
    arguments: Option<String>,
    output: Option<Content>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ChoiceAsk {
    Word(String),
    Named { name: String },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Form {
    Text,
    JsonObject,
    JsonSchema,
}

#[derive(Debug, Deserialize)]
struct Format {
    r#type: Form,
    schema: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
struct TextAsk {
    format: Option<Format>,
}

#[derive(Debug, Deserialize)]
struct ResponseAsk {
    model: Option<String>,
    adapter: Option<AdapterField>,
    input: InputAsk,
    instructions: Option<String>,
    max_output_tokens: Option<usize>,
    tools: Option<Vec<Map<String, Value>>>,
    tool_choice: Option<ChoiceAsk>,
    parallel_tool_calls: Option<bool>,
    text: Option<TextAsk>,
    include: Option<Vec<String>>,
    top_logprobs: Option<u8>,
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
    /// The fields that an answer repeats, as they were sent.
    pub echo: Map<String, Value>,
}

/// Sent with the request, told with the answer.
const ECHOED: [&str; 13] = [
    "instructions",
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "user",
];

impl Asked {
    pub fn read(body: Value) -> Result<Self, Reason> {
        let echo = |name: &&str| Some(((*name).to_owned(), body.get(*name)?.clone()));
        let echo = ECHOED.iter().filter_map(echo).collect();
        let mut ask: ResponseAsk = RESPONSE.take(body)?;
        let logprobs = { ask.include.iter().flatten() }.any(|more| more == LOGPROBS);
        let logprobs = match (logprobs, ask.top_logprobs) {
            (true, top) => Some(top.unwrap_or(0)),
            (false, None) => None,
            (false, Some(_)) => {
                let why = format!("needs `include` to hold `{LOGPROBS}`");
                return Err(Reason::field("top_logprobs", why));
            }
        };
        let mut talk = Talk::default();
        if let Some(text) = ask.instructions {
            talk.say("instructions".into(), Message::new(Role::System, text));
        }
        match ask.input {
            InputAsk::Text(text) => talk.say("input".into(), Message::new(Role::User, text)),
            InputAsk::Items(items) => {
                for (at, item) in items.into_iter().enumerate() {
                    talk.hear(format!("input[{at}]"), item)?;
                }
            }
        }
        if talk.messages.is_empty() {
            return Err(Reason::field("input", "says nothing"));
        }
        let names = Names {
            conversation: "input",
            turns: talk.places,
            length: "max_output_tokens",
            schema: "parameters",
        };
        let tools = toolset(
            ask.tools.unwrap_or_default(),
            ask.tool_choice,
            ask.parallel_tool_calls.unwrap_or(true),
        );
        let constraint = constraint(ask.text.unwrap_or_default())?;
        let stream = ask.sampling.delivery()?.stream;
        Ok(Self {
            model: ask.model,
            adapter: ask.adapter,
            ask: Ask {
                input: Input::Chat(talk.messages),
                tools: tools.map_err(|reason| names.reason(reason))?,
                constraint: constraint.map(Into::into),
                n: 1,
                prompt_logprobs: false,
                cache_salt: ask.sampling.cache_salt.take().unwrap_or_default(),
                urgency: ask.sampling.urgency(),
                sampling: { ask.sampling }
                    .settle(ask.max_output_tokens, logprobs)
                    .map_err(|reason| names.reason(reason))?,
            },
            names,
            stream,
            echo,
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

    fn hear(&mut self, place: String, item: Item) -> Result<(), Reason> {
        let lacks = |field: &str| Reason::field(format!("{place}.{field}"), "is required");
        match item.r#type.unwrap_or_default() {
            Type::Reasoning => {}
            Type::Message => {
                let role = item.role.ok_or_else(|| lacks("role"))?;
                let content = match item.content {
                    Some(content) => content.text(),
                    // An answer that only called comes back without text.
                    None if role == Role::Assistant => String::new(),
                    None => return Err(lacks("content")),
                };
                self.say(place, Message::new(role, content));
            }
            Type::FunctionCall => {
                let id = item.call_id.ok_or_else(|| lacks("call_id"))?;
                let name = item.name.ok_or_else(|| lacks("name"))?;
                let function = json!({"name": name, "arguments": item.arguments});
                let call = json!({"id": id, "type": "function", "function": function});
                let call = ToolCall::read(&call).map_err(|(part, why)| {
                    let part = part.trim_start_matches("function.");
                    Reason::field(format!("{place}.{part}"), why)
                })?;
                match self.messages.last_mut() {
                    // What one answer said and called is one turn.
                    Some(last) if last.role == Role::Assistant => last.tool_calls.push(call),
                    _ => {
                        let mut message = Message::new(Role::Assistant, "");
                        message.tool_calls.push(call);
                        self.say(place, message);
                    }
                }
            }
            Type::FunctionCallOutput => {
                let id = item.call_id.ok_or_else(|| lacks("call_id"))?;
                let output = item.output.ok_or_else(|| lacks("output"))?;
                let result = Message {
                    tool_call_id: Some(id),
                    ..Message::new(Role::Tool, output.text())
                };
                self.say(place, result);
            }
        }
        Ok(())
    }
}

/// As chat completions describe functions.
fn toolset(
    tools: Vec<Map<String, Value>>,
    choice: Option<ChoiceAsk>,
    parallel: bool,
) -> Result<Toolset, Reason> {
    let wrapped = tools.into_iter().map(|mut function| {
        function.remove("type");
        json!({"type": "function", "function": function})
    });
    let choice = match choice {
        None => ToolChoice::Auto,
        Some(ChoiceAsk::Named { name }) => ToolChoice::Named(name),
        Some(ChoiceAsk::Word(word)) => match word.as_str() {
            "none" => ToolChoice::None,
            "required" => ToolChoice::Required,
            _ => ToolChoice::Auto,
        },
    };
    Toolset::check(wrapped.collect(), choice, parallel)
}

fn constraint(text: TextAsk) -> Result<Option<Constraint>, Reason> {
    const SCHEMA: &str = "text.format.schema";
    let Some(Format { r#type, schema }) = text.format else {
        return Ok(None);
    };
    Ok(match (r#type, schema) {
        (Form::JsonSchema, Some(schema)) => Some(Constraint::new(SCHEMA, Rule::JsonSchema(schema))),
        (Form::JsonSchema, None) => return Err(Reason::field(SCHEMA, "is required")),
        (_, Some(_)) => return Err(Reason::field(SCHEMA, "needs the type `json_schema`")),
        (Form::JsonObject, None) => Some(Constraint::new("text.format", Rule::JsonObject)),
        (Form::Text, None) => None,
    })
}
