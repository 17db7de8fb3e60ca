//! What is counted of routes, and what their policies make of it. The counts have one owner, this; what a name points to is
//! the registry's, and a policy moves it as anybody would, under the same conditions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures::{Stream, StreamExt};
use tokio::sync::{Notify, Semaphore};

use crate::domain::rollout::{
    Arm, Comparison, CountsView, Decision, Evidence, Outcome, ShadowTally, Tally, Verdict, Watched,
    judge,
};
use crate::domain::{AdapterName, AdapterView, Generation, Reason};
use crate::registry::{CanaryEnd, Registry};
use crate::store::{Entry, NamedVersion};

/// Answers of a canary after which its policy is looked at, at the latest.
const EVERY: u64 = 16;

/// What routes report to metrics. Called in passing: must not block.
pub trait ObserveRoutes: Send + Sync {
    /// An answer ended.
    fn answered(&self, _name: &AdapterName, _arm: Arm, _outcome: Outcome) {}
    /// Seconds from a request's arrival to its first token.
    fn first_token(&self, _name: &AdapterName, _arm: Arm, _seconds: f64) {}
    /// What became of an answer's repetition by a shadow: `equal`, `different`, `dropped` or `failed`.
    fn shadowed(&self, _name: &AdapterName, _what: &'static str) {}
    /// A policy ended a canary.
    fn decided(&self, _name: &AdapterName, _decision: Decision) {}
}

/// Measures nothing.
pub struct UnobservedRoutes;

impl ObserveRoutes for UnobservedRoutes {}

/// A cheap handle.
#[derive(Clone)]
pub struct Routes(Arc<Inner>);

struct Inner {
    registry: Registry,
    live: Mutex<HashMap<AdapterName, Live>>,
    /// There is something new to judge.
    news: Notify,
    observe: Arc<dyn ObserveRoutes>,
    /// Held by a shadow's answer.
    shadowing: Arc<Semaphore>,
}

/// The counts of one route, and what they are counts of.
struct Live {
    stable: Generation,
    canary: Option<(Generation, i64)>,
    shadow: Option<(Generation, i64)>,
    watched: Watched,
    /// Up to when `watched.elapsed` counts.
    since: Instant,
    /// Not stored yet.
    is_new: bool,
}

impl Live {
    fn of(entry: &Entry) -> Self {
        Self {
            stable: entry.generation(),
            canary: canary(entry),
            shadow: shadow(entry),
            watched: entry.route.watched.clone(),
            since: Instant::now(),
            is_new: false,
        }
    }

    /// Forgets what was counted of generations that are no longer compared.
    fn follow(&mut self, entry: &Entry) {
        let (stable, canary, shadow) = (entry.generation(), canary(entry), shadow(entry));
        let watched = &mut self.watched;
        if self.stable != stable || self.canary != canary {
            watched.stable = Tally::default();
        }
        if self.canary != canary {
            watched.canary = Tally::default();
            watched.elapsed = 0.0;
            self.since = Instant::now();
        }
        if self.stable != stable || self.shadow != shadow {
            watched.shadow = ShadowTally::default();
        }
        (self.stable, self.canary, self.shadow) = (stable, canary, shadow);
        let now = Instant::now();
        watched.elapsed += now.duration_since(self.since).as_secs_f64();
        self.since = now;
    }

    fn tally(&mut self, generation: Generation) -> Option<&mut Tally> {
        match self.canary {
            _ if generation == self.stable => Some(&mut self.watched.stable),
            Some((canary, _)) if generation == canary => Some(&mut self.watched.canary),
            _ => None,
        }
    }
}

fn canary(entry: &Entry) -> Option<(Generation, i64)> {
    let canary = entry.route.canary.as_ref()?;
    Some((canary.generation, canary.since))
}

fn shadow(entry: &Entry) -> Option<(Generation, i64)> {
    let shadow = entry.route.shadow.as_ref()?;
    Some((shadow.generation, shadow.since))
}

/// The adapter's loss on held-out rows, where its training measured one.
pub(super) fn heldout_loss(version: &NamedVersion) -> Option<f64> {
    version.evaluation.as_ref()?["adapter"]["loss"].as_f64()
}

impl Routes {
    pub fn new(registry: Registry, observe: Arc<dyn ObserveRoutes>) -> Self {
        Self(Arc::new(Inner {
            registry,
            live: Mutex::default(),
            news: Notify::new(),
            observe,
            shadowing: Arc::new(Semaphore::new(1)),
        }))
    }

