//! Names that learn by themselves once there is enough to learn from.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;

use super::super::{Caller, Gateway, Wishes};
use super::RetrainAsk;
use crate::domain::{AdapterName, Reason};

/// Feedback often comes in bursts: they are looked at once.
const BURST: Duration = Duration::from_secs(1);

/// When and how a name is retrained.
#[derive(Debug, Clone, PartialEq)]
pub struct RetrainRule {
    pub adapter: AdapterName,
    /// New rows that a retraining needs.
    pub min_rows: u64,
    /// New corrections among them.
    pub min_corrections: u64,
    /// How often it is looked, beside every time that feedback comes.
    pub every: Duration,
    /// As a job takes them.
    pub wishes: Wishes,
}

impl Gateway {
    /// Looks after the rules until `stop`. What they make belongs to no key.
    pub async fn retrain_by(self, rules: Vec<RetrainRule>, stop: impl Future<Output = ()>) {
        let Some(shortest) = rules.iter().map(|rule| rule.every).min() else {
            return;
        };
        let caller = self.itself();
        let mut news = self.parts().feedback.inner.news.subscribe();
        let mut next: Vec<Instant> = rules.iter().map(|_| Instant::now()).collect();
        // After a fault a rule waits for its time, whatever comes.
        let mut is_quiet = vec![false; rules.len()];
        let mut is_held = vec![false; rules.len()];
        let mut stop = pin!(stop);
        for rule in &rules {
            match caller.look_at_rule(rule).await {
                Ok(()) => {}
                Err(fault @ Reason::BadField { .. }) => {
                    tracing::warn!(adapter = %rule.adapter, %fault, "the rule does not fit what the name serves: no retraining by it could begin");
                }
                Err(fault) => {
                    tracing::warn!(adapter = %rule.adapter, %fault, "whether the rule fits what the name serves is not known");
                }
            }
        }
        loop {
            news.borrow_and_update();
            let now = Instant::now();
            for (at, rule) in rules.iter().enumerate() {
                if is_quiet[at] && now < next[at] {
                    continue;
                }
                let done = caller.keep_rule(rule).await;
                if let Err(fault) = &done {
                    tracing::warn!(adapter = %rule.adapter, %fault, "the name is not retrained");
                }
                is_quiet[at] = done.is_err();
                if let Ok(held) = done {
                    // Told once, not with all feedback that comes meanwhile.
                    if held && !is_held[at] {
                        tracing::info!(adapter = %rule.adapter, "not retrained while its canary runs: promote it or give it up");
                    }
                    is_held[at] = held;
                }
                next[at] = now + rule.every;
            }
            let soonest = next.iter().min().copied().unwrap_or(now + shortest);
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep_until(soonest) => {}
                changed = news.changed() => match changed {
                    Ok(()) => tokio::time::sleep(BURST).await,
                    Err(_) => return,
                },
            }
        }
    }
}

impl Caller {
    /// What every retraining by the rule would be refused for while the name serves what it does.
    async fn look_at_rule(&self, rule: &RetrainRule) -> Result<(), Reason> {
        let parts = self.with_any_key()?;
        if !parts.registry.knows(&rule.adapter) {
            return Ok(());
        }
        let wishes = Wishes {
            from: Some(rule.adapter.to_string()),
            ..rule.wishes.clone()
        };
        parts.trainer.check_settings(&wishes).await
    }

    /// Retrains where enough is new, no other job for the name is at work and what the last one made is decided about.
    /// Whether the last of these alone is why not.
    async fn keep_rule(&self, rule: &RetrainRule) -> Result<bool, Reason> {
        let parts = self.with_any_key()?;
        let name = &rule.adapter;
        if !parts.registry.knows(name) || parts.trainer.at_work_on(name).await?.is_some() {
            return Ok(false);
        }
        // What was learned in vain does not start another job by itself.
        let unused = parts.feedback.stored().unused(name).await?;
        if unused.rows < rule.min_rows || unused.corrections < rule.min_corrections {
            return Ok(false);
        }
        // A name has one canary: another job's result could only be kept.
        let routed = parts.registry.routed(name);
        if routed.is_some_and(|entry| entry.route.canary.is_some()) {
            return Ok(true);
        }
        let ask = RetrainAsk {
            min_rows: Some(rule.min_rows),
            min_corrections: Some(rule.min_corrections),
            wishes: rule.wishes.clone(),
            ..RetrainAsk::default()
        };
        self.retrain(name.as_str(), ask).await.map(|_| false)
    }
}
