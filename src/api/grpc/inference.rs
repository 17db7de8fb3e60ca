//! The `Inference` service.

use std::collections::HashMap;
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use serde_json::json;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Response, Status};

use super::Doors;
use super::generate::Telling;
use super::guard::caller;
use super::status::status;
use crate::domain::sampling::{Numbers, each_number};
use crate::domain::{
    Ask, Blend, Constraint, EmbedAsk, Event, Input, MAX_CALLS, Message, Pooling, Reason, Role,
    Rule, Sampling, Strict, ToolCall, ToolChoice, Toolset, Urgency,
};
use crate::gateway::{Claims, Dialogue, Events};
use crate::pb;
use crate::pb::constraint::Rule as Form;
use crate::pb::embed_request::Input as Embeds;
use crate::pb::generate_request::Input as Asked;
use crate::pb::inference_server::Inference;
use crate::pb::tokenize_request::Input as Tokenized;

/// Seconds.
const DAY: f64 = 86_400.0;
/// Seconds by which a call ends before its deadline.
const AHEAD: f64 = 0.005;

#[tonic::async_trait]
impl Inference for Doors {
    type GenerateStream = BoxStream<'static, Result<pb::GenerateEvent, Status>>;

    async fn generate(
        &self,
        request: Request<pb::GenerateRequest>,
    ) -> Result<Response<Self::GenerateStream>, Status> {
        let caller = caller(&request)?;
        let (metadata, _, body) = request.into_parts();
        let claims = claims(&metadata, body.model, body.adapter, body.blend).map_err(status)?;
        let mut tools = Toolset::default();
        let input = match body.input {
            Some(Asked::Prompt(text)) => Input::Text(text),
            Some(Asked::Messages(mut chat)) => {
                tools = toolset(&mut chat).map_err(status)?;
                Input::Chat(conversation(chat).map_err(status)?)
            }
            Some(Asked::TokenIds(tokens)) => Input::Tokens(tokens.ids),
            None => {
                return Err(status(Reason::field(
                    "input",
                    "is required: prompt, messages or token_ids",
                )));
            }
        };
        let asked = body.sampling.unwrap_or_default();
        let (n, prompt_logprobs) = (asked.n.unwrap_or(1), asked.prompt_logprobs);
        let constraint = body.constraint.map(constraint).transpose();
        let ask = Ask {
            input,
            tools,
            constraint: constraint.map_err(status)?.flatten().map(Arc::new),
            sampling: sampling(asked).map_err(status)?,
            n,
            prompt_logprobs,
            cache_salt: body.cache_salt,
            urgency: Urgency {
                priority: body.priority,
                timeout: timeout(&metadata),
            },
        };
        let mut answers = caller.ask(&claims, vec![ask]).await.map_err(status)?;
        let generation = answers
            .generation
            .map_or_else(|| "none".to_owned(), |generation| generation.to_string());
        let Some(answer) = answers.each.pop() else {
            return Err(status(Reason::Internal("a prompt went unanswered".into())));
        };
        let mut response = Response::new(told(
            answer.events,
            Telling::new(generation.clone(), answers.id),
        ));
        if let Ok(value) = MetadataValue::try_from(&generation) {
            response.metadata_mut().insert("adapter-generation", value);
        }
        Ok(response)
    }

