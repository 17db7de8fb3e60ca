//! `POST /v1/completions`: raw prompts, also as token ids, and scoring of texts by `echo` with `logprobs`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::call::{AdapterField, Call};
use super::completions_view::TextView;
use super::constraint::CONSTRAINT;
use super::dispatch::Outcome;
use super::respond::{completion_headers, json_response};
use super::sampling::{
    ALTERNATIVES, BOOKKEEPING, CHOICE, Delivery, NUMBERS_OF_SAMPLING, SAMPLING, STEERING,
    SamplingAsk,
};
use super::shape::{FLAG, Field, Kind, Neutral, Shape, TEXT, TOKEN_ID};
use super::{gather, sse, unbuilt};
use crate::api::fault::Fault;
use crate::domain::{Ask, Constraint, Input, Reason, Sampling, Toolset, Urgency};

/// Prompts of one request; the gateway counts them with `n`.
const PROMPTS: usize = 4096;
/// Tokens of one prompt; far above any context, which is checked later.
const TOKENS: usize = 4 << 20;

const IDS: Kind = Kind::List {
    of: &TOKEN_ID,
    min: 1,
    max: TOKENS,
};

const PROMPT: Kind = Kind::Either(&[
    TEXT,
    IDS,
    Kind::List {
        of: &TEXT,
        min: 1,
        max: PROMPTS,
    },
    Kind::List {
        of: &IDS,
        min: 1,
        max: PROMPTS,
    },
]);

pub(super) const COMPLETION: Shape = Shape {
    name: "CompletionRequest",
    about: "Text to continue, or to score.",
    fields: &[
        CHOICE,
        &[
            Field::new(
                "prompt",
                PROMPT,
                "Text, token ids, or a list of either. Ids are taken as they are.",
            )
            .required(),
            Field::new("echo", FLAG, "Return the prompt before the answer."),
            Field::new(
                "logprobs",
                ALTERNATIVES,
                "Alternatives to report with each token.",
            )
            .neutral(&[Neutral::Flag(false)]),
        ],
        &NUMBERS_OF_SAMPLING,
        STEERING,
        SAMPLING,
        CONSTRAINT,
        BOOKKEEPING,
        unbuilt::SAMPLING,
        unbuilt::COMPLETION,
    ],
};

/// What OpenAI generates when nothing is said.
const DEFAULT_MAX_TOKENS: usize = 16;

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
    TokenLists(Vec<Vec<u32>>),
}

#[derive(Debug, Deserialize)]
struct CompletionAsk {
    model: Option<String>,
    adapter: Option<AdapterField>,
    prompt: Prompt,
    echo: Option<bool>,
    logprobs: Option<u8>,
    #[serde(flatten)]
    sampling: SamplingAsk,
}

/// A completion request, read and settled.
#[derive(Debug)]
struct Completion {
    model: Option<String>,
    adapter: Option<AdapterField>,
    prompts: Vec<Input>,
    echo: bool,
    /// Whether the caller chose `max_tokens`.
    says_length: bool,
    n: u32,
    cache_salt: String,
    urgency: Urgency,
    sampling: Sampling,
    constraint: Option<Arc<Constraint>>,
    delivery: Delivery,
}

impl Completion {
    fn read(body: Value) -> Result<Self, Reason> {
        let mut ask: CompletionAsk = COMPLETION.take(body)?;
        let prompts = match ask.prompt {
            Prompt::Text(text) => vec![Input::Text(text)],
            Prompt::Tokens(ids) => vec![Input::Tokens(ids)],
            Prompt::Texts(texts) => texts.into_iter().map(Input::Text).collect(),
            Prompt::TokenLists(lists) => lists.into_iter().map(Input::Tokens).collect(),
        };
        let echo = ask.echo.unwrap_or(false);
        let max_tokens = ask.sampling.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
        if max_tokens == 0 && !echo {
            return Err(Reason::field(
                "max_tokens",
                "must be at least 1, or 0 together with `echo`",
            ));
        }
        Ok(Self {
            model: ask.model,
            adapter: ask.adapter,
            prompts,
            echo,
            says_length: ask.sampling.max_tokens.is_some(),
            n: ask.sampling.n(),
            cache_salt: ask.sampling.cache_salt.clone().unwrap_or_default(),
            urgency: ask.sampling.urgency(),
            delivery: ask.sampling.delivery()?,
            constraint: ask.sampling.constraint()?,
            sampling: ask.sampling.settle(Some(max_tokens), ask.logprobs)?,
        })
    }

    fn asks(&self) -> Vec<Ask> {
        let prompt_logprobs = self.echo && self.sampling.logprobs.is_some();
        let ask = |input: &Input| Ask {
            input: input.clone(),
            tools: Toolset::default(),
            sampling: self.sampling.clone(),
            constraint: self.constraint.clone(),
            n: self.n,
            prompt_logprobs,
            cache_salt: self.cache_salt.clone(),
            urgency: self.urgency,
        };
        self.prompts.iter().map(ask).collect()
    }
}

