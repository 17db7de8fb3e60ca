//! From a request to running answers: choose, lease, tokenize, check, submit. All prompts of a request are checked
//! before any is submitted, and all run on one generation.

use std::time::Instant;

use uuid::Uuid;

use super::choose::{Chosen, choose};
use super::follow::Submission;
use super::share::deadline;
use super::trace::{Asked, Operation, Shape, Trace, Wish};
use super::{Caller, Claims, Events};
use crate::domain::{AdapterChoice, AdapterName, Ask, Generation, Input, Reason, Scope};
use crate::registry::Lease;
use crate::scheduler::{Admitted, Begun, Draft, Terms};
use crate::store::now;

const INFER: Scope = Scope::Infer;

/// The answers to one request, one for each prompt, in order.
pub struct Answers {
    /// Unique, without a protocol's prefix.
    pub id: String,
    /// Unix seconds.
    pub created: i64,
    /// What answers: the adapter's name, the blend, or the base's name.
    pub model: String,
    /// `None` for the base.
    pub generation: Option<Generation>,
    pub each: Vec<Answer>,
}

/// One prompt's answer. Dropping `events` ends the work.
pub struct Answer {
    pub prompt: Vec<u32>,
    pub events: Events,
}

/// What a request asks for, by its first prompt: the others share all that is told of it.
fn wish(ask: &Ask) -> Wish {
    Wish {
        operation: match ask.input {
            Input::Chat(_) => Operation::Chat,
            Input::Text(_) | Input::Tokens(_) => Operation::Completion,
        },
        n: ask.n,
        sampling: Some(Shape::from(&ask.sampling)),
    }
}

impl Caller {
    /// Submits every prompt of a request, or none.
    pub async fn ask(&self, claims: &Claims, asks: Vec<Ask>) -> Result<Answers, Reason> {
        let deadline = deadline(asks.iter().map(|ask| &ask.urgency), Instant::now())?;
        let asked = self.ask_until(deadline, claims, asks);
        match deadline {
            Some(end) => tokio::time::timeout_at(end.into(), asked)
                .await
                .map_err(|_| Reason::DeadlineExceeded)?,
            None => asked.await,
        }
    }

    async fn ask_until(
        &self,
        deadline: Option<Instant>,
        claims: &Claims,
        asks: Vec<Ask>,
    ) -> Result<Answers, Reason> {
        let at = Instant::now();
        let (parts, config) = (self.may(INFER)?, &self.gateway().inner.config);
        self.check_limits()?;
        let answers = asks
            .iter()
            .fold(0usize, |sum, ask| sum.saturating_add(ask.n as usize));
        if answers > config.max_answers {
            let most = config.max_answers;
            return Err(Reason::field(
                "n",
                format!("prompts times n is {answers}; at most {most} at once"),
            ));
        }
        let first = asks.iter().map(|ask| ask.urgency.priority).min();
        let first = first.unwrap_or(0);
        // Before anything is held for it; how long its prompts are is known once they are tokens.
        self.afford_request(first, 0)?;
        let heard = self.hear(&asks);
        let readers: Vec<_> = asks
            .iter()
            .map(|ask| self.gateway().call_reader(ask))
            .collect();
        // A cold adapter is read while the prompts become tokens; one that does not exist ends both at once.
        if let (Some(trace), Some(ask)) = (self.trace(), asks.first()) {
            trace.wished(wish(ask));
        }
        let leasing = self.noting(self.lease(claims), Trace::leased);
        let drafting = self.noting(self.drafts(asks), Trace::tokenized);
        let (lease, drafts) = tokio::try_join!(leasing, drafting)?;
        let longest = drafts.iter().map(|(draft, _)| draft.prompt.len()).max();
        self.afford_request(first, longest.unwrap_or(0))?;
        let limits = parts.scheduler.limits();
        let shadowing = self.shadowing(lease.as_ref());
        let mut ready = Vec::with_capacity(drafts.len());
        let mut taken_up = Vec::with_capacity(drafts.len());
        for (draft, priority) in drafts {
            let adapter = lease.as_ref().map(Lease::name);
            let tenant = self.tenant();
            let prompt = draft.prompt.clone();
            let shadow = { shadowing.as_ref() }.map(|of| of.after(&draft));
            taken_up.push(draft.begun.clone());
            let draft = Draft {
                lease: lease.as_ref().map(Lease::again),
                terms: config.shares.terms(tenant, adapter, priority, deadline),
                ..draft
            };
            ready.push((prompt, Admitted::check(draft, &limits)?, shadow));
        }
        let tokens = ready
            .iter()
            .map(|(_, request, _)| request.most_tokens())
            .sum();
        let grant = self.reserve(lease.as_ref().map(Lease::name), tokens)?;
        let id = Uuid::new_v4().simple().to_string();
        if let Some(trace) = self.trace() {
            let adapter = lease
                .as_ref()
                .map(|lease| (lease.shown(), lease.generation()));
            trace.asked(Asked {
                adapter,
                model: lease
                    .as_ref()
                    .map_or(parts.base.name.as_str(), Lease::shown),
                requested: claims.model.as_deref(),
                prompt_tokens: ready.iter().map(|(prompt, ..)| prompt.len()).sum(),
                begun: taken_up,
            });
        }
        // A refusal midway drops the receivers of those already submitted, which cancels them.
        let each = ready
            .into_iter()
            .enumerate()
            .zip(readers)
            .map(|((number, (prompt, request, shadow)), reader)| {
                let lease = lease.as_ref();
                let mut followers = self.followers(&Submission {
                    id: &id,
                    lease,
                    prompt: &prompt,
                    number,
                    heard: heard.as_deref(),
                    at,
                    grant: &grant,
                });
                followers.extend(shadow);
                let submitted = parts.scheduler.submit(request)?;
                let events = Events::of(self, submitted, followers).reading(reader);
                Ok(Answer { prompt, events })
            })
            .collect::<Result<Vec<_>, Reason>>()?;
        grant.begin();
        let (model, generation) = match &lease {
            Some(lease) => (lease.shown().to_owned(), Some(lease.generation())),
            None => (parts.base.name.clone(), None),
        };
        Ok(Answers {
            id,
            created: now(),
            model,
            generation,
            each,
        })
    }

