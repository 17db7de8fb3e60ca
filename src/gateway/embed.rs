//! From texts to vectors: all texts of a request are checked before the first is computed, run on one generation, and
//! stand in the queue a bounded number at a time.

use std::time::Instant;

use futures::{StreamExt, TryStreamExt, stream};

use super::follow::Followers;
use super::limits::Settling;
use super::share::deadline;
use super::trace::{Asked, Operation, Trace, Wish};
use super::{Caller, Claims, Events};
use crate::domain::{
    EmbedAsk, Event, Generation, Input, MOST_EMBEDDED_TOKENS, MOST_TEXTS, Reason, Sampling, Scope,
    normalised,
};
use crate::registry::Lease;
use crate::scheduler::{Admitted, Begun, Draft};

/// Texts of one request that wait or run at once: enough to fill steps, and few beside the queue that all share.
const AT_ONCE: usize = 16;

/// The vectors of a request, in the order of its texts.
pub struct Embedded {
    /// What made them: the adapter's name, the blend, or the base's name.
    pub model: String,
    /// `None` for the base.
    pub generation: Option<Generation>,
    /// Each of length 1.
    pub vectors: Vec<Vec<f32>>,
    /// Of all texts.
    pub tokens: usize,
}

impl Caller {
    /// A vector for each text. Fields at fault are told as `input[N]`.
    pub async fn embed(&self, claims: &Claims, ask: EmbedAsk) -> Result<Embedded, Reason> {
        let deadline = deadline([&ask.urgency].into_iter(), Instant::now())?;
        let made = self.embed_until(deadline, claims, ask);
        match deadline {
            Some(end) => tokio::time::timeout_at(end.into(), made)
                .await
                .map_err(|_| Reason::DeadlineExceeded)?,
            None => made.await,
        }
    }

    async fn embed_until(
        &self,
        deadline: Option<Instant>,
        claims: &Claims,
        ask: EmbedAsk,
    ) -> Result<Embedded, Reason> {
        let at = Instant::now();
        let parts = self.may(Scope::Infer)?;
        self.check_limits()?;
        check(&ask, parts.base.model.spec().hidden)?;
        let EmbedAsk {
            inputs,
            pooling,
            dimensions,
            cache_salt,
            urgency,
        } = ask;
        self.afford_request(urgency.priority, 0)?;
        let texts = self.unless_ended(self.texts(inputs));
        if let Some(trace) = self.trace() {
            trace.wished(Wish {
                operation: Operation::Embeddings,
                n: 1,
                sampling: None,
            });
        }
        let leasing = self.noting(self.lease(claims), Trace::leased);
        let texts = self.noting(texts, Trace::tokenized);
        let (lease, texts) = tokio::try_join!(leasing, texts)?;
        let longest = texts.iter().map(Vec::len).max();
        self.afford_request(urgency.priority, longest.unwrap_or(0))?;
        let limits = parts.scheduler.limits();
        let tokens = texts.iter().map(Vec::len).sum::<usize>();
        let shares = &self.gateway().inner.config.shares;
        let adapter = lease.as_ref().map(Lease::name);
        let terms = shares.terms(self.tenant(), adapter, urgency.priority, deadline);
        let mut begun = Vec::new();
        let admitted = texts.into_iter().enumerate().map(|(at, prompt)| {
            let draft = Draft {
                prompt,
                sampling: Sampling::default(),
                n: 1,
                prompt_logprobs: false,
                lease: lease.as_ref().map(Lease::again),
                cache_salt: cache_salt.clone(),
                terms,
                pooling: Some(pooling),
                begun: Begun::default(),
                guides: Vec::new(),
            };
            begun.push(draft.begun.clone());
            let length = draft.prompt.len();
            let checked = Admitted::check(draft, &limits);
            let checked = checked.map_err(|reason| of_text(at, reason))?;
            Ok((length, checked))
        });
        let admitted = admitted.collect::<Result<Vec<_>, Reason>>()?;
        let grant = self.reserve(adapter, tokens as u64)?;
        if let Some(trace) = self.trace() {
            trace.asked(Asked {
                adapter: { lease.as_ref() }.map(|lease| (lease.shown(), lease.generation())),
                model: lease
                    .as_ref()
                    .map_or(parts.base.name.as_str(), Lease::shown),
                requested: claims.model.as_deref(),
                prompt_tokens: tokens,
                begun,
            });
        }
        // A failure drops the receivers of those under way, which cancels them.
        let made = stream::iter(admitted).map(|(length, request)| {
            let mut followers: Followers = vec![Box::new(Settling::new(&grant, length))];
            followers.extend(self.counting(lease.as_ref(), at));
            async move {
                let submitted = parts.scheduler.submit(request)?;
                let mut events = Events::of(self, submitted, followers);
                vector(&mut events).await
            }
        });
        grant.begin();
        let made: Vec<Vec<f32>> = made.buffered(AT_ONCE).try_collect().await?;
        let (model, generation) = match &lease {
            Some(lease) => (lease.shown().to_owned(), Some(lease.generation())),
            None => (parts.base.name.clone(), None),
        };
        let scaled = made.into_iter().map(|made| normalised(made, dimensions));
        Ok(Embedded {
            model,
            generation,
            vectors: scaled.collect(),
            tokens,
        })
    }

