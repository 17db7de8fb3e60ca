//! `train`: upload a file, create a job, follow it.

use std::io::IsTerminal;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::flags::{Flags, Rows};
use super::follow::follow;
use super::output::{cell, line};
use super::recipes::Brought;
use super::{Client, Content, Failure, Output, Upload, dry_run, job};
use crate::domain::AdapterName;
use crate::domain::recipes;
use crate::domain::settings::{self, Setting, TABLE};

#[derive(Debug, Clone, clap::Args)]
#[command(group(clap::ArgGroup::new("length").args(["epochs", "steps"])))]
pub struct TrainArgs {
    /// The name the new adapter is served under
    #[arg(long)]
    name: AdapterName,
    /// Records: JSONL or a JSON array, also compressed with gzip, or Parquet
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Held-out records to evaluate on, instead of a share of the data
    #[arg(long, value_name = "FILE")]
    validation: Option<PathBuf>,
    /// Wait for the end; exit 0 only on success (without it, only a terminal follows the job)
    #[arg(long)]
    wait: bool,
    /// Only say what the job would learn from, take and change; nothing is created, and exit 1 says that it does not fit
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    #[command(flatten)]
    recipe: TrainFlags,
    #[command(flatten)]
    brought: Brought,
}

/// The settings of a job as flags.
pub type TrainFlags = Flags<Training>;

/// What is left out gets the daemon's default.
#[derive(Debug, Clone)]
pub enum Training {}

impl Rows for Training {
    const ROWS: &'static [Setting] = TABLE;
}

async fn upload(client: &Client, path: &std::path::Path) -> Result<Value, Failure> {
    let unread = |error| Failure::Usage(format!("{}: {error}", path.display()));
    let file = tokio::fs::File::open(path).await.map_err(unread)?;
    if file.metadata().await.map_err(unread)?.is_dir() {
        let why = format!("{} is a folder, not a file", path.display());
        return Err(Failure::Usage(why));
    }
    let filename = path
        .file_name()
        .map_or_else(|| "data.jsonl".into(), |n| n.to_string_lossy().into_owned());
    let file = client
        .upload(Upload {
            filename,
            purpose: "fine-tune",
            content: Content::File(file),
        })
        .await?;
    Ok(file["id"].clone())
}

/// Creates a job from an uploaded file; `fields` are recipe fields by their names.
pub async fn create_job(
    client: &Client,
    name: &str,
    training_file: &Value,
    validation_file: Option<&Value>,
    fields: Map<String, Value>,
) -> Result<Value, Failure> {
    let body = ask(client, name, training_file, validation_file, fields).await?;
    client.post(&["v1", "fine_tuning", "jobs"], &body).await
}

/// What such a job would be.
pub async fn plan_job(
    client: &Client,
    name: &str,
    training_file: &Value,
    validation_file: Option<&Value>,
    fields: Map<String, Value>,
) -> Result<Value, Failure> {
    let body = ask(client, name, training_file, validation_file, fields).await?;
    client.post(&["v1", "fine_tuning", "plan"], &body).await
}

async fn ask(
    client: &Client,
    name: &str,
    training_file: &Value,
    validation_file: Option<&Value>,
    fields: Map<String, Value>,
) -> Result<Value, Failure> {
    let mut body = json!({
        "model": client.base_name().await?,
        "training_file": training_file,
        "suffix": name,
        "adapterd": fields,
    });
    if let Some(file) = validation_file {
        body["validation_file"] = file.clone();
    }
    Ok(body)
}

/// What the job would be. The files it needs are there only for as long as that takes.
async fn plan(
    client: &Client,
    args: &TrainArgs,
    fields: Map<String, Value>,
) -> Result<Value, Failure> {
    let mut files = Vec::new();
    let planned = async {
        for path in std::iter::once(&args.data).chain(&args.validation) {
            files.push(upload(client, path).await?);
        }
        plan_job(client, args.name.as_str(), &files[0], files.get(1), fields).await
    };
    let planned = planned.await;
    for file in files.iter().filter_map(Value::as_str) {
        // A plan counts without that too, and a failed one has its own reason.
        if let Err(failure) = client.delete(&["v1", "files", file], &[]).await {
            eprintln!("warning: file {file} stays at the daemon: {failure}");
        }
    }
    planned
}

/// The job's fields. What recipes say is judged here too, so that a mistake in one is told before the data is sent, and
/// what becomes of them before the job begins.
fn fields(args: &TrainArgs, output: Output) -> Result<Map<String, Value>, Failure> {
    let mut fields = args.recipe.said.clone();
    let joined = args.brought.recipes().and_then(|brought| {
        let flags = settings::wishes(&fields)?;
        brought.join(flags)
    });
    let joined = joined.map_err(|reason| Failure::Usage(reason.to_string()))?;
    if !joined.mappings.is_empty() && !output.is_json() {
        line(&recipes::table(&joined.mappings))?;
    }
    fields.extend(args.brought.files.clone());
    Ok(fields)
}

