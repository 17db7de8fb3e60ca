//! `key …`: who may ask the daemon, from the command line.

use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::output::{Table, cell, line, size, when};
use super::{Client, Failure, Output};
use crate::domain::span::seconds;
use crate::domain::{
    AdapterGlobs, Bytes, KeyAsk, KeyLimits, KeyView, Limit, MOST_OF_A_LIMIT, Scopes,
};

#[derive(Debug, Clone, clap::Args)]
pub struct KeyArgs {
    #[command(subcommand)]
    pub command: KeyCommand,
    /// Change the keys in this data directory, while no daemon uses it
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// A TOML file with settings
    #[arg(long, global = true, value_name = "FILE", env = "ADAPTERD_CONFIG")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Clone, clap::Subcommand)]
pub enum KeyCommand {
    /// Make a key and print its secret, this once
    Create(NewKeyArgs),
    /// Every key, without secrets
    List,
    /// End a key at once, with the answers it is being given
    Revoke { id: String },
    /// Give a key a new secret and print it, this once
    Rotate {
        id: String,
        /// How long the secret before still counts, as 30m, 12h or 7d; 0 ends it at once
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = seconds)]
        overlap: u64,
    },
}

#[derive(Debug, Clone, clap::Args)]
pub struct NewKeyArgs {
    /// What people call it
    #[arg(long)]
    name: String,
    /// What it opens: infer, train, adapters, admin (all of it)
    #[arg(long, value_name = "LIST", value_parser = clap::value_parser!(Scopes))]
    scopes: Scopes,
    /// The adapters that exist for it, as `legal,team-a-*` [default: every adapter]
    #[arg(long, value_name = "LIST", value_parser = clap::value_parser!(AdapterGlobs))]
    adapters: Option<AdapterGlobs>,
    /// What it gets beside other keys where not all get what they ask for [default: 1]
    #[arg(long, value_name = "W")]
    weight: Option<f64>,
    /// When it ends by itself, as 12h or 30d [default: never]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    expires: Option<u64>,
    /// What a client's certificate calls its holder, who then needs no secret: a URI, a DNS name or a common name
    #[arg(long, value_name = "NAME", visible_alias = "certificate")]
    identity: Option<String>,
    #[command(flatten)]
    limits: LimitArgs,
}

/// What the key may ask for; what is left out has no limit.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Requests in any 60 seconds
    #[arg(long, value_name = "N", value_parser = limit())]
    requests_per_minute: Option<u64>,
    /// Tokens of prompts and answers in any 60 seconds
    #[arg(long, value_name = "N", value_parser = limit())]
    tokens_per_minute: Option<u64>,
    /// Requests that wait or are answered at the same time
    #[arg(long, value_name = "N", value_parser = limit())]
    concurrent: Option<u64>,
    /// Jobs that wait to be run, paused ones among them
    #[arg(long, value_name = "N", value_parser = limit())]
    queued_jobs: Option<u64>,
    /// Tokens that the jobs of one day (UTC) read
    #[arg(long, value_name = "N", value_parser = limit())]
    training_tokens_per_day: Option<u64>,
    /// Of uploaded files, as 800MB or 10G
    #[arg(long, value_name = "BYTES", value_parser = storage)]
    storage: Option<u64>,
}

impl LimitArgs {
    fn limits(&self) -> KeyLimits {
        KeyLimits {
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            concurrent: self.concurrent,
            queued_jobs: self.queued_jobs,
            training_tokens_per_day: self.training_tokens_per_day,
            storage_bytes: self.storage,
        }
    }
}

fn limit() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=MOST_OF_A_LIMIT)
}

fn storage(text: &str) -> Result<u64, String> {
    let bytes = Bytes::from_text(text).count()?;
    match bytes <= MOST_OF_A_LIMIT {
        true => Ok(bytes),
        false => Err(format!("`{text}` is more than {MOST_OF_A_LIMIT} bytes")),
    }
}

