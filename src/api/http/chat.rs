//! `POST /v1/chat/completions`.

use serde::Deserialize;
use serde_json::Value;

use super::call::Call;
use super::chat_view::ChatView;
use super::dispatch::Outcome;
use super::respond::{completion_headers, json_response};
use super::sampling::{BOOKKEEPING, CHOICE, Delivery, SAMPLING, SamplingAsk};
use super::shape::{COUNT, FLAG, Field, Kind, NAME, Shape, TEXT};
use super::{gather, sse};
use crate::api::fault::Fault;
use crate::domain::{Ask, Input, Message, Reason, Role, Sampling, Urgency, join_parts};

const PART: Shape = Shape {
    name: "TextPart",
    about: "A piece of a message.",
    fields: &[&[
        Field::new("type", Kind::Choice(&["text"]), "Only text.").required(),
        Field::new("text", TEXT, "The text.").required(),
    ]],
};

const CONTENT: Kind = Kind::Either(&[
    TEXT,
    Kind::List {
        of: &Kind::Object(&PART),
        min: 1,
        max: 4096,
    },
]);

const NO_TOOLS: &str = "tool calls are not available yet";

pub(super) const MESSAGE: Shape = Shape {
    name: "ChatMessage",
    about: "One turn of a conversation.",
    fields: &[&[
        Field::new(
            "role",
            Kind::Choice(&["system", "developer", "user", "assistant"]),
            "Who speaks.",
        )
        .required(),
        Field::new(
            "content",
            CONTENT,
            "Text, or a list of text parts (joined by newlines).",
        )
        .required(),
        Field::new("name", NAME, "Given to the chat template."),
        // What a client sends back when it repeats an answer it received.
        Field::new("refusal", Kind::Unbuilt("refusals are not available"), ""),
        Field::new(
            "annotations",
            Kind::Unbuilt("annotations are not available"),
            "",
        ),
        Field::new("audio", Kind::Unbuilt("audio is not available"), ""),
        Field::new("tool_calls", Kind::Unbuilt(NO_TOOLS), ""),
        Field::new("tool_call_id", Kind::Unbuilt(NO_TOOLS), ""),
        Field::new("function_call", Kind::Unbuilt(NO_TOOLS), ""),
    ]],
};

const FORMAT: Kind = Kind::OnlyType("text", "only {\"type\": \"text\"} is available yet");

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
            ),
            Field::new(
                "top_logprobs",
                Kind::Integer { min: 0, max: 20 },
                "Alternatives for each token; needs `logprobs`.",
            ),
            Field::new("response_format", FORMAT, "Only plain text yet."),
            Field::new("tools", Kind::Unbuilt(NO_TOOLS), ""),
            Field::new("tool_choice", Kind::Unbuilt(NO_TOOLS), ""),
            Field::new("parallel_tool_calls", Kind::Unbuilt(NO_TOOLS), ""),
            Field::new("functions", Kind::Unbuilt(NO_TOOLS), ""),
            Field::new("function_call", Kind::Unbuilt(NO_TOOLS), ""),
        ],
        SAMPLING,
        BOOKKEEPING,
    ],
};

pub(super) const MESSAGES: Kind = Kind::List {
    of: &Kind::Object(&MESSAGE),
    min: 1,
    max: 4096,
};

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    text: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct MessageAsk {
    role: Role,
    content: Content,
    name: Option<String>,
}

impl From<MessageAsk> for Message {
    fn from(ask: MessageAsk) -> Self {
        let content = match ask.content {
            Content::Text(text) => text,
            Content::Parts(parts) => join_parts(parts.iter().map(|part| part.text.as_str())),
        };
        Self {
            name: ask.name,
            ..Self::new(ask.role, content)
        }
    }
}

#[derive(Debug, Deserialize)]
struct ChatAsk {
    model: Option<String>,
    adapter: Option<String>,
    messages: Vec<MessageAsk>,
    max_completion_tokens: Option<usize>,
    logprobs: Option<bool>,
    top_logprobs: Option<u8>,
    #[serde(flatten)]
    sampling: SamplingAsk,
}

/// A chat request, read and settled.
#[derive(Debug)]
struct Chat {
    model: Option<String>,
    adapter: Option<String>,
    messages: Vec<Message>,
    n: u32,
    cache_salt: String,
    urgency: Urgency,
    sampling: Sampling,
    delivery: Delivery,
}

impl Chat {
    fn read(body: Value) -> Result<Self, Reason> {
        let ask: ChatAsk = CHAT.take(body)?;
        let max_tokens = match (ask.sampling.max_tokens, ask.max_completion_tokens) {
            (Some(a), Some(b)) if a != b => {
                return Err(Reason::field(
                    "max_completion_tokens",
                    "differs from `max_tokens`; send one of them",
                ));
            }
            (a, b) => b.or(a),
        };
        if max_tokens == Some(0) {
            let field = if ask.sampling.max_tokens.is_some() {
                "max_tokens"
            } else {
                "max_completion_tokens"
            };
            return Err(Reason::field(field, "must be at least 1"));
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
            messages: ask.messages.into_iter().map(Message::from).collect(),
            n: ask.sampling.n(),
            cache_salt: ask.sampling.cache_salt.clone().unwrap_or_default(),
            urgency: ask.sampling.urgency(),
            delivery: ask.sampling.delivery()?,
            sampling: ask.sampling.settle(max_tokens, logprobs)?,
        })
    }
}

