//! What people think of answers.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::Metrics;
use crate::gateway::feedback::Observe;

/// What feedback may say.
const KINDS: [&str; 3] = ["up", "down", "correction"];

pub struct Feedback {
    given: IntCounterVec,
    dropped: IntCounter,
}

impl Feedback {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let made = Self {
            given: IntCounterVec::new(
                Opts::new("adapterd_feedback_total", "Feedback on answers"),
                &["adapter", "kind"],
            )?,
            dropped: IntCounter::new(
                "adapterd_feedback_dropped_total",
                "Answers that were to be kept and were not",
            )?,
        };
        registry.register(Box::new(made.given.clone()))?;
        registry.register(Box::new(made.dropped.clone()))?;
        Ok(made)
    }

    /// The series of an adapter that is gone.
    pub fn forget(&self, adapter: &str) {
        for kind in KINDS {
            // Absent where there was no such feedback.
            let _ = self.given.remove_label_values(&[adapter, kind]);
        }
    }
}

impl Observe for Metrics {
    fn given(&self, adapter: Option<&str>, kind: &'static str) {
        let adapter = match adapter {
            None => "none",
            // Blends are too many to be told apart.
            Some(blend) if blend.contains('=') => crate::registry::BLENDS,
            Some(name) => self.adapters.of(name),
        };
        let given = &self.feedback.given;
        given.with_label_values(&[adapter, kind]).inc();
    }

    fn dropped(&self) {
        self.feedback.dropped.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::idle;
    use super::*;

    #[test]
    fn feedback_is_counted_by_adapter_and_kind_and_what_was_not_kept() {
        let metrics = Metrics::new(1).unwrap();
        metrics.given(Some("legal"), "up");
        metrics.given(Some("medical"), "down");
        metrics.given(Some("a=0.5,b=0.5"), "up");
        metrics.given(None, "correction");
        metrics.dropped();
        let text = metrics.render(&idle()).unwrap();
        for line in [
            "adapterd_feedback_total{adapter=\"legal\",kind=\"up\"} 1",
            "adapterd_feedback_total{adapter=\"other\",kind=\"down\"} 1",
            "adapterd_feedback_total{adapter=\"(blend)\",kind=\"up\"} 1",
            "adapterd_feedback_total{adapter=\"none\",kind=\"correction\"} 1",
            "adapterd_feedback_dropped_total 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        metrics.forget_adapters(|_| false);
        assert!(
            !metrics
                .render(&idle())
                .unwrap()
                .contains("adapter=\"legal\"")
        );
    }
}
