//! `POST /v1/chat/completions`.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::call::{AdapterField, Call};
use super::chat_view::ChatView;
use super::constraint::CONSTRAINT;
use super::dispatch::Outcome;
use super::respond::{completion_headers, json_response};
use super::sampling::{
    ALTERNATIVES, BOOKKEEPING, CHOICE, Delivery, NUMBERS_OF_SAMPLING, SAMPLING, STEERING,
    SamplingAsk,
};
use super::shape::{COUNT, FLAG, Field, Kind, NAME, Neutral, Shape, TEXT};
use super::tools::{self, ToolsAsk};
use super::{gather, sse, unbuilt};
use crate::api::fault::Fault;
use crate::domain::{
    Ask, Constraint, Input, Message, Reason, Role, Sampling, Toolset, Urgency, join_parts,
};

const PART: Shape = Shape {
    name: "TextPart",
    about: "A piece of a message.",
    fields: &[
        &[
            Field::new(
                "type",
                Kind::Choice(&["text", "input_text", "output_text"]),
                "Only text.",
            )
            .required(),
            Field::new("text", TEXT, "The text.").required(),
        ],
        unbuilt::ECHOED_PART,
    ],
};

/// Text, or parts of it.
pub(super) const CONTENT: Kind = Kind::Either(&[
    TEXT,
    Kind::List {
        of: &Kind::Either(&[TEXT, Kind::Object(&PART)]),
        min: 0,
        max: 4096,
    },
]);

pub(super) const MESSAGE: Shape = Shape {
    name: "ChatMessage",
    about: "One turn of a conversation.",
    fields: &[
        &[
            Field::new(
                "role",
                Kind::Choice(&["assistant", "developer", "system", "tool", "user"]),
                "Who speaks.",
            )
            .required(),
            Field::new(
                "content",
                CONTENT,
                "Text, or a list of text parts (joined by newlines). Only an assistant's may be missing, and is then empty.",
            ),
            Field::new("name", NAME, "Given to the chat template.").neutral(&[Neutral::Text("")]),
        ],
        tools::MESSAGE,
        unbuilt::MESSAGE,
        unbuilt::ECHOED,
    ],
};

pub(super) const CHAT: Shape = Shape {
    name: "ChatCompletionRequest",
    about: "A conversation to continue.",
    fields: &[
        CHOICE,
        &[
            Field::new("messages", MESSAGES, "The conversation, oldest first.").required(),
            Field::new("max_completion_tokens", COUNT, "As `max_tokens`."),
            Field::new(
                "logprobs",
                FLAG,
                "Report the log-probability of each token.",
            )
            .neutral(&[Neutral::Number(0.0)]),
            Field::new(
                "top_logprobs",
                ALTERNATIVES,
                "Alternatives for each token; needs `logprobs`.",
            )
            .neutral(&[Neutral::Number(0.0)]),
        ],
        tools::TOOLS,
        &NUMBERS_OF_SAMPLING,
        STEERING,
        SAMPLING,
        CONSTRAINT,
        BOOKKEEPING,
        unbuilt::SAMPLING,
        unbuilt::TEMPLATE,
        unbuilt::CHAT,
    ],
};

pub(super) const MESSAGES: Kind = Kind::List {
    of: &Kind::Object(&MESSAGE),
    min: 1,
    max: 4096,
};

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

