//! One load: several streams at once, each a request whose tokens are timed as they arrive.

use std::time::{Duration, Instant};

use futures::StreamExt;
use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use crate::cli::{Client, Failure, chunks};
use crate::text::synthetic::word;

/// What each request asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    pub prompt_tokens: usize,
    pub tokens: usize,
}

/// What one request got.
#[derive(Debug, Clone, Default)]
pub struct Answered {
    /// Seconds from sending to the first token.
    pub first: f64,
    /// Seconds between one arrival and the next.
    pub gaps: Vec<f64>,
    pub prompt_tokens: u64,
    /// Of these, the ones the daemon did not have to compute.
    pub cached_tokens: u64,
    pub tokens: u64,
}

/// What all streams of a run got.
#[derive(Debug, Clone)]
pub struct Run {
    pub answers: Vec<Answered>,
    /// From the first request sent to the last token received.
    pub seconds: f64,
}

impl Run {
    pub fn tokens_per_second(&self) -> f64 {
        let tokens: u64 = self.answers.iter().map(|answer| answer.tokens).sum();
        tokens as f64 / self.seconds.max(1e-9)
    }

    /// Prompt tokens by the time until the last stream had its first token.
    pub fn prompt_tokens_per_second(&self) -> f64 {
        let tokens: u64 = self.answers.iter().map(|answer| answer.prompt_tokens).sum();
        let last = self.answers.iter().map(|answer| answer.first);
        tokens as f64 / last.fold(1e-9, f64::max)
    }
}

/// Tokens that make a prompt unlike every other.
const UNSEEDED: usize = 8;

/// Where prompts come from: tokens the daemon's own tokenizer makes of made-up words.
pub struct Prompts {
    ids: Vec<u64>,
}

impl Prompts {
    pub async fn from(client: &Client, rng: &mut impl Rng) -> Result<Self, Failure> {
        let words: Vec<String> = (0..256).map(|_| word(rng.random_range(0..5000))).collect();
        let body = json!({"prompt": words.join(" "), "add_special_tokens": false});
        let answer = client.post(&["tokenize"], &body).await?;
        let ids: Vec<u64> = answer["tokens"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_u64)
            .collect();
        match ids.is_empty() {
            true => Err(Failure::failed(
                "the daemon's tokenizer makes no tokens of words",
            )),
            false => Ok(Self { ids }),
        }
    }

    /// `count` tokens in an order nobody has asked with before, so that nothing can be reused: the first are beyond any
    /// seed, or a second run against the same daemon would find its prompts computed.
    fn draw(&self, count: usize, rng: &mut impl Rng) -> Vec<u64> {
        let mut fresh = rand::rng();
        let beginning = (0..UNSEEDED.min(count)).filter_map(|_| self.ids.choose(&mut fresh));
        let rest = (UNSEEDED.min(count)..count).filter_map(|_| self.ids.choose(rng));
        beginning.chain(rest).copied().collect()
    }
}

/// Sends one request a name, all at once, and waits for the last token of the last.
pub async fn run(
    client: &Client,
    model: &str,
    names: &[Option<String>],
    request: Request,
    prompts: &Prompts,
    rng: &mut impl Rng,
) -> Result<Run, Failure> {
    let bodies: Vec<Value> = names
        .iter()
        .map(|name| {
            let mut body = json!({
                "model": model, "prompt": prompts.draw(request.prompt_tokens, rng), "max_tokens": request.tokens,
                "temperature": 0, "ignore_eos": true, "stream": true, "stream_options": {"include_usage": true},
            });
            if let Some(name) = name {
                body["adapter"] = json!(name);
            }
            body
        })
        .collect();
    let began = Instant::now();
    let answers =
        futures::future::try_join_all(bodies.iter().map(|body| ask(client, body))).await?;
    Ok(Run {
        answers,
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// A daemon that sends nothing for this long is taken for dead.
const SILENCE: Duration = Duration::from_secs(120);

async fn ask(client: &Client, body: &Value) -> Result<Answered, Failure> {
    let began = Instant::now();
    let response = client.stream(&["v1", "completions"], body).await?;
    let mut stream = std::pin::pin!(chunks(response));
    let mut answered = Answered::default();
    let mut last = None;
    while let Some(chunk) = tokio::time::timeout(SILENCE, stream.next())
        .await
        .map_err(|_| Failure::failed("no token came for two minutes"))?
    {
        let chunk = chunk?;
        let now = Instant::now();
        if let Some(usage) = chunk["usage"].as_object() {
            let count = |field: &str| usage.get(field).and_then(Value::as_u64).unwrap_or(0);
            answered.prompt_tokens = count("prompt_tokens");
            answered.tokens = count("completion_tokens");
            let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64();
            answered.cached_tokens = cached.unwrap_or(0);
        }
        if chunk["choices"].as_array().is_none_or(Vec::is_empty) {
            continue;
        }
        match last.replace(now) {
            None => answered.first = (now - began).as_secs_f64(),
            Some(before) => answered.gaps.push((now - before).as_secs_f64()),
        }
    }
    Ok(answered)
}
