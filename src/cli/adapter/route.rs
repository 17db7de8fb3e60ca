//! Routes of names: canaries and shadows, asked for and told.

use serde_json::{Value, json};

use super::Condition;
use crate::cli::output::{short, when};
use crate::domain::span::seconds;

#[derive(Debug, Clone, clap::Args)]
pub struct CanaryArgs {
    pub name: String,
    /// At least 8 hex digits of a generation the name has
    #[arg(long)]
    generation: String,
    /// Of the name's requests, with up to two decimals
    #[arg(long, value_name = "PERCENT")]
    percent: f64,
    /// What stays with one version: request (each with its repetitions) or caller (all of a caller's) [default: request]
    #[arg(long, value_name = "WHAT")]
    sticky: Option<String>,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    condition: Condition,
}

/// Without any of these, a canary runs until it is promoted or aborted by hand, and one that runs keeps its policy.
#[derive(Debug, Clone, clap::Args)]
struct PolicyArgs {
    /// Answers of the canary before anything is decided by them [default: 100]
    #[arg(long, value_name = "N")]
    min_requests: Option<u64>,
    /// Abort when a larger share of its answers fails for a fault of the server, 0 to 1
    #[arg(long, value_name = "SHARE")]
    max_error_rate: Option<f64>,
    /// Abort when the slowest 5 % take more than so many times as long as those of stable
    #[arg(long, value_name = "RATIO")]
    max_latency_ratio: Option<f64>,
    /// Abort when its held-out loss is more than so many times that of stable
    #[arg(long, value_name = "RATIO")]
    max_heldout_loss_ratio: Option<f64>,
    /// Scores of the canary before anything is decided by them [default: 20]
    #[arg(long, value_name = "N")]
    min_feedback: Option<u64>,
    /// Abort when its mean score is less than so many times that of stable (-1 counts as 0, 1 as 1)
    #[arg(long, value_name = "RATIO")]
    min_score_ratio: Option<f64>,
    /// Promote it when it has kept to all of this for so long, as 30m or 12h [default: never]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    promote_after: Option<u64>,
}

impl CanaryArgs {
    pub fn body(&self) -> Value {
        let mut body = self.condition.body();
        body["generation"] = json!(self.generation);
        body["percent"] = json!(self.percent);
        if let Some(sticky) = &self.sticky {
            body["sticky"] = json!(sticky);
        }
        let policy = &self.policy;
        let fields = [
            ("min_requests", json!(policy.min_requests)),
            ("max_error_rate", json!(policy.max_error_rate)),
            ("max_latency_ratio", json!(policy.max_latency_ratio)),
            (
                "max_heldout_loss_ratio",
                json!(policy.max_heldout_loss_ratio),
            ),
            ("min_feedback", json!(policy.min_feedback)),
            ("min_score_ratio", json!(policy.min_score_ratio)),
            ("promote_after", json!(policy.promote_after)),
        ];
        for (field, value) in fields.into_iter().filter(|(_, value)| !value.is_null()) {
            body["policy"][field] = value;
        }
        body
    }
}

#[derive(Debug, Clone, clap::Args)]
pub struct ShadowArgs {
    pub name: String,
    /// At least 8 hex digits of a generation the name has
    #[arg(long)]
    generation: String,
    /// Of the name's requests, with up to two decimals
    #[arg(long, value_name = "PERCENT")]
    percent: f64,
    #[command(flatten)]
    condition: Condition,
}

impl ShadowArgs {
    pub fn body(&self) -> Value {
        let mut body = self.condition.body();
        body["generation"] = json!(self.generation);
        body["percent"] = json!(self.percent);
        body
    }
}

