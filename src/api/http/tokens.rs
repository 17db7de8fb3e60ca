//! `POST /tokenize`, `POST /detokenize`.

use serde::Deserialize;
use serde_json::json;

use super::call::Call;
use super::chat::{MESSAGES, MessageAsk, conversation};
use super::dispatch::Outcome;
use super::respond::json_response;
use super::sampling::CHOICE;
use super::shape::{FLAG, Field, Kind, Neutral, Shape, TEXT, TOKEN_ID};
use super::unbuilt;
use crate::domain::{Input, Reason};

pub(super) const TOKENIZE: Shape = Shape {
    name: "TokenizeRequest",
    about: "Text or a conversation to turn into token ids.",
    fields: &[
        CHOICE,
        &[
            Field::new("prompt", TEXT, "Raw text."),
            Field::new(
                "messages",
                MESSAGES,
                "A conversation, rendered as for an answer.",
            ),
            Field::new("add_special_tokens", FLAG, "For raw text; default true."),
            Field::unbuilt(
                "return_token_strs",
                "is not available; use /detokenize",
                &[Neutral::Flag(false)],
            ),
        ],
        unbuilt::TEMPLATE,
    ],
};

pub(super) const DETOKENIZE: Shape = Shape {
    name: "DetokenizeRequest",
    about: "Token ids to turn into text.",
    fields: &[
        CHOICE,
        &[Field::new(
            "tokens",
            Kind::List {
                of: &TOKEN_ID,
                min: 0,
                max: 1 << 20,
            },
            "The ids.",
        )
        .required()],
    ],
};

#[derive(Debug, Deserialize)]
struct TokenizeAsk {
    model: Option<String>,
    adapter: Option<String>,
    prompt: Option<String>,
    messages: Option<Vec<MessageAsk>>,
    add_special_tokens: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct DetokenizeAsk {
    model: Option<String>,
    adapter: Option<String>,
    tokens: Vec<u32>,
}

impl TokenizeAsk {
    fn input(
        prompt: Option<String>,
        messages: Option<Vec<MessageAsk>>,
        special: bool,
    ) -> Result<Input, Reason> {
        match (prompt, messages) {
            (Some(_), Some(_)) => Err(Reason::field(
                "messages",
                "cannot be combined with `prompt`",
            )),
            (None, None) => Err(Reason::field("prompt", "is required, or `messages`")),
            (Some(text), None) => Ok(Input::Text(text)),
            (None, Some(_)) if special => Err(Reason::field(
                "add_special_tokens",
                "is for `prompt`; a chat template writes its own",
            )),
            (None, Some(messages)) => Ok(Input::Chat(conversation(messages)?)),
        }
    }
}

pub(super) async fn tokenize(call: Call) -> Outcome {
    let (request, ask) = call.read::<TokenizeAsk>(&TOKENIZE).await?;
    let claims = request.claims(ask.model, ask.adapter);
    let special = ask.add_special_tokens;
    let input = TokenizeAsk::input(ask.prompt, ask.messages, special == Some(true))?;
    let tokens = request
        .gateway()
        .tokenize(&claims, input, special.unwrap_or(true))
        .await?;
    Ok(json_response(
        200,
        &json!({"tokens": tokens, "count": tokens.len()}),
    ))
}

pub(super) async fn detokenize(call: Call) -> Outcome {
    let (request, ask) = call.read::<DetokenizeAsk>(&DETOKENIZE).await?;
    // All share one vocabulary; a name that does not exist is told all the same.
    request
        .gateway()
        .check_claims(&request.claims(ask.model, ask.adapter))?;
    let prompt = request.gateway().detokenize(ask.tokens).await?;
    Ok(json_response(200, &json!({ "prompt": prompt })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::http::shape::tests::conforms;

    #[test]
    fn every_field_is_read_and_every_wrong_type_is_named() {
        conforms(&TOKENIZE, |body| {
            TOKENIZE.take::<TokenizeAsk>(body).map(drop)
        });
        conforms(&DETOKENIZE, |body| {
            DETOKENIZE.take::<DetokenizeAsk>(body).map(drop)
        });
    }
}
