//! Answers that nobody gets: a request is answered once more by another generation, to see how the two compare. What others
//! ask for always comes first: such an answer has the last place in every queue, runs alone, and is given up as soon as
//! anybody waits.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::follow::Follow;
use super::{Caller, Gateway, Work};
use crate::domain::rollout::{Arm, Comparison, Part, distance, falls_in};
use crate::domain::{
    AdapterChoice, AdapterName, Event, Generation, MOST_PRIORITY, Reason, Sampling,
};
use crate::registry::Lease;
use crate::scheduler::{Admitted, Begun, Draft, Load, Terms, Weights};
use crate::text::grammar::Guide;

/// Tokens of an answer that is compared; of a longer one, its beginning.
const TOKENS: usize = 2_048;
/// Between two looks at whether others wait.
const LOOK: Duration = Duration::from_millis(10);
/// An answer that takes longer is given up.
const LONGEST: Duration = Duration::from_secs(120);
/// No caller has a weight this small.
const WEIGHT: f32 = 0.001;

/// A request that is to be answered once more.
pub(super) struct Shadowing {
    gateway: Gateway,
    name: AdapterName,
    generation: Generation,
}

impl Caller {
    /// Whether a request that stable answers is drawn for the name's shadow.
    pub(super) fn shadowing(&self, lease: Option<&Lease>) -> Option<Shadowing> {
        let lease = lease.filter(|lease| lease.arm() == Some(Arm::Stable))?;
        let gateway = self.gateway();
        let entry = gateway.parts().registry.routed(lease.name())?;
        let shadow = entry.route.shadow.as_ref()?;
        let generation = shadow.generation;
        let drawn = falls_in(
            Part::Shadow,
            lease.name(),
            generation,
            &self.drawn_by(),
            shadow.percent,
        );
        drawn.then(|| Shadowing {
            gateway: gateway.clone(),
            name: lease.name().clone(),
            generation,
        })
    }
}

impl Shadowing {
    /// Waits for the end of one answer, and then begins.
    pub fn after(&self, draft: &Draft) -> Box<dyn Follow> {
        Box::new(Waiting(Some(Again {
            gateway: self.gateway.clone(),
            name: self.name.clone(),
            generation: self.generation,
            prompt: draft.prompt.clone(),
            sampling: Sampling {
                logprobs: None,
                ..draft.sampling.clone()
            },
            form: draft.guides.first().cloned(),
            sent: Vec::new(),
        })))
    }
}

struct Waiting(Option<Again>);

impl Follow for Waiting {
    fn see(&mut self, event: &Event) {
        match (event, &mut self.0) {
            // Of several answers, the first.
            (
                Event::Delta {
                    choice: 0, tokens, ..
                },
                Some(again),
            ) => {
                let room = TOKENS.saturating_sub(again.sent.len());
                let tokens = tokens.iter().take(room);
                again.sent.extend(tokens.map(|token| token.id));
            }
            (Event::Done { .. }, waiting) => {
                if let Some(again) = waiting.take() {
                    tokio::spawn(again.run());
                }
            }
            _ => {}
        }
    }
}

struct Again {
    gateway: Gateway,
    name: AdapterName,
    generation: Generation,
    prompt: Vec<u32>,
    sampling: Sampling,
    /// Where an answer begins in the form it must have.
    form: Option<Guide>,
    /// Tokens of the answer that was sent.
    sent: Vec<u32>,
}

impl Again {
    async fn run(self) {
        let outcome = self.compare().await;
        if let Err(reason) = &outcome {
            tracing::info!(adapter = %self.name, generation = %self.generation, %reason, "a shadow did not answer");
        }
        let routes = &self.gateway.parts().routes;
        routes.shadowed(&self.name, self.generation, &outcome);
    }

    /// `None`: given up for others.
    async fn compare(&self) -> Result<Option<Comparison>, Reason> {
        let routes = &self.gateway.parts().routes;
        let Ok(_alone) = routes.shadowing().try_acquire_owned() else {
            return Ok(None);
        };
        let afforded = self.gateway.pressure().admit(Work::Background).is_ok();
        if !afforded || !has_room(&self.gateway.load()) {
            return Ok(None);
        }
        let Some(lease) = self.lease().await? else {
            return Ok(None);
        };
        let form = self.form.clone();
        let wanted = (self.prompt.clone(), self.sampling.clone(), form);
        let answered = self.ask(&lease, wanted, false);
        let Some(Heard { tokens, .. }) = answered.await? else {
            return Ok(None);
        };
        let logprob = match self.sent.is_empty() {
            true => None,
            false => {
                let mut whole = self.prompt.clone();
                whole.extend(&self.sent);
                let scoring = Sampling {
                    max_tokens: Some(0),
                    logprobs: Some(0),
                    ..Sampling::default()
                };
                let scored = self.ask(&lease, (whole, scoring, None), true).await?;
                let Some(Heard { logprobs, .. }) = scored else {
                    return Ok(None);
                };
                mean_of_last(&logprobs, self.sent.len())
            }
        };
        let said = &tokens[..tokens.len().min(TOKENS)];
        Ok(Some(Comparison {
            equal: said == self.sent,
            distance: distance(said, &self.sent),
            logprob,
        }))
    }

