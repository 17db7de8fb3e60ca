//! The one way into the scheduler: an unchecked draft becomes `Admitted`, or a reason that names the field.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::policy::ledger::Weights;
use crate::adapter::virtual_tokens;
use crate::domain::{MAX_SALT_BYTES, MOST_PRIORITY, Pooling, Reason, Sampling};
use crate::registry::Lease;
use crate::text::grammar::Guide;

/// How a request stands beside others.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Terms {
    /// The caller's tenant as a number; 0 for callers without a key.
    pub tenant: u64,
    /// Whose computed beginnings it may share; `None` shares with all that say the same salt.
    pub circle: Option<u64>,
    pub weights: Weights,
    /// Lower comes first within a tenant.
    pub priority: i32,
    /// A request that has no token yet fails then; one that has, ends.
    pub deadline: Option<Instant>,
}

/// A request in tokens, not yet checked.
pub struct Draft {
    pub prompt: Vec<u32>,
    pub sampling: Sampling,
    /// Answers to the prompt.
    pub n: u32,
    /// Report the log-probability of every prompt token.
    pub prompt_logprobs: bool,
    /// The adapter, held for the request's life; `None` is the base.
    pub lease: Option<Lease>,
    /// Requests share what is computed of a common beginning only where they say the same.
    pub cache_salt: String,
    pub terms: Terms,
    /// Only the vector of the prompt is wanted, pooled so.
    pub pooling: Option<Pooling>,
    /// Told when a row is taken for it.
    pub begun: Begun,
    /// Where each answer begins in the form it must have; none for answers of any form.
    pub guides: Vec<Guide>,
}

/// When the engine took a request up; all clones are the same request.
#[derive(Debug, Clone, Default)]
pub struct Begun(Arc<OnceLock<Instant>>);

impl Begun {
    pub fn at(&self) -> Option<Instant> {
        self.0.get().copied()
    }

    /// The first time counts.
    pub(super) fn mark(&self) {
        self.0.get_or_init(Instant::now);
    }
}

/// What a request must keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Positions of one sequence: prompt and answer.
    pub context: usize,
    /// Token ids lie below this.
    pub vocab: usize,
    /// Answers of one request.
    pub max_n: u32,
    /// Positions the whole cache holds: no sequence can be longer.
    pub kv_tokens: usize,
}

/// A request the engine can run: every value in range, and small enough to run alone.
pub struct Admitted {
    /// After the virtual tokens of its adapter.
    pub(super) prompt: Vec<u32>,
    pub(super) virtual_tokens: usize,
    /// Resolved: `max_tokens` is present and fits, `stop_token_ids` ascend.
    pub(super) sampling: Sampling,
    pub(super) n: u32,
    pub(super) prompt_logprobs: bool,
    pub(super) lease: Option<Lease>,
    pub(super) cache_salt: String,
    pub(super) terms: Terms,
    pub(super) pooling: Option<Pooling>,
    pub(super) begun: Begun,
    /// One for each answer, or none.
    pub(super) guides: Vec<Guide>,
}

