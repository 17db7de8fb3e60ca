//! `config …`: settings, without a daemon.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::command::SettingFlags;
use crate::cli::{Failure, Output, Table};

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
            settings.tls().map_err(super::unusable)?;
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
