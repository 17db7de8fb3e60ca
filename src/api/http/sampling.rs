//! The fields chat and text completions share: how to sample, what to return, and what clients send for their own
//! bookkeeping.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::constraint::ConstraintAsk;
use super::shape::{ANY_INTEGER, COUNT, FLAG, Field, Kind, Neutral, Shape, TEXT, TOKEN_ID};
use crate::domain::sampling::{self, NUMBERS, Numbers};
use crate::domain::{
    Constraint, MAX_SALT_BYTES, MOST_MEMBERS, MOST_PRIORITY, MOST_WEIGHT, Range, Reason, Sampling,
    Urgency,
};

const STREAM_OPTIONS: Shape = Shape {
    name: "StreamOptions",
    about: "What a stream carries besides text.",
    fields: &[&[
        Field::new(
            "include_usage",
            FLAG,
            "Ends the stream with a chunk that counts tokens.",
        ),
        Field::new(
            "include_obfuscation",
            FLAG,
            "Ignored: chunks are not padded.",
        ),
        Field::unbuilt(
            "continuous_usage_stats",
            "is not available; `include_usage` counts at the end",
            &[Neutral::Flag(false)],
        ),
    ]],
};

/// How many alternatives are reported with each token of an answer.
pub(super) const ALTERNATIVES: Kind = Kind::Integer {
    min: 0,
    max: sampling::MAX_ALTERNATIVES as i64,
};
pub(super) const STOP: Kind = Kind::Text {
    min: 1,
    max: sampling::MAX_STOP_BYTES,
};
const BIAS: Kind = Kind::Number(sampling::BIAS);

/// One adapter, or several with weights.
pub(super) const WEIGHTS: Kind = Kind::Either(&[
    TEXT,
    Kind::Map {
        of: &Kind::Number(Range::between(-MOST_WEIGHT, MOST_WEIGHT)),
        max: MOST_MEMBERS,
    },
]);

/// Which model and adapter.
pub(super) const CHOICE: &[Field] = &[
    Field::new(
        "model",
        TEXT,
        "The base's name, an adapter's name, or `BASE:adapter`; absent means the base.",
    ),
    Field::new(
        "adapter",
        WEIGHTS,
        "An adapter's name, optionally `name@GENERATION`; `none` is the base. Or `lora` adapters with weights, as a blend.",
    ),
];

pub(super) const NUMBERS_OF_SAMPLING: [Field; NUMBERS.len()] = Field::all_of(NUMBERS);

pub(super) const STOPS: Field = Field::new(
    "stop",
    Kind::Either(&[
        STOP,
        Kind::List {
            of: &STOP,
            min: 0,
            max: sampling::MAX_STOPS,
        },
    ]),
    "Strings that end an answer; they are not part of it.",
)
.neutral(&[Neutral::Text("")]);

/// Of every answer in text, whatever its door.
pub(super) const STEERING: &[Field] = &[
    Field::new(
        "top_k",
        Kind::Integer {
            min: -1,
            max: u32::MAX as i64,
        },
        "Keep this many tokens; 0 or -1 keeps all.",
    ),
    Field::new(
        "min_tokens",
        COUNT,
        "Tokens to generate before an end token may be chosen.",
    ),
    Field::new(
        "stop_token_ids",
        Kind::List {
            of: &TOKEN_ID,
            min: 0,
            max: sampling::MAX_STOP_IDS,
        },
        "Tokens that end an answer.",
    ),
    Field::new("ignore_eos", FLAG, "Go on past end tokens."),
    Field::new("seed", ANY_INTEGER, "Makes a sampled answer repeatable."),
    Field::new(
        "logit_bias",
        Kind::Map {
            of: &BIAS,
            max: sampling::MAX_BIASES,
        },
        "Token id to what is added to its logit.",
    )
    .neutral(&[Neutral::Empty]),
    Field::new(
        "stream",
        FLAG,
        "Send the answer piece by piece, as server-sent events.",
    ),
    Field::new(
        "cache_salt",
        SALT,
        "Reuse what was computed of a prompt only among requests that say the same.",
    ),
    Field::new(
        "priority",
        Kind::Integer {
            min: -MOST_PRIORITY as i64,
            max: MOST_PRIORITY as i64,
        },
        "Of the requests of one key, lower ones are served first; each minute of waiting counts as one. Default 0.",
    ),
    Field::new(
        "timeout",
        Kind::Number(Range::above(0.0).at_most(86_400.0)),
        "Seconds the answer may take: without a token it then fails with `deadline_exceeded`, with some it ends as `length`.",
    ),
];

/// Of chat and text completions, beside [`STEERING`].
pub(super) const SAMPLING: &[Field] = &[
    Field::new("max_tokens", COUNT, "Tokens to generate at most."),
    STOPS,
    Field::new(
        "n",
        Kind::Integer { min: 1, max: 128 },
        "Answers to the same prompt.",
    ),
    Field::new(
        "stream_options",
        Kind::Object(&STREAM_OPTIONS),
        "With `stream` only.",
    )
    .neutral(&[Neutral::Empty]),
    Field::new(
        "return_token_ids",
        FLAG,
        "Also return `token_ids` and `prompt_token_ids`.",
    ),
];

