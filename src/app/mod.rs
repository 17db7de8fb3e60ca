//! app: settings, assembly, drain, telemetry, and the commands that run in this process.
//! Sees every layer; no layer sees it.

mod assemble;
mod audit;
mod bench;
mod bundled;
mod command;
mod data;
mod demo;
mod doctor;
mod keys;
mod local;
mod man;
mod merge;
mod offline;
mod plan;
mod pretrain;
mod serve;
pub mod settings;
mod shapes;
mod systemd;
mod telemetry;
mod upkeep;

pub use command::main;

use crate::cli::Failure;

/// All mistakes in the settings, one a line.
fn unusable(problems: Vec<settings::Problem>) -> Failure {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| format!("  {problem}"))
        .collect();
    Failure::Usage(format!(
        "the settings cannot be used:\n{}",
        lines.join("\n")
    ))
}
