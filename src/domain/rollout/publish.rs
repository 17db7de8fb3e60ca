//! How a new generation reaches its name, as one text: a flag, a field, a setting and a row all have it like that.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{CanaryAsk, Percent, Policy, Sticky};
use crate::domain::{Reason, span};

#[derive(Debug, Clone, Default, PartialEq)]
pub enum Publish {
    /// The name moves to it.
    #[default]
    Now,
    /// It answers part of the requests.
    Canary(CanaryAsk),
    /// The name has it, and stays where it is.
    Manual,
}

const CANARY: &str = "canary:";
/// The field that is not its policy's.
const STICKY: &str = "sticky";
/// The policy's field that is a time.
const PROMOTE_AFTER: &str = "promote_after";

impl Publish {
    pub const WORDS: &'static str = "`now`, `manual`, or `canary:` and a percentage, with what it keeps to as in `canary:10,min_requests=50,promote_after=12h`";
}

impl FromStr for Publish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "now" => Ok(Self::Now),
            "manual" => Ok(Self::Manual),
            other => match other.strip_prefix(CANARY) {
                Some(ask) => canary(ask)
                    .map(Self::Canary)
                    .map_err(|why| format!("canary: {why}")),
                None => Err(format!("`{other}` is not {}", Self::WORDS)),
            },
        }
    }
}

/// `10,sticky=caller,min_requests=50,promote_after=12h`
fn canary(text: &str) -> Result<CanaryAsk, String> {
    let mut parts = text.split(',').map(str::trim);
    let percent = parts.next().unwrap_or_default();
    let percent: f64 = { percent.parse() }.map_err(|_| format!("`{percent}` is no percentage"))?;
    let percent = Percent::try_from(percent)?;
    let (mut sticky, mut policy) = (None, Map::new());
    for part in parts {
        let (field, value) = part
            .split_once('=')
            .map(|(field, value)| (field.trim(), value.trim()))
            .ok_or_else(|| format!("`{part}` is no field with its value, as min_requests=50"))?;
        let is_again = match field {
            STICKY => {
                let one = Sticky::of(STICKY, value).map_err(plain)?;
                sticky.replace(one).is_some()
            }
            field => {
                let value = match field {
                    PROMOTE_AFTER => span::seconds(value).map(Value::from),
                    _ => serde_json::from_str(value)
                        .ok()
                        .filter(Value::is_number)
                        .ok_or_else(|| format!("`{value}` is no number")),
                };
                let value = value.map_err(|why| format!("{field}: {why}"))?;
                // Alone, since what is wrong with a value does not say whose it is.
                let alone = Map::from_iter([(field.to_owned(), value.clone())]);
                Policy::deserialize(Value::Object(alone))
                    .map_err(|why| format!("{field}: {why}"))?;
                policy.insert(field.to_owned(), value).is_some()
            }
        };
        if is_again {
            return Err(format!("{field} is said twice"));
        }
    }
    let policy = match policy.is_empty() {
        true => None,
        false => {
            let policy = Policy::deserialize(Value::Object(policy)).map_err(|why| why.to_string());
            let policy = policy?;
            policy.check().map_err(plain)?;
            Some(policy)
        }
    };
    Ok(CanaryAsk {
        percent,
        sticky,
        policy,
    })
}

/// What is wrong, without the words for an answer.
fn plain(reason: Reason) -> String {
    match reason {
        Reason::BadField { field, why } => format!("{field}: {why}"),
        other => other.to_string(),
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ask = match self {
            Self::Now => return f.write_str("now"),
            Self::Manual => return f.write_str("manual"),
            Self::Canary(ask) => ask,
        };
        write!(f, "{CANARY}{}", ask.percent)?;
        if let Some(sticky) = ask.sticky {
            write!(f, ",{STICKY}={}", sticky.as_str())?;
        }
        let policy = ask.policy.as_ref().map(serde_json::to_value);
        let Some(Ok(Value::Object(policy))) = policy else {
            return Ok(());
        };
        for (field, value) in policy {
            let unit = if field == PROMOTE_AFTER { "s" } else { "" };
            write!(f, ",{field}={value}{unit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_publish_are_read_and_written_alike() {
        let whole = "canary:12.5,sticky=caller,min_requests=50,max_error_rate=0.02,max_latency_ratio=1.5,\
                     max_heldout_loss_ratio=1.1,min_feedback=9,min_score_ratio=0.95,promote_after=12h";
        for text in [
            "now",
            "manual",
            "canary:10",
            "canary:0.25",
            "canary:100",
            whole,
        ] {
            let read: Publish = text.parse().unwrap();
            let written = read.to_string();
            assert_eq!(written.parse::<Publish>().unwrap(), read, "{written}");
            assert_eq!(written.split(',').count(), text.split(',').count());
        }
        let Publish::Canary(ask) = whole.parse().unwrap() else {
            panic!("no canary");
        };
        let policy = ask.policy.unwrap();
        assert_eq!(
            (ask.sticky, policy.min_requests, policy.promote_after),
            (Some(Sticky::Caller), Some(50), Some(43_200))
        );
        assert_eq!(policy.min_score_ratio, Some(0.95));
        let spaced = "canary:10 , sticky = caller, min_requests = 5, promote_after =12h";
        let close = "canary:10,sticky=caller,min_requests=5,promote_after=12h";
        assert_eq!(spaced.parse::<Publish>(), close.parse::<Publish>());
    }

    #[test]
    fn what_is_no_way_to_publish_is_refused() {
        for (bad, named) in [
            ("", "`now`"),
            ("canary", "`now`"),
            ("later", "`now`"),
            ("canary:", "percentage"),
            ("canary:x", "percentage"),
            ("canary:101", "100"),
            ("canary:NaN", "canary"),
            ("canary:10,", "no field"),
            ("canary:10,min_requests", "min_requests"),
            ("canary:10,min_request=5", "min_request"),
            ("canary:10,min_requests=many", "min_requests"),
            ("canary:10,min_requests=\"5\"", "min_requests"),
            ("canary:10,min_requests=1.5", "min_requests: "),
            ("canary:10,max_error_rate=2", "max_error_rate"),
            ("canary:10,promote_after=12w", "promote_after"),
            ("canary:10,sticky=owner", "sticky"),
            ("canary:10,min_requests=5,min_requests=6", "twice"),
        ] {
            let why = bad.parse::<Publish>().unwrap_err();
            assert!(why.contains(named), "{bad}: {why}");
        }
    }
}
