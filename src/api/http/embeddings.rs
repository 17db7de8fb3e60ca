//! `POST /v1/embeddings`: texts as vectors.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::call::{AdapterField, Call};
use super::dispatch::Outcome;
use super::respond::{bytes_response, completion_headers};
use super::sampling::{BOOKKEEPING, CHOICE, SALT};
use super::shape::{Field, Kind, Shape, TEXT, TOKEN_ID};
use super::unbuilt;
use crate::api::fault::Fault;
use crate::domain::{
    EmbedAsk, Generation, Input, MOST_EMBEDDED_TOKENS, MOST_PRIORITY, MOST_TEXTS, Pooling, Range,
    Reason, Urgency,
};
use crate::gateway::Embedded;

const IDS: Kind = Kind::List {
    of: &TOKEN_ID,
    min: 1,
    max: MOST_EMBEDDED_TOKENS,
};

const INPUT: Kind = Kind::Either(&[
    TEXT,
    IDS,
    Kind::List {
        of: &TEXT,
        min: 1,
        max: MOST_TEXTS,
    },
    Kind::List {
        of: &IDS,
        min: 1,
        max: MOST_TEXTS,
    },
]);

pub(super) const EMBEDDING: Shape = Shape {
    name: "EmbeddingRequest",
    about: "Texts to turn into vectors of length 1.",
    fields: &[
        CHOICE,
        &[
            Field::new(
                "input",
                INPUT,
                "Text, token ids, or a list of either: at most 2048 texts, 300,000 tokens in all. Text gets the model's special tokens; ids are taken as they are.",
            )
            .required(),
            Field::new(
                "encoding_format",
                Kind::Choice(&["float", "base64"]),
                "`float` where absent; `base64` is of 32-bit floats, little end first.",
            ),
            Field::new(
                "dimensions",
                Kind::Integer {
                    min: 1,
                    max: i64::MAX,
                },
                "So many leading numbers of each vector, scaled to length 1 again; all where absent.",
            ),
            Field::new(
                "pooling",
                Kind::Choice(Pooling::NAMES),
                "Of the hidden states after the last norm: that of the `last` token (where absent), or the `mean` over all of the text's tokens.",
            ),
            Field::new(
                "cache_salt",
                SALT,
                "Reuse what was computed of a text only among requests that say the same.",
            ),
            Field::new(
                "priority",
                Kind::Integer {
                    min: -MOST_PRIORITY as i64,
                    max: MOST_PRIORITY as i64,
                },
                "Of the requests of one key, lower ones are served first. Default 0.",
            ),
            Field::new(
                "timeout",
                Kind::Number(Range::above(0.0).at_most(86_400.0)),
                "Seconds all vectors may take; then the request fails with `deadline_exceeded`.",
            ),
        ],
        BOOKKEEPING,
        unbuilt::EMBEDDING,
    ],
};

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Texts {
    Text(String),
    Tokens(Vec<u32>),
    Several(Vec<String>),
    TokenLists(Vec<Vec<u32>>),
}

#[derive(Debug, Deserialize)]
struct EmbeddingAsk {
    model: Option<String>,
    adapter: Option<AdapterField>,
    input: Texts,
    encoding_format: Option<String>,
    dimensions: Option<usize>,
    pooling: Option<String>,
    cache_salt: Option<String>,
    priority: Option<i32>,
    timeout: Option<f64>,
}

impl EmbeddingAsk {
    fn read(body: Value) -> Result<Self, Reason> {
        EMBEDDING.take(body)
    }

    fn asks(self) -> Result<EmbedAsk, Reason> {
        let inputs = match self.input {
            Texts::Text(text) => vec![Input::Text(text)],
            Texts::Tokens(ids) => vec![Input::Tokens(ids)],
            Texts::Several(texts) => texts.into_iter().map(Input::Text).collect(),
            Texts::TokenLists(lists) => lists.into_iter().map(Input::Tokens).collect(),
        };
        let pooling = self.pooling.map(|name| Pooling::of("pooling", &name));
        Ok(EmbedAsk {
            inputs,
            pooling: pooling.transpose()?.unwrap_or_default(),
            dimensions: self.dimensions,
            cache_salt: self.cache_salt.unwrap_or_default(),
            urgency: Urgency {
                priority: self.priority.unwrap_or(0),
                timeout: self.timeout,
            },
        })
    }
}

