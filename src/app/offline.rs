//! Commands that need no daemon: `data …` and `config …`.

use std::io::IsTerminal;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{command::SettingFlags, settings};
use crate::cli::{Failure, Output, Table};
use crate::model::{Base, KvKind};
use crate::trainer::data::{Checked, check, mask};

#[derive(Debug, Clone, clap::Subcommand)]
pub enum DataCommand {
    /// Report on a training file: rows, lengths, balance, near-duplicates, bad rows; exit 1 if it cannot be trained on
    Check {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Count lengths in this model's tokens, and try its chat template on every row
        #[arg(long, value_name = "MODEL", default_value = "embedded")]
        model: String,
        /// Also print the first N rows as the model sees them, with what the loss covers marked
        #[arg(long, value_name = "N", default_value_t = 0)]
        show_loss_mask: usize,
    },
}

#[derive(Debug, Clone, clap::Subcommand)]
pub enum ConfigCommand {
    /// Say everything that is wrong with a settings file (and the environment)
    Check {
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print the settings as they are resolved
    Show {
        /// Also where each value came from
        #[arg(long)]
        origin: bool,
        #[command(flatten)]
        flags: Box<SettingFlags>,
    },
}

pub fn config(command: &ConfigCommand, json: bool) -> Result<(), Failure> {
    let output = Output::new(json);
    match command {
        ConfigCommand::Check { file } => {
            let flags = SettingFlags {
                config: file.clone(),
                ..SettingFlags::default()
            };
            let settings = flags.load()?;
            settings.place().map_err(super::unusable)?;
            let warnings: Vec<String> = settings.warnings.iter().map(ToString::to_string).collect();
            output.show(&json!({"ok": true, "warnings": warnings}), |_| {
                let mut text = String::from("The settings are sound.");
                warnings
                    .iter()
                    .for_each(|warning| text.push_str(&format!("\n  {warning}")));
                text
            })
        }
        ConfigCommand::Show { origin, flags } => {
            let rows = flags.load()?.rows();
            let value: Value = rows
                .iter()
                .map(|(key, value, from)| (key.clone(), json!({"value": value, "origin": from})))
                .collect::<serde_json::Map<_, _>>()
                .into();
            output.show(&value, |_| {
                let mut table = Table::default();
                for (key, value, from) in rows {
                    let mut row = vec![key, value];
                    row.extend(origin.then_some(from));
                    table.row(row);
                }
                table.render()
            })
        }
    }
}

pub fn data(command: &DataCommand, json: bool) -> Result<(), Failure> {
    let DataCommand::Check {
        file,
        model,
        show_loss_mask,
    } = command;
    let bytes = std::fs::read(file)
        .map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
    let base = open(model)?;
    // Every row sees the same time, as in a job.
    let template = base.template.at(chrono::Utc::now().timestamp());
    let voice = Some((&base.tokenizer, &template));
    let Checked { mut report, first } = check(&bytes, voice, *show_loss_mask);
    let usable = report["usable"].as_bool().unwrap_or(false);
    if json && *show_loss_mask > 0 {
        let rows = first.iter().map(|row| mask::to_json(&base.tokenizer, row));
        report["loss_mask"] = rows.collect();
    }
    Output::new(json).show(&report, |report| {
        let mut text = as_text(report);
        for row in &first {
            text.push('\n');
            text.push_str(&mask::to_text(&base.tokenizer, row, marks()));
        }
        text
    })?;
    match usable {
        true => Ok(()),
        false => Err(Failure::Failed(format!(
            "{} cannot be trained on as it is",
            file.display()
        ))),
    }
}

/// What stands around the tokens that the loss covers: colour where people see it.
fn marks() -> (&'static str, &'static str) {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match std::io::stdout().is_terminal() && !plain {
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

/// Nested fields as an indented list, for people.
fn as_text(report: &Value) -> String {
    fn put(text: &mut String, depth: usize, name: &str, value: &Value) {
        let indent = "  ".repeat(depth);
        match value {
            Value::Object(fields) => {
                text.push_str(&format!("{indent}{name}:\n"));
                fields
                    .iter()
                    .for_each(|(name, value)| put(text, depth + 1, name, value));
            }
            Value::Array(items) if items.iter().any(|item| item.is_object()) => {
                text.push_str(&format!("{indent}{name}:\n"));
                for item in items {
                    let cells: Vec<String> = item
                        .as_object()
                        .into_iter()
                        .flatten()
                        .map(|(name, value)| format!("{name} {}", plain(value)))
                        .collect();
                    text.push_str(&format!("{indent}  {}\n", cells.join(", ")));
                }
            }
            other => text.push_str(&format!("{indent}{name}: {}\n", plain(other))),
        }
    }
    let mut text = String::new();
    for (name, value) in report.as_object().into_iter().flatten() {
        put(&mut text, 0, name, value);
    }
    text
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}
