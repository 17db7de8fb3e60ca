//! settings: how the daemon is configured, from defaults < TOML file < environment < flags.
//! Unknown keys are errors with a suggestion, and every mistake is reported at once.

mod auth;
mod feedback;
mod layers;
mod limits;
mod place;
mod problem;
mod server;
mod telemetry;
mod training;
mod values;

pub use auth::AuthMode;
pub use layers::{Settings, load};
pub use place::Place;
pub use problem::Problem;
pub use telemetry::{LogFormat, Telemetry};
pub use values::{Model, Speculation, Values};
