//! What takes part of a name's requests beside what it points to: canaries and shadows. Who is asked which, and what comes of
//! it, is decided above; here a route is one more thing that names have, changed like all others.

use std::sync::Arc;

use super::{Expected, Registry};
use crate::domain::rollout::{Canary, CanaryAsk, Percent, Shadow, Watched};
use crate::domain::{Action, AdapterName, AdapterView, Generation, Reason};
use crate::store::{Entry, Route, now};

/// Which canary is to end, and why.
#[derive(Debug, Clone, Default)]
pub struct CanaryEnd {
    /// Only this one; whichever runs where absent.
    pub of: Option<Generation>,
    /// For the audit; absent where somebody asked for it.
    pub why: Option<String>,
}

/// The canary of that generation, as it is to be from now on. One that runs is changed, but not replaced by another.
pub(super) fn canary(
    entry: &Entry,
    generation: Generation,
    ask: CanaryAsk,
    now: i64,
) -> Result<Canary, Reason> {
    let name = &entry.name;
    if generation == entry.generation() {
        return Err(Reason::WrongState(format!(
            "adapter `{name}` is at that generation: all of its requests get it"
        )));
    }
    let runs = entry.route.canary.as_ref();
    if let Some(other) = runs.filter(|other| other.generation != generation) {
        return Err(Reason::WrongState(format!(
            "adapter `{name}` has another canary, {}: promote or abort it first",
            other.generation
        )));
    }
    let policy = ask.policy.or_else(|| Some(runs?.policy.clone()));
    let sticky = ask.sticky.or_else(|| Some(runs?.sticky));
    Ok(Canary {
        generation,
        percent: ask.percent,
        sticky: sticky.unwrap_or_default(),
        since: runs.map_or(now, |canary| canary.since),
        policy: policy.unwrap_or_default(),
    })
}

/// The generation of the canary that runs, if it is `of` where one is said.
pub(super) fn running(entry: &Entry, of: Option<Generation>) -> Result<Generation, Reason> {
    let runs = entry.route.canary.as_ref().map(|canary| canary.generation);
    let runs = runs.filter(|runs| of.is_none_or(|of| of == *runs));
    runs.ok_or_else(|| {
        let name = &entry.name;
        Reason::WrongState(format!("adapter `{name}` has no such canary any more"))
    })
}

impl Registry {
    /// The name as it is, where anything takes part of its requests.
    pub fn routed(&self, name: &AdapterName) -> Option<Arc<Entry>> {
        let entry = self.snapshot().get(name)?.clone();
        (!entry.route.is_empty()).then_some(entry)
    }

    /// All of these.
    pub fn all_routed(&self) -> Vec<Arc<Entry>> {
        let snapshot = self.snapshot();
        let routed = snapshot.entries().filter(|entry| !entry.route.is_empty());
        routed.cloned().collect()
    }

    /// Lets a generation of the name answer part of its requests, or changes which part.
    pub async fn canary(
        &self,
        name: &AdapterName,
        generation: Generation,
        ask: CanaryAsk,
        expected: Expected,
    ) -> Result<AdapterView, Reason> {
        if let Some(policy) = &ask.policy {
            policy.check()?;
        }
        self.ready_to_answer(name, generation, expected).await?;
        let action = (Action::AdapterCanary, None);
        self.reroute(name, expected, action, move |entry| {
            let canary = canary(entry, generation, ask.clone(), now())?;
            let begins =
                { entry.route.canary.as_ref() }.is_none_or(|runs| runs.generation != generation);
            let watched = match begins {
                // What is compared is counted over the same time.
                true => Watched {
                    shadow: entry.route.watched.shadow.clone(),
                    ..Watched::default()
                },
                false => entry.route.watched.clone(),
            };
            let route = Route {
                canary: Some(canary),
                watched,
                ..entry.route.clone()
            };
            Ok((route, generation))
        })
        .await
    }

