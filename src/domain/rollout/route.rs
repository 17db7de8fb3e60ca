//! A name's route: its stable generation, and what else takes part of its requests.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{CountsView, Part, Policy, Verdict, falls_in};
use crate::domain::{AdapterName, Generation, Range, Reason};

/// A share of requests, in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Percent(u32);

impl Percent {
    pub const RANGE: Range = Range::between(0.0, 100.0);

    /// # Errors
    /// `BadField` for what is not between 0 and 100.
    pub fn new(field: &str, percent: f64) -> Result<Self, Reason> {
        Self::try_from(percent).map_err(|why| Reason::field(field, why))
    }

    pub const fn hundredths(self) -> u32 {
        self.0
    }
}

impl TryFrom<f64> for Percent {
    type Error = String;

    fn try_from(percent: f64) -> Result<Self, String> {
        Self::RANGE.check(percent)?;
        Ok(Self((percent * 100.0).round() as u32))
    }
}

impl From<Percent> for f64 {
    fn from(percent: Percent) -> Self {
        Self::from(percent.0) / 100.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(*self))
    }
}

/// What stays with one version: each request for itself (and its repetition), or all of a caller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sticky {
    #[default]
    Request,
    Caller,
}

impl Sticky {
    pub const NAMES: &'static [&'static str] = &["request", "caller"];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Caller => "caller",
        }
    }

    /// # Errors
    /// `BadField` for another name.
    pub fn of(field: &str, name: &str) -> Result<Self, Reason> {
        match name {
            "request" => Ok(Self::Request),
            "caller" => Ok(Self::Caller),
            _ => Err(Reason::field(field, "must be `request` or `caller`")),
        }
    }
}

/// Who answers a request that names no generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arm {
    Stable,
    Canary,
    Shadow,
}

impl Arm {
    pub const ALL: [Self; 3] = [Self::Stable, Self::Canary, Self::Shadow];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Canary => "canary",
            Self::Shadow => "shadow",
        }
    }
}

/// A generation that answers part of a name's requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Canary {
    pub generation: Generation,
    pub percent: Percent,
    pub sticky: Sticky,
    /// Unix seconds.
    pub since: i64,
    pub policy: Policy,
}

impl Canary {
    /// Whether it answers this request of this caller, who may be unknown.
    pub fn takes(&self, name: &AdapterName, request: &str, caller: Option<&str>) -> bool {
        let key = match self.sticky {
            Sticky::Request => request,
            Sticky::Caller => caller.unwrap_or(request),
        };
        falls_in(Part::Canary, name, self.generation, key, self.percent)
    }
}

/// What a canary is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct CanaryAsk {
    pub percent: Percent,
    /// As it is, or `request`, where absent.
    pub sticky: Option<Sticky>,
    /// As it is, or empty, where absent.
    pub policy: Option<Policy>,
}

/// A generation that answers part of a name's requests once more, unheard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    pub generation: Generation,
    pub percent: Percent,
    /// Unix seconds.
    pub since: i64,
}

/// As callers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteView {
    pub stable: Generation,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
    /// Since the canary or the shadow began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<CountsView>,
    /// What the policy says so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_that_stays_with_callers_asks_for_the_caller_and_else_for_the_request() {
        let canary = |sticky| Canary {
            generation: Generation::new([1; 32]),
            percent: Percent::new("percent", 50.0).unwrap(),
            sticky,
            since: 0,
            policy: Policy::default(),
        };
        let name = "legal".parse().unwrap();
        let by_caller = canary(Sticky::Caller);
        for caller in 0..50 {
            let caller = format!("key-{caller}");
            let first = by_caller.takes(&name, "0", Some(&caller));
            let always = (1..50).all(|request| {
                by_caller.takes(&name, &request.to_string(), Some(&caller)) == first
            });
            assert!(always, "{caller} met two versions");
        }
        let by_request = canary(Sticky::Request);
        for request in (0..50).map(|n| n.to_string()) {
            let known = by_request.takes(&name, &request, Some("key"));
            assert_eq!(known, by_request.takes(&name, &request, None));
            assert_eq!(
                known,
                by_caller.takes(&name, &request, None),
                "nobody known"
            );
        }
    }

    #[test]
    fn a_share_has_two_decimals_and_survives_its_number() {
        let percent = Percent::new("percent", 12.34).unwrap();
        assert_eq!(percent.hundredths(), 1234);
        let stored = serde_json::to_string(&percent).unwrap();
        assert_eq!(stored, "12.34");
        assert_eq!(serde_json::from_str::<Percent>(&stored).unwrap(), percent);
        for bad in [-0.1, 100.01, f64::NAN] {
            let refused = Percent::new("percent", bad).unwrap_err();
            assert!(matches!(refused, Reason::BadField { field, .. } if field == "percent"));
        }
    }
}
