//! The `Inference` service.

use std::collections::HashMap;

use futures::stream::{self, BoxStream, StreamExt};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Response, Status};

use super::Doors;
use super::generate::Telling;
use super::guard::caller;
use super::status::status;
use crate::domain::sampling::{Numbers, each_number};
use crate::domain::{Ask, Blend, Event, Input, Message, Reason, Role, Sampling, Urgency};
use crate::gateway::{Claims, Events};
use crate::pb;
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
        let input = match body.input {
            Some(Asked::Prompt(text)) => Input::Text(text),
            Some(Asked::Messages(chat)) => conversation(chat).map_err(status)?,
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
        let ask = Ask {
            input,
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
            (Some(Tokenized::Messages(chat)), _) => conversation(chat).map_err(status)?,
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
        let count = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
        Ok(Response::new(pb::TokenizeResponse { tokens, count }))
    }
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

fn conversation(chat: pb::ChatMessages) -> Result<Input, Reason> {
    if chat.messages.is_empty() {
        return Err(Reason::field("messages", "needs at least one message"));
    }
    let message = |(at, message): (usize, pb::ChatMessage)| {
        let role = match message.role.as_str() {
            "system" => Role::System,
            "developer" => Role::Developer,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => {
                let why = "must be `system`, `developer`, `user` or `assistant`";
                return Err(Reason::field(format!("messages[{at}].role"), why));
            }
        };
        let name = (!message.name.is_empty()).then_some(message.name);
        Ok(Message {
            name,
            ..Message::new(role, message.content)
        })
    };
    chat.messages
        .into_iter()
        .enumerate()
        .map(message)
        .collect::<Result<_, _>>()
        .map(Input::Chat)
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