    /// All requests get what the name points to again.
    pub async fn abort_canary(
        &self,
        name: &AdapterName,
        end: CanaryEnd,
        expected: Expected,
    ) -> Result<AdapterView, Reason> {
        let CanaryEnd { of, why } = end;
        let action = (Action::AdapterCanaryAbort, why);
        self.reroute(name, expected, action, move |entry| {
            let generation = running(entry, of)?;
            let route = Route {
                canary: None,
                ..entry.route.clone()
            };
            Ok((route, generation))
        })
        .await
    }

    /// Lets a generation of the name answer part of its requests once more, to be compared.
    pub async fn shadow(
        &self,
        name: &AdapterName,
        generation: Generation,
        percent: Percent,
        expected: Expected,
    ) -> Result<AdapterView, Reason> {
        self.ready_to_answer(name, generation, expected).await?;
        self.reroute(name, expected, (Action::AdapterShadow, None), move |entry| {
            if generation == entry.generation() {
                let name = &entry.name;
                return Err(Reason::WrongState(format!(
                    "adapter `{name}` is at that generation: there is nothing to compare it with"
                )));
            }
            let runs = entry.route.shadow.as_ref();
            let runs = runs.filter(|shadow| shadow.generation == generation);
            let mut route = entry.route.clone();
            if runs.is_none() {
                route.watched.shadow = Default::default();
            }
            route.shadow = Some(Shadow {
                generation,
                percent,
                since: runs.map_or_else(now, |shadow| shadow.since),
            });
            Ok((route, generation))
        })
        .await
    }

    pub async fn stop_shadow(
        &self,
        name: &AdapterName,
        expected: Expected,
    ) -> Result<AdapterView, Reason> {
        self.reroute(name, expected, (Action::AdapterShadowStop, None), |entry| {
            let Some(shadow) = &entry.route.shadow else {
                let name = &entry.name;
                return Err(Reason::WrongState(format!(
                    "adapter `{name}` has no shadow"
                )));
            };
            let route = Route {
                shadow: None,
                ..entry.route.clone()
            };
            Ok((route, shadow.generation))
        })
        .await
    }

    /// Stores what has been counted, for the next start.
    pub async fn store_watched(&self, name: &AdapterName, watched: &Watched) -> Result<(), Reason> {
        self.shared.names.watched(name, watched).await
    }

    /// Reads a generation before any request is sent to it: what cannot be read cannot answer. It is loaded where there is
    /// room.
    async fn ready_to_answer(
        &self,
        name: &AdapterName,
        generation: Generation,
        expected: Expected,
    ) -> Result<(), Reason> {
        let held = {
            let snapshot = self.snapshot();
            snapshot.find_at(name, expected)?.find(generation)?.clone()
        };
        self.check_base(&held)?;
        let contents = self.shared.contents.clone();
        let read = move || contents.read(generation);
        self.shared.background.run(read).await?;
        if let Err(reason) = self.hold(&held).await {
            tracing::info!(adapter = %name, %generation, %reason, "loaded by its first request");
        }
        Ok(())
    }

    /// Changes a route as `decide` says, which also names the generation that the change is about.
    async fn reroute(
        &self,
        name: &AdapterName,
        expected: Expected,
        (action, why): (Action, Option<String>),
        decide: impl FnOnce(&Entry) -> Result<(Route, Generation), Reason> + Send + 'static,
    ) -> Result<AdapterView, Reason> {
        self.carry_through(name, move |registry, name| async move {
            let _writing = registry.shared.write.lock().await;
            let entry = registry.snapshot().find_at(&name, expected)?.clone();
            let (route, of) = decide(&entry)?;
            // It may have been forgotten since it was read.
            entry.find(of)?;
            let names = &registry.shared.names;
            let entry = names
                .route(
                    &registry.actor,
                    &entry,
                    &route,
                    (action, why.as_deref()),
                    of,
                )
                .await?;
            registry.replace(&name, Some(entry.clone()));
            let view = registry.view(&entry);
            let _ = registry.shared.changes.send(view.clone());
            tracing::info!(adapter = %name, generation = %of, action = action.as_str(), why, "the route has changed");
            Ok(view)
        })
        .await
    }
}
