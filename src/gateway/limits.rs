//! What keys and adapters may ask for: counted when a request is admitted, settled when its answers end. Each key has
//! its counts beside it in memory, each adapter that settings limit has them here. They start anew with the process.

mod grant;
mod meter;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::Caller;
use crate::domain::{AdapterGlobs, AdapterName, Limit, LimitReached, Rates, Reason, Standing};

pub use grant::Grant;
pub(super) use grant::Settling;
pub use meter::Meter;

/// What settings call the base where they give it limits.
const BASE: &str = "none";
/// Adapters that are counted before those are looked for that nothing counts for any more, at first.
const MANY: usize = 1024;

/// The limits that settings give adapters: by name, or by a pattern; each adapter that fits a pattern has all of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AdapterRates {
    base: Option<Rates>,
    /// Of one adapter each: nothing says more about it.
    names: HashMap<String, Rates>,
    /// The longest first: it says most about whom it means.
    patterns: Vec<(AdapterGlobs, Rates)>,
}

impl AdapterRates {
    /// What is wrong names the entry.
    pub fn read(entries: &BTreeMap<String, Rates>) -> Result<Self, String> {
        let mut read = Self::default();
        for (name, rates) in entries {
            let wrong = |why: String| format!("`{name}`: {why}");
            rates.check().map_err(|reason| wrong(reason.to_string()))?;
            if name == BASE {
                read.base = Some(*rates);
                continue;
            }
            let globs = AdapterGlobs::try_from(vec![name.clone()]).map_err(wrong)?;
            match name.contains('*') {
                true => read.patterns.push((globs, *rates)),
                false => drop(read.names.insert(name.clone(), *rates)),
            }
        }
        read.patterns
            .sort_by_key(|(globs, _)| std::cmp::Reverse(globs.bytes()));
        Ok(read)
    }

    /// `None` is the base.
    fn of(&self, adapter: Option<&AdapterName>) -> Option<Rates> {
        let Some(name) = adapter else {
            return self.base;
        };
        if let Some(rates) = self.names.get(name.as_str()) {
            return Some(*rates);
        }
        let fitting = self.patterns.iter().find(|(globs, _)| globs.allow(name));
        fitting.map(|(_, rates)| *rates)
    }
}

/// The counts of adapters, and how often each limit was met.
pub(super) struct Limits {
    rates: AdapterRates,
    adapters: Mutex<Counted>,
    refused: [AtomicU64; Limit::ALL.len()],
}

#[derive(Default)]
struct Counted {
    /// `None` is the base.
    meters: HashMap<Option<AdapterName>, Arc<Meter>>,
    /// How many were left when it was looked last.
    kept: usize,
}

impl Counted {
    /// Looks at all of them each time they have doubled, so that many that count cost a request nothing.
    fn forget_idle(&mut self) {
        if self.meters.len() >= MANY.max(2 * self.kept) {
            let counts = |meter: &Arc<Meter>| Arc::strong_count(meter) > 1 || !meter.is_idle();
            self.meters.retain(|_, meter| counts(meter));
            self.kept = self.meters.len();
        }
    }
}

impl Limits {
    pub fn new(rates: AdapterRates) -> Self {
        Self {
            rates,
            adapters: Mutex::default(),
            refused: Default::default(),
        }
    }

    /// The counts of an adapter that has limits.
    fn of(&self, adapter: Option<&AdapterName>) -> Option<(Rates, Arc<Meter>)> {
        let rates = self.rates.of(adapter)?;
        let mut adapters = self.adapters.lock().unwrap_or_else(PoisonError::into_inner);
        adapters.forget_idle();
        let meter = adapters.meters.entry(adapter.cloned()).or_default();
        Some((rates, meter.clone()))
    }