/// Written as it is made: millions of numbers would be large as JSON values.
#[derive(Serialize)]
struct View {
    object: &'static str,
    data: Vec<Item>,
    model: String,
    usage: Used,
    adapter_generation: Option<Generation>,
}

#[derive(Serialize)]
struct Item {
    object: &'static str,
    index: usize,
    embedding: Numbers,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Numbers {
    Float(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
struct Used {
    prompt_tokens: usize,
    total_tokens: usize,
}

impl View {
    fn of(made: Embedded, packed: bool) -> Self {
        let item = |(index, vector): (usize, Vec<f32>)| Item {
            object: "embedding",
            index,
            embedding: match packed {
                true => Numbers::Base64(base64(&vector)),
                false => Numbers::Float(vector),
            },
        };
        Self {
            object: "list",
            data: made.vectors.into_iter().enumerate().map(item).collect(),
            model: made.model,
            usage: Used {
                prompt_tokens: made.tokens,
                total_tokens: made.tokens,
            },
            adapter_generation: made.generation,
        }
    }
}

pub(super) async fn create(call: Call) -> Outcome {
    let (request, body) = call.open().await?;
    let mut ask = EmbeddingAsk::read(body)?;
    let claims = request.claims(ask.model.take(), ask.adapter.take())?;
    let packed = ask.encoding_format.as_deref() == Some("base64");
    let made = request.caller().embed(&claims, ask.asks()?).await;
    let made = made.map_err(|reason| match reason {
        Reason::PromptTooLong { .. } | Reason::TextTooLong { .. } => {
            Fault::from(reason).about("input")
        }
        reason => Fault::from(reason),
    })?;
    let generation = made.generation;
    let body = serde_json::to_vec(&View::of(made, packed));
    let body = body.map_err(|fault| Reason::Internal(fault.to_string()))?;
    let response = bytes_response(200, "application/json", body);
    Ok(completion_headers(response, generation))
}

/// The numbers' bytes, little end first, by RFC 4648 with padding.
fn base64(vector: &[f32]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, at| {
            (bits << 8) | u32::from(part.get(at).copied().unwrap_or(0))
        });
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at)) as usize & 63];
            text.push(if at <= part.len() {
                letter as char
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::http::shape::tests::conforms;

    #[test]
    fn every_field_is_read_and_every_wrong_type_is_named() {
        conforms(&EMBEDDING, |body| {
            EmbeddingAsk::read(body)?.asks().map(drop)
        });
    }

    #[test]
    fn an_input_is_text_or_ids_or_lists_of_either() {
        let inputs = |input: Value| {
            let ask = EmbeddingAsk::read(json!({"input": input})).and_then(EmbeddingAsk::asks);
            ask.map(|ask| ask.inputs)
        };
        let text = |text: &str| Input::Text(text.into());
        assert_eq!(inputs(json!("a")), Ok(vec![text("a")]));
        assert_eq!(inputs(json!(["a", "b"])), Ok(vec![text("a"), text("b")]));
        assert_eq!(inputs(json!([1, 2])), Ok(vec![Input::Tokens(vec![1, 2])]));
        assert_eq!(
            inputs(json!([[1], [2]])),
            Ok(vec![Input::Tokens(vec![1]), Input::Tokens(vec![2])])
        );
        for (input, field) in [
            (json!([]), "input"),
            (json!([[]]), "input[0]"),
            (json!(vec!["a"; MOST_TEXTS + 1]), "input"),
            (json!([1, "a"]), "input[1]"),
        ] {
            match inputs(input) {
                Err(Reason::BadField { field: path, .. }) => assert_eq!(path, field),
                other => panic!("{field}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_tables_say_what_is_bounded() {
        let about = EMBEDDING.all().find(|field| field.name == "input");
        let about = about.expect("a field").about;
        assert!(about.contains(&MOST_TEXTS.to_string()) && MOST_EMBEDDED_TOKENS == 300_000);
    }

    #[test]
    fn numbers_are_packed_as_their_bytes() {
        for (vector, text) in [
            (&[][..], ""),
            (&[1.0][..], "AACAPw=="),
            (&[1.0, -2.0], "AACAPwAAAMA="),
            (
                &[0.5, 0.25, f32::from_bits(0x0403_0201)],
                "AAAAPwAAgD4BAgME",
            ),
        ] {
            assert_eq!(base64(vector), text);
        }
    }
}
