//! `adapter …`: the registry from the command line.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use futures::Stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::client::Streamed;
use super::output::{Table, cell, line, short, size, when};
use super::{Client, Failure, MergeArgs, Output};

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
    /// Upload a PEFT folder and serve it under a name, or move the name to it
    Register {
        /// A folder with adapter_config.json and adapter_model.safetensors
        dir: PathBuf,
        #[arg(long)]
        name: String,
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
        let adapter = client.post(&["v1", "adapters", name, verb], &body).await?;
        output.show(&adapter, details)
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
            condition,
        } => {
            let adapter = register(client, &name, &dir, &condition.query()).await?;
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
        let text = match field.as_str() {
            "bytes" => size(value.as_u64().unwrap_or(0)),
            "created_at" => when(value),
            _ => cell(adapter, field),
        };
        table.row(vec![format!("{field}:"), text]);
    }
    table.render()
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

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// In AdapterHub's layout.
const HUB_WEIGHTS: &str = "adapter.safetensors";
const ORIGIN: &str = "adapterd.json";
const ENCODER: &str = "prefix_encoder.safetensors";

/// The adapter's files: names, and bytes of each.
fn check(dir: &Path) -> Result<Vec<(&'static str, u64)>, Failure> {
    let wrong = |why: String| Failure::Usage(format!("{}: {why}", dir.display()));
    if !std::fs::metadata(dir)
        .map_err(|error| wrong(error.to_string()))?
        .is_dir()
    {
        return Err(wrong("is not a folder".into()));
    }
    let has = |name: &str| dir.join(name).is_file();
    let layouts = format!(
        "a PEFT folder has {CONFIG} and {WEIGHTS}, one of AdapterHub's {CONFIG} and {HUB_WEIGHTS}"
    );
    if !has(CONFIG) {
        return Err(wrong(format!("has no {CONFIG}; {layouts}")));
    }
    if !has(WEIGHTS) && !has(HUB_WEIGHTS) {
        let pickled = [
            ("adapter_model.bin", WEIGHTS, "with safetensors"),
            (
                "pytorch_adapter.bin",
                HUB_WEIGHTS,
                "with `use_safetensors=True`",
            ),
        ];
        let found = pickled.into_iter().find(|(name, ..)| has(name));
        return Err(wrong(match found {
            Some((name, taken, how)) => format!(
                "{name} holds pickled weights; only {taken} is taken: save the adapter {how}"
            ),
            None => format!("has no {WEIGHTS}; {layouts}"),
        }));
    }
    [CONFIG, WEIGHTS, HUB_WEIGHTS, ORIGIN, ENCODER]
        .into_iter()
        .filter(|name| has(name))
        .map(|name| Ok((name, std::fs::metadata(dir.join(name))?.len())))
        .collect()
}

/// Bytes of a tar of these files: a block before each, whole blocks for each, and two at the end.
fn archived(files: &[(&str, u64)]) -> u64 {
    const BLOCK: u64 = 512;
    let blocks = files.iter().map(|(_, bytes)| 1 + bytes.div_ceil(BLOCK));
    BLOCK * (blocks.sum::<u64>() + 2)
}

/// Bytes of a part on its way.
const PART: usize = 256 << 10;

/// The adapter's files as a tar, read as the daemon takes it: never all in memory. Links are followed: a model hub's cache
/// consists of them.
fn pack(
    dir: &Path,
    files: Vec<(&'static str, u64)>,
) -> impl Stream<Item = io::Result<Vec<u8>>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(1);
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || {
        let write = || {
            let parts = BufWriter::with_capacity(PART, Parts(&sender));
            let mut archive = tar::Builder::new(parts);
            for (name, bytes) in files {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes);
                header.set_mode(0o644);
                let file = File::open(dir.join(name))?;
                if file.metadata()?.len() != bytes {
                    let why = format!("{name} has changed while it was sent");
                    return Err(io::Error::other(why));
                }
                archive.append_data(&mut header, name, file.take(bytes))?;
            }
            archive.into_inner()?.flush()
        };
        if let Err(error) = write() {
            // Ends the request, so that half an archive is never taken for all of it.
            let _ = sender.blocking_send(Err(error));
        }
    });
    ReceiverStream::new(receiver)
}

