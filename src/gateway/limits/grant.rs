//! What a request was let in with, and what its answers make of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::meter::Taken;
use crate::domain::Event;
use crate::gateway::follow::Follow;

/// One request, counted wherever it has to be. When the last of its answers has ended, what was not used is given back.
pub struct Grant {
    /// Tokens, at most.
    reserved: u64,
    used: AtomicU64,
    taken: Vec<Taken>,
}

impl Grant {
    pub fn new(reserved: u64) -> Self {
        Self {
            reserved,
            used: AtomicU64::new(0),
            taken: Vec::new(),
        }
    }

    pub fn hold(&mut self, taken: Taken) {
        self.taken.push(taken);
    }

    /// All of the request was submitted: from now on it counts, whatever becomes of it.
    pub fn begin(&self) {
        self.taken.iter().for_each(Taken::begin);
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let used = self.used.load(Ordering::Acquire).min(self.reserved);
        for taken in &self.taken {
            taken.settle(used);
        }
    }
}

/// Counts the tokens of one answer; they are used with its end, whoever ends it.
pub(in crate::gateway) struct Settling {
    grant: Arc<Grant>,
    /// As far as is known.
    used: u64,
}

impl Settling {
    /// The prompt is used from the beginning.
    pub fn new(grant: &Arc<Grant>, prompt: usize) -> Self {
        Self {
            grant: grant.clone(),
            used: prompt as u64,
        }
    }
}

impl Follow for Settling {
    fn see(&mut self, event: &Event) {
        match event {
            Event::Delta { tokens, .. } => self.used += tokens.len() as u64,
            Event::Done { usage } => self.used = (usage.prompt + usage.generated) as u64,
            Event::Prompt { .. }
            | Event::Finish { .. }
            | Event::Embedding { .. }
            | Event::Call { .. }
            | Event::Failed(_) => {}
        }
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.grant.used.fetch_add(self.used, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::domain::{Rates, Usage};
    use crate::gateway::limits::Meter;

    #[test]
    fn a_request_is_settled_when_the_last_of_its_answers_has_ended() {
        let meter = Arc::new(Meter::default());
        let limits = Rates {
            tokens_per_minute: Some(100),
            ..Rates::default()
        };
        let left = || {
            let standing = meter.standing(&limits, Instant::now());
            standing.tokens.unwrap().remaining
        };
        let mut grant = Grant::new(80);
        grant.hold(meter.take(&limits, 80, Instant::now()).unwrap());
        let grant = Arc::new(grant);
        let mut whole = Settling::new(&grant, 10);
        let cut_off = Settling::new(&grant, 10);
        grant.begin();
        drop(grant);
        let usage = Usage {
            prompt: 10,
            cached: 0,
            generated: 5,
        };
        whole.see(&Event::Done { usage });
        drop(whole);
        assert_eq!(left(), 20);
        drop(cut_off);
        assert_eq!(left(), 75);
    }

    #[test]
    fn a_request_that_was_not_submitted_as_a_whole_costs_nothing() {
        let meter = Arc::new(Meter::default());
        let limits = Rates {
            requests_per_minute: Some(1),
            tokens_per_minute: Some(100),
            ..Rates::default()
        };
        let mut grant = Grant::new(100);
        grant.hold(meter.take(&limits, 100, Instant::now()).unwrap());
        let grant = Arc::new(grant);
        drop(Settling::new(&grant, 10));
        drop(grant);
        assert!(meter.take(&limits, 100, Instant::now()).is_ok());
    }
}