    async fn tokenize(
        &self,
        request: Request<pb::TokenizeRequest>,
    ) -> Result<Response<pb::TokenizeResponse>, Status> {
        let caller = caller(&request)?;
        let (metadata, _, body) = request.into_parts();
        let claims = claims(&metadata, body.model, body.adapter, body.blend).map_err(status)?;
        let input = match (body.input, body.add_special_tokens) {
            (Some(Tokenized::Prompt(text)), _) => Input::Text(text),
            (Some(Tokenized::Messages(_)), Some(true)) => {
                let why = "is for `prompt`; a chat template writes its own";
                return Err(status(Reason::field("add_special_tokens", why)));
            }
            (Some(Tokenized::Messages(mut chat)), _) => {
                let tools = toolset(&mut chat).map_err(status)?;
                let dialogue = Dialogue {
                    messages: conversation(chat).map_err(status)?,
                    tools: tools
                        .offered()
                        .iter()
                        .map(|tool| tool.sent.clone())
                        .collect(),
                    add_generation_prompt: true,
                    ..Dialogue::default()
                };
                let tokens = caller.tokenize_dialogue(&claims, dialogue).await;
                return Ok(tokenized(tokens.map_err(status)?));
            }
            (None, _) => {
                return Err(status(Reason::field(
                    "input",
                    "is required: prompt or messages",
                )));
            }
        };
        let special = body.add_special_tokens.unwrap_or(true);
        let tokens = caller
            .tokenize(&claims, input, special)
            .await
            .map_err(status)?;
        Ok(tokenized(tokens))
    }

    async fn embed(
        &self,
        request: Request<pb::EmbedRequest>,
    ) -> Result<Response<pb::EmbedResponse>, Status> {
        let caller = caller(&request)?;
        let (metadata, _, body) = request.into_parts();
        let claims = claims(&metadata, body.model, body.adapter, body.blend).map_err(status)?;
        let inputs = match body.input {
            Some(Embeds::Texts(texts)) => texts.texts.into_iter().map(Input::Text).collect(),
            Some(Embeds::TokenLists(lists)) => {
                let lists = lists.lists.into_iter();
                lists.map(|tokens| Input::Tokens(tokens.ids)).collect()
            }
            None => {
                let why = "is required: texts or token_lists";
                return Err(status(Reason::field("input", why)));
            }
        };
        let pooling = match body.pooling.as_str() {
            "" => Pooling::default(),
            name => Pooling::of("pooling", name).map_err(status)?,
        };
        let ask = EmbedAsk {
            inputs,
            pooling,
            dimensions: body.dimensions.map(|count| count as usize),
            cache_salt: body.cache_salt,
            urgency: Urgency {
                priority: body.priority,
                timeout: timeout(&metadata),
            },
        };
        let made = caller.embed(&claims, ask).await.map_err(status)?;
        let generation = made
            .generation
            .map_or_else(|| "none".to_owned(), |generation| generation.to_string());
        let vectors = made.vectors.into_iter();
        let mut response = Response::new(pb::EmbedResponse {
            embeddings: vectors.map(|values| pb::Embedding { values }).collect(),
            adapter_generation: generation.clone(),
            usage: Some(pb::Usage {
                prompt_tokens: u32::try_from(made.tokens).unwrap_or(u32::MAX),
                ..pb::Usage::default()
            }),
        });
        if let Ok(value) = MetadataValue::try_from(&generation) {
            response.metadata_mut().insert("adapter-generation", value);
        }
        Ok(response)
    }
}

fn tokenized(tokens: Vec<u32>) -> Response<pb::TokenizeResponse> {
    let count = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
    Response::new(pb::TokenizeResponse { tokens, count })
}

/// The answer as messages; dropping the stream drops the receiver, which ends the work.
fn told(events: Events, telling: Telling) -> BoxStream<'static, Result<pb::GenerateEvent, Status>> {
    let batches = stream::unfold(Some((events, telling)), |state| async move {
        let (mut events, mut telling) = state?;
        let event = events.recv().await.unwrap_or_else(|| {
            Event::Failed(Reason::Internal(
                "the answer ended before it was complete".into(),
            ))
        });
        let last = matches!(event, Event::Done { .. } | Event::Failed(_));
        let batch = match telling.on(event) {
            Ok(messages) => messages.into_iter().map(Ok).collect(),
            Err(reason) => vec![Err(status(reason))],
        };
        Some((stream::iter(batch), (!last).then_some((events, telling))))
    });
    batches.flatten().boxed()
}