    /// The tokens of each text.
    async fn texts(&self, inputs: Vec<Input>) -> Result<Vec<Vec<u32>>, Reason> {
        let mut texts = Vec::with_capacity(inputs.len());
        let mut tokens = 0;
        for (at, input) in inputs.into_iter().enumerate() {
            let text = self.gateway().encode(input, &[]).await;
            let text = text.map_err(|reason| of_text(at, reason))?;
            tokens = in_all(tokens, text.len())?;
            texts.push(text);
        }
        Ok(texts)
    }
}

fn check(ask: &EmbedAsk, hidden: usize) -> Result<(), Reason> {
    let texts = ask.inputs.len();
    if texts == 0 || texts > MOST_TEXTS {
        let why = format!("has {texts} texts; 1 to {MOST_TEXTS} are taken");
        return Err(Reason::field("input", why));
    }
    match ask.dimensions {
        Some(dimensions) if dimensions == 0 || dimensions > hidden => {
            let why = format!("{dimensions} is not between 1 and this model's {hidden}");
            Err(Reason::field("dimensions", why))
        }
        _ => Ok(()),
    }
}

/// Tokens of all texts so far, and of one more.
fn in_all(tokens: usize, more: usize) -> Result<usize, Reason> {
    match tokens + more {
        sum if sum > MOST_EMBEDDED_TOKENS => {
            let why = format!("has more than {MOST_EMBEDDED_TOKENS} tokens in all texts");
            Err(Reason::field("input", why))
        }
        sum => Ok(sum),
    }
}

/// What is wrong with the prompt of a text is wrong with that text.
fn of_text(at: usize, reason: Reason) -> Reason {
    match reason {
        Reason::BadField { field, why } if field == "prompt" => {
            Reason::field(format!("input[{at}]"), why)
        }
        other => other,
    }
}

async fn vector(events: &mut Events) -> Result<Vec<f32>, Reason> {
    let mut made = None;
    while let Some(event) = events.recv().await {
        match event {
            Event::Embedding { vector } => made = Some(vector),
            Event::Failed(reason) => return Err(reason),
            Event::Done { .. } => break,
            Event::Prompt { .. }
            | Event::Delta { .. }
            | Event::Call { .. }
            | Event::Finish { .. } => {}
        }
    }
    made.ok_or_else(|| Reason::Internal("a text ended without its vector".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Pooling, Urgency};

    fn refused(texts: usize, dimensions: Option<usize>) -> Option<String> {
        let ask = EmbedAsk {
            inputs: vec![Input::Tokens(vec![1]); texts],
            pooling: Pooling::Last,
            dimensions,
            cache_salt: String::new(),
            urgency: Urgency::default(),
        };
        match check(&ask, 64) {
            Ok(()) => None,
            Err(Reason::BadField { field, .. }) => Some(field),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn texts_and_dimensions_are_bounded() {
        assert_eq!(refused(1, None), None);
        assert_eq!(refused(MOST_TEXTS, Some(64)), None);
        for texts in [0, MOST_TEXTS + 1] {
            assert_eq!(refused(texts, None).as_deref(), Some("input"));
        }
        for dimensions in [0, 65] {
            let refused = refused(1, Some(dimensions));
            assert_eq!(refused.as_deref(), Some("dimensions"));
        }
        assert_eq!(
            in_all(MOST_EMBEDDED_TOKENS - 2, 2),
            Ok(MOST_EMBEDDED_TOKENS)
        );
        let refused = in_all(MOST_EMBEDDED_TOKENS, 1);
        assert!(matches!(refused, Err(Reason::BadField { field, .. }) if field == "input"));
    }

    #[test]
    fn a_fault_of_a_prompt_names_its_text() {
        let told = of_text(3, Reason::field("prompt", "is empty"));
        assert_eq!(told, Reason::field("input[3]", "is empty"));
        let other = Reason::field("cache_salt", "is long");
        assert_eq!(of_text(3, other.clone()), other);
    }
}