/// Sends what is written to it.
struct Parts<'a>(&'a mpsc::Sender<io::Result<Vec<u8>>>);

impl Write for Parts<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(bytes.to_vec()));
        sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    /// What is sent, which has the announced size.
    async fn packed(dir: &Path) -> Vec<u8> {
        let files = check(dir).unwrap();
        let size = archived(&files);
        let parts: Vec<_> = pack(dir, files).try_collect().await.unwrap();
        let packed = parts.concat();
        assert_eq!(packed.len() as u64, size);
        packed
    }

    fn refusal(dir: &Path) -> String {
        match check(dir) {
            Err(Failure::Usage(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_folder_of_links_is_packed_with_what_they_lead_to_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (blobs, folder) = (dir.path().join("blobs"), dir.path().join("snapshot"));
        for made in [&blobs, &folder] {
            std::fs::create_dir(made).unwrap();
        }
        for name in [CONFIG, WEIGHTS, "README.md"] {
            std::fs::write(blobs.join(name), name).unwrap();
            std::os::unix::fs::symlink(blobs.join(name), folder.join(name)).unwrap();
        }
        let packed = packed(&folder).await;
        let mut archive = tar::Archive::new(packed.as_slice());
        let found: Vec<(String, String)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.path().unwrap().display().to_string();
                (name, std::io::read_to_string(entry).unwrap())
            })
            .collect();
        assert_eq!(
            found,
            [CONFIG, WEIGHTS].map(|name| (name.into(), name.into()))
        );
    }

    #[tokio::test]
    async fn a_file_with_a_hole_is_sent_whole() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(CONFIG), "{}").unwrap();
        let weights = File::create(dir.path().join(WEIGHTS)).unwrap();
        weights.set_len(1 << 20).unwrap();
        let packed = packed(dir.path()).await;
        let mut archive = tar::Archive::new(packed.as_slice());
        let entry = archive.entries().unwrap().nth(1).unwrap().unwrap();
        assert!(entry.header().entry_type().is_file());
        assert_eq!(entry.size(), 1 << 20);
    }

    #[tokio::test]
    async fn a_file_that_goes_away_or_changes_meanwhile_is_an_error_and_no_other_archive() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(CONFIG), "{}").unwrap();
        for files in [vec![(CONFIG, 2), (WEIGHTS, 2)], vec![(CONFIG, 1)]] {
            let sent = pack(dir.path(), files).try_collect();
            assert!(sent.await.map(|parts: Vec<_>| parts.len()).is_err());
        }
    }

    #[test]
    fn what_is_no_adapter_folder_is_told_before_anything_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        assert!(refusal(&dir.path().join("absent")).contains("absent"));
        assert!(refusal(dir.path()).contains("has no adapter_config.json"));
        std::fs::write(dir.path().join(CONFIG), "{}").unwrap();
        assert!(refusal(dir.path()).contains("has no adapter_model.safetensors"));
        for pickled in ["pytorch_adapter.bin", "adapter_model.bin"] {
            std::fs::write(dir.path().join(pickled), "PK").unwrap();
            assert!(refusal(dir.path()).contains(&format!("{pickled} holds pickled")));
        }
        std::fs::write(dir.path().join(HUB_WEIGHTS), "w").unwrap();
        let names: Vec<_> = check(dir.path()).unwrap();
        assert_eq!(names, [(CONFIG, 2), (HUB_WEIGHTS, 1)]);
        assert!(refusal(&dir.path().join(CONFIG)).contains("is not a folder"));
    }
}