/// What takes part of a name's requests, in lines; nothing where all go to one generation.
pub fn told(route: &Value) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let share = |arm: &Value| {
        format!(
            "{}, {} % of the requests, since {}",
            short(&arm["generation"]),
            arm["percent"],
            when(&arm["since"])
        )
    };
    let canary = &route["canary"];
    if canary.is_object() {
        let sticky = canary["sticky"].as_str().unwrap_or_default();
        lines.push(("canary", format!("{}, by {sticky}", share(canary))));
        let policy = { canary["policy"].as_object().into_iter().flatten() }
            .map(|(field, value)| format!("{field} {value}"))
            .collect::<Vec<_>>();
        let policy = match policy.is_empty() {
            true => "none: promote or abort it by hand".to_owned(),
            false => policy.join(", "),
        };
        lines.push(("canary policy", policy));
        lines.push(("canary answers", counts(&route["counts"]["canary"])));
        lines.push(("stable answers", counts(&route["counts"]["stable"])));
        let verdict = &route["verdict"];
        if let (Some(decision), Some(why)) = (verdict["decision"].as_str(), verdict["why"].as_str())
        {
            lines.push(("verdict", format!("{decision}: {why}")));
        }
    }
    let shadow = &route["shadow"];
    if shadow.is_object() {
        lines.push(("shadow", share(shadow)));
        let counts = &route["counts"]["shadow"];
        let mut told = format!(
            "{} compared, {} dropped, {} failed",
            counts["compared"], counts["dropped"], counts["failed"]
        );
        if let Some(rate) = counts["equal_rate"].as_f64() {
            told += &format!("; {:.1} % the same", 100.0 * rate);
        }
        if let Some(distance) = counts["mean_edit_distance"].as_f64() {
            told += &format!("; edit distance {distance:.3}");
        }
        if let Some(logprob) = counts["mean_logprob"].as_f64() {
            told += &format!("; log-probability of what was sent {logprob:.3}");
        }
        lines.push(("shadow answers", told));
    }
    lines
}

fn counts(counts: &Value) -> String {
    let number = |field: &str| counts[field].as_f64();
    let mut told = format!("{}, {} failed", counts["requests"], counts["errors"]);
    if let Some(rate) = number("error_rate").filter(|rate| *rate > 0.0) {
        told += &format!(" ({:.2} %)", 100.0 * rate);
    }
    if let (Some(first), Some(whole)) = (number("first_token_p95"), number("duration_p95")) {
        told += &format!("; 95 % within {first:.3} s to the first token, {whole:.3} s in all");
    }
    if let Some(score) = number("mean_score") {
        told += &format!("; score {score:.2} of {}", counts["feedback"]);
    }
    if let Some(loss) = number("heldout_loss") {
        told += &format!("; held-out loss {loss:.4}");
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_with_one_generation_needs_no_line() {
        assert!(told(&json!({"stable": "ab"})).is_empty());
        assert!(told(&Value::Null).is_empty());
    }

    #[test]
    fn a_route_is_told_in_words() {
        let route = json!({
            "stable": "11111111",
            "canary": {"generation": "2222222222", "percent": 10.0, "sticky": "caller", "since": 0, "policy": {"min_requests": 50}},
            "shadow": {"generation": "3333333333", "percent": 5.0, "since": 0},
            "counts": {
                "stable": {"requests": 90, "errors": 0, "feedback": 0},
                "canary": {"requests": 10, "errors": 1, "error_rate": 0.1, "feedback": 0},
                "shadow": {"compared": 4, "dropped": 1, "failed": 0, "equal_rate": 0.75},
            },
            "verdict": {"decision": "keep", "why": "10 of 50 answers are counted"},
        });
        let lines = told(&route);
        let line = |field: &str| {
            let found = lines.iter().find(|(name, _)| *name == field);
            found.unwrap().1.clone()
        };
        assert!(line("canary").starts_with("22222222, 10.0 % of the requests"));
        assert_eq!(line("canary policy"), "min_requests 50");
        assert_eq!(line("canary answers"), "10, 1 failed (10.00 %)");
        assert_eq!(line("verdict"), "keep: 10 of 50 answers are counted");
        let shadow = line("shadow answers");
        assert!(shadow.contains("4 compared") && shadow.contains("75.0 % the same"));
    }
}