/// What a call says about the adapter. Text fields have no "absent" in proto3: empty is absent.
fn claims(
    metadata: &MetadataMap,
    model: String,
    field: String,
    blend: HashMap<String, f64>,
) -> Result<Claims, Reason> {
    let given = |text: String| (!text.is_empty()).then_some(text);
    let headers = metadata
        .get_all("adapter")
        .iter()
        .map(|value| {
            let text = value
                .to_str()
                .map_err(|_| Reason::field("adapter", "the metadata is not text"))?;
            Ok(text.trim().to_owned())
        })
        .collect::<Result<_, Reason>>()?;
    let blend = (!blend.is_empty()).then(|| Blend::new("blend", blend));
    Ok(Claims {
        model: given(model),
        field: given(field),
        blend: blend.transpose()?,
        headers,
    })
}

/// Seconds of `grpc-timeout`. One that cannot be read is refused by the transport, one beyond a day is none.
fn timeout(metadata: &MetadataMap) -> Option<f64> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "H" => 3600.0,
        "M" => 60.0,
        "S" => 1.0,
        "m" => 1e-3,
        "u" => 1e-6,
        "n" => 1e-9,
        _ => return None,
    };
    let seconds = f64::from(number.parse::<u32>().ok()?) * unit;
    // The transport ends a call that was not accepted by then, with a less exact status. No time at all is over at
    // once.
    let before = (seconds - AHEAD).max(seconds / 2.0).max(1e-9);
    (seconds <= DAY).then_some(before)
}

fn conversation(chat: pb::ChatMessages) -> Result<Vec<Message>, Reason> {
    if chat.messages.is_empty() {
        return Err(Reason::field("messages", "needs at least one message"));
    }
    let message = |(at, message): (usize, pb::ChatMessage)| {
        let role = match message.role.as_str() {
            "system" => Role::System,
            "developer" => Role::Developer,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" => Role::Tool,
            _ => {
                let why = "must be `system`, `developer`, `user`, `assistant` or `tool`";
                return Err(Reason::field(format!("messages[{at}].role"), why));
            }
        };
        let only = |part: &str, given: bool, whose: Role| match given && role != whose {
            true => {
                let why = format!("is for role `{}`", whose.as_str());
                Err(Reason::field(format!("messages[{at}].{part}"), why))
            }
            false => Ok(()),
        };
        only(
            "tool_calls",
            !message.tool_calls.is_empty(),
            Role::Assistant,
        )?;
        only("tool_call_id", !message.tool_call_id.is_empty(), Role::Tool)?;
        let given = |text: String| (!text.is_empty()).then_some(text);
        Ok(Message {
            name: given(message.name),
            tool_calls: calls(at, &message.tool_calls)?,
            tool_call_id: given(message.tool_call_id),
            ..Message::new(role, message.content)
        })
    };
    chat.messages.into_iter().enumerate().map(message).collect()
}

fn calls(message: usize, calls: &[pb::ToolCall]) -> Result<Vec<ToolCall>, Reason> {
    let place = format!("messages[{message}].tool_calls");
    if calls.len() > MAX_CALLS {
        let why = format!("has {} entries; at most {MAX_CALLS}", calls.len());
        return Err(Reason::field(place, why));
    }
    let call = |(at, call): (usize, &pb::ToolCall)| {
        let function = json!({"name": call.name, "arguments": call.arguments});
        ToolCall::read(&json!({"id": call.id, "function": function})).map_err(|(part, why)| {
            let part = part.strip_prefix("function.").unwrap_or(&part);
            Reason::field(format!("{place}[{at}].{part}"), why)
        })
    };
    calls.iter().enumerate().map(call).collect()
}

