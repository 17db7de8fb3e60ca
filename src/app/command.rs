//! The command line, and where each command goes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use super::audit;
use super::bench::{self, BenchCommand};
use super::data::{self, DataCommand};
use super::demo::{self, DemoArgs};
use super::doctor::{self, DoctorArgs};
use super::keys;
use super::local::Local;
use super::man::{self, ManArgs};
use super::merge;
use super::offline::{self, ConfigCommand};
use super::plan::{self, PlanArgs};
use super::pretrain::{self, PretrainCommand};
use super::serve::{self, ServeArgs};
use crate::cli::{self, AdapterCommand, Connection, Failure};

/// One quantized base model, many adapters in one batch, and a trainer that registers new ones live.
#[derive(Debug, Parser)]
#[command(name = "adapterd", version, arg_required_else_help = true, after_help = AFTER)]
struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "Start with `adapterd demo` for a tour, or `adapterd serve` and then `adapterd chat --adapter legal`.\n\
Exit codes: 0 done, 1 what was asked failed, 2 wrong usage or settings, 3 no daemon answered,\n\
130 interrupted while it waited.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Serve(Box<ServeArgs>),
    /// A guided tour: ask base and adapters, train a new one live, compare
    Demo(DemoArgs),
    /// Measure serving or training on this machine
    #[command(subcommand)]
    Bench(BenchCommand),
    #[command(flatten)]
    Client(cli::Command),
    /// Say what a training job would take before there is one: parameters, memory by part, time; exit 1 if it does not fit
    Plan(Box<PlanArgs>),
    /// Make the demonstration base from nothing: corpus, tokenizer, training, export
    #[command(subcommand)]
    Pretrain(PretrainCommand),
    /// Look into data files
    #[command(subcommand)]
    Data(DataCommand),
    /// Look into settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check this machine: processor, memory, disk, ports, base model
    Doctor(DoctorArgs),
    /// Print a completion script
    Completions { shell: clap_complete::Shell },
    /// Print the program's manual page, or write one for each command
    Man(ManArgs),
}

/// Longest wait for blocking work that is still under way when a command has ended.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(2);

/// Parses the process's arguments, runs the command and says how it ended.
pub fn main() -> ExitCode {
    // Before the runtime starts its threads.
    crate::kernels::claim_threads();
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("adapterd: {error}");
            return ExitCode::from(1);
        }
    };
    let outcome = runtime.block_on(run(arguments));
    // Work that blocks a thread cannot be called off; the command has said what it had to say.
    runtime.shutdown_timeout(LAST_WORDS);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Unread) {
                // `eprintln` panics where standard error is closed.
                let _ = writeln!(std::io::stderr().lock(), "adapterd: {failure}");
            }
            failure.exit_code()
        }
    }
}

async fn run(
    Arguments {
        connection,
        command,
    }: Arguments,
) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => serve::run(&args).await,
        Command::Demo(args) => demo::run(&args, connection.json).await,
        Command::Bench(command) => bench::run(&command, &connection).await,
        Command::Client(command) if is_local(&command) => {
            let local = Local::start(&[]).await?;
            let here = Connection {
                server: Some(local.url()),
                ..connection
            };
            let done = cli::run(command, &here).await;
            local.stop().await;
            done
        }
        Command::Client(cli::Command::Adapter(AdapterCommand::Merge(args))) => {
            merge::run(&args, &connection).await
        }
        Command::Client(cli::Command::Key(args)) => keys::run(args, &connection).await,
        Command::Client(cli::Command::Audit(args)) => audit::run(args, &connection).await,
        Command::Client(command) => cli::run(command, &connection).await,
        Command::Plan(args) => plan::run(&args, connection.json),
        Command::Pretrain(command) => pretrain::run(&command),
        Command::Data(command) => data::data(&command, connection.json),
        Command::Config(command) => offline::config(&command, connection.json),
        Command::Doctor(args) => doctor::run(&args, connection.json).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut definition(), "adapterd", &mut script);
            Ok(std::io::stdout().write_all(&script)?)
        }
        Command::Man(args) => man::run(&args, definition()),
    }
}

/// What the program takes, for pages about it.
pub(super) fn definition() -> clap::Command {
    Arguments::command()
}

fn is_local(command: &cli::Command) -> bool {
    match command {
        cli::Command::Chat(args) => args.local,
        cli::Command::Generate(args) => args.local,
        _ => false,
    }
}

