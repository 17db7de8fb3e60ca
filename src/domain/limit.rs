//! Limits of a key or an adapter, and what is told where one is reached.

mod window;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Reason;

pub use window::{Full, Stamp, Window};

/// The most that any limit may be: counts stay far from where they would overflow.
pub const MOST_OF_A_LIMIT: u64 = 1 << 53;

/// What may be asked of the model. What is absent has no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// At most so many in any 60 seconds, as all that is counted by the minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    /// Of prompts and answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// Requests that wait or are answered at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u64>,
}

impl Rates {
    fn each(&self) -> [(Limit, Option<u64>); 3] {
        [
            (Limit::Requests, self.requests_per_minute),
            (Limit::Tokens, self.tokens_per_minute),
            (Limit::Concurrent, self.concurrent),
        ]
    }

    pub fn check(&self) -> Result<(), Reason> {
        self.each().into_iter().try_for_each(in_range)
    }
}

/// What a key may do. What is absent has no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyLimits {
    /// As of [`Rates`].
    pub requests_per_minute: Option<u64>,
    pub tokens_per_minute: Option<u64>,
    pub concurrent: Option<u64>,
    /// Jobs that wait to be run, paused ones among them.
    pub queued_jobs: Option<u64>,
    /// Tokens of the jobs created in one day of UTC, those read again counted again.
    pub training_tokens_per_day: Option<u64>,
    /// Of uploaded files.
    pub storage_bytes: Option<u64>,
}

impl KeyLimits {
    pub fn rates(&self) -> Rates {
        Rates {
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            concurrent: self.concurrent,
        }
    }

    /// Each with its value, in the order of [`Limit::ALL`].
    pub fn each(&self) -> [(Limit, Option<u64>); Limit::ALL.len()] {
        let [requests, tokens, concurrent] = self.rates().each();
        [
            requests,
            tokens,
            concurrent,
            (Limit::QueuedJobs, self.queued_jobs),
            (Limit::TrainingTokens, self.training_tokens_per_day),
            (Limit::Storage, self.storage_bytes),
        ]
    }

    pub fn check(&self) -> Result<(), Reason> {
        self.each().into_iter().try_for_each(in_range)
    }
}

fn in_range((limit, most): (Limit, Option<u64>)) -> Result<(), Reason> {
    match most {
        Some(most) if !(1..=MOST_OF_A_LIMIT).contains(&most) => {
            let why = format!("is 1 to {MOST_OF_A_LIMIT}; leave it out for no limit");
            Err(Reason::field(limit.name(), why))
        }
        _ => Ok(()),
    }
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    Requests,
    Tokens,
    Concurrent,
    QueuedJobs,
    TrainingTokens,
    Storage,
}

impl Limit {
    pub const ALL: [Self; 6] = [
        Self::Requests,
        Self::Tokens,
        Self::Concurrent,
        Self::QueuedJobs,
        Self::TrainingTokens,
        Self::Storage,
    ];

    /// As settings, fields and metrics call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests_per_minute",
            Self::Tokens => "tokens_per_minute",
            Self::Concurrent => "concurrent",
            Self::QueuedJobs => "queued_jobs",
            Self::TrainingTokens => "training_tokens_per_day",
            Self::Storage => "storage_bytes",
        }
    }

    /// What it counts, as OpenAI's `error.type` says it.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Requests | Self::Concurrent => "requests",
            Self::Tokens | Self::TrainingTokens => "tokens",
            Self::QueuedJobs => "jobs",
            Self::Storage => "storage",
        }
    }

    /// In a message.
    const fn told(self) -> &'static str {
        match self {
            Self::Requests => "requests per min (RPM)",
            Self::Tokens => "tokens per min (TPM)",
            Self::Concurrent => "concurrent requests",
            Self::QueuedJobs => "queued jobs",
            Self::TrainingTokens => "training tokens per day (TPD)",
            Self::Storage => "bytes of files",
        }
    }

    /// What helps where waiting does not.
    const fn advice(self) -> &'static str {
        match self {
            Self::Tokens => "Shorten the prompt, or ask for less with `max_tokens` and `n`.",
            Self::TrainingTokens => "Train on fewer rows, or for fewer steps.",
            Self::Storage => "Delete files, or send a smaller one.",
            Self::Requests | Self::Concurrent | Self::QueuedJobs => "Ask for less.",
        }
    }
}

/// What a request met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitReached {
    pub limit: Limit,
    /// Whose limit it is, as `key claims`.
    pub of: String,
    pub most: u64,
    pub used: u64,
    pub asked: u64,
    /// When it can be asked again; `None` where waiting does not help.
    pub resets: Option<Duration>,
}

impl LimitReached {
    /// Seconds until it can be asked again, rounded up.
    pub fn retry_after(&self) -> Option<u64> {
        let resets = self.resets?;
        Some(resets.as_millis().div_ceil(1000).max(1) as u64)
    }
}