    fn count(&self, reason: &Reason) {
        if let Reason::LimitReached(reached) = reason {
            self.refused[reached.limit as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn refusals(&self) -> [(&'static str, u64); Limit::ALL.len()] {
        Limit::ALL.map(|limit| {
            let refused = self.refused[limit as usize].load(Ordering::Relaxed);
            (limit.name(), refused)
        })
    }
}

impl Caller {
    /// Counts a request with so many tokens at most, or says which limit forbids it; then nothing is counted.
    pub fn reserve(
        &self,
        adapter: Option<&AdapterName>,
        tokens: u64,
    ) -> Result<Arc<Grant>, Reason> {
        let mut grant = Grant::new(tokens);
        let limits = &self.gateway().inner.limits;
        let take = |meter: &Arc<Meter>, rates: &Rates, of: &dyn Fn() -> String| {
            let taken = meter.take(rates, tokens, Instant::now());
            let taken = taken.map_err(|met| Reason::limit(LimitReached { of: of(), ..met }));
            taken.inspect_err(|reason| limits.count(reason))
        };
        if let Some((rates, meter)) = self.own_limits() {
            grant.hold(take(meter, &rates, &|| self.shown_key())?);
        }
        if let Some((rates, meter)) = limits.of(adapter) {
            let name = || adapter.map_or("the base".to_owned(), |name| format!("adapter {name}"));
            grant.hold(take(&meter, &rates, &name)?);
        }
        Ok(Arc::new(grant))
    }

    /// Refuses a request that its key's limits will forbid whatever it holds, before it costs more than this.
    pub fn check_limits(&self) -> Result<(), Reason> {
        let Some((rates, meter)) = self.own_limits() else {
            return Ok(());
        };
        let met = meter.check(&rates, Instant::now()).map_err(|met| {
            let of = self.shown_key();
            Reason::limit(LimitReached { of, ..met })
        });
        self.count_refusal(met)
    }

    fn shown_key(&self) -> String {
        format!("key {}", self.key_id().map_or("", |id| id.as_str()))
    }

    /// How the limits of its key stand, for whom it is told to.
    pub fn standing(&self) -> Standing {
        let limits = self.own_limits();
        limits.map_or_else(Standing::default, |(rates, meter)| {
            meter.standing(&rates, Instant::now())
        })
    }

    /// Of refusals by limits that are found elsewhere.
    pub(super) fn count_refusal<T>(&self, outcome: Result<T, Reason>) -> Result<T, Reason> {
        outcome.inspect_err(|reason| self.gateway().inner.limits.count(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_before_patterns_and_of_those_the_longest() {
        let only = |requests| Rates {
            requests_per_minute: Some(requests),
            ..Rates::default()
        };
        let entries = [
            ("legal", 1),
            ("le*", 2),
            ("*", 3),
            ("none", 4),
            ("legal*", 5),
        ];
        let entries = entries.map(|(name, requests)| (name.to_owned(), only(requests)));
        let rates = AdapterRates::read(&entries.into()).unwrap();
        let of = |name: Option<&str>| {
            let name = name.map(|name| name.parse::<AdapterName>().unwrap());
            rates
                .of(name.as_ref())
                .unwrap()
                .requests_per_minute
                .unwrap()
        };
        assert_eq!(
            [
                of(Some("legal")),
                of(Some("legal2")),
                of(Some("lemon")),
                of(Some("x")),
                of(None)
            ],
            [1, 5, 2, 3, 4]
        );
        assert_eq!(AdapterRates::default().of(None), None);
        for (name, requests) in [("Legal", 1), ("legal", 0)] {
            let wrong = AdapterRates::read(&[(name.to_owned(), only(requests))].into());
            assert!(wrong.unwrap_err().contains(name));
        }
    }

    #[test]
    fn each_adapter_has_counts_of_its_own_and_idle_ones_are_forgotten() {
        let one = Rates {
            requests_per_minute: Some(1),
            ..Rates::default()
        };
        let rates = AdapterRates::read(&[("*".to_owned(), one)].into()).unwrap();
        let limits = Limits::new(rates);
        let take = |name: String| {
            let (rates, meter) = limits.of(Some(&name.parse().unwrap())).unwrap();
            meter.take(&rates, 1, Instant::now())
        };
        let held = take("a".into()).unwrap();
        held.begin();
        assert!(take("a".into()).is_err());
        for number in 0..2 * MANY {
            // Nothing is begun, so nothing counts.
            take(format!("b{number}")).unwrap();
        }
        assert!(take("a".into()).is_err(), "what counts is not forgotten");
        assert!(limits.adapters.lock().unwrap().meters.len() <= MANY);
    }

    #[test]
    fn adapters_that_count_are_looked_at_only_when_they_have_doubled() {
        let one = Rates {
            requests_per_minute: Some(1),
            ..Rates::default()
        };
        let rates = AdapterRates::read(&[("*".to_owned(), one)].into()).unwrap();
        let limits = Limits::new(rates);
        for number in 0..3 * MANY {
            let name = format!("b{number}").parse().unwrap();
            let (rates, meter) = limits.of(Some(&name)).unwrap();
            meter.take(&rates, 1, Instant::now()).unwrap().begin();
        }
        let counted = limits.adapters.lock().unwrap();
        assert_eq!((counted.meters.len(), counted.kept), (3 * MANY, 2 * MANY));
    }
}