pub(super) async fn create(call: Call) -> Outcome {
    let (request, body) = call.open().await?;
    let completion = Completion::read(body)?;
    let asks = completion.asks();
    let claims = request.claims(completion.model, completion.adapter)?;
    let answers = request.caller().ask(&claims, asks).await;
    let answers = answers.map_err(|reason| match reason {
        // The default length was taken, so the refusal names the prompt and not a field that was not sent.
        Reason::AnswerTooLong { .. } if !completion.says_length => {
            Fault::from(reason).about("prompt")
        }
        reason => Fault::from(reason),
    })?;
    let echoes = if completion.echo {
        let mut echoes = Vec::with_capacity(answers.each.len());
        for (input, answer) in completion.prompts.into_iter().zip(&answers.each) {
            echoes.push(match input {
                Input::Text(text) => text,
                _ => request.caller().detokenize(answer.prompt.clone()).await?,
            });
        }
        Some(echoes)
    } else {
        None
    };
    let logprobs = completion.sampling.logprobs;
    let fingerprint = request.fingerprint();
    let (view, each) = TextView::new(
        answers,
        echoes,
        fingerprint,
        completion.n,
        logprobs,
        completion.delivery,
    );
    let generation = view.generation();
    let response = if completion.delivery.stream {
        sse::response(each, view.stream())
    } else {
        json_response(200, &view.whole(gather::all(each, completion.n).await?))
    };
    Ok(completion_headers(response, generation))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::http::shape::tests::conforms;

    fn inputs(prompt: Value) -> Vec<Input> {
        Completion::read(json!({"prompt": prompt})).unwrap().prompts
    }

    fn field_of(body: Value) -> String {
        match Completion::read(body) {
            Err(Reason::BadField { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_field_is_read_and_every_wrong_type_is_named() {
        conforms(&COMPLETION, |body| Completion::read(body).map(drop));
    }

    #[test]
    fn a_prompt_is_text_or_ids_or_lists_of_either() {
        let text = |text: &str| Input::Text(text.into());
        assert_eq!(inputs(json!("a")), [text("a")]);
        assert_eq!(inputs(json!([1, 2])), [Input::Tokens(vec![1, 2])]);
        assert_eq!(inputs(json!(["a", "b"])), [text("a"), text("b")]);
        assert_eq!(
            inputs(json!([[1], [2, 3]])),
            [Input::Tokens(vec![1]), Input::Tokens(vec![2, 3])]
        );
        assert_eq!(field_of(json!({"prompt": [1, "a"]})), "prompt[1]");
        assert_eq!(field_of(json!({"prompt": [[1], []]})), "prompt[1]");
        assert_eq!(field_of(json!({"prompt": [-1]})), "prompt[0]");
        assert_eq!(field_of(json!({"prompt": []})), "prompt");
    }

    #[test]
    fn nothing_is_generated_only_to_score() {
        assert_eq!(
            field_of(json!({"prompt": "a", "max_tokens": 0})),
            "max_tokens"
        );
        let scoring =
            Completion::read(json!({"prompt": "a", "max_tokens": 0, "echo": true, "logprobs": 1}))
                .unwrap();
        let asks = scoring.asks();
        assert!(asks[0].prompt_logprobs);
        assert_eq!(
            (asks[0].sampling.max_tokens, asks[0].sampling.logprobs),
            (Some(0), Some(1))
        );
        assert_eq!(
            Completion::read(json!({"prompt": "a"}))
                .unwrap()
                .sampling
                .max_tokens,
            Some(16)
        );
    }
    #[test]
    fn what_asks_for_nothing_counts_as_absent() {
        let with = |n: u32, field: &str, value: Value| {
            Completion::read(json!({"prompt": "a", "n": n, field: value}))
        };
        for (n, field, value) in [
            (1, "best_of", json!(1)),
            (1, "best_of", json!(null)),
            (3, "best_of", json!(3)),
            (3, "best_of", json!(1)),
            (1, "suffix", json!("")),
            (1, "suffix", json!(null)),
            (1, "logprobs", json!(false)),
            (1, "echo", json!(false)),
            (1, "add_special_tokens", json!(true)),
            (1, "prompt_embeds", json!(null)),
            (1, "response_format", json!({"type": "text"})),
            (1, "use_beam_search", json!(false)),
        ] {
            let plain = format!("{:?}", with(n, "stop", json!(null)).unwrap());
            let told = with(n, field, value.clone());
            let told = told.unwrap_or_else(|reason| panic!("{field} = {value}: {reason}"));
            assert_eq!(format!("{told:?}"), plain, "{field} = {value}");
        }
        for (n, field, value) in [
            (1, "best_of", json!(2)),
            (3, "best_of", json!(4)),
            (3, "best_of", json!(2)),
            (1, "suffix", json!("end")),
            (1, "suffix", json!(" ")),
            (1, "logprobs", json!(true)),
            (1, "add_special_tokens", json!(false)),
            (1, "messages", json!([])),
        ] {
            let told = with(n, field, value.clone());
            assert!(
                matches!(&told, Err(Reason::BadField { field: path, .. }) if path == field),
                "{field} = {value}: {told:?}"
            );
        }
    }
}