impl fmt::Display for LimitReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            limit,
            of,
            most,
            used,
            asked,
            resets,
        } = self;
        let told = limit.told();
        if asked > most {
            let advice = limit.advice();
            return write!(
                f,
                "Request too large for {of} on {told}: Limit {most}, Requested {asked}. {advice}"
            );
        }
        write!(
            f,
            "Rate limit reached for {of} on {told}: Limit {most}, Used {used}, Requested {asked}. "
        )?;
        match resets {
            Some(resets) => write!(f, "Please try again in {}.", shown_span(*resets)),
            None => f.write_str(limit.advice()),
        }
    }
}

/// How one limit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    pub most: u64,
    pub remaining: u64,
    /// When all of it is there again, if nothing more is asked.
    pub resets: Duration,
}

/// How the limits stand that answers tell of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    pub requests: Option<Left>,
    pub tokens: Option<Left>,
}

impl Standing {
    /// Names and values of headers, as OpenAI sends them.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        let requests = [
            "x-ratelimit-limit-requests",
            "x-ratelimit-remaining-requests",
            "x-ratelimit-reset-requests",
        ];
        let tokens = [
            "x-ratelimit-limit-tokens",
            "x-ratelimit-remaining-tokens",
            "x-ratelimit-reset-tokens",
        ];
        let told = |(names, left): ([&'static str; 3], Option<Left>)| {
            let values = left.map(|left| {
                let (most, remaining) = (left.most.to_string(), left.remaining.to_string());
                [most, remaining, shown_span(left.resets)]
            });
            names.into_iter().zip(values.into_iter().flatten())
        };
        let both = [(requests, self.requests), (tokens, self.tokens)];
        both.into_iter().flat_map(told)
    }
}

/// A time as OpenAI's headers write it: `20ms`, `7.5s`, `6m0s`, `1h0m0s`. Rounded up.
pub fn shown_span(span: Duration) -> String {
    let ms = span.as_nanos().div_ceil(1_000_000);
    match ms {
        0 => "0s".to_owned(),
        1..1000 => format!("{ms}ms"),
        1000..60_000 if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        1000..60_000 => {
            let text = format!("{}.{:03}", ms / 1000, ms % 1000);
            format!("{}s", text.trim_end_matches('0'))
        }
        _ => {
            let seconds = ms.div_ceil(1000);
            let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            match hours {
                0 => format!("{minutes}m{seconds}s"),
                _ => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_clients_of_openai_read_them() {
        let ms = Duration::from_millis;
        for (span, text) in [
            (Duration::ZERO, "0s"),
            (Duration::from_nanos(1), "1ms"),
            (ms(20), "20ms"),
            (ms(1000), "1s"),
            (ms(7660), "7.66s"),
            (ms(59_999), "59.999s"),
            (ms(60_000), "1m0s"),
            (ms(359_500), "6m0s"),
            (ms(3_600_000), "1h0m0s"),
        ] {
            assert_eq!(shown_span(span), text);
        }
    }

    #[test]
    fn who_reached_a_limit_is_told_which_and_when_to_come_back() {
        let reached = LimitReached {
            limit: Limit::Requests,
            of: "key claims".into(),
            most: 3,
            used: 3,
            asked: 1,
            resets: Some(Duration::from_millis(11_001)),
        };
        assert_eq!(
            reached.to_string(),
            "Rate limit reached for key claims on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 11.001s."
        );
        assert_eq!(reached.retry_after(), Some(12));
        let never = LimitReached {
            limit: Limit::Tokens,
            asked: 4,
            resets: None,
            ..reached
        };
        assert!(never.to_string().contains("`max_tokens`"), "{never}");
        assert_eq!(never.retry_after(), None);
    }

    #[test]
    fn only_limits_that_there_are_become_headers() {
        let left = Left {
            most: 10,
            remaining: 4,
            resets: Duration::from_secs(60),
        };
        let standing = Standing {
            requests: None,
            tokens: Some(left),
        };
        let told: Vec<_> = standing.headers().collect();
        assert_eq!(
            told,
            [
                ("x-ratelimit-limit-tokens", "10".to_owned()),
                ("x-ratelimit-remaining-tokens", "4".to_owned()),
                ("x-ratelimit-reset-tokens", "1m0s".to_owned()),
            ]
        );
        assert_eq!(Standing::default().headers().count(), 0);
    }

    #[test]
    fn a_limit_of_nothing_and_one_beyond_counting_are_refused_by_name() {
        for wrong in [0, MOST_OF_A_LIMIT + 1, u64::MAX] {
            let limits = KeyLimits {
                queued_jobs: Some(wrong),
                ..KeyLimits::default()
            };
            let refused = limits.check();
            assert!(
                matches!(&refused, Err(Reason::BadField { field, .. }) if field == "queued_jobs"),
                "{refused:?}"
            );
        }
        assert_eq!(KeyLimits::default().check(), Ok(()));
    }
}
