//! How often limits are met.

use prometheus::{IntCounterVec, Opts, Registry};

pub struct Limits {
    refusals: IntCounterVec,
}

impl Limits {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let opts = Opts::new(
            "adapterd_limit_refusals_total",
            "Requests, jobs and files that a limit of a key or an adapter forbade",
        );
        let refusals = IntCounterVec::new(opts, &["limit"])?;
        registry.register(Box::new(refusals.clone()))?;
        Ok(Self { refusals })
    }

    /// `met`: each limit, and how often it was met since the start.
    pub fn show(&self, met: &[(&'static str, u64)]) {
        for (limit, times) in met {
            let counted = self.refusals.with_label_values(&[*limit]);
            counted.inc_by(times.saturating_sub(counted.get()));
        }
    }
}