impl Content {
    pub fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Parts(parts) => join_parts(parts.iter().map(Part::text)),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Part {
    Bare(String),
    Typed { text: String },
}

impl Part {
    fn text(&self) -> &str {
        match self {
            Self::Bare(text) | Self::Typed { text } => text,
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct MessageAsk {
    role: Role,
    content: Option<Content>,
    name: Option<String>,
    tool_calls: Option<Vec<Value>>,
    tool_call_id: Option<String>,
}

/// The conversation; a turn without content is refused by its place.
pub(super) fn conversation(asks: Vec<MessageAsk>) -> Result<Vec<Message>, Reason> {
    let message = |(at, ask): (usize, MessageAsk)| {
        let place = format!("messages[{at}]");
        let tool_calls = tools::calls(&place, &ask.tool_calls.unwrap_or_default())?;
        if !tool_calls.is_empty() && ask.role != Role::Assistant {
            let field = format!("{place}.tool_calls");
            return Err(Reason::field(field, "is for role `assistant`"));
        }
        if ask.tool_call_id.is_some() && ask.role != Role::Tool {
            let field = format!("{place}.tool_call_id");
            return Err(Reason::field(field, "is for role `tool`"));
        }
        let content = match ask.content {
            Some(content) => content.text(),
            // An answer that was all reasoning or calls, or a refusal, comes back without text.
            None if ask.role == Role::Assistant => String::new(),
            None => {
                let field = format!("{place}.content");
                return Err(Reason::field(field, "is required"));
            }
        };
        Ok(Message {
            name: ask.name,
            tool_calls,
            tool_call_id: ask.tool_call_id,
            ..Message::new(ask.role, content)
        })
    };
    asks.into_iter().enumerate().map(message).collect()
}

#[derive(Debug, Deserialize)]
struct ChatAsk {
    model: Option<String>,
    adapter: Option<AdapterField>,
    messages: Vec<MessageAsk>,
    max_completion_tokens: Option<usize>,
    logprobs: Option<bool>,
    top_logprobs: Option<u8>,
    #[serde(flatten)]
    tools: ToolsAsk,
    #[serde(flatten)]
    sampling: SamplingAsk,
}

/// A chat request, read and settled.
#[derive(Debug)]
struct Chat {
    model: Option<String>,
    adapter: Option<AdapterField>,
    messages: Vec<Message>,
    tools: Toolset,
    n: u32,
    cache_salt: String,
    urgency: Urgency,
    sampling: Sampling,
    constraint: Option<Arc<Constraint>>,
    /// Which of the two fields says how long an answer may be.
    length_field: &'static str,
    delivery: Delivery,
}

impl Chat {
    fn read(body: Value) -> Result<Self, Reason> {
        let mut ask: ChatAsk = CHAT.take(body)?;
        let max_tokens = match (ask.sampling.max_tokens, ask.max_completion_tokens) {
            (Some(a), Some(b)) if a != b => {
                return Err(Reason::field(
                    "max_completion_tokens",
                    "differs from `max_tokens`; send one of them",
                ));
            }
            (a, b) => b.or(a),
        };
        let length_field = match ask.sampling.max_tokens {
            Some(_) => "max_tokens",
            None => "max_completion_tokens",
        };
        if max_tokens == Some(0) {
            return Err(Reason::field(length_field, "must be at least 1"));
        }
        let logprobs = match (ask.logprobs.unwrap_or(false), ask.top_logprobs) {
            (true, top) => Some(top.unwrap_or(0)),
            (false, None) => None,
            (false, Some(_)) => {
                return Err(Reason::field("top_logprobs", "needs `logprobs` to be true"));
            }
        };
        Ok(Self {
            model: ask.model,
            adapter: ask.adapter,
            messages: conversation(ask.messages)?,
            tools: ask.tools.settle()?,
            constraint: ask.sampling.constraint()?,
            n: ask.sampling.n(),
            cache_salt: ask.sampling.cache_salt.clone().unwrap_or_default(),
            urgency: ask.sampling.urgency(),
            length_field,
            delivery: ask.sampling.delivery()?,
            sampling: ask.sampling.settle(max_tokens, logprobs)?,
        })
    }
}

pub(super) async fn create(call: Call) -> Outcome {
    let (request, body) = call.open().await?;
    let chat = Chat::read(body)?;
    let claims = request.claims(chat.model, chat.adapter)?;
    let logprobs = chat.sampling.logprobs.is_some();
    let ask = Ask {
        input: Input::Chat(chat.messages),
        tools: chat.tools,
        sampling: chat.sampling,
        constraint: chat.constraint,
        n: chat.n,
        prompt_logprobs: false,
        cache_salt: chat.cache_salt,
        urgency: chat.urgency,
    };
    let answers =
        request
            .caller()
            .ask(&claims, vec![ask])
            .await
            .map_err(|reason| match reason {
                Reason::PromptTooLong { .. } | Reason::TextTooLong { .. } => {
                    Fault::from(reason).about("messages")
                }
                Reason::AnswerTooLong { .. } => Fault::from(reason).about(chat.length_field),
                reason => Fault::from(reason),
            })?;
    let (view, each) = ChatView::new(answers, request.fingerprint(), logprobs, chat.delivery);
    let generation = view.generation();
    let response = if chat.delivery.stream {
        sse::response(each, view.stream(chat.n))
    } else {
        json_response(200, &view.whole(gather::all(each, chat.n).await?))
    };
    Ok(completion_headers(response, generation))
}