    /// All of a request but its adapter and its terms, and its priority.
    async fn drafts(&self, asks: Vec<Ask>) -> Result<Vec<(Draft, i32)>, Reason> {
        let mut drafts = Vec::with_capacity(asks.len());
        for ask in asks {
            let priority = ask.urgency.priority;
            let form = self.form(&ask).await?;
            let mut sampling = ask.sampling;
            if !ask.tools.offered().is_empty() {
                sampling.spelled = self.gateway().call_markers();
            }
            let guides = self.guides(form.as_ref(), ask.n);
            let prompt = self.gateway().encode(ask.input, ask.tools.offered());
            let (prompt, guides) = tokio::try_join!(prompt, guides)?;
            let draft = Draft {
                prompt,
                sampling,
                n: ask.n,
                prompt_logprobs: ask.prompt_logprobs,
                lease: None,
                cache_salt: ask.cache_salt,
                terms: Terms::default(),
                pooling: None,
                begun: Begun::default(),
                guides,
            };
            drafts.push((draft, priority));
        }
        Ok(drafts)
    }

    /// The adapter a request means, held at the generation it has now. `None` is the base.
    pub(super) async fn lease(&self, claims: &Claims) -> Result<Option<Lease>, Reason> {
        let (parts, chosen) = (self.may(INFER)?, self.choose(claims)?);
        let leased = match &chosen.choice {
            AdapterChoice::Checkpoint { name, step } => {
                let asker = self.asker();
                let leased = parts.trainer.lease_checkpoint(&asker, name, *step);
                leased.await.map(Some)
            }
            AdapterChoice::Named { name, pin: None } => self.lease_routed(name).await,
            choice => parts.registry.lease(choice).await,
        };
        leased.map_err(|reason| chosen.explain(reason))
    }

    /// What a request means; of adapters that do not exist for the caller it is told that they do not.
    pub(super) fn choose(&self, claims: &Claims) -> Result<Chosen, Reason> {
        let parts = self.with_any_key()?;
        let exists = |name: &AdapterName| self.sees(name) && parts.registry.knows(name);
        let chosen = choose(claims, &parts.base.name, exists)?;
        let seen = match &chosen.choice {
            AdapterChoice::Base => Ok(()),
            AdapterChoice::Named { name, .. } => self.see(name),
            AdapterChoice::Checkpoint { name, step } if !self.sees(name) => {
                Err(Reason::NoSuchAdapter(format!("{name}@step-{step}")))
            }
            AdapterChoice::Checkpoint { .. } => Ok(()),
            AdapterChoice::Blend(blend) => {
                let mut members = blend.members().iter();
                members.try_for_each(|member| self.see(&member.name))
            }
        };
        match seen {
            Ok(()) => Ok(chosen),
            Err(reason) => Err(chosen.explain(reason)),
        }
    }
}
