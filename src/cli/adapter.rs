//! `adapter …`: the registry from the command line.

mod folder;
mod route;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use self::folder::{HUB_WEIGHTS, archived, check, pack};
use super::client::Streamed;
use super::output::{Table, cell, line, short, size, when};
use super::{Client, Failure, MergeArgs, Output};
use crate::domain::{HubId, Reason};

/// A change that only happens if the name is still where the caller saw it.
#[derive(Debug, Clone, clap::Args)]
pub struct Condition {
    /// Refuse unless the name is at this generation (`none`: unless it does not exist)
    #[arg(long, value_name = "GENERATION")]
    expected_generation: Option<String>,
}

impl Condition {
    fn body(&self) -> Value {
        match &self.expected_generation {
            Some(generation) => json!({"expected_generation": generation}),
            None => json!({}),
        }
    }

    fn query(&self) -> Vec<(&'static str, String)> {
        self.expected_generation
            .iter()
            .map(|g| ("expected_generation", g.clone()))
            .collect()
    }
}

#[derive(Debug, Clone, clap::Subcommand)]
pub enum AdapterCommand {
    /// Every adapter, with its generation and where its weights are
    List,
    /// All that is known about one adapter
    Show { name: String },
    /// Bring an adapter's weights into memory now
    Load {
        name: String,
        #[command(flatten)]
        condition: Condition,
    },
    /// Upload a PEFT folder, or have the daemon fetch one, and serve it under a name, or move the name to it
    Register {
        /// A folder with adapter_config.json and adapter_model.safetensors, or hf:OWNER/NAME[@REVISION] of the daemon's hub
        #[arg(value_name = "DIR|hf:OWNER/NAME")]
        dir: PathBuf,
        #[arg(long)]
        name: String,
        /// How it reaches its name: now (the name moves to it), canary:10 (it answers 10 % of the requests; with a policy as in canary:10,min_requests=50,promote_after=12h) or manual (the name has it, and stays where it is) [default: now]
        #[arg(long, value_name = "WAY")]
        publish: Option<String>,
        #[command(flatten)]
        condition: Condition,
    },
    /// Make an adapter of several `lora` adapters, each by a weight
    Blend {
        /// The name it is served under; created, or moved to it
        name: String,
        /// Adapters and their weights: legal=0.7,medical=0.3
        #[arg(long, value_name = "NAME=WEIGHT,…")]
        from: String,
        /// linear (their weighted sum), ties, dare_linear or dare_ties [default: linear]
        #[arg(long)]
        method: Option<String>,
        /// Share of each adapter's weights that stays, above 0, up to 1; not for linear [default: 1]
        #[arg(long, value_name = "SHARE")]
        density: Option<f64>,
        /// Reduce the result to this rank; linear without it joins ranks and loses nothing
        #[arg(long, value_name = "N")]
        rank: Option<u64>,
        /// Of what dare_linear and dare_ties draw [default: 0]
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
        #[command(flatten)]
        condition: Condition,
    },
    /// Free an adapter's memory; the next request loads it again
    Unload {
        name: String,
        #[command(flatten)]
        condition: Condition,
    },
    /// Move a name to a generation it still has
    Promote {
        name: String,
        #[arg(long)]
        generation: String,
        #[command(flatten)]
        condition: Condition,
    },
    /// Move a name back to the generation before
    Rollback {
        name: String,
        #[command(flatten)]
        condition: Condition,
    },
    /// Let a generation answer part of a name's requests, or change which part
    Canary(Box<route::CanaryArgs>),
    /// Move a name to its canary
    CanaryPromote {
        name: String,
        #[command(flatten)]
        condition: Condition,
    },
    /// Give a canary up: all requests get what the name points to
    CanaryAbort {
        name: String,
        #[command(flatten)]
        condition: Condition,
    },
    /// Let a generation answer part of a name's requests once more, unheard, to compare it
    Shadow(route::ShadowArgs),
    /// End that
    ShadowStop {
        name: String,
        #[command(flatten)]
        condition: Condition,
    },
    /// Keep an adapter in memory whatever else is loaded
    Pin {
        name: String,
        /// Let it be evicted again
        #[arg(long)]
        off: bool,
        #[command(flatten)]
        condition: Condition,
    },
    /// Take the name away; requests that run finish
    Remove {
        name: String,
        #[command(flatten)]
        condition: Condition,
    },
    /// Write the base with an adapter in it, as a model of its own; reads the base's files here
    Merge(Box<MergeArgs>),
    /// Write an adapter's PEFT folder
    Export {
        name: String,
        /// A folder that does not exist yet, or an empty one
        dir: PathBuf,
    },
}

