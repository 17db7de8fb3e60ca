//! What is kept of answers, and which names learn from feedback by themselves.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::auth::AuthMode;
use crate::domain::rollout::Publish;
use crate::domain::{AdapterName, Bytes, Reason, settings, span};
use crate::gateway::feedback::{self, Capture};
use crate::gateway::{RetrainRule, Wishes};
use crate::trainer::check_retraining;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feedback {
    /// Keep prompts and answers, so that corrections can be learned from.
    pub capture: bool,
    /// Days for which answers are remembered and feedback is kept.
    pub keep_days: u32,
    /// Of prompts, answers and feedback; the oldest go first.
    pub max_bytes: Bytes,
    /// Keep only what these answer, as `legal` or `team-a-*`; `none` is the base. Empty: whatever answers.
    pub adapters: Vec<String>,
    /// Keep only what these keys ask, by their ids. Empty: whoever asks.
    pub keys: Vec<String>,
}

/// Days.
const MOST_DAYS: u32 = 3650;
const DAY: u64 = 86_400;

impl Default for Feedback {
    fn default() -> Self {
        Self {
            capture: false,
            keep_days: 30,
            max_bytes: Bytes::Count(256 << 20),
            adapters: Vec::new(),
            keys: Vec::new(),
        }
    }
}

impl Feedback {
    pub fn config(&self) -> Result<feedback::Config, String> {
        Ok(feedback::Config {
            capture: Capture::new(self.capture, &self.adapters, &self.keys)?,
            keep: Duration::from_secs(u64::from(self.keep_days) * DAY),
            max_bytes: self.max_bytes.count()?,
        })
    }

    /// `(key, why)`
    pub fn mistakes(&self, auth: AuthMode) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if !(1..=MOST_DAYS).contains(&self.keep_days) {
            let why = format!("{} is not within 1 to {MOST_DAYS}", self.keep_days);
            found.push(("feedback.keep_days", why));
        }
        if let Err(why) = self.max_bytes.count() {
            found.push(("feedback.max_bytes", why));
        }
        if let Err(why) = Capture::new(true, &self.adapters, &[]) {
            found.push(("feedback.adapters", why));
        }
        if !self.keys.is_empty() && auth != AuthMode::Keys {
            let why = "nobody has a key while `auth.mode` is off, so nothing would be kept".into();
            found.push(("feedback.keys", why));
        }
        found
    }
}

/// A rule as it is written: `adapter`, `min_rows`, `min_corrections`, `every`, and settings of a job by their names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Retrain(Map<String, Value>);

const HOUR: u64 = 3600;
/// Seconds between two looks, at most.
const MOST_SECONDS: u64 = 366 * DAY;

impl Retrain {
    /// The rule, or all that is wrong with it: `(key, why)`.
    pub fn read(&self) -> Result<RetrainRule, Vec<(String, String)>> {
        let mut wrong = Vec::new();
        let mut said = self.0.clone();
        let adapter = match said.remove("adapter") {
            Some(Value::String(name)) => name.parse::<AdapterName>().map_err(|e| e.to_string()),
            Some(other) => Err(format!("{other} is no name")),
            None => Err("is required: the name that learns".to_owned()),
        };
        let min_rows = match said.remove("min_rows") {
            Some(rows) => count(&rows, 1),
            None => Err("is required: the new rows that a retraining needs".to_owned()),
        };
        let min_corrections = match said.remove("min_corrections") {
            Some(corrections) => count(&corrections, 0),
            None => Ok(0),
        };
        let every = match said.remove("every") {
            Some(Value::String(text)) => seconds(&text),
            Some(other) => Err(format!("{other} is no time as \"30m\", \"12h\" or \"7d\"")),
            None => Ok(HOUR),
        };
        let mut wishes = Wishes::default();
        if said.remove("from").is_some() {
            let why = "is the generation that the name serves; leave it out".to_owned();
            wrong.push(("from".to_owned(), why));
        }
        for (name, value) in said {
            let one = settings::wishes(&[(name.clone(), value)].into_iter().collect());
            let united = one.and_then(|one| {
                let twice = |_| Reason::field(&*name, "is said twice");
                wishes.unite(&one).map_err(twice)
            });
            if let Err(reason) = united {
                let why = match reason {
                    Reason::BadField { why, .. } => why,
                    other => other.to_string(),
                };
                wrong.push((name, why));
            }
        }
        // Else only the first retraining would tell.
        if let Some(Err(why)) = wishes.publish.as_deref().map(str::parse::<Publish>) {
            wrong.push(("publish".to_owned(), why));
        }
        // What is wrong by itself is told already.
        if wrong.is_empty()
            && let Err(Reason::BadField { field, why }) = check_retraining(&wishes)
        {
            wrong.push((field, why));
        }
        let mut take = |key: &str, why: String| wrong.push((key.to_owned(), why));
        let adapter = adapter.map_err(|why| take("adapter", why)).ok();
        let min_rows = min_rows.map_err(|why| take("min_rows", why)).ok();
        let min_corrections = min_corrections.map_err(|why| take("min_corrections", why));
        let every = every.map_err(|why| take("every", why)).ok();
        match (adapter, min_rows, min_corrections, every) {
            (Some(adapter), Some(min_rows), Ok(min_corrections), Some(every))
                if wrong.is_empty() =>
            {
                Ok(RetrainRule {
                    adapter,
                    min_rows,
                    min_corrections,
                    every: Duration::from_secs(every),
                    wishes,
                })
            }
            _ => Err(wrong),
        }
    }
}