impl NewKeyArgs {
    pub fn ask(&self) -> KeyAsk {
        KeyAsk {
            name: self.name.clone(),
            scopes: self.scopes,
            adapters: self.adapters.clone().unwrap_or_default(),
            weight: self.weight,
            expires_in: self.expires,
            limits: self.limits.limits(),
            identity: self.identity.clone(),
        }
    }
}

/// Asks the daemon for it.
pub async fn run(client: &Client, command: &KeyCommand, output: Output) -> Result<(), Failure> {
    let answer = match command {
        KeyCommand::List => client.get(&["v1", "keys"], &[]).await,
        KeyCommand::Create(args) => {
            let ask = args.ask();
            let mut body = json!({
                "name": ask.name,
                "scopes": ask.scopes,
                "adapters": args.adapters,
                "weight": ask.weight,
                "expires_in": ask.expires_in,
                "identity": ask.identity,
            });
            for (limit, most) in ask.limits.each() {
                body[limit.name()] = json!(most);
            }
            client.post(&["v1", "keys"], &body).await
        }
        KeyCommand::Revoke { id } => client.delete(&["v1", "keys", id], &[]).await,
        KeyCommand::Rotate { id, overlap } => {
            let body = json!({ "overlap": overlap });
            client.post(&["v1", "keys", id, "rotate"], &body).await
        }
    };
    show(&answer?, output)
}

/// Prints what became of it: of a secret, nothing else goes to standard output, so that scripts can take it from there.
pub fn show(answer: &Value, output: Output) -> Result<(), Failure> {
    if let (Some(secret), false) = (answer["secret"].as_str(), output.is_json()) {
        line(secret)?;
        // Standard error may be closed, which must not keep the secret from its reader.
        let _ = writeln!(
            std::io::stderr().lock(),
            "Key {} ({}) opens {} for adapters {}. Its secret is shown this once.",
            cell(answer, "id"),
            cell(answer, "name"),
            listed(&answer["scopes"]),
            listed(&answer["adapters"]),
        );
        return Ok(());
    }
    output.show(answer, |answer| match answer["data"].as_array() {
        Some(keys) => table(keys),
        None => table(std::slice::from_ref(answer)),
    })
}

/// As the daemon lists them.
pub fn listing(keys: &[KeyView]) -> Value {
    json!({"object": "list", "data": keys})
}

fn table(keys: &[Value]) -> String {
    let mut table = Table::new(&[
        "ID",
        "NAME",
        "SCOPES",
        "ADAPTERS",
        "LIMITS",
        "CREATED",
        "LAST USED",
        "EXPIRES",
        "REVOKED",
        "IDENTITY",
    ]);
    for key in keys {
        table.row(vec![
            cell(key, "id"),
            cell(key, "name"),
            listed(&key["scopes"]),
            listed(&key["adapters"]),
            limits(key),
            when(&key["created_at"]),
            when(&key["last_used_at"]),
            when(&key["expires_at"]),
            when(&key["revoked_at"]),
            cell(key, "identity"),
        ]);
    }
    table.render()
}

/// As `60 requests/min, 10.0 GiB of files`.
fn limits(key: &Value) -> String {
    let shown = Limit::ALL.into_iter().filter_map(|limit| {
        let most = key[limit.name()].as_u64()?;
        Some(match limit {
            Limit::Requests => format!("{most} requests/min"),
            Limit::Tokens => format!("{most} tokens/min"),
            Limit::Concurrent => format!("{most} at once"),
            Limit::QueuedJobs => format!("{most} queued jobs"),
            Limit::TrainingTokens => format!("{most} training tokens/day"),
            Limit::Storage => format!("{} of files", size(most)),
        })
    });
    let shown: Vec<String> = shown.collect();
    match shown.is_empty() {
        true => "-".to_owned(),
        false => shown.join(", "),
    }
}

fn listed(value: &Value) -> String {
    let entries = value.as_array().into_iter().flatten();
    let entries: Vec<&str> = entries.filter_map(Value::as_str).collect();
    entries.join(",")
}
