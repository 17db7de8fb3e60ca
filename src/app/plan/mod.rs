//! `adapterd plan`: what a job would learn, take and last, before there is one. Reads sizes, never weights.

mod arithmetic;
mod rate;
mod report;
mod rows;

use std::path::{Path, PathBuf};

use serde_json::json;

use super::assemble::scheduler_config;
use super::settings;
use super::shapes::Shape;
use crate::cli::{Brought, Failure, Output, TrainFlags};
use crate::device::{Part, machine};
use crate::domain::Reason;
use crate::domain::recipes::Joined;
use crate::domain::settings::{public_name, wishes};
use crate::kernels::pool;
use crate::model::{KvKind, Origin, Outline, Quant};
use crate::trainer::account::{Load, Outlined};
use report::{Memory, Report};
use rows::{Rows, Voice};

#[derive(Debug, Clone, clap::Args)]
pub struct PlanArgs {
    /// The base: a folder, a .gguf file, a config.json alone, a Hugging Face id, or `embedded`
    #[arg(long, value_name = "MODEL", conflicts_with = "shape")]
    model: Option<String>,
    /// A published shape instead, of which nothing has to be here
    #[arg(long, value_name = "SHAPE")]
    shape: Option<Shape>,
    /// As `serve` would hold the base: auto, none (as stored), int8, or a format: f32, f16, bf16, q8_0, q4_k, q4_0, …
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    quant: String,
    /// Type of cached keys and values: auto, f32, f16, q8
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    kv: String,
    /// Tokens of the longest record: the same as --max-seq
    #[arg(long, value_name = "N", conflicts_with = "max_seq")]
    seq: Option<u64>,
    /// Records, each as long as a row, to count steps and time an epoch
    #[arg(long, value_name = "N", conflicts_with = "data", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    rows: Option<u64>,
    /// A file of records: steps, time and memory by their own lengths
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Compute threads that time is measured with [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    #[command(flatten)]
    recipe: TrainFlags,
    #[command(flatten)]
    brought: Brought,
}

/// Prints the plan; a failure where the job does not fit.
pub fn run(args: &PlanArgs, as_json: bool) -> Result<(), Failure> {
    if let Some(threads) = args.threads {
        pool::configure(threads);
    }
    let base = Subject::of(args)?;
    let joined = joined(args).map_err(refused)?;
    let tokenizer = base.voice.as_ref().map(|voice| &voice.tokenizer);
    let job = Outlined::new(&base.outline, tokenizer, &joined.wishes);
    let job = job.map_err(|reason| refused(joined.explain(reason)))?;
    let rows = match (&args.data, args.rows) {
        (Some(file), _) => Some(Rows::of_file(file, &job.recipe, base.voice.as_ref())?),
        (None, Some(count)) => Some(Rows::full(count, &job.recipe).map_err(refused)?),
        (None, None) => None,
    };
    let memory = memory(args, &base.outline, &job, rows.as_ref())?;
    let rate = rate::measure(&base.outline, &job, memory.load).map_err(Failure::failed)?;
    let fits = memory.fits();
    let report = Report {
        name: &base.name,
        outline: &base.outline,
        job: &job,
        rows: rows.as_ref(),
        mappings: &joined.mappings,
        arithmetic: arithmetic::of(&base, &job.recipe).map_err(refused)?,
        memory,
        rate,
    };
    Output::new(as_json).show(&report.to_json(), |_| report.to_text())?;
    match fits {
        true => Ok(()),
        false => Err(Failure::Failed("the job does not fit".to_owned())),
    }
}

/// What flags and recipes say.
fn joined(args: &PlanArgs) -> Result<Joined, Reason> {
    let mut said = args.recipe.said.clone();
    if let Some(seq) = args.seq {
        said.insert("max_seq".to_owned(), json!(seq));
    }
    args.brought.recipes()?.join(wishes(&said)?)
}

/// A refusal as the daemon would make it, of a command line.
fn refused(reason: Reason) -> Failure {
    Failure::Usage(match reason {
        Reason::BadField { field, why } => format!("{}: {why}", public_name(&field)),
        other => other.to_string(),
    })
}

fn memory(
    args: &PlanArgs,
    outline: &Outline,
    job: &Outlined<'_>,
    rows: Option<&Rows>,
) -> Result<Memory, Failure> {
    let kv = settings::Model {
        kv: args.kv.clone(),
        ..settings::Model::default()
    };
    let kv: KvKind = kv.kv().map_err(Failure::Usage)?;
    let engine = scheduler_config(&settings::Values::default());
    let block = outline.block_bytes(engine.block_size, kv);
    let cache = engine.cache_blocks(block, outline.spec().context) as u64 * block;
    let lengths = rows.map(|rows| &rows.lengths[..]);
    let load = match lengths {
        Some(lengths) => Load::of_rows(lengths, &job.recipe),
        None => Load::full(&job.recipe),
    };
    let (usage, process) = job.peak(load);
    let limit = match &job.recipe.memory_limit {
        None => None,
        Some(bytes) => Some(bytes.count().map_err(Failure::Usage)?),
    };
    let machine = machine::available();
    let base = usage.of(Part::Base) + process + cache;
    // What training itself may take, by either limit.
    let of_machine = machine.map(|bytes| bytes.saturating_sub(base));
    let room = [limit, of_machine].into_iter().flatten().min();
    let fits = room.is_none_or(|room| usage.total() - usage.of(Part::Base) <= room);
    let changes = match room {
        Some(room) if !fits => job.changes(room, lengths),
        _ => Vec::new(),
    };
    Ok(Memory {
        load,
        usage,
        process,
        cache,
        limit,
        machine,
        room,
        changes,
    })
}

/// What is planned for.
struct Subject {
    name: String,
    outline: Outline,
    source: Source,
    /// Where texts become tokens, where that is known.
    voice: Option<Voice>,
}

enum Source {
    Config(String),
    Files(Origin),
}

impl Subject {
    fn of(args: &PlanArgs) -> Result<Self, Failure> {
        let model = settings::Model {
            path: args.model.clone().unwrap_or_else(|| "embedded".to_owned()),
            quant: args.quant.clone(),
            ..settings::Model::default()
        };
        let quant = model.quant().map_err(Failure::Usage)?;
        if let Some(shape) = args.shape {
            return Self::of_config(shape.name(), shape.config().to_string(), quant);
        }
        let path = Path::new(&model.path);
        if path.is_file() && path.extension().is_some_and(|end| end == "json") {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
            return Self::of_config(model.path.clone(), text, quant);
        }
        let origin = model.origin().map_err(Failure::Usage)?;
        let outline =
            Outline::open(&origin, quant).map_err(|why| Failure::Usage(why.to_string()))?;
        Ok(Self {
            name: match origin {
                Origin::Embedded => "adapterd-base".to_owned(),
                _ => model.path.clone(),
            },
            voice: Voice::of(&origin),
            outline,
            source: Source::Files(origin),
        })
    }

    fn of_config(name: String, text: String, quant: Option<Quant>) -> Result<Self, Failure> {
        let outline = Outline::of_config(&text, quant);
        Ok(Self {
            name,
            outline: outline.map_err(|why| Failure::Usage(why.to_string()))?,
            source: Source::Config(text),
            voice: None,
        })
    }

    /// The same base, held otherwise.
    fn outline_in(&self, quant: Quant) -> Option<Outline> {
        match &self.source {
            Source::Config(text) => Outline::of_config(text, Some(quant)).ok(),
            Source::Files(origin) => Outline::open(origin, Some(quant)).ok(),
        }
    }
}

#[cfg(test)]
mod tests;