    /// A caller's opinion, from -1 to 1, of an answer by that generation, and what it was before. Counted where the
    /// generation is compared with another.
    pub fn scored(
        &self,
        name: &AdapterName,
        generation: Generation,
        (before, score): (Option<f64>, f64),
    ) {
        let counted = self.with(name, |live| {
            let tally = live.tally(generation)?;
            match before {
                Some(before) => tally.rescored(before, score),
                None => tally.scored(score),
            }
            Some(())
        });
        if counted.flatten().is_some() {
            self.0.news.notify_one();
        }
    }

    /// How an answer by that generation ended; times in seconds from the arrival of its request.
    pub(super) fn ended(
        &self,
        (name, arm, generation): (&AdapterName, Arm, Generation),
        outcome: Outcome,
        first_token: Option<f64>,
        duration: f64,
    ) {
        let observe = &self.0.observe;
        observe.answered(name, arm, outcome);
        if let Some(seconds) = first_token {
            observe.first_token(name, arm, seconds);
        }
        let due = self.with(name, |live| {
            let tally = live.tally(generation)?;
            tally.ended(outcome, first_token, duration);
            Some(outcome == Outcome::Failed || tally.requests.is_multiple_of(EVERY))
        });
        if due.flatten() == Some(true) {
            self.0.news.notify_one();
        }
    }

    /// A comparison with the shadow of that generation; `Ok(None)` where others needed the machine.
    pub(super) fn shadowed(
        &self,
        name: &AdapterName,
        generation: Generation,
        outcome: &Result<Option<Comparison>, Reason>,
    ) {
        let what = match outcome {
            Ok(Some(comparison)) if comparison.equal => "equal",
            Ok(Some(_)) => "different",
            Ok(None) => "dropped",
            Err(_) => "failed",
        };
        self.0.observe.shadowed(name, what);
        self.with(name, |live| {
            if live.shadow.is_none_or(|(shadow, _)| shadow != generation) {
                return;
            }
            let tally = &mut live.watched.shadow;
            match outcome {
                Ok(Some(comparison)) => tally.compared(comparison),
                Ok(None) => tally.dropped += 1,
                Err(_) => tally.failed += 1,
            }
        });
    }

    /// The one place for an answer of a shadow.
    pub(super) fn shadowing(&self) -> Arc<Semaphore> {
        self.0.shadowing.clone()
    }

    /// A canary has ended: another one, even of the same generation, begins with nothing counted.
    pub(super) fn canary_ended(&self, name: &AdapterName) {
        if let Some(live) = self.live().get_mut(name) {
            live.canary = None;
        }
    }

    /// An adapter's view, with what its route has counted.
    pub(super) fn told(&self, mut view: AdapterView) -> AdapterView {
        if view.route.canary.is_none() && view.route.shadow.is_none() {
            return view;
        }
        let Some(entry) = self.0.registry.routed(&view.id) else {
            return view;
        };
        let watched = self.with_entry(&entry, |live| live.watched.clone());
        let canary = entry.route.canary.as_ref();
        let loss = |generation| {
            entry
                .find(generation)
                .ok()
                .and_then(|held| heldout_loss(held))
        };
        view.route.verdict = verdict(&entry, &watched);
        view.route.counts = Some(CountsView {
            stable: watched.stable.view(heldout_loss(&entry.current)),
            canary: canary.map(|canary| watched.canary.view(loss(canary.generation))),
            shadow: { entry.route.shadow.as_ref() }.map(|_| watched.shadow.view()),
        });
        view
    }