pub async fn train(client: &Client, args: &TrainArgs, output: Output) -> Result<(), Failure> {
    let fields = fields(args, output)?;
    if args.dry_run {
        return dry_run::show(&plan(client, args, fields).await?, output);
    }
    let training_file = upload(client, &args.data).await?;
    let validation_file = match &args.validation {
        Some(path) => Some(upload(client, path).await?),
        None => None,
    };
    let job = create_job(
        client,
        args.name.as_str(),
        &training_file,
        validation_file.as_ref(),
        fields,
    )
    .await?;
    let id = cell(&job, "id");
    let follows = args.wait || (std::io::stdout().is_terminal() && !output.is_json());
    if !follows {
        // On the error stream: standard output may be for a program.
        for warning in job::warnings(client, &id).await? {
            eprintln!("warning: {warning}");
        }
        return output.show(&job, |_| {
            format!("{id} is queued; `adapterd job watch {id}` follows it")
        });
    }
    if !output.is_json() {
        line(&format!("{id} trains `{}`; Ctrl-C detaches", args.name))?;
    }
    follow(client, &id, output).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::settings::{Method, Named};

    /// A daemon that plans, and deletes nothing.
    async fn keeper() -> Client {
        use axum::routing::{Router, delete, get, post};

        let routes = Router::new()
            .route(
                "/v1/models",
                get(async || axum::Json(json!({"data": [{"id": "base"}]}))),
            )
            .route(
                "/v1/files",
                post(async || axum::Json(json!({"id": "file-1"}))),
            )
            .route(
                "/v1/files/{id}",
                delete(async || axum::http::StatusCode::INTERNAL_SERVER_ERROR),
            )
            .route(
                "/v1/fine_tuning/plan",
                post(async |body: axum::Json<Value>| body),
            );
        let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", door.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(door, routes).await });
        Client::new(&url, None).unwrap()
    }

    #[tokio::test]
    async fn a_plan_is_told_though_its_files_could_not_be_deleted() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: TrainArgs,
        }
        let data = tempfile::NamedTempFile::new().unwrap();
        let path = data.path().to_str().unwrap();
        let flags = [
            "train",
            "--name",
            "law",
            "--data",
            path,
            "--validation",
            path,
        ];
        let args = <Line as clap::Parser>::try_parse_from(flags).unwrap().args;
        let planned = plan(&keeper().await, &args, Map::new()).await.unwrap();
        assert_eq!(planned["suffix"], "law");
        let flags = ["train", "--name", "Law", "--data", path];
        let refused = <Line as clap::Parser>::try_parse_from(flags).err();
        let said = refused.unwrap().to_string();
        assert!(said.contains("`Law` is not an adapter name"), "{said}");
        assert_eq!(planned["validation_file"], "file-1");
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        recipe: Flags<Training>,
    }

    fn sent(flags: &[&str]) -> Value {
        let line = ["train"].iter().chain(flags);
        let line = <Line as clap::Parser>::try_parse_from(line).unwrap();
        Value::Object(line.recipe.said)
    }

    #[test]
    fn only_what_the_user_said_is_sent() {
        assert_eq!(
            sent(&["--rank", "8", "--targets", "q_proj,v_proj", "--no-pack"]),
            json!({"rank": 8, "targets": ["q_proj", "v_proj"], "no_pack": true})
        );
    }

    #[test]
    fn rslora_is_asked_for_by_its_flag_and_can_be_said_to_be_off() {
        assert_eq!(sent(&[]), json!({}));
        assert_eq!(sent(&["--use-rslora"]), json!({"use_rslora": true}));
        assert_eq!(sent(&["--use-rslora=false"]), json!({"use_rslora": false}));
        let followed = sent(&["--use-rslora", "--rank", "4"]);
        assert_eq!(followed, json!({"use_rslora": true, "rank": 4}));
    }

    #[test]
    fn a_choice_knows_its_names_and_takes_no_others() {
        let command = <Line as clap::CommandFactory>::command();
        let method = command.get_arguments().find(|arg| arg.get_id() == "method");
        let known = method.unwrap().get_possible_values();
        let known: Vec<_> = known.iter().map(|value| value.get_name()).collect();
        assert_eq!(known, Method::NAMES);
        let refused = <Line as clap::Parser>::try_parse_from(["train", "--method", "loro"]);
        let said = refused.err().unwrap().to_string();
        assert!(
            said.contains("loro") && said.contains("bottleneck"),
            "{said}"
        );
    }

    #[test]
    fn a_number_below_zero_is_told_as_a_value_of_its_flag() {
        assert_eq!(sent(&["--warmup", "-1"]), json!({"warmup": -1.0}));
        let refused = <Line as clap::Parser>::try_parse_from(["train", "--seed", "-1"]);
        let said = refused.err().unwrap().to_string();
        let why = "invalid value '-1' for '--seed <N>': allowed is whole, from 0";
        assert!(said.contains(why), "{said}");
    }

    #[test]
    fn every_flag_is_sent_under_its_own_name() {
        let command = <Line as clap::CommandFactory>::command();
        let flags = command.get_arguments();
        let flags: Vec<_> = flags.filter(|flag| flag.get_id() != "help").collect();
        assert!(flags.len() > 20, "{flags:?}");
        for arg in flags {
            let flag = arg.get_long().unwrap();
            let known = arg.get_possible_values();
            let given = match flag {
                "dedup" | "no-shuffle" | "no-pack" | "use-rslora" | "prefix-projection" => {
                    vec![format!("--{flag}")]
                }
                "rank-pattern" | "alpha-pattern" => {
                    vec![format!("--{flag}"), r#"{"q_proj": 4}"#.to_owned()]
                }
                "stages" => vec![format!("--{flag}"), r#"[{"steps": 1}]"#.to_owned()],
                _ => {
                    let value = known.first().map_or("1", |value| value.get_name());
                    vec![format!("--{flag}"), value.to_owned()]
                }
            };
            let given: Vec<&str> = given.iter().map(String::as_str).collect();
            let fields = sent(&given);
            let names: Vec<_> = fields.as_object().unwrap().keys().collect();
            assert_eq!(names, [&flag.replace('-', "_")]);
        }
    }
}