pub(super) async fn create(call: Call) -> Outcome {
    let (request, body) = call.open().await?;
    let chat = Chat::read(body)?;
    let claims = request.claims(chat.model, chat.adapter);
    let logprobs = chat.sampling.logprobs.is_some();
    let ask = Ask {
        input: Input::Chat(chat.messages),
        sampling: chat.sampling,
        n: chat.n,
        prompt_logprobs: false,
        cache_salt: chat.cache_salt,
        urgency: chat.urgency,
    };
    let answers =
        request
            .gateway()
            .ask(&claims, vec![ask])
            .await
            .map_err(|reason| match reason {
                Reason::PromptTooLong { .. } | Reason::TextTooLong { .. } => {
                    Fault::from(reason).about("messages")
                }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::http::shape::tests::conforms;

    fn field_of(body: Value) -> String {
        match Chat::read(body) {
            Err(Reason::BadField { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    fn with(field: &str, value: Value) -> Value {
        json!({"messages": [{"role": "user", "content": "hello"}], field: value})
    }

    #[test]
    fn every_field_is_read_and_every_wrong_type_is_named() {
        conforms(&CHAT, |body| Chat::read(body).map(drop));
        conforms(&MESSAGE, |message| {
            match Chat::read(json!({"messages": [message]})) {
                Err(Reason::BadField { field, why }) => Err(Reason::field(
                    field.strip_prefix("messages[0].").unwrap_or(&field),
                    why,
                )),
                other => other.map(drop),
            }
        });
    }

    #[test]
    fn content_may_be_a_list_of_text_parts() {
        let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
        let chat = Chat::read(json!({"messages": [{"role": "user", "content": parts}]})).unwrap();
        assert_eq!(chat.messages[0].content, "a\nb");
        let image = json!([{"type": "image_url", "image_url": {"url": "x"}}]);
        assert!(
            field_of(json!({"messages": [{"role": "user", "content": image}]}))
                .starts_with("messages[0].content[0]")
        );
        assert_eq!(
            field_of(json!({"messages": [{"role": "user", "content": 5}]})),
            "messages[0].content"
        );
    }

    #[test]
    fn an_answer_can_be_sent_back_as_the_client_received_it() {
        let answer = json!({"role": "assistant", "content": "hi", "refusal": null, "annotations": null, "audio": null,
            "function_call": null, "tool_calls": null});
        assert!(
            Chat::read(json!({"messages": [{"role": "user", "content": "a"}, answer]})).is_ok()
        );
    }

    #[test]
    fn fields_that_contradict_each_other_are_refused() {
        let mut both = with("max_tokens", json!(5));
        both["max_completion_tokens"] = json!(6);
        assert_eq!(field_of(both.clone()), "max_completion_tokens");
        both["max_completion_tokens"] = json!(5);
        assert_eq!(Chat::read(both).unwrap().sampling.max_tokens, Some(5));
        assert_eq!(field_of(with("max_tokens", json!(0))), "max_tokens");
        assert_eq!(field_of(with("top_logprobs", json!(2))), "top_logprobs");
        assert_eq!(
            field_of(with("stream_options", json!({"include_usage": true}))),
            "stream_options"
        );
        let mut more = with("min_tokens", json!(9));
        more["max_tokens"] = json!(3);
        assert_eq!(field_of(more), "min_tokens");
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        assert_eq!(field_of(with("tools", json!([]))), "tools");
        assert_eq!(field_of(with("tool_choice", json!("auto"))), "tool_choice");
        assert_eq!(
            field_of(with("response_format", json!({"type": "json_object"}))),
            "response_format"
        );
        assert!(Chat::read(with("response_format", json!({"type": "text"}))).is_ok());
        assert_eq!(field_of(with("adapter", json!({"legal": 0.5}))), "adapter");
        assert_eq!(field_of(with("guided_json", json!({}))), "guided_json");
    }

    #[test]
    fn sampling_arrives_as_sent() {
        let mut body = with("temperature", json!(0));
        body["stop"] = json!("END");
        body["seed"] = json!(-1);
        body["top_k"] = json!(-1);
        body["logit_bias"] = json!({"7": -100});
        body["logprobs"] = json!(true);
        let chat = Chat::read(body).unwrap();
        assert_eq!(chat.sampling.temperature, 0.0);
        assert_eq!(chat.sampling.stop, ["END"]);
        assert_eq!(chat.sampling.seed, Some(u64::MAX));
        assert_eq!(chat.sampling.top_k, 0);
        assert_eq!(chat.sampling.logit_bias, [(7, -100.0)]);
        assert_eq!(chat.sampling.logprobs, Some(0));
        assert_eq!(
            field_of(with("logit_bias", json!({"x": 1}))),
            "logit_bias.x"
        );
        assert_eq!(field_of(with("stop", json!([""]))), "stop[0]");
    }
}
