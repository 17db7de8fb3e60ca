//! Routes of names: what each arm answers, and what shadows say. Adapter labels are those of all other metrics.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use super::{LATENCY, Metrics};
use crate::domain::AdapterName;
use crate::domain::rollout::{Arm, Decision, Outcome};
use crate::gateway::ObserveRoutes;

/// What may become of a shadow's answer.
const SHADOWED: [&str; 4] = ["equal", "different", "dropped", "failed"];

pub struct Routes {
    requests: IntCounterVec,
    first_token: HistogramVec,
    shadowed: IntCounterVec,
    decisions: IntCounterVec,
}

impl Routes {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let made = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let first_token = HistogramVec::new(
            HistogramOpts::new(
                "adapterd_route_time_to_first_token_seconds",
                "From arrival to the first token, where a route chose who answers",
            )
            .buckets(LATENCY.to_vec()),
            &["adapter", "route"],
        )?;
        registry.register(Box::new(first_token.clone()))?;
        Ok(Self {
            requests: counters(
                "adapterd_route_requests_total",
                "Answers where a route chose who gives them",
                &["adapter", "route", "outcome"],
            )?,
            first_token,
            shadowed: counters(
                "adapterd_route_shadow_total",
                "Answers that a shadow was to repeat, by what became of it",
                &["adapter", "outcome"],
            )?,
            decisions: counters(
                "adapterd_route_decisions_total",
                "Canaries that their policy ended",
                &["adapter", "decision"],
            )?,
        })
    }

    /// The series of an adapter that is gone go too.
    pub fn forget(&self, name: &str) {
        // Removing what was never counted is no mistake.
        for arm in Arm::ALL {
            let _ = self.first_token.remove_label_values(&[name, arm.as_str()]);
            for outcome in Outcome::ALL {
                let labels = [name, arm.as_str(), outcome.as_str()];
                let _ = self.requests.remove_label_values(&labels);
            }
        }
        for what in SHADOWED {
            let _ = self.shadowed.remove_label_values(&[name, what]);
        }
        for decision in Decision::NAMES {
            let _ = self.decisions.remove_label_values(&[name, decision]);
        }
    }
}

impl ObserveRoutes for Metrics {
    fn answered(&self, name: &AdapterName, arm: Arm, outcome: Outcome) {
        let labels = [self.label(name), arm.as_str(), outcome.as_str()];
        self.routes.requests.with_label_values(&labels).inc();
    }

    fn first_token(&self, name: &AdapterName, arm: Arm, seconds: f64) {
        let labels = [self.label(name), arm.as_str()];
        let histogram = self.routes.first_token.with_label_values(&labels);
        histogram.observe(seconds);
    }

    fn shadowed(&self, name: &AdapterName, what: &'static str) {
        let name = self.label(name);
        self.routes.shadowed.with_label_values(&[name, what]).inc();
        let outcome = if what == "failed" {
            Outcome::Failed
        } else {
            Outcome::Answered
        };
        if what != "dropped" {
            let labels = [name, Arm::Shadow.as_str(), outcome.as_str()];
            self.routes.requests.with_label_values(&labels).inc();
        }
    }

    fn decided(&self, name: &AdapterName, decision: Decision) {
        let labels = [self.label(name), decision.as_str()];
        self.routes.decisions.with_label_values(&labels).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::Load;

    fn text(metrics: &Metrics) -> String {
        let gauges = crate::app::telemetry::Gauges {
            load: Load::default(),
            shares: crate::device::Shares::default(),
            resident: Vec::new(),
            max_adapters: 8,
            jobs: Vec::new(),
            memory: Vec::new(),
            limit_refusals: Vec::new(),
        };
        metrics.render(&gauges).unwrap()
    }

    #[test]
    fn routes_are_counted_by_arm_under_few_names_and_forgotten_with_them() {
        let metrics = Metrics::new(1).unwrap();
        let observe: &dyn ObserveRoutes = &metrics;
        for name in ["legal", "second"] {
            let name: AdapterName = name.parse().unwrap();
            observe.answered(&name, Arm::Canary, Outcome::Failed);
            observe.first_token(&name, Arm::Stable, 0.1);
            observe.decided(&name, Decision::Abort);
            for what in SHADOWED {
                observe.shadowed(&name, what);
            }
        }
        let told = text(&metrics);
        for line in [
            r#"adapterd_route_requests_total{adapter="legal",outcome="error",route="canary"} 1"#,
            r#"adapterd_route_requests_total{adapter="other",outcome="ok",route="shadow"} 2"#,
            r#"adapterd_route_shadow_total{adapter="legal",outcome="dropped"} 1"#,
            r#"adapterd_route_decisions_total{adapter="legal",decision="abort"} 1"#,
            r#"adapterd_route_time_to_first_token_seconds_count{adapter="legal",route="stable"} 1"#,
        ] {
            assert!(told.contains(line), "{line} in\n{told}");
        }
        metrics.forget_adapters(|_| false);
        assert!(!text(&metrics).contains("legal"));
    }
}
