//! `train`: upload a file, create a job, follow it.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, FromArgMatches};
use serde_json::{Map, Value, json};

use super::follow::follow;
use super::output::{cell, line};
use super::{Client, Failure, Output, Upload, job};
use crate::domain::settings::{Kind, Setting, TABLE};

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

/// The settings that were said, by their names, as a job takes them; a flag for each row of the table.
#[derive(Debug, Clone, Default)]
struct RecipeArgs(Map<String, Value>);

impl clap::Args for RecipeArgs {
    fn augment_args(command: Command) -> Command {
        TABLE
            .iter()
            .fold(command, |command, setting| command.arg(flag(setting)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Names made here are kept for good: the parser takes no others, and there are few.
fn flag(setting: &'static Setting) -> Arg {
    let help = format!("{} [default: {}]", setting.about, setting.default());
    let arg = Arg::new(setting.name)
        .long(&*setting.flag().leak())
        .help(help)
        .help_heading(setting.group.title())
        .value_parser(|text: &str| setting.parse(text));
    let arg = match setting.kind {
        Kind::Flag | Kind::Off => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("BOOL"),
        Kind::Interval => arg.value_name("STEPS"),
        Kind::Choice(names) => arg.value_name(&*names.join("|").leak()),
        Kind::Modules => arg.value_name("LIST|REGEX|all-linear"),
        Kind::Whole(..) | Kind::Number(_) | Kind::ShareOrCount | Kind::Text => arg,
    };
    match setting.name {
        "epochs" => arg.conflicts_with("steps"),
        _ => arg,
    }
}

impl FromArgMatches for RecipeArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let said = TABLE.iter().filter_map(|setting| {
            let value = matches.get_one::<Value>(setting.name)?;
            Some((setting.name.to_owned(), value.clone()))
        });
        Ok(Self(said.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
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
        args.recipe.0.clone(),
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

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        recipe: RecipeArgs,
    }

    fn sent(flags: &[&str]) -> Value {
        let line = ["train"].iter().chain(flags);
        let line = <Line as clap::Parser>::try_parse_from(line).unwrap();
        Value::Object(line.recipe.0)
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
