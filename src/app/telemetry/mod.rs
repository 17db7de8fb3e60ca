//! telemetry: logs and metrics. Observes; never decides.

mod labels;
mod log;
mod metrics;

pub use log::start as start_log;
pub use metrics::{Gauges, Metrics};
