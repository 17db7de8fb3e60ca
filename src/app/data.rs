//! `data …`: what is in training files, without a daemon.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::settings;
use crate::cli::{Failure, Output, colors};
use crate::domain::Wishes;
use crate::model::{Base, KvKind};
use crate::trainer::data::{ReadFault, RowReader, mask, report};

#[derive(Debug, Clone, clap::Subcommand)]
pub enum DataCommand {
    /// Report on a training file: tasks, copies, balance, forms, conflicts, leakage, secrets, bad rows; exit 1 if it cannot be trained on
    Check(Box<CheckArgs>),
}

#[derive(Debug, Clone, clap::Args)]
pub struct CheckArgs {
    /// The training file: JSONL or a JSON array, also compressed with gzip, or Parquet
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Count lengths in this model's tokens, and try its chat template on the rows [default: embedded]
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Report the balance of the values under this key; without it, answers that are chosen from a few are counted
    #[arg(long, value_name = "FIELD")]
    label: Option<String>,
    /// Look for rows of this held-out file among those to train on
    #[arg(
        long,
        value_name = "FILE",
        alias = "validation",
        conflicts_with = "eval_split"
    )]
    heldout: Option<PathBuf>,
    /// Look for the rows that training with this `--eval-split` would hold out among the others
    #[arg(long, value_name = "SHARE OR COUNT")]
    eval_split: Option<f64>,
    /// The seed that decides which rows those are
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// Also write the report as one self-contained page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Also print the first N rows as the model sees them, with what the loss covers marked
    #[arg(long, value_name = "N", default_value_t = 0)]
    show_loss_mask: usize,
}

pub fn data(command: &DataCommand, json: bool) -> Result<(), Failure> {
    let DataCommand::Check(args) = command;
    let wishes = Wishes {
        eval_split: args.eval_split,
        ..Wishes::default()
    };
    wishes
        .check()
        .map_err(|reason| Failure::Usage(reason.to_string()))?;
    let rows = read(&args.file)?;
    let held_out = args.heldout.as_deref().map(read).transpose()?;
    let base = open(args.model.as_deref().unwrap_or("embedded"))?;
    // Every row sees the same time, as in a job.
    let template = base.template.at(chrono::Utc::now().timestamp());
    let options = report::Options {
        voice: Some(report::Voice {
            tokenizer: &base.tokenizer,
            template: &template,
            limit: Wishes::default().complete(base.model.context()).max_seq,
            judges: args.model.is_some(),
        }),
        label: args.label.as_deref(),
        split: args.eval_split.map(|wanted| (wanted, args.seed)),
        show: args.show_loss_mask,
        ..report::Options::default()
    };
    let name = args.file.file_name().map_or_else(
        || args.file.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    );
    let checked = report::check(rows, held_out, &options);
    let report::Checked { report, first } = checked.map_err(|fault| unread(&args.file, fault))?;
    if let Some(path) = &args.html {
        let page = report::to_html(&report, &name);
        std::fs::write(path, page)
            .map_err(|error| Failure::Usage(format!("--html {}: {error}", path.display())))?;
    }
    let mut value = serde_json::to_value(&report).map_err(Failure::failed)?;
    if args.show_loss_mask > 0 {
        let rows = first.iter().map(|row| mask::to_json(&base.tokenizer, row));
        value["loss_mask"] = rows.collect::<Vec<Value>>().into();
    }
    Output::new(json).show(&value, |_| {
        let mut text = report::to_text(&report, &name);
        for row in &first {
            text.push('\n');
            text.push_str(&mask::to_text(&base.tokenizer, row, marks()));
        }
        if let Some(path) = &args.html {
            text.push_str(&format!("\nThe page is {}\n", path.display()));
        }
        text
    })?;
    match report.usable {
        true => Ok(()),
        false => Err(Failure::Failed(format!(
            "{} cannot be trained on as it is",
            args.file.display()
        ))),
    }
}

fn read(path: &Path) -> Result<RowReader, Failure> {
    RowReader::open(path, u64::MAX).map_err(|fault| unread(path, fault))
}

/// A file that is not there is wrong usage; one that cannot be trained on is the answer to what was asked.
fn unread(path: &Path, fault: ReadFault) -> Failure {
    let path = path.display();
    match fault {
        ReadFault::Io(error) => Failure::Usage(format!("{path}: {error}")),
        told => Failure::Failed(format!("{path} {told}")),
    }
}

/// What stands around the tokens that the loss covers: colour where people see it.
fn marks() -> (&'static str, &'static str) {
    match std::io::stdout().is_terminal() && colors() {
        true => ("\u{1b}[30;42m", "\u{1b}[0m"),
        false => ("⟦", "⟧"),
    }
}

fn open(model: &str) -> Result<Base, Failure> {
    let model = settings::Model {
        path: model.to_owned(),
        ..settings::Model::default()
    };
    let origin = model.origin().map_err(Failure::Usage)?;
    Base::open(&origin, None, KvKind::Auto).map_err(Failure::failed)
}
