//! Routes of names as messages.

use super::adapters::given;
use crate::domain::Reason;
use crate::domain::rollout::{
    ArmView, Canary, CanaryAsk, Percent, Policy, RouteView, Shadow, ShadowCountsView, Sticky,
    Verdict,
};
use crate::pb;

pub(super) fn canary_ask(asked: &pb::CanaryAdapterRequest) -> Result<CanaryAsk, Reason> {
    let sticky = given(&asked.sticky).map(|name| Sticky::of("sticky", name));
    Ok(CanaryAsk {
        percent: Percent::new("percent", asked.percent)?,
        sticky: sticky.transpose()?,
        policy: asked.policy.as_ref().map(policy),
    })
}

fn policy(policy: &pb::CanaryPolicy) -> Policy {
    Policy {
        min_requests: policy.min_requests,
        max_error_rate: policy.max_error_rate,
        max_latency_ratio: policy.max_latency_ratio,
        max_heldout_loss_ratio: policy.max_heldout_loss_ratio,
        min_feedback: policy.min_feedback,
        min_score_ratio: policy.min_score_ratio,
        promote_after: policy.promote_after,
    }
}

pub(super) fn route(view: RouteView) -> pb::Route {
    let (stable, canary, shadow) = match view.counts {
        Some(counts) => (Some(counts.stable), counts.canary, counts.shadow),
        None => (None, None, None),
    };
    pb::Route {
        stable: view.stable.to_string(),
        canary: view.canary.map(of_canary),
        shadow: view.shadow.map(of_shadow),
        stable_counts: stable.map(counts),
        canary_counts: canary.map(counts),
        shadow_counts: shadow.map(shadow_counts),
        verdict: view.verdict.map(verdict),
    }
}

fn of_canary(canary: Canary) -> pb::Canary {
    let policy = canary.policy;
    pb::Canary {
        generation: canary.generation.to_string(),
        percent: canary.percent.into(),
        sticky: match canary.sticky {
            Sticky::Request => "request",
            Sticky::Caller => "caller",
        }
        .to_owned(),
        since: canary.since,
        policy: Some(pb::CanaryPolicy {
            min_requests: policy.min_requests,
            max_error_rate: policy.max_error_rate,
            max_latency_ratio: policy.max_latency_ratio,
            max_heldout_loss_ratio: policy.max_heldout_loss_ratio,
            min_feedback: policy.min_feedback,
            min_score_ratio: policy.min_score_ratio,
            promote_after: policy.promote_after,
        }),
    }
}

fn of_shadow(shadow: Shadow) -> pb::Shadow {
    pb::Shadow {
        generation: shadow.generation.to_string(),
        percent: shadow.percent.into(),
        since: shadow.since,
    }
}

fn counts(view: ArmView) -> pb::RouteCounts {
    pb::RouteCounts {
        requests: view.requests,
        errors: view.errors,
        error_rate: view.error_rate,
        first_token_p50: view.first_token_p50,
        first_token_p95: view.first_token_p95,
        duration_p50: view.duration_p50,
        duration_p95: view.duration_p95,
        feedback: view.feedback,
        mean_score: view.mean_score,
        heldout_loss: view.heldout_loss,
    }
}

fn shadow_counts(view: ShadowCountsView) -> pb::ShadowCounts {
    pb::ShadowCounts {
        compared: view.compared,
        dropped: view.dropped,
        failed: view.failed,
        equal_rate: view.equal_rate,
        mean_edit_distance: view.mean_edit_distance,
        mean_logprob: view.mean_logprob,
    }
}

fn verdict(verdict: Verdict) -> pb::CanaryVerdict {
    pb::CanaryVerdict {
        decision: verdict.decision.as_str().to_owned(),
        why: verdict.why,
        elapsed_seconds: verdict.elapsed_seconds,
    }
}
