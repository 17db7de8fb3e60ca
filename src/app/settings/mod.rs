//! settings: what the daemon is told, from defaults < TOML file < environment < flags.
//! Unknown keys are errors with a suggestion, and every mistake is reported at once.

mod layers;
mod values;

pub use layers::{Problem, Settings, load};
pub use values::{LogFormat, Model, Speculation, Telemetry, Values};