impl Admitted {
    pub fn check(draft: Draft, limits: &Limits) -> Result<Self, Reason> {
        let Draft {
            prompt,
            mut sampling,
            n,
            prompt_logprobs,
            lease,
            cache_salt,
            terms,
            pooling,
            begun,
            guides,
        } = draft;
        if pooling.is_some() {
            // One vector and no answer, whatever the rest says.
            sampling.max_tokens = Some(0);
        }
        if prompt.is_empty() {
            return Err(Reason::field("prompt", "needs at least one token"));
        }
        known_ids("prompt", prompt.iter().copied(), limits.vocab)?;
        if n == 0 || n > limits.max_n {
            return Err(Reason::field(
                "n",
                format!("{n} is not between 1 and {}", limits.max_n),
            ));
        }
        sampling.check()?;
        if !guides.is_empty() && guides.len() != n as usize {
            return Err(Reason::Internal("not every answer has a guide".into()));
        }
        if !guides.is_empty() && sampling.ignore_eos {
            let why = "an answer that must have a form ends where that is complete";
            return Err(Reason::field("ignore_eos", why));
        }
        let biased = sampling.logit_bias.iter().map(|bias| bias.0);
        known_ids("logit_bias", biased, limits.vocab)?;
        let stops = sampling.stop_token_ids.iter().copied();
        known_ids("stop_token_ids", stops, limits.vocab)?;
        if cache_salt.len() > MAX_SALT_BYTES {
            let why = format!("has {} bytes, at most {MAX_SALT_BYTES}", cache_salt.len());
            return Err(Reason::field("cache_salt", why));
        }
        if terms.priority.unsigned_abs() > MOST_PRIORITY.unsigned_abs() {
            let why = format!(
                "{} is not between -{MOST_PRIORITY} and {MOST_PRIORITY}",
                terms.priority
            );
            return Err(Reason::field("priority", why));
        }
        let taken = lease
            .as_ref()
            .map_or(0, |lease| lease.adapter().virtual_tokens());
        let max_tokens = room_for_answer(prompt.len(), taken, sampling.max_tokens, limits)?;
        if sampling.min_tokens > max_tokens {
            return Err(Reason::field(
                "min_tokens",
                format!(
                    "{} is more than the {max_tokens} tokens the answer may have",
                    sampling.min_tokens
                ),
            ));
        }
        sampling.max_tokens = Some(max_tokens);
        sampling.stop_token_ids.sort_unstable();
        sampling.stop_token_ids.dedup();
        let prompt = match taken {
            0 => prompt,
            _ => virtual_tokens(taken).chain(prompt).collect(),
        };
        Ok(Self {
            prompt,
            virtual_tokens: taken,
            sampling,
            n,
            prompt_logprobs,
            lease,
            cache_salt,
            terms,
            pooling,
            begun,
            guides,
        })
    }

    /// Tokens of the prompt and of all answers, at most.
    pub fn most_tokens(&self) -> u64 {
        let answer = self.sampling.max_tokens.unwrap_or(0) as u64;
        let prompt = self.prompt.len() - self.virtual_tokens;
        prompt as u64 + answer * u64::from(self.n)
    }
}

/// How many tokens the answer may have: those wanted, or all that are left.
fn room_for_answer(
    prompt: usize,
    virtual_tokens: usize,
    wanted: Option<usize>,
    limits: &Limits,
) -> Result<usize, Reason> {
    let limit = limits.context.min(limits.kv_tokens);
    let left = limit.checked_sub(prompt.saturating_add(virtual_tokens));
    match (left, wanted) {
        (Some(left), Some(wanted)) if wanted <= left => Ok(wanted),
        (Some(left), None) if left > 0 => Ok(left),
        (Some(left), Some(wanted)) if left > 0 => Err(Reason::AnswerTooLong {
            tokens: prompt,
            wanted,
            limit,
            virtual_tokens,
        }),
        _ => Err(Reason::PromptTooLong {
            tokens: prompt,
            wanted: wanted.unwrap_or(1),
            limit,
            virtual_tokens,
        }),
    }
}