    /// What answers, where it is in memory or fits there beside all that is.
    async fn lease(&self) -> Result<Option<Lease>, Reason> {
        let registry = &self.gateway.parts().registry;
        if let Some(lease) = registry.lease_resident(&self.name, self.generation) {
            return Ok(Some(lease));
        }
        let Some(entry) = registry.routed(&self.name) else {
            return Ok(None);
        };
        let needed = entry.find(self.generation)?.version.bytes;
        let (used, allowed) = registry.resident_bytes();
        if used.saturating_add(needed) > allowed {
            return Ok(None);
        }
        let choice = AdapterChoice::Named {
            name: self.name.clone(),
            pin: Some(self.generation.into()),
        };
        registry.lease(&choice).await
    }

    async fn ask(
        &self,
        lease: &Lease,
        (prompt, sampling, form): (Vec<u32>, Sampling, Option<Guide>),
        prompt_logprobs: bool,
    ) -> Result<Option<Heard>, Reason> {
        let scheduler = &self.gateway.parts().scheduler;
        let unique = Uuid::new_v4();
        let draft = Draft {
            prompt,
            sampling,
            n: 1,
            prompt_logprobs,
            lease: Some(lease.again()),
            // Shares nothing with anybody, not even with the answer it repeats.
            cache_salt: format!("shadow {unique}"),
            terms: Terms {
                tenant: SHADOWS,
                circle: Some(SHADOWS),
                weights: Weights {
                    tenant: WEIGHT,
                    adapter: WEIGHT,
                },
                priority: MOST_PRIORITY,
                deadline: None,
            },
            pooling: None,
            begun: Begun::default(),
            guides: form.into_iter().collect(),
        };
        let admitted = Admitted::check(draft, &scheduler.limits())?;
        let mut events = match scheduler.submit(admitted) {
            Ok(events) => events,
            Err(Reason::Overloaded { .. } | Reason::Draining) => return Ok(None),
            Err(reason) => return Err(reason),
        };
        hear(&mut events, || self.gateway.load().waiting > 0).await
    }
}

/// The tenant of all shadows: no key has this number but by a chance of one in 2^64.
const SHADOWS: u64 = u64::MAX;

/// Whether nobody waits, and half of the cache is free for those who come.
fn has_room(load: &Load) -> bool {
    load.waiting == 0 && 2 * load.kv_used <= load.kv_total
}

#[derive(Debug, Default, PartialEq)]
struct Heard {
    tokens: Vec<u32>,
    /// Of the prompt's tokens.
    logprobs: Vec<Option<f32>>,
}

/// A whole answer; `None` as soon as `others` wait, which ends it.
async fn hear(
    events: &mut mpsc::Receiver<Event>,
    others: impl Fn() -> bool,
) -> Result<Option<Heard>, Reason> {
    let mut heard = Heard::default();
    let until = Instant::now() + LONGEST;
    // Its own place in the queue is seen too, until it begins.
    let mut has_begun = false;
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = sleep(LOOK) => {
                if (has_begun && others()) || Instant::now() > until {
                    return Ok(None);
                }
                continue;
            }
        };
        has_begun = true;
        match event {
            Some(Event::Prompt { tokens }) => {
                heard.logprobs = tokens.iter().map(|token| token.logprob).collect();
            }
            Some(Event::Delta { tokens, .. }) => {
                heard.tokens.extend(tokens.iter().map(|token| token.id));
                if others() {
                    return Ok(None);
                }
            }
            Some(Event::Finish { .. } | Event::Embedding { .. } | Event::Call { .. }) => {}
            Some(Event::Done { .. }) => return Ok(Some(heard)),
            Some(Event::Failed(Reason::Draining | Reason::Overloaded { .. })) => return Ok(None),
            Some(Event::Failed(reason)) => return Err(reason),
            None => return Err(Reason::Internal("a shadow's answer has no end".into())),
        }
    }
}

fn mean_of_last(logprobs: &[Option<f32>], count: usize) -> Option<f64> {
    let first = logprobs.len().checked_sub(count)?;
    let last: Option<Vec<f32>> = logprobs[first..].iter().copied().collect();
    let sum: f64 = last?.into_iter().map(f64::from).sum();
    (count > 0 && sum.is_finite()).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{TokenInfo, Usage};

    fn token(id: u32) -> TokenInfo {
        TokenInfo {
            id,
            text: String::new(),
            bytes: Vec::new(),
            logprob: Some(-1.0),
            top: Vec::new(),
        }
    }

    fn delta(id: u32) -> Event {
        Event::Delta {
            choice: 0,
            text: String::new(),
            tokens: vec![token(id)],
        }
    }

    #[tokio::test]
    async fn an_answer_is_heard_to_its_end_unless_others_wait() {
        for (others, heard) in [(false, Some(vec![1, 2])), (true, None)] {
            let (out, mut events) = mpsc::channel(8);
            let usage = Usage::default();
            for event in [delta(1), delta(2), Event::Done { usage }] {
                out.send(event).await.unwrap();
            }
            let found = hear(&mut events, || others).await.unwrap();
            assert_eq!(found.map(|heard| heard.tokens), heard);
        }
    }

    #[test]
    fn the_mean_is_over_the_answer_alone() {
        let all = [None, Some(-8.0), Some(-1.0), Some(-3.0)];
        assert_eq!(mean_of_last(&all, 2), Some(-2.0));
        assert_eq!(mean_of_last(&all, 4), None, "the first has none");
        assert_eq!((mean_of_last(&all, 5), mean_of_last(&all, 0)), (None, None));
    }

    #[test]
    fn there_is_room_where_nobody_waits_and_half_of_the_cache_is_free() {
        let load = |waiting, kv_used| Load {
            waiting,
            kv_used,
            kv_total: 100,
            ..Load::default()
        };
        assert!(has_room(&load(0, 50)));
        assert!(!has_room(&load(1, 0)) && !has_room(&load(0, 51)));
    }
}