/// What may be called, taken out of the conversation.
fn toolset(chat: &mut pb::ChatMessages) -> Result<Toolset, Reason> {
    let tools = std::mem::take(&mut chat.tools);
    let read = |(at, text): (usize, &String)| {
        let read = serde_json::from_str::<Strict>(text);
        let told = |fault| Reason::field(format!("tools[{at}]"), format!("is not JSON: {fault}"));
        read.map(|Strict(value)| value).map_err(told)
    };
    let tools = tools.iter().enumerate().map(read);
    let choice = match chat.tool_choice.as_str() {
        "" | "auto" => ToolChoice::Auto,
        "none" => ToolChoice::None,
        "required" => ToolChoice::Required,
        other => match other.strip_prefix("function:") {
            Some(name) => ToolChoice::Named(name.to_owned()),
            None => {
                let why = "must be `auto`, `none`, `required` or `function:NAME`";
                return Err(Reason::field("tool_choice", why));
            }
        },
    };
    let parallel = chat.parallel_tool_calls.unwrap_or(true);
    Toolset::check(tools.collect::<Result<_, _>>()?, choice, parallel)
}

/// `json_object: false` asks for nothing, as everywhere.
fn constraint(asked: pb::Constraint) -> Result<Option<Constraint>, Reason> {
    let (field, rule) = match asked.rule {
        None => return Err(Reason::field("constraint", "needs a rule")),
        Some(Form::JsonObject(false)) => return Ok(None),
        Some(Form::JsonObject(true)) => ("json_object", Rule::JsonObject),
        Some(Form::JsonSchema(text)) => {
            let Strict(schema) = serde_json::from_str(&text).map_err(|error| {
                Reason::field("constraint.json_schema", format!("is not JSON: {error}"))
            })?;
            ("json_schema", Rule::JsonSchema(schema))
        }
        Some(Form::Regex(text)) => ("regex", Rule::Regex(text)),
        Some(Form::Choice(choices)) => ("choice", Rule::Choice(choices.texts)),
        Some(Form::Grammar(text)) => ("grammar", Rule::Lark(text)),
    };
    Ok(Some(Constraint::new(format!("constraint.{field}"), rule)))
}

macro_rules! make {
    ($($name:ident: $range:expr, $default:expr, $about:literal;)*) => {
        fn numbers(asked: &pb::Sampling) -> Numbers {
            Numbers { $($name: asked.$name,)* }
        }
    };
}

each_number!(make);

/// Ranges are checked where every protocol's requests meet; here only what the domain's types cannot hold.
fn sampling(asked: pb::Sampling) -> Result<Sampling, Reason> {
    let numbers = numbers(&asked);
    let logprobs = asked.logprobs.map(|count| {
        u8::try_from(count)
            .map_err(|_| Reason::field("logprobs", "reports at most 20 alternatives"))
    });
    if asked.max_tokens == Some(0) && !asked.prompt_logprobs {
        return Err(Reason::field(
            "max_tokens",
            "must be at least 1, or 0 together with `prompt_logprobs`",
        ));
    }
    Ok(Sampling {
        top_k: asked.top_k.unwrap_or(0),
        logit_bias: asked.logit_bias.into_iter().collect(),
        seed: asked.seed,
        logprobs: logprobs.transpose()?,
        max_tokens: asked.max_tokens.map(|tokens| tokens as usize),
        min_tokens: asked.min_tokens.unwrap_or(0) as usize,
        stop: asked.stop,
        stop_token_ids: asked.stop_token_ids,
        ignore_eos: asked.ignore_eos,
        ..numbers.into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_read_in_every_unit_and_a_long_one_is_none() {
        let of = |text: &'static str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", MetadataValue::from_static(text));
            timeout(&metadata)
        };
        for (text, seconds) in [
            ("3H", 10_800.0 - AHEAD),
            ("2M", 120.0 - AHEAD),
            ("5S", 5.0 - AHEAD),
            ("250m", 0.25 - AHEAD),
            ("100u", 0.00005),
        ] {
            let told = of(text).unwrap();
            assert!((told - seconds).abs() < 1e-9, "{text}: {told}");
        }
        assert!(of("0n").is_some_and(|seconds| seconds > 0.0));
        for none in ["99999999H", "5", "S", "", "5s", "-1S"] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
