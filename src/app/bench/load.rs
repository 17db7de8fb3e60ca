//! One load: several streams at once, each a request whose tokens are timed as they arrive.

use std::ops::Range;
use std::time::{Duration, Instant};

use futures::StreamExt;
use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::numbers::Numbers;
use crate::cli::{Client, Failure, chunks};
use crate::text::synthetic::word;

/// What each request asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    pub prompt_tokens: usize,
    pub tokens: usize,
}

/// What one request got.
#[derive(Debug, Clone)]
pub struct Answered {
    sent: Instant,
    arrivals: Vec<Instant>,
    pub prompt_tokens: u64,
    /// Of these, the ones the daemon did not have to compute.
    pub cached_tokens: u64,
    pub tokens: u64,
    /// Of the adapter that answered.
    pub generation: Option<String>,
}

impl Answered {
    /// When the first token came.
    pub fn began(&self) -> Instant {
        self.arrivals.first().copied().unwrap_or(self.sent)
    }

    /// Seconds from sending to the first token.
    pub fn first(&self) -> f64 {
        (self.began() - self.sent).as_secs_f64()
    }

    /// Seconds between one arrival and the next.
    pub fn gaps(&self) -> impl Iterator<Item = f64> {
        self.between().map(|(from, to)| (to - from).as_secs_f64())
    }

    /// The longest of the gaps that have a moment of `span` in them; 0 where there is none.
    pub fn longest_gap_in(&self, span: &Range<Instant>) -> f64 {
        self.between()
            .filter(|(from, to)| *from < span.end && *to > span.start)
            .map(|(from, to)| (to - from).as_secs_f64())
            .fold(0.0, f64::max)
    }

    /// The longest of the gaps that lie within `span`; 0 where there is none.
    pub fn longest_gap_within(&self, span: &Range<Instant>) -> f64 {
        self.between()
            .filter(|(from, to)| *from >= span.start && *to <= span.end)
            .map(|(from, to)| (to - from).as_secs_f64())
            .fold(0.0, f64::max)
    }

    fn between(&self) -> impl Iterator<Item = (Instant, Instant)> {
        self.arrivals.windows(2).map(|pair| (pair[0], pair[1]))
    }
}

/// What all streams of a run got.
#[derive(Debug, Clone)]
pub struct Run {
    pub answers: Vec<Answered>,
    /// From the first request sent to the last token received.
    pub seconds: f64,
}

impl Run {
    pub fn answers_per_second(&self) -> f64 {
        self.answers.len() as f64 / self.seconds.max(1e-9)
    }

    pub fn tokens_per_second(&self) -> f64 {
        let tokens: u64 = self.answers.iter().map(|answer| answer.tokens).sum();
        tokens as f64 / self.seconds.max(1e-9)
    }

    /// Prompt tokens by the time until the last stream had its first token.
    pub fn prompt_tokens_per_second(&self) -> f64 {
        let tokens: u64 = self.answers.iter().map(|answer| answer.prompt_tokens).sum();
        let last = self.answers.iter().map(Answered::first);
        tokens as f64 / last.fold(1e-9, f64::max)
    }

    pub fn gaps(&self) -> Numbers {
        Numbers::of(self.answers.iter().flat_map(Answered::gaps))
    }

    pub fn firsts(&self) -> Numbers {
        Numbers::of(self.answers.iter().map(Answered::first))
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

    /// `count` tokens in an order that no request has had before, so that nothing can be reused: the first are beyond any
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
        .map(|name| body(model, name.as_deref(), request, prompts, rng))
        .collect();
    send(client, &bodies).await
}

/// Sends these requests all at once, and waits for the last token of the last.
pub async fn send(client: &Client, bodies: &[Value]) -> Result<Run, Failure> {
    let began = Instant::now();
    let answers =
        futures::future::try_join_all(bodies.iter().map(|body| ask(client, body, None))).await?;
    Ok(Run {
        answers,
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// What asks `name`, or the base.
pub fn body(
    model: &str,
    name: Option<&str>,
    request: Request,
    prompts: &Prompts,
    rng: &mut impl Rng,
) -> Value {
    let mut body = json!({
        "model": model, "prompt": prompts.draw(request.prompt_tokens, rng), "max_tokens": request.tokens,
        "temperature": 0, "ignore_eos": true, "stream": true, "stream_options": {"include_usage": true},
    });
    if let Some(name) = name {
        body["adapter"] = json!(name);
    }
    body
}

/// A daemon that sends nothing for this long is taken for dead.
const SILENCE: Duration = Duration::from_secs(120);

/// Sends one request and reads to its end. Each arrival adds a permit to `heard`, so that others can wait for it.
pub async fn ask(
    client: &Client,
    body: &Value,
    heard: Option<&Semaphore>,
) -> Result<Answered, Failure> {
    let mut answered = Answered {
        sent: Instant::now(),
        arrivals: Vec::new(),
        prompt_tokens: 0,
        tokens: 0,
        cached_tokens: 0,
        generation: None,
    };
    let response = client.stream(&["v1", "completions"], body).await?;
    let mut stream = std::pin::pin!(chunks(response));
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
        let generation = chunk["adapter_generation"].as_str();
        if answered.arrivals.is_empty() {
            answered.generation = generation.map(str::to_owned);
        } else if answered.generation.as_deref() != generation {
            return Err(Failure::failed("one answer came from two generations"));
        }
        answered.arrivals.push(now);
        if let Some(heard) = heard {
            heard.add_permits(1);
        }
    }
    Ok(answered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_counts_where_it_touches_the_span() {
        let sent = Instant::now();
        let at = |ms: u64| sent + Duration::from_millis(ms);
        let answered = Answered {
            sent,
            arrivals: [100, 120, 180, 200, 290].map(at).to_vec(),
            prompt_tokens: 4,
            tokens: 5,
            cached_tokens: 0,
            generation: None,
        };
        assert_eq!(answered.first(), 0.1);
        assert_eq!(answered.gaps().count(), 4);
        assert_eq!(answered.longest_gap_in(&(at(115)..at(190))), 0.06);
        assert_eq!(answered.longest_gap_in(&(at(150)..at(160))), 0.06);
        assert_eq!(answered.longest_gap_in(&(at(0)..at(100))), 0.0);
        assert_eq!(answered.longest_gap_in(&(at(290)..at(400))), 0.0);
        assert_eq!(answered.longest_gap_within(&(at(125)..at(205))), 0.02);
    }
}