fn known_ids(field: &str, mut ids: impl Iterator<Item = u32>, vocab: usize) -> Result<(), Reason> {
    match ids.find(|&id| id as usize >= vocab) {
        Some(id) => Err(Reason::field(
            field,
            format!("token id {id} is not below {vocab}"),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        context: 100,
        vocab: 50,
        max_n: 4,
        kv_tokens: 80,
    };

    fn draft() -> Draft {
        Draft {
            prompt: vec![1, 2, 3],
            sampling: Sampling::default(),
            n: 1,
            prompt_logprobs: false,
            lease: None,
            cache_salt: String::new(),
            terms: Terms::default(),
            pooling: None,
            begun: Begun::default(),
            guides: Vec::new(),
        }
    }

    fn with(change: impl FnOnce(&mut Sampling)) -> Draft {
        let mut draft = draft();
        change(&mut draft.sampling);
        draft
    }

    /// The field a draft is refused for.
    fn refused(draft: Draft) -> String {
        match Admitted::check(draft, &LIMITS) {
            Err(Reason::BadField { field, .. }) => field,
            Err(other) => format!("{other:?}"),
            Ok(_) => "nothing".into(),
        }
    }

    #[test]
    fn every_value_out_of_range_is_refused_by_name() {
        for bad in [-0.1, 2.1, f32::NAN, f32::INFINITY] {
            assert_eq!(refused(with(|s| s.temperature = bad)), "temperature");
        }
        for bad in [0.0, 1.01, f32::NAN] {
            assert_eq!(refused(with(|s| s.top_p = bad)), "top_p");
        }
        for bad in [-0.1, 1.1, f32::NAN] {
            assert_eq!(refused(with(|s| s.min_p = bad)), "min_p");
        }
        for bad in [-2.1, 2.1, f32::NAN] {
            assert_eq!(
                refused(with(|s| s.presence_penalty = bad)),
                "presence_penalty"
            );
            assert_eq!(
                refused(with(|s| s.frequency_penalty = bad)),
                "frequency_penalty"
            );
        }
        for bad in [0.0, -1.0, 100.5, f32::NAN, f32::INFINITY, 1e-45] {
            assert_eq!(
                refused(with(|s| s.repetition_penalty = bad)),
                "repetition_penalty"
            );
        }
        for bad in [(50, 0.0), (1, 101.0), (1, f32::NAN)] {
            assert_eq!(refused(with(|s| s.logit_bias = vec![bad])), "logit_bias");
        }
        assert_eq!(refused(with(|s| s.logprobs = Some(21))), "logprobs");
        assert_eq!(
            refused(with(|s| s.stop_token_ids = vec![50])),
            "stop_token_ids"
        );
        let many = |s: &mut Sampling| s.stop_token_ids = vec![1; 129];
        assert_eq!(refused(with(many)), "stop_token_ids");
        let many = |s: &mut Sampling| s.logit_bias = vec![(1, 0.0); 1025];
        assert_eq!(refused(with(many)), "logit_bias");
        assert_eq!(refused(with(|s| s.stop = vec!["x".into(); 17])), "stop");
        assert_eq!(refused(with(|s| s.stop = vec![String::new()])), "stop");
        assert_eq!(refused(with(|s| s.stop = vec!["x".repeat(1025)])), "stop");
        assert_eq!(
            refused(with(|s| (s.max_tokens, s.min_tokens) = (Some(3), 4))),
            "min_tokens"
        );
        assert_eq!(
            refused(Draft {
                prompt: vec![],
                ..draft()
            }),
            "prompt"
        );
        assert_eq!(
            refused(Draft {
                prompt: vec![50],
                ..draft()
            }),
            "prompt"
        );
        assert_eq!(refused(Draft { n: 0, ..draft() }), "n");
        assert_eq!(refused(Draft { n: 5, ..draft() }), "n");
        for priority in [-101, 101, i32::MIN, i32::MAX] {
            let terms = Terms {
                priority,
                ..Terms::default()
            };
            assert_eq!(refused(Draft { terms, ..draft() }), "priority");
        }
        assert_eq!(refused(draft()), "nothing");
    }

    #[test]
    fn an_answer_without_a_limit_fills_what_is_left() {
        let admitted = Admitted::check(draft(), &LIMITS).unwrap();
        assert_eq!(admitted.sampling.max_tokens, Some(77));
    }

    #[test]
    fn what_can_never_fit_is_refused_with_its_size() {
        let too_long = |prompt: usize, max_tokens| {
            let mut draft = with(|s| s.max_tokens = max_tokens);
            draft.prompt = vec![1; prompt];
            Admitted::check(draft, &LIMITS).err()
        };
        let reason = |tokens, wanted| {
            Some(Reason::PromptTooLong {
                tokens,
                wanted,
                limit: 80,
                virtual_tokens: 0,
            })
        };
        let answer = |tokens, wanted| {
            Some(Reason::AnswerTooLong {
                tokens,
                wanted,
                limit: 80,
                virtual_tokens: 0,
            })
        };
        assert_eq!(too_long(80, None), reason(80, 1));
        assert_eq!(too_long(80, Some(1)), reason(80, 1));
        assert_eq!(too_long(81, Some(0)), reason(81, 0));
        assert_eq!(too_long(81, Some(500)), reason(81, 500));
        assert_eq!(too_long(79, Some(2)), answer(79, 2));
        assert_eq!(too_long(40, Some(41)), answer(40, 41));
        assert_eq!(too_long(40, Some(usize::MAX)), answer(40, usize::MAX));
        assert_eq!(too_long(40, Some(40)), None);
        assert_eq!(
            too_long(80, Some(0)),
            None,
            "a prompt that fills the context can be scored"
        );
    }
}