    /// Holds every canary against its policy, at each tick and when there is something new, until the ticks end.
    pub async fn keep(self, ticks: impl Stream<Item = ()>) {
        let mut ticks = std::pin::pin!(ticks);
        loop {
            let is_tick = tokio::select! {
                tick = ticks.next() => match tick {
                    Some(()) => true,
                    None => break,
                },
                () = self.0.news.notified() => false,
            };
            self.look(is_tick).await;
        }
        // What was counted since is not lost with the process.
        self.look(true).await;
    }

    async fn look(&self, store: bool) {
        let routed = self.0.registry.all_routed();
        for entry in &routed {
            let (verdict, to_store) = self.with_entry(entry, |live| {
                let to_store = (store && live.is_new).then(|| live.watched.clone());
                live.is_new &= to_store.is_none();
                (verdict(entry, &live.watched), to_store)
            });
            if let Some(watched) = to_store
                && let Err(reason) = self.0.registry.store_watched(&entry.name, &watched).await
            {
                tracing::warn!(adapter = %entry.name, %reason, "what a route has counted is not stored");
            }
            if let Some(verdict) = verdict {
                self.act(entry, verdict).await;
            }
        }
        let is_routed = |name: &AdapterName| routed.iter().any(|entry| entry.name == *name);
        self.live().retain(|name, _| is_routed(name));
    }

    /// Does what a policy has decided, if nobody was faster.
    async fn act(&self, entry: &Entry, verdict: Verdict) {
        let (name, Some((generation, _))) = (&entry.name, canary(entry)) else {
            return;
        };
        let registry = &self.0.registry;
        let expected = Some(Some(entry.generation()));
        let end = CanaryEnd {
            of: Some(generation),
            why: Some(format!("policy: {}", verdict.why)),
        };
        let done = match verdict.decision {
            Decision::Keep => return,
            Decision::Abort => registry.abort_canary(name, end, expected).await,
            Decision::Promote => registry.promote_canary(name, end, expected).await,
        };
        let decision = verdict.decision.as_str();
        match done {
            Ok(_) => {
                self.canary_ended(name);
                self.0.observe.decided(name, verdict.decision);
                tracing::warn!(adapter = %name, %generation, decision, why = verdict.why, "a canary's policy has decided");
            }
            Err(reason) => {
                tracing::info!(adapter = %name, %generation, decision, %reason, "a canary's policy came too late");
            }
        }
    }

    fn with<T>(&self, name: &AdapterName, work: impl FnOnce(&mut Live) -> T) -> Option<T> {
        let entry = self.0.registry.routed(name)?;
        let mut live = self.live();
        let live = followed(&mut live, &entry);
        live.is_new = true;
        Some(work(live))
    }

    /// Changes nothing that has to be stored, but the time.
    fn with_entry<T>(&self, entry: &Entry, work: impl FnOnce(&mut Live) -> T) -> T {
        let mut live = self.live();
        let live = followed(&mut live, entry);
        // Time counts where it decides.
        live.is_new |= { entry.route.canary.as_ref() }
            .is_some_and(|canary| canary.policy.promote_after.is_some());
        work(live)
    }

    fn live(&self) -> MutexGuard<'_, HashMap<AdapterName, Live>> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn followed<'l>(live: &'l mut HashMap<AdapterName, Live>, entry: &Entry) -> &'l mut Live {
    let name = entry.name.clone();
    let live = live.entry(name).or_insert_with(|| Live::of(entry));
    live.follow(entry);
    live
}

fn verdict(entry: &Entry, watched: &Watched) -> Option<Verdict> {
    let canary = entry.route.canary.as_ref()?;
    let evidence = |tally, held: Option<&NamedVersion>| Evidence {
        tally,
        heldout_loss: held.and_then(heldout_loss),
    };
    let held = entry.find(canary.generation).ok();
    Some(judge(
        &canary.policy,
        evidence(&watched.canary, held.map(|held| &**held)),
        evidence(&watched.stable, Some(&entry.current)),
        watched.elapsed,
    ))
}