pub async fn run(client: &Client, command: AdapterCommand, output: Output) -> Result<(), Failure> {
    let act = async |name: &str, verb: &str, body: Value| {
        let verb = verb.split('/');
        let path: Vec<&str> = ["v1", "adapters", name].into_iter().chain(verb).collect();
        output.show(&client.post(&path, &body).await?, details)
    };
    match command {
        AdapterCommand::List => output.show(&client.get(&["v1", "adapters"], &[]).await?, listing),
        AdapterCommand::Show { name } => {
            output.show(&client.get(&["v1", "adapters", &name], &[]).await?, details)
        }
        AdapterCommand::Load { name, condition } => act(&name, "load", condition.body()).await,
        AdapterCommand::Unload { name, condition } => act(&name, "unload", condition.body()).await,
        AdapterCommand::Rollback { name, condition } => {
            act(&name, "rollback", condition.body()).await
        }
        AdapterCommand::Promote {
            name,
            generation,
            condition,
        } => {
            let mut body = condition.body();
            body["generation"] = json!(generation);
            act(&name, "promote", body).await
        }
        AdapterCommand::Canary(args) => act(&args.name, "canary", args.body()).await,
        AdapterCommand::CanaryPromote { name, condition } => {
            act(&name, "canary/promote", condition.body()).await
        }
        AdapterCommand::CanaryAbort { name, condition } => {
            act(&name, "canary/abort", condition.body()).await
        }
        AdapterCommand::Shadow(args) => act(&args.name, "shadow", args.body()).await,
        AdapterCommand::ShadowStop { name, condition } => {
            act(&name, "shadow/stop", condition.body()).await
        }
        AdapterCommand::Blend {
            name,
            from,
            method,
            density,
            rank,
            seed,
            condition,
        } => {
            let mut body = condition.body();
            body["from"] = json!(from);
            for (field, value) in [
                ("method", json!(method)),
                ("density", json!(density)),
                ("rank", json!(rank)),
                ("seed", json!(seed)),
            ] {
                body[field] = value;
            }
            act(&name, "blend", body).await
        }
        AdapterCommand::Pin {
            name,
            off,
            condition,
        } => act(&name, if off { "unpin" } else { "pin" }, condition.body()).await,
        AdapterCommand::Register {
            dir,
            name,
            publish,
            condition,
        } => {
            let mut query = condition.query();
            query.extend(publish.map(|publish| ("publish", publish)));
            let adapter = match on_hub(&dir) {
                Some(place) => fetched(client, &name, place, &query).await?,
                None => register(client, &name, &dir, &query).await?,
            };
            output.show(&adapter, details)
        }
        AdapterCommand::Remove { name, condition } => {
            let gone = client
                .delete(&["v1", "adapters", &name], &condition.query())
                .await?;
            output.show(&gone, |_| format!("{name} is gone"))
        }
        // Reads files of the base, which no client has.
        AdapterCommand::Merge(_) => {
            Err(Failure::failed("`adapter merge` is no request to a daemon"))
        }
        AdapterCommand::Export { name, dir } => export(client, &name, &dir, output).await,
    }
}