/// What is wrong with rules: `(key, why)`.
pub fn mistakes(rules: &[Retrain]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut names: Vec<AdapterName> = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        match rule.read() {
            Err(wrong) => {
                let keys = wrong.into_iter();
                found.extend(keys.map(|(key, why)| (format!("retrain[{at}].{key}"), why)));
            }
            Ok(rule) if names.contains(&rule.adapter) => {
                let why = format!("`{}` has a rule already", rule.adapter);
                found.push((format!("retrain[{at}].adapter"), why));
            }
            Ok(rule) => names.push(rule.adapter),
        }
    }
    found
}

/// What is sound in rules and hardly meant: `(key, why)`.
pub fn doubts(rules: &[Retrain]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        if waits_for_somebody(rule) {
            let why = "begins a canary that never takes over by itself, and the rule waits while it runs: say `promote_after` in it, \
                       as in canary:10,min_requests=50,promote_after=12h, or promote it by hand";
            found.push((format!("retrain[{at}].publish"), why.to_owned()));
        }
        if let Some((held_out, min_rows)) = holds_all_out(rule) {
            let why = format!(
                "holds {held_out} rows out, and the rule begins with {min_rows}: unless there are rows of before to repeat, none is left \
                 to train on; say a share, as 0.1, or more `min_rows`"
            );
            found.push((format!("retrain[{at}].eval_split"), why));
        }
    }
    found
}

/// The rows that are held out and those that a retraining begins with, where the former are not fewer.
fn holds_all_out(rule: &Retrain) -> Option<(f64, u64)> {
    let rule = rule.read().ok()?;
    let held_out = rule.wishes.eval_split.filter(|wanted| *wanted >= 1.0)?;
    (held_out >= rule.min_rows as f64).then_some((held_out, rule.min_rows))
}

/// Whether what the rule makes is a canary that nothing promotes.
fn waits_for_somebody(rule: &Retrain) -> bool {
    let publish = rule.read().ok().and_then(|rule| rule.wishes.publish);
    match publish.as_deref().map(str::parse::<Publish>) {
        Some(Ok(Publish::Canary(ask))) => {
            let after = ask.policy.and_then(|policy| policy.promote_after);
            after.is_none()
        }
        _ => false,
    }
}

fn count(value: &Value, least: u64) -> Result<u64, String> {
    let count = value.as_u64().filter(|count| *count >= least);
    count.ok_or_else(|| format!("{value} is no whole number from {least} on"))
}