/// Where settings may be given on the command line; each flag is one setting.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SettingFlags {
    /// A TOML file with settings
    #[arg(long, value_name = "FILE", env = "ADAPTERD_CONFIG")]
    pub config: Option<PathBuf>,
    /// A folder, a .gguf file, a Hugging Face id, `ollama:NAME[:TAG]`, or `embedded`
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// auto, none (as stored), int8 (LLM.int8), or a format: f32, f16, bf16, q8_0, q6_k, q5_k, q4_k, q4_0, …
    #[arg(long, value_name = "FORMAT")]
    pub quant: Option<String>,
    /// With int8: activations as large as this keep all their bits, 0 lets none [default: 6.0]
    #[arg(long, value_name = "X")]
    pub int8_threshold: Option<f32>,
    /// Type of cached keys and values: auto, f32, f16, q8
    #[arg(long, value_name = "TYPE")]
    pub kv: Option<String>,
    /// Tokens of prompt and answer together, fewer or more than the model was made for [default: as its files say]
    #[arg(long, value_name = "N")]
    pub max_len: Option<usize>,
    /// How the model writes calls of functions: auto (what its chat template says), hermes, llama3, mistral, qwen3-coder, json
    #[arg(long, value_name = "SYNTAX")]
    pub tool_parser: Option<String>,
    /// Whether requests that begin alike share what is computed of it [default: true]
    #[arg(long, value_name = "BOOL")]
    pub prefix_cache: Option<bool>,
    /// Guess next tokens from an answer's own text and verify several in one step: auto (where it pays) or off
    #[arg(long, value_name = "WHEN")]
    pub speculation: Option<String>,
    /// cpu, cuda[:N] or auto
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Where HTTP listens [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub http: Option<String>,
    /// Where gRPC listens [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR")]
    pub grpc: Option<String>,
    /// An address of its own for adapters, keys and metrics, which the others then refuse
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// PEM file with this daemon's certificate and those between it and a root: both ports speak TLS then
    #[arg(long, value_name = "FILE")]
    pub tls_certificate: Option<PathBuf>,
    /// PEM file with the certificate's key
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// PEM file with those whose certificates callers must show
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,
    /// Where adapters, jobs and files are kept [default: adapterd in the XDG state directory, or else /var/lib/adapterd]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Compute threads [default: one for each core]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

impl SettingFlags {
    /// The flags given, by the keys they set.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        [
            ("model.path", self.model.clone()),
            ("model.quant", self.quant.clone()),
            (
                "model.int8_threshold",
                self.int8_threshold.map(|threshold| threshold.to_string()),
            ),
            ("model.kv", self.kv.clone()),
            ("model.max_len", self.max_len.map(|n| n.to_string())),
            ("model.tool_parser", self.tool_parser.clone()),
            ("model.device", self.device.clone()),
            (
                "engine.prefix_cache",
                self.prefix_cache.map(|on| on.to_string()),
            ),
            ("engine.speculation", self.speculation.clone()),
            ("server.http", self.http.clone()),
            ("server.grpc", self.grpc.clone()),
            ("storage.data_dir", path(&self.data_dir)),
            ("server.admin", self.admin.clone()),
            ("server.tls.certificate", path(&self.tls_certificate)),
            ("server.tls.key", path(&self.tls_key)),
            ("server.tls.client_ca", path(&self.tls_client_ca)),
            (
                "engine.threads",
                self.threads.map(|threads| threads.to_string()),
            ),
        ]
        .into_iter()
        .filter_map(|(key, value)| value.map(|value| (key, value)))
        .collect()
    }

    pub fn load(&self) -> Result<super::settings::Settings, Failure> {
        self.load_with(&[])
    }

    /// The same, with settings that count more than all others.
    pub fn load_with(
        &self,
        more: &[(&'static str, String)],
    ) -> Result<super::settings::Settings, Failure> {
        let paths = [
            &self.data_dir,
            &self.tls_certificate,
            &self.tls_key,
            &self.tls_client_ca,
        ];
        for path in paths.into_iter().flatten() {
            text_of(path)?;
        }
        let mut pairs = self.pairs();
        pairs.extend_from_slice(more);
        super::settings::load(self.config.as_deref(), std::env::vars_os(), &pairs)
            .map_err(super::unusable)
    }
}

/// A path as the text of a setting.
pub fn text_of(path: &Path) -> Result<String, Failure> {
    let wrong = || Failure::Usage(format!("the path `{}` is not UTF-8", path.display()));
    path.to_str().map(str::to_owned).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        definition().debug_assert();
    }

    /// Clap's own checks are left out of a program that is optimised.
    #[test]
    fn no_command_has_two_flags_of_one_name() {
        fn walk(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let mut seen = std::collections::HashSet::new();
            for flag in command.get_arguments() {
                let long = flag.get_long().map(|long| format!("--{long}"));
                let short = flag.get_short().map(|short| format!("-{short}"));
                for name in long.into_iter().chain(short) {
                    assert!(seen.insert(name.clone()), "{path} {name}");
                }
            }
            command
                .get_subcommands()
                .for_each(|command| walk(command, &path));
        }
        let mut whole = definition();
        // So that flags of all commands reach each of them.
        whole.build();
        walk(&whole, "");
    }
}
