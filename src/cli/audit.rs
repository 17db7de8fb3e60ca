//! `audit …`: who changed what, from the command line.

use std::path::PathBuf;

use serde_json::Value;

use super::output::{Table, cell, short, when};
use super::{Client, Failure, Output};
use crate::domain::AuditAsk;

#[derive(Debug, Clone, clap::Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    pub command: AuditCommand,
    /// Read the record in this data directory
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// A TOML file with settings
    #[arg(long, global = true, value_name = "FILE", env = "ADAPTERD_CONFIG")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Clone, clap::Subcommand)]
pub enum AuditCommand {
    /// Changes, newest first
    List(ListArgs),
    /// Look whether the record is what was written: exits with 1 and names the first row that is not
    Verify,
}

#[derive(Debug, Clone, clap::Args)]
pub struct ListArgs {
    /// Only changes of this name or id
    #[arg(long)]
    object: Option<String>,
    /// Only these, as `adapter.promote`, or `adapter` for all of them
    #[arg(long)]
    action: Option<String>,
    /// Only those of a key's id, `job:<id>`, `offline` or `system`
    #[arg(long)]
    who: Option<String>,
    /// Only from then on, in Unix seconds
    #[arg(long, value_name = "TIME")]
    since: Option<i64>,
    /// Only older ones than this
    #[arg(long, value_name = "ID")]
    pub after: Option<String>,
    #[arg(long, default_value_t = 20)]
    pub limit: usize,
}

impl ListArgs {
    pub fn ask(&self) -> AuditAsk {
        AuditAsk {
            object: self.object.clone(),
            action: self.action.clone(),
            who: self.who.clone(),
            since: self.since,
        }
    }
}

/// Asks the daemon for it.
pub async fn run(client: &Client, command: &AuditCommand, output: Output) -> Result<(), Failure> {
    match command {
        AuditCommand::List(args) => {
            let mut query = vec![("limit", args.limit.to_string())];
            let ask = args.ask();
            let since = ask.since.map(|since| since.to_string());
            for (name, value) in [
                ("object", ask.object),
                ("action", ask.action),
                ("who", ask.who),
                ("since", since),
                ("after", args.after.clone()),
            ] {
                query.extend(value.map(|value| (name, value)));
            }
            show(&client.get(&["v1", "audit"], &query).await?, output)
        }
        AuditCommand::Verify => {
            let state = client.get(&["v1", "audit", "verify"], &[]).await?;
            show(&state, output)
        }
    }
}

/// Prints rows, or whether they are what was written; a failure where they are not.
pub fn show(answer: &Value, output: Output) -> Result<(), Failure> {
    if answer["data"].is_array() {
        return output.show(answer, table);
    }
    let wrong = answer["broken"].as_str().map(|row| {
        let why = cell(answer, "why");
        format!("the record is broken at row {row}: {why}")
    });
    let rows = answer["rows"].as_u64().unwrap_or(0);
    output.show(answer, |answer| match &wrong {
        Some(_) => format!("{rows} rows follow from one another"),
        None => format!(
            "{rows} rows, each follows from the one before; the last has the digest {}",
            cell(answer, "digest")
        ),
    })?;
    wrong.map_or(Ok(()), |wrong| Err(Failure::Failed(wrong)))
}

fn table(answer: &Value) -> String {
    let mut table = Table::new(&[
        "ID", "WHEN", "WHO", "ACTION", "OBJECT", "BEFORE", "AFTER", "OUTCOME", "REQUEST", "DETAIL",
    ]);
    for row in answer["data"].as_array().into_iter().flatten() {
        table.row(vec![
            cell(row, "id"),
            when(&row["at"]),
            cell(row, "who"),
            cell(row, "action"),
            cell(row, "object"),
            short(&row["before"]),
            short(&row["after"]),
            cell(row, "outcome"),
            cell(row, "request_id"),
            cell(row, "detail"),
        ]);
    }
    table.render()
}