fn seconds(text: &str) -> Result<u64, String> {
    match span::seconds(text)? {
        seconds @ 1..=MOST_SECONDS => Ok(seconds),
        _ => Err(format!("`{text}` is not within 1s to 366d")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(toml: &str) -> Result<RetrainRule, Vec<(String, String)>> {
        toml::from_str::<Retrain>(toml).unwrap().read()
    }

    #[test]
    fn a_rule_takes_the_settings_of_a_job() {
        let read = rule(
            "adapter = \"medical\"\nmin_rows = 40\nmin_corrections = 20\nevery = \"30m\"\nlr = 0.001\nsteps = 60",
        );
        let read = read.unwrap();
        assert_eq!(
            (read.adapter.as_str(), read.min_rows, read.every.as_secs()),
            ("medical", 40, 1800)
        );
        assert_eq!(
            (read.wishes.learning_rate, read.wishes.steps),
            (Some(0.001), Some(60))
        );
        let plain = rule("adapter = \"medical\"\nmin_rows = 1").unwrap();
        assert_eq!((read.min_corrections, plain.min_corrections), (20, 0));
        let none = rule("adapter = \"medical\"\nmin_rows = 1\nmin_corrections = 0");
        assert_eq!(none.unwrap().min_corrections, 0);
        assert_eq!(
            (plain.every.as_secs(), plain.wishes),
            (3600, Wishes::default())
        );
    }

    #[test]
    fn all_that_is_wrong_with_rules_is_told_at_once() {
        let keys = |toml| {
            let wrong = rule(toml).unwrap_err();
            let mut keys: Vec<String> = wrong.into_iter().map(|(key, _)| key).collect();
            keys.sort();
            keys
        };
        assert_eq!(keys(""), ["adapter", "min_rows"]);
        assert_eq!(
            keys(
                "adapter = \"No\"\nmin_rows = 0\nmin_corrections = -1\nevery = \"7w\"\nrang = 1\nlr = \"x\"\nfrom = \"legal\"\npublish = \"canary:x\""
            ),
            [
                "adapter",
                "every",
                "from",
                "lr",
                "min_corrections",
                "min_rows",
                "publish",
                "rang"
            ]
        );
        let one: Retrain = toml::from_str("adapter = \"a\"\nmin_rows = 1").unwrap();
        let told = mistakes(&[one.clone(), one]);
        assert_eq!(told[0].0, "retrain[1].adapter");
    }

    #[test]
    fn what_would_stop_the_first_retraining_stops_the_rule() {
        let told =
            |settings: &str| match rule(&format!("adapter = \"a\"\nmin_rows = 9\n{settings}")) {
                Ok(_) => String::new(),
                Err(wrong) => wrong
                    .iter()
                    .map(|(key, why)| format!("{key}: {why}"))
                    .collect(),
            };
        for (settings, key) in [
            ("gate = \"current\"", "gate"),
            ("gate = \"heldout\"\neval_split = 0", "gate"),
            (
                "publish = \"canary:10,max_heldout_loss_ratio=1.1\"",
                "publish",
            ),
            ("keep = \"best\"\neval_every = 5", "keep"),
            ("early_stopping = 2\neval_every = 5", "early_stopping"),
        ] {
            let why = told(settings);
            assert!(
                why.starts_with(&format!("{key}: ")) && why.contains("`eval_split`"),
                "{settings}: {why}"
            );
            let with = settings.replace("eval_split = 0", "");
            assert_eq!(told(&format!("{with}\neval_split = 0.2")), "", "{settings}");
        }
        for (settings, key) in [
            ("keep = \"best\"\neval_split = 2", "keep"),
            ("gate_margin = 0.1", "gate_margin"),
            ("steps = 5\nepochs = 1", "steps"),
            ("steps = 5\nwarmup = 6", "warmup"),
            ("batch_size = 4\nmicro_batch = 3", "micro_batch"),
            ("dpo_beta = 0.1", "dpo_beta"),
        ] {
            let why = told(settings);
            assert!(why.starts_with(&format!("{key}: ")), "{settings}: {why}");
        }
        // Which method they are for, what the name serves says; of a method that is said it is known.
        for settings in ["train_modules = \"attention\"", "prefix_projection = true"] {
            assert_eq!(told(settings), "", "{settings}");
            let why = told(&format!("method = \"lora\"\n{settings}"));
            assert!(why.contains("is not used by method `lora`"), "{why}");
        }
    }

    #[test]
    fn a_rule_that_holds_out_as_many_rows_as_it_begins_with_is_told_of() {
        for (split, is_told) in [("0.5", false), ("4", false), ("5", true), ("50", true)] {
            let text = format!("adapter = \"a\"\nmin_rows = 5\neval_split = {split}");
            let told = doubts(&[toml::from_str(&text).unwrap()]);
            let keys: Vec<&str> = told.iter().map(|(key, _)| &**key).collect();
            let expected: &[&str] = if is_told {
                &["retrain[0].eval_split"]
            } else {
                &[]
            };
            assert_eq!(keys, expected, "{split}");
        }
    }

    #[test]
    fn a_rule_whose_canary_nobody_decides_about_is_told_of() {
        for (publish, is_told) in [
            ("now", false),
            ("manual", false),
            ("canary:10", true),
            ("canary:10,min_requests=50,max_error_rate=0.1", true),
            ("canary:10,promote_after=12h", false),
        ] {
            let text = format!("adapter = \"a\"\nmin_rows = 1\npublish = \"{publish}\"");
            let told = doubts(&[toml::from_str(&text).unwrap()]);
            let keys: Vec<&str> = told.iter().map(|(key, _)| &**key).collect();
            let expected: &[&str] = if is_told {
                &["retrain[0].publish"]
            } else {
                &[]
            };
            assert_eq!(keys, expected, "{publish}");
        }
        let silent = toml::from_str("adapter = \"a\"\nmin_rows = 1").unwrap();
        assert_eq!(doubts(&[silent]), []);
    }

    #[test]
    fn what_is_kept_has_bounds() {
        assert_eq!(Feedback::default().mistakes(AuthMode::Off), []);
        let wrong = Feedback {
            keep_days: 0,
            max_bytes: Bytes::from_text("much"),
            adapters: vec!["Legal".into()],
            keys: vec!["4f0c".into()],
            ..Feedback::default()
        };
        let keys: Vec<_> = { wrong.mistakes(AuthMode::Off).into_iter() }
            .map(|(key, _)| key)
            .collect();
        let all = ["keep_days", "max_bytes", "adapters", "keys"];
        assert_eq!(keys, all.map(|key| format!("feedback.{key}")));
        assert_eq!(wrong.mistakes(AuthMode::Keys).len(), 3);
    }
}
