//! Whether a canary goes on, is given up, or takes over.

use serde::{Deserialize, Serialize};

use super::{Policy, Tally};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    Keep,
    Abort,
    Promote,
}

impl Decision {
    pub const NAMES: &'static [&'static str] = &["keep", "abort", "promote"];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Abort => "abort",
            Self::Promote => "promote",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub decision: Decision,
    pub why: String,
    /// For which the canary has run.
    pub elapsed_seconds: u64,
}

/// What is known of a generation.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    pub tally: &'a Tally,
    /// As its training measured it.
    pub heldout_loss: Option<f64>,
}

/// What one rule of a policy comes to.
enum Rule {
    Holds,
    Fails(String),
    /// Not known yet; holds what is missing.
    Open(String),
}

/// `elapsed`: seconds for which the canary has run. The first rule that fails ends it, whatever the others say; it takes over
/// once none is open.
pub fn judge(policy: &Policy, canary: Evidence<'_>, stable: Evidence<'_>, elapsed: f64) -> Verdict {
    let rules = [
        errors(policy, canary),
        latency(policy, canary, stable),
        heldout(policy, canary, stable),
        scores(policy, canary, stable),
    ];
    let elapsed_seconds = elapsed.max(0.0) as u64;
    let verdict = |decision, why| Verdict {
        decision,
        why,
        elapsed_seconds,
    };
    let mut open = Vec::new();
    for rule in rules {
        match rule {
            Rule::Holds => {}
            Rule::Fails(why) => return verdict(Decision::Abort, why),
            Rule::Open(missing) => open.push(missing),
        }
    }
    if canary.tally.requests < policy.requests() {
        open.insert(
            0,
            format!(
                "{} of {} answers are counted",
                canary.tally.requests,
                policy.requests()
            ),
        );
    }
    match policy.promote_after {
        None if open.is_empty() => verdict(
            Decision::Keep,
            "it keeps to its policy; promote or abort it by hand".into(),
        ),
        Some(after) if open.is_empty() && elapsed >= after as f64 => verdict(
            Decision::Promote,
            format!(
                "it has kept to its policy for {elapsed_seconds} s and {} answers",
                canary.tally.requests
            ),
        ),
        Some(after) if open.is_empty() => verdict(
            Decision::Keep,
            format!("it keeps to its policy, for {elapsed_seconds} of {after} s"),
        ),
        _ => verdict(Decision::Keep, open.join("; ")),
    }
}

fn errors(policy: &Policy, canary: Evidence<'_>) -> Rule {
    let Some(most) = policy.max_error_rate else {
        return Rule::Holds;
    };
    let (errors, requests) = (canary.tally.errors, canary.tally.requests);
    // So many that those still missing cannot make up for them.
    let of = requests.max(policy.requests());
    if errors as f64 > most * of as f64 {
        return Rule::Fails(format!(
            "{errors} of {requests} answers failed; at most {most} of {of} may"
        ));
    }
    Rule::Holds
}

fn latency(policy: &Policy, canary: Evidence<'_>, stable: Evidence<'_>) -> Rule {
    let Some(most) = policy.max_latency_ratio else {
        return Rule::Holds;
    };
    let needed = policy.requests();
    let times = [
        (
            "time to the first token",
            &canary.tally.first_token,
            &stable.tally.first_token,
        ),
        ("duration", &canary.tally.duration, &stable.tally.duration),
    ];
    if canary.tally.duration.count() < needed {
        return Rule::Open("its latency is not known yet".into());
    }
    if stable.tally.duration.count() < needed {
        return Rule::Open(format!(
            "{} of {needed} answers of stable are counted to compare latency with",
            stable.tally.duration.count()
        ));
    }
    for (what, canary, stable) in times {
        let (Some(of_canary), Some(of_stable)) = (canary.quantile(0.95), stable.quantile(0.95))
        else {
            continue;
        };
        let ratio = of_canary / of_stable;
        if ratio > most {
            return Rule::Fails(format!(
                "the {what} of 95 % is {of_canary:.3} s, {ratio:.2} times that of stable; at most {most} times is allowed"
            ));
        }
    }
    Rule::Holds
}

fn heldout(policy: &Policy, canary: Evidence<'_>, stable: Evidence<'_>) -> Rule {
    let Some(most) = policy.max_heldout_loss_ratio else {
        return Rule::Holds;
    };
    let (Some(of_canary), Some(of_stable)) = (canary.heldout_loss, stable.heldout_loss) else {
        return Rule::Open("there is no held-out loss of both generations to compare".into());
    };
    // A loss of 0 leaves no ratio: then only another 0 is as good.
    if of_canary > most * of_stable {
        return Rule::Fails(format!(
            "its held-out loss is {of_canary:.4}, that of stable {of_stable:.4}; at most {most} times that is allowed"
        ));
    }
    Rule::Holds
}

fn scores(policy: &Policy, canary: Evidence<'_>, stable: Evidence<'_>) -> Rule {
    if policy.min_feedback.is_none() && policy.min_score_ratio.is_none() {
        return Rule::Holds;
    }
    let needed = policy.feedback();
    let (of_canary, of_stable) = (canary.tally.scores, stable.tally.scores);
    if of_canary < needed {
        return Rule::Open(format!("{of_canary} of {needed} scores are in"));
    }
    let Some(least) = policy.min_score_ratio else {
        return Rule::Holds;
    };
    if of_stable < needed {
        return Rule::Open(format!("{of_stable} of {needed} scores of stable are in"));
    }
    let (Some(mine), Some(other)) = (canary.tally.mean_score(), stable.tally.mean_score()) else {
        return Rule::Open("there are no scores to compare".into());
    };
    if mine < least * other {
        return Rule::Fails(format!(
            "its mean score is {:.3}, that of stable {:.3}; at least {least} times that is asked for (from 0 to 1: {mine:.3} and {other:.3})",
            2.0 * mine - 1.0,
            2.0 * other - 1.0
        ));
    }
    Rule::Holds
}

#[cfg(test)]
mod tests;
