//! Routes of names, for callers: which arm answers a request, and the changes of a route.

use std::time::Instant;

use super::Caller;
use super::follow::Follow;
use super::routes::Routes;
use crate::domain::rollout::{Arm, CanaryAsk, Outcome, Percent};
use crate::domain::{
    AdapterChoice, AdapterName, AdapterView, Event, Generation, Pin, Reason, Scope,
};
use crate::registry::{CanaryEnd, Lease};

const ADAPTERS: Scope = Scope::Adapters;

impl Caller {
    /// What a request that names no generation is answered by: the canary where it takes the request, else what the name
    /// points to. A canary that cannot be had is counted as failing, and nobody is refused for it.
    pub(super) async fn lease_routed(&self, name: &AdapterName) -> Result<Option<Lease>, Reason> {
        let parts = self.gateway().parts();
        let registry = &parts.registry;
        let named = |pin: Option<Pin>| AdapterChoice::Named {
            name: name.clone(),
            pin,
        };
        let Some(entry) = registry.routed(name) else {
            return registry.lease(&named(None)).await;
        };
        let request = self.drawn_by();
        let canary = entry.route.canary.as_ref();
        let canary = canary.filter(|canary| canary.takes(name, &request, self.told_apart_by()));
        if let Some(canary) = canary {
            let generation = canary.generation;
            match registry.lease(&named(Some(generation.into()))).await {
                Ok(lease) => return Ok(lease.map(|lease| lease.on(Arm::Canary))),
                Err(reason) => {
                    let outcome = Outcome::of(&reason);
                    tracing::warn!(adapter = %name, %generation, %reason, "a canary cannot be had, and stable answers");
                    let what = (name, Arm::Canary, generation);
                    parts.routes.ended(what, outcome, None, 0.0);
                }
            }
        }
        let lease = registry.lease(&named(None)).await?;
        Ok(lease.map(|lease| lease.on(Arm::Stable)))
    }

    /// Lets a generation of the name answer part of its requests, or changes which part.
    pub async fn canary(
        &self,
        name: &str,
        generation: &str,
        ask: CanaryAsk,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        let (registry, name, expected) = self.change(name, expected)?;
        let generation = self.generation_of(&name, generation).await?;
        let view = registry.canary(&name, generation, ask, expected).await?;
        Ok(self.shown(view))
    }

    pub async fn promote_canary(
        &self,
        name: &str,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        let (registry, name, expected) = self.change(name, expected)?;
        let end = CanaryEnd::default();
        let view = registry.promote_canary(&name, end, expected).await?;
        Ok(self.shown(view))
    }

    pub async fn abort_canary(
        &self,
        name: &str,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        let (registry, name, expected) = self.change(name, expected)?;
        let end = CanaryEnd::default();
        let view = registry.abort_canary(&name, end, expected).await?;
        self.gateway().parts().routes.canary_ended(&name);
        Ok(self.shown(view))
    }

    /// Lets a generation of the name answer part of its requests once more, to be compared.
    pub async fn shadow(
        &self,
        name: &str,
        generation: &str,
        percent: Percent,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        let (registry, name, expected) = self.change(name, expected)?;
        let generation = self.generation_of(&name, generation).await?;
        let view = registry
            .shadow(&name, generation, percent, expected)
            .await?;
        Ok(self.shown(view))
    }

    pub async fn stop_shadow(
        &self,
        name: &str,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        let (registry, name, expected) = self.change(name, expected)?;
        let view = registry.stop_shadow(&name, expected).await?;
        Ok(self.shown(view))
    }

    /// The generation of the name that begins with at least 8 hex digits.
    pub(super) async fn generation_of(
        &self,
        name: &AdapterName,
        text: &str,
    ) -> Result<Generation, Reason> {
        let pin = text
            .parse::<Pin>()
            .map_err(|wrong| Reason::field("generation", wrong.to_string()))?;
        let history = self.may(ADAPTERS)?.registry.history(name).await?;
        let found = history.into_iter().find(|held| pin.matches(held));
        found.ok_or_else(|| Reason::NoSuchGeneration {
            name: name.to_string(),
            generation: pin.as_str().to_owned(),
        })
    }

    /// Who counts an answer for its route, where a route chose who gives it.
    ///
    /// `at`: when the request arrived.
    pub(super) fn counting(&self, lease: Option<&Lease>, at: Instant) -> Option<Box<dyn Follow>> {
        let lease = lease?;
        let arm = lease.arm()?;
        Some(Box::new(Counting {
            routes: self.gateway().parts().routes.clone(),
            name: lease.name().clone(),
            arm,
            generation: lease.generation(),
            at,
            first_token: None,
            ended: false,
        }))
    }
}

struct Counting {
    routes: Routes,
    name: AdapterName,
    arm: Arm,
    generation: Generation,
    at: Instant,
    /// Seconds from the arrival.
    first_token: Option<f64>,
    ended: bool,
}

impl Counting {
    fn end(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let what = (&self.name, self.arm, self.generation);
        let duration = self.at.elapsed().as_secs_f64();
        self.routes.ended(what, outcome, self.first_token, duration);
    }
}

impl Follow for Counting {
    fn see(&mut self, event: &Event) {
        match event {
            Event::Delta { tokens, .. } if self.first_token.is_none() && !tokens.is_empty() => {
                self.first_token = Some(self.at.elapsed().as_secs_f64());
            }
            Event::Done { .. } => self.end(Outcome::Answered),
            Event::Failed(reason) => self.end(Outcome::of(reason)),
            Event::Prompt { .. }
            | Event::Delta { .. }
            | Event::Finish { .. }
            | Event::Embedding { .. }
            | Event::Call { .. } => {}
        }
    }
}

/// An answer that is dropped before its end has lost its reader.
impl Drop for Counting {
    fn drop(&mut self) {
        self.end(Outcome::Left);
    }
}