pub(super) const SALT: Kind = Kind::Text {
    min: 0,
    max: MAX_SALT_BYTES,
};

const PAIR: Kind = Kind::Text { min: 0, max: 512 };

/// What clients and proxies write for themselves: accepted, and without effect.
pub(super) const BOOKKEEPING: &[Field] = &[
    Field::new("user", TEXT, "Ignored."),
    Field::new("metadata", Kind::Map { of: &PAIR, max: 16 }, "Ignored.").neutral(&[Neutral::Empty]),
    Field::new("store", FLAG, "Ignored."),
    Field::new("service_tier", TEXT, "Ignored."),
    Field::new("safety_identifier", TEXT, "Ignored."),
    Field::new("prompt_cache_key", TEXT, "Ignored."),
    Field::new("prompt_cache_retention", TEXT, "Ignored."),
    Field::new("reasoning_effort", TEXT, "Ignored."),
    Field::new(
        "request_id",
        TEXT,
        "Ignored; the header `x-request-id` is echoed.",
    ),
    Field::new("session_id", TEXT, "Ignored."),
    Field::new("trace_id", TEXT, "Ignored."),
    Field::ignored("trace"),
    Field::ignored("tags"),
    Field::ignored("litellm_call_id"),
    Field::ignored("litellm_metadata"),
    Field::ignored("litellm_session_id"),
    Field::ignored("litellm_trace_id"),
];

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Clone, Default, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// The shared fields as sent.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct SamplingAsk {
    #[serde(flatten)]
    numbers: Numbers,
    top_k: Option<i64>,
    pub max_tokens: Option<usize>,
    min_tokens: Option<usize>,
    stop: Option<OneOrMany>,
    stop_token_ids: Option<Vec<u32>>,
    ignore_eos: Option<bool>,
    seed: Option<i64>,
    n: Option<u32>,
    logit_bias: Option<BTreeMap<String, f32>>,
    pub stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    return_token_ids: Option<bool>,
    pub cache_salt: Option<String>,
    priority: Option<i32>,
    timeout: Option<f64>,
    #[serde(flatten)]
    constraint: ConstraintAsk,
}

impl SamplingAsk {
    /// The form answers must have; asked for once.
    pub fn constraint(&mut self) -> Result<Option<Arc<Constraint>>, Reason> {
        std::mem::take(&mut self.constraint).read()
    }

    /// The strings that end an answer, where a field of another name holds them.
    pub fn stop_at(&mut self, stops: Vec<String>) {
        self.stop = Some(OneOrMany::Many(stops));
    }

    pub fn n(&self) -> u32 {
        self.n.unwrap_or(1)
    }

    pub fn urgency(&self) -> Urgency {
        Urgency {
            priority: self.priority.unwrap_or(0),
            timeout: self.timeout,
        }
    }

    pub fn delivery(&self) -> Result<Delivery, Reason> {
        let stream = self.stream.unwrap_or(false);
        let include_usage = self
            .stream_options
            .as_ref()
            .and_then(|options| options.include_usage);
        if include_usage == Some(true) && !stream {
            return Err(Reason::field("stream_options", "needs `stream` to be true"));
        }
        let token_ids = self.return_token_ids.unwrap_or(false);
        Ok(Delivery {
            stream,
            usage: include_usage.unwrap_or(false),
            token_ids,
        })
    }

    /// `max_tokens` and `logprobs` as the endpoint read them.
    pub fn settle(
        self,
        max_tokens: Option<usize>,
        logprobs: Option<u8>,
    ) -> Result<Sampling, Reason> {
        let min_tokens = self.min_tokens.unwrap_or(0);
        if max_tokens.is_some_and(|max| min_tokens > max) {
            return Err(Reason::field("min_tokens", "is more than `max_tokens`"));
        }
        Ok(Sampling {
            top_k: self.top_k.map_or(0, |k| u32::try_from(k).unwrap_or(0)),
            logit_bias: self
                .logit_bias
                .unwrap_or_default()
                .into_iter()
                .map(bias)
                .collect::<Result<_, _>>()?,
            // Negative seeds are as good as any.
            seed: self.seed.map(i64::cast_unsigned),
            logprobs,
            max_tokens,
            min_tokens,
            stop: match self.stop {
                None => Vec::new(),
                Some(OneOrMany::One(stop)) => vec![stop],
                Some(OneOrMany::Many(stops)) => stops,
            },
            stop_token_ids: self.stop_token_ids.unwrap_or_default(),
            ignore_eos: self.ignore_eos.unwrap_or(false),
            ..self.numbers.into()
        })
    }
}

fn bias((token, bias): (String, f32)) -> Result<(u32, f32), Reason> {
    let id = token.parse().map_err(|_| {
        let token: String = token.chars().take(80).collect();
        Reason::field(format!("logit_bias.{token}"), "the key must be a token id")
    })?;
    Ok((id, bias))
}

/// How the caller wants the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delivery {
    pub stream: bool,
    /// The last chunk of a stream counts tokens.
    pub usage: bool,
    pub token_ids: bool,
}