fn listing(adapters: &Value) -> String {
    let mut table = Table::new(&[
        "NAME",
        "GENERATION",
        "KIND",
        "RANK",
        "SIZE",
        "TIER",
        "PINNED",
        "SOURCE",
    ]);
    for adapter in adapters["data"].as_array().into_iter().flatten() {
        table.row(vec![
            cell(adapter, "id"),
            short(&adapter["generation"]),
            cell(adapter, "kind"),
            cell(adapter, "rank"),
            size(adapter["bytes"].as_u64().unwrap_or(0)),
            cell(adapter, "tier"),
            cell(adapter, "pinned"),
            cell(adapter, "source"),
        ]);
    }
    table.render()
}

fn details(adapter: &Value) -> String {
    let mut table = Table::default();
    for (field, value) in adapter.as_object().into_iter().flatten() {
        if field == "route" {
            // At the end, where there is anything to say beyond the generation.
            continue;
        }
        let text = match field.as_str() {
            "bytes" => size(value.as_u64().unwrap_or(0)),
            "created_at" => when(value),
            "generations" => { value.as_array().into_iter().flatten() }
                .map(short)
                .collect::<Vec<_>>()
                .join(" "),
            _ => cell(adapter, field),
        };
        table.row(vec![format!("{field}:"), text]);
    }
    for (field, text) in route::told(&adapter["route"]) {
        table.row(vec![format!("{field}:"), text]);
    }
    table.render()
}

/// What stands behind `hf:`.
fn on_hub(dir: &Path) -> Option<&str> {
    dir.to_str()?.strip_prefix("hf:")
}

/// Has the daemon fetch `OWNER/NAME[@REVISION]` from its hub and serve it under `name`.
async fn fetched(
    client: &Client,
    name: &str,
    place: &str,
    query: &[(&str, String)],
) -> Result<Value, Failure> {
    let (repo, revision) = match place.split_once('@') {
        Some((repo, revision)) => (repo, Some(revision)),
        None => (place, None),
    };
    let wrong = |reason: Reason| Failure::Usage(format!("hf:{place}: {reason}"));
    HubId::new(repo, revision).map_err(wrong)?;
    let body = json!({"hub": repo, "revision": revision}).to_string();
    let body = Streamed {
        content_type: "application/json",
        length: body.len() as u64,
        parts: body.into(),
    };
    client.put(&["v1", "adapters", name], query, body).await
}

/// Uploads a PEFT folder and serves it under `name`; `query` may hold a condition.
pub async fn register(
    client: &Client,
    name: &str,
    dir: &Path,
    query: &[(&str, String)],
) -> Result<Value, Failure> {
    let files = check(dir)?;
    let path = ["v1", "adapters", name];
    let body = Streamed {
        content_type: "application/x-tar",
        length: archived(&files),
        parts: reqwest::Body::wrap_stream(pack(dir, files)),
    };
    client.put(&path, query, body).await
}

async fn export(client: &Client, name: &str, dir: &Path, output: Output) -> Result<(), Failure> {
    if dir.exists() && std::fs::read_dir(dir)?.next().is_some() {
        return Err(Failure::Usage(format!("{} is not empty", dir.display())));
    }
    let bytes = client.bytes(&["v1", "adapters", name, "content"]).await?;
    std::fs::create_dir_all(dir)?;
    tar::Archive::new(bytes.as_slice()).unpack(dir)?;
    let done = json!({"id": name, "path": dir});
    output.show(&done, |_| format!("{name} is in {}", dir.display()))?;
    match (output.is_json(), dir.join(HUB_WEIGHTS).is_file()) {
        (true, _) => Ok(()),
        (false, true) => line(
            "AdapterHub's library loads it with model.load_adapter(that folder, use_safetensors=True)",
        ),
        (false, false) => line("PEFT loads it with PeftModel.from_pretrained(model, that folder)"),
    }
}
