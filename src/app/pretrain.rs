//! `adapterd pretrain`: makes the embedded base and the data of the ready-made adapters anew.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::Failure;
use crate::factory::{self, Plan, Report};
use crate::kernels::pool;

#[derive(Debug, Subcommand)]
pub enum PretrainCommand {
    /// Train the base from scratch: about forty minutes on two cores; stop and start it as you like, it goes on from its checkpoint
    Base(BaseArgs),
    /// Write model.gguf anew from the model.safetensors and tokenizer.json of a folder
    Export { folder: PathBuf },
    /// Write train.jsonl and heldout.jsonl of legal, medical and finance
    Data(DataArgs),
}

#[derive(Debug, Args)]
pub struct BaseArgs {
    /// Folder for model.gguf, pretrain.log, the tokenizer and the checkpoint
    #[arg(long, default_value = "pretrained")]
    pub out: PathBuf,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Tokens to train on
    #[arg(long, default_value_t = 9_000_000)]
    pub tokens: u64,
    /// Threads to compute on; all cores unless said
    #[arg(long)]
    pub threads: Option<usize>,
}

#[derive(Debug, Args)]
pub struct DataArgs {
    /// Folder that gets one folder a task
    #[arg(long, default_value = "adapters")]
    pub out: PathBuf,
    #[arg(long, default_value_t = 11)]
    pub seed: u64,
}

pub fn run(command: &PretrainCommand) -> Result<(), Failure> {
    match command {
        PretrainCommand::Base(args) => base(args),
        PretrainCommand::Export { folder } => {
            factory::export_folder(folder).map_err(Failure::failed)
        }
        PretrainCommand::Data(args) => {
            factory::write_domains(&args.out, args.seed).map_err(Failure::failed)
        }
    }
}

fn base(args: &BaseArgs) -> Result<(), Failure> {
    if let Some(threads) = args.threads {
        pool::configure(threads);
    }
    std::fs::create_dir_all(&args.out).map_err(Failure::failed)?;
    let mut log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(args.out.join("pretrain.log"))
        .map_err(Failure::failed)?;
    let plan = Plan {
        folder: args.out.clone(),
        seed: args.seed,
        tokens: args.tokens,
    };
    factory::run(&plan, |report| {
        let line = line(report);
        println!("{line}");
        // The log is a convenience: a full disk shows at the next checkpoint, which is not.
        let _ = writeln!(log, "{line}");
    })
    .map_err(Failure::failed)
}

fn line(report: &Report) -> String {
    let probes: Vec<String> = report
        .probes
        .iter()
        .map(|(name, share)| format!("{name} {share:.2}"))
        .collect();
    format!(
        "stage {} step {} tokens {} loss {:.4} exact {:.3} | {}",
        report.stage,
        report.step,
        report.tokens,
        report.loss,
        report.mean(),
        probes.join(" ")
    )
}
