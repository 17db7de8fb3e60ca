//! bench: measures what a client of the daemon sees. Drives a daemon of its own, or one that runs, over HTTP alone,
//! so the numbers hold every layer from the socket to the kernels.

mod adapters;
mod attention;
mod data;
mod jobs;
mod kernels;
mod load;
mod mix;
mod mixed;
mod numbers;
mod serving;
mod target;
mod training;

use clap::{Subcommand, ValueEnum};

use self::adapters::AdaptersArgs;
use self::data::DataArgs;
use self::jobs::JobsArgs;
use self::kernels::KernelsArgs;
use self::mixed::MixedArgs;
use self::serving::ServingArgs;
use self::training::TrainingArgs;
use crate::app::shapes::Shape;
use crate::cli::{Connection, Failure, Output};

#[derive(Debug, Clone, Subcommand)]
pub enum BenchCommand {
    /// Streams of answers: tokens a second, time to the first token, gaps between tokens
    Serve(ServingArgs),
    /// What adapters cost: in a batch, cold, replaced under load, too many for memory, a thousand of them
    Adapters(AdaptersArgs),
    /// Optimizer steps: tokens a second, time of a step
    Train(TrainingArgs),
    /// Several jobs at a time, against the same jobs one after the other: how much sooner they are done
    Jobs(JobsArgs),
    /// A large training file: uploaded, checked, trained on, paused and resumed; megabytes a second, memory added
    Data(DataArgs),
    /// Answers while a job trains: gaps between tokens with and without it, and the speed that training keeps
    Mixed(MixedArgs),
    /// Products with frozen weights: bytes and multiply-adds a second
    Kernels(KernelsArgs),
}

/// What is measured. Unless told otherwise, the base that is part of the program.
#[derive(Debug, Clone, clap::Args)]
pub struct Subject {
    /// A folder, a .gguf file, a Hugging Face id, or `embedded`
    #[arg(long, value_name = "MODEL", conflicts_with = "synthetic")]
    model: Option<String>,
    /// Random weights of a real shape, written to a temporary folder (2 bytes a parameter)
    #[arg(long, value_name = "SHAPE")]
    synthetic: Option<Shape>,
    /// auto, none (as stored), int8 (LLM.int8), or a format: f32, f16, bf16, q8_0, q6_k, q5_k, q4_k, q4_0, …
    #[arg(long, value_name = "FORMAT")]
    quant: Option<String>,
    /// Type of cached keys and values: auto, f32, f16, q8
    #[arg(long, value_name = "TYPE")]
    kv: Option<String>,
    /// Compute threads [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

pub async fn run(command: &BenchCommand, connection: &Connection) -> Result<(), Failure> {
    let output = Output::new(connection.json);
    match command {
        BenchCommand::Serve(args) => serving::run(args, connection, output).await,
        BenchCommand::Adapters(args) => adapters::run(args, output).await,
        BenchCommand::Train(args) => training::run(args, output).await,
        BenchCommand::Jobs(args) => jobs::run(args, output).await,
        BenchCommand::Data(args) => data::run(args, output).await,
        BenchCommand::Mixed(args) => mixed::run(args, output).await,
        BenchCommand::Kernels(args) => kernels::run(args, output),
    }
}

/// A choice as it is written on the command line.
fn spelled(choice: impl ValueEnum) -> String {
    let value = choice.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}
