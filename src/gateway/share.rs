//! How a request stands beside others: its tenant, weights, priority and deadline.

use std::time::{Duration, Instant};

use crate::domain::{AdapterName, Reason, Urgency};
use crate::scheduler::{Terms, Weights};

/// Seconds of a `timeout`; longer is as good as none.
const LONGEST: f64 = 86_400.0;

/// The weights that settings give; all others are 1.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shares {
    /// By adapter.
    pub adapters: Weighed,
    /// By the beginning of a key; the longest that fits counts.
    pub keys: Weighed,
}

/// Names with their weights, as `legal=2, medical=0.5` lists them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Weighed(Vec<(String, f32)>);

impl std::str::FromStr for Weighed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|p| !p.is_empty());
        let mut found: Vec<(String, f32)> = Vec::new();
        for part in parts {
            let (name, weight) = part
                .rsplit_once('=')
                .ok_or_else(|| format!("`{part}` is not of the form NAME=WEIGHT"))?;
            let (name, weight) = (name.trim(), weight.trim());
            let number = weight.parse().ok().filter(|w| (0.01..=100.0).contains(w));
            let Some(number) = number else {
                return Err(format!("`{weight}` is no weight between 0.01 and 100"));
            };
            if name.is_empty() || found.iter().any(|(other, _)| other == name) {
                return Err(format!("`{name}` is empty or there twice"));
            }
            found.push((name.to_owned(), number));
        }
        Ok(Self(found))
    }
}

impl Weighed {
    fn of(&self, fits: impl Fn(&str) -> bool) -> f32 {
        let fitting = self.0.iter().filter(|(name, _)| fits(name));
        fitting
            .max_by_key(|(name, _)| name.len())
            .map_or(1.0, |(_, weight)| *weight)
    }
}

impl Shares {
    /// What a caller gets beside others, by what it sends as its key.
    pub(super) fn of_key(&self, key: &str) -> f32 {
        self.keys.of(|start| key.starts_with(start))
    }

    /// `adapter`: `None` is the base, whose weight is that of `none`.
    pub(super) fn terms(
        &self,
        tenant: Tenant,
        adapter: Option<&AdapterName>,
        priority: i32,
        deadline: Option<Instant>,
    ) -> Terms {
        let name = adapter.map_or("none", AdapterName::as_str);
        Terms {
            tenant: tenant.number,
            circle: tenant.shares_nothing.then_some(tenant.number),
            weights: Weights {
                tenant: tenant.weight,
                adapter: self.adapters.of(|other| other == name),
            },
            priority,
            deadline,
        }
    }
}

/// A caller beside others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tenant {
    /// 0 for callers without a key.
    pub number: u64,
    pub weight: f32,
    /// What was computed for it is of no use to others, who could tell from the time what it had asked.
    pub shares_nothing: bool,
}

impl Default for Tenant {
    fn default() -> Self {
        Self {
            number: 0,
            weight: 1.0,
            shares_nothing: false,
        }
    }
}

/// No caller can find a key with the number of another's.
pub(super) fn number(key: &str) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&blake3::hash(key.as_bytes()).as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

/// When the time of the most urgent of these is over.
pub(super) fn deadline<'u>(
    urgencies: impl Iterator<Item = &'u Urgency>,
    now: Instant,
) -> Result<Option<Instant>, Reason> {
    let mut first: Option<f64> = None;
    for seconds in urgencies.filter_map(|urgency| urgency.timeout) {
        if !(seconds > 0.0 && seconds <= LONGEST) {
            let why = format!("{seconds} is not above 0 and at most {LONGEST} seconds");
            return Err(Reason::field("timeout", why));
        }
        first = Some(first.map_or(seconds, |other| other.min(seconds)));
    }
    Ok(first.map(|seconds| now + Duration::from_secs_f64(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_beginning_of_a_key_that_fits_gives_its_weight() {
        let shares = Shares {
            keys: "sk-a=2, sk-abc = 0.5".parse().unwrap(),
            adapters: "legal=3,none=4".parse().unwrap(),
        };
        let weights = |key: Option<&str>, adapter: Option<&str>| {
            let name = adapter.map(|name| name.parse::<AdapterName>().unwrap());
            let tenant = Tenant {
                weight: key.map_or(1.0, |key| shares.of_key(key)),
                ..Tenant::default()
            };
            let weights = shares.terms(tenant, name.as_ref(), 0, None).weights;
            (weights.tenant, weights.adapter)
        };
        assert_eq!(weights(Some("sk-abcd"), None), (0.5, 4.0));
        assert_eq!(weights(Some("sk-axx"), Some("legal")), (2.0, 3.0));
        assert_eq!(weights(Some("other"), Some("legal-2")), (1.0, 1.0));
        assert_eq!(weights(None, None), (1.0, 4.0));
    }

    #[test]
    fn weights_that_make_no_sense_are_refused_with_the_part_at_fault() {
        for (text, part) in [
            ("legal", "legal"),
            ("legal=0", "0"),
            ("a=1,b=101", "101"),
            ("a=NaN", "NaN"),
            ("a=x", "x"),
            ("a=1,a=2", "a"),
            ("=1", "empty"),
        ] {
            let why = text.parse::<Weighed>().unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
        assert_eq!("".parse(), Ok(Weighed::default()));
    }

    #[test]
    fn callers_are_told_apart_by_their_keys() {
        assert_eq!(number("a"), number("a"));
        assert!(number("a") != number("b"));
    }

    #[test]
    fn only_who_shares_nothing_has_a_circle_of_its_own() {
        let circle = |shares_nothing| {
            let tenant = Tenant {
                number: 7,
                shares_nothing,
                ..Tenant::default()
            };
            Shares::default().terms(tenant, None, 0, None).circle
        };
        assert_eq!((circle(true), circle(false)), (Some(7), None));
    }

    #[test]
    fn the_shortest_timeout_counts_and_senseless_ones_are_refused() {
        let now = Instant::now();
        let of = |timeouts: &[Option<f64>]| {
            let urgencies = timeouts.iter().map(|&timeout| Urgency {
                priority: 0,
                timeout,
            });
            deadline(urgencies.collect::<Vec<_>>().iter(), now)
        };
        let expected = Some(now + Duration::from_millis(500));
        assert_eq!(of(&[None, Some(3.0), Some(0.5)]), Ok(expected));
        assert_eq!(of(&[None]), Ok(None));
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            let refused = of(&[Some(bad)]);
            assert!(matches!(refused, Err(Reason::BadField { field, .. }) if field == "timeout"));
        }
    }
}
