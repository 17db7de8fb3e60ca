//! `train`: upload a file, create a job, follow it.

use std::io::IsTerminal;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::follow::follow;
use super::output::{cell, line};
use super::{Client, Failure, Output, Upload, job};
use crate::domain::Targets;

#[derive(Debug, Clone, clap::Args)]
pub struct TrainArgs {
    /// The name the new adapter is served under
    #[arg(long)]
    name: String,
    /// Records: JSONL or a JSON array
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Held-out records to evaluate on, instead of a share of the data
    #[arg(long, value_name = "FILE")]
    validation: Option<PathBuf>,
    /// Wait for the end; exit 0 only on success (without it, only a terminal follows the job)
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    recipe: RecipeArgs,
}

/// The recipe's fields; what is left out gets the daemon's default.
#[derive(Debug, Clone, Default, clap::Args, serde::Serialize)]
#[command(next_help_heading = "Recipe")]
pub struct RecipeArgs {
    /// lora
    #[arg(long)]
    method: Option<String>,
    /// Width of the update
    #[arg(long)]
    rank: Option<usize>,
    /// The update is scaled by alpha / rank
    #[arg(long)]
    alpha: Option<f64>,
    /// Scale the update by alpha / sqrt(rank) instead
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "BOOL"
    )]
    use_rslora: Option<bool>,
    #[arg(long)]
    dropout: Option<f64>,
    /// Modules to adapt: a comma-separated list, a regular expression, or all-linear
    #[arg(long, value_name = "LIST|REGEX|all-linear")]
    targets: Option<Targets>,
    #[arg(long, conflicts_with = "steps")]
    epochs: Option<f64>,
    #[arg(long)]
    steps: Option<u64>,
    /// Rows in one optimizer step
    #[arg(long)]
    batch_size: Option<usize>,
    /// Rows in one forward pass
    #[arg(long)]
    micro_batch: Option<usize>,
    /// batch-size / micro-batch; any two give the third
    #[arg(long)]
    accumulate: Option<usize>,
    /// Learning rate
    #[arg(long)]
    lr: Option<f64>,
    /// linear, cosine or constant
    #[arg(long)]
    schedule: Option<String>,
    /// Steps, or a share of all steps when below 1
    #[arg(long)]
    warmup: Option<f64>,
    /// Tokens of the longest record, and of a packed row
    #[arg(long)]
    max_seq: Option<usize>,
    #[arg(long)]
    seed: Option<u64>,
    /// Rows held out: a share when below 1, else a count
    #[arg(long)]
    eval_split: Option<f64>,
    #[arg(long, value_name = "STEPS")]
    eval_every: Option<u64>,
    #[arg(long, value_name = "STEPS")]
    save_every: Option<u64>,
    #[arg(long)]
    weight_decay: Option<f64>,
    #[arg(long)]
    adam_beta1: Option<f64>,
    #[arg(long)]
    adam_beta2: Option<f64>,
    #[arg(long)]
    adam_epsilon: Option<f64>,
    /// 0 switches clipping off
    #[arg(long)]
    max_grad_norm: Option<f64>,
    /// Continue from an adapter or a folder under the daemon's adapter root
    #[arg(long, value_name = "ADAPTER|DIR")]
    from: Option<String>,
    /// Take the rows in the file's order
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    no_shuffle: bool,
    /// One record a row instead of several packed together
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    no_pack: bool,
}

impl RecipeArgs {
    fn fields(&self) -> Result<Map<String, Value>, Failure> {
        let value = serde_json::to_value(self).map_err(Failure::failed)?;
        let mut fields = value.as_object().cloned().unwrap_or_default();
        fields.retain(|_, value| !value.is_null());
        Ok(fields)
    }
}

async fn upload(client: &Client, path: &std::path::Path) -> Result<Value, Failure> {
    let bytes = std::fs::read(path)
        .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
    let filename = path
        .file_name()
        .map_or_else(|| "data.jsonl".into(), |n| n.to_string_lossy().into_owned());
    let file = client
        .upload(Upload {
            filename,
            purpose: "fine-tune",
            bytes,
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
    let mut body = json!({
        "model": client.base_name().await?,
        "training_file": training_file,
        "suffix": name,
        "adapterd": fields,
    });
    if let Some(file) = validation_file {
        body["validation_file"] = file.clone();
    }
    client.post(&["v1", "fine_tuning", "jobs"], &body).await
}

pub async fn train(client: &Client, args: &TrainArgs, output: Output) -> Result<(), Failure> {
    let fields = args.recipe.fields()?;
    let training_file = upload(client, &args.data).await?;
    let validation_file = match &args.validation {
        Some(path) => Some(upload(client, path).await?),
        None => None,
    };
    let job = create_job(
        client,
        &args.name,
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

    #[test]
    fn only_what_the_user_said_is_sent() {
        let recipe = RecipeArgs {
            rank: Some(8),
            targets: Some(Targets::from_text("q_proj,v_proj")),
            no_pack: true,
            ..Default::default()
        };
        let fields = Value::Object(recipe.fields().unwrap());
        assert_eq!(
            fields,
            json!({"rank": 8, "targets": ["q_proj", "v_proj"], "no_pack": true})
        );
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        recipe: RecipeArgs,
    }

    fn sent(flags: &[&str]) -> Value {
        let line = ["train"].iter().chain(flags);
        let line = <Line as clap::Parser>::try_parse_from(line).unwrap();
        Value::Object(line.recipe.fields().unwrap())
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
    fn every_flag_is_sent_under_its_own_name() {
        let command = <Line as clap::CommandFactory>::command();
        let flags: Vec<_> = command
            .get_arguments()
            .filter_map(clap::Arg::get_long)
            .filter(|flag| *flag != "help")
            .collect();
        assert!(flags.len() > 20, "{flags:?}");
        for flag in flags {
            let given = match flag {
                "no-shuffle" | "no-pack" | "use-rslora" => vec![format!("--{flag}")],
                _ => vec![format!("--{flag}"), "1".to_owned()],
            };
            let given: Vec<&str> = given.iter().map(String::as_str).collect();
            let fields = sent(&given);
            let names: Vec<_> = fields.as_object().unwrap().keys().collect();
            assert_eq!(names, [&flag.replace('-', "_")]);
        }
    }
}
