//! cli: the command line as a client of a running daemon.
//! Speaks HTTP only: it opens no model and no database, so it works against a remote daemon as it does here.

mod adapter;
mod chat;
mod client;
mod curve;
mod dry_run;
mod failure;
mod flags;
mod follow;
mod job;
mod key;
mod merge;
mod output;
mod panel;
mod progress;
mod proxy;
mod recipes;
mod server;
mod sse;
mod summary;
mod train;
mod trust;

pub use adapter::{AdapterCommand, register};
pub use chat::{ChatArgs, GenerateArgs};
pub use client::{Client, Content, Upload};
pub use failure::Failure;
pub use flags::{Flags, Rows};
pub use job::JobCommand;
pub use key::{KeyArgs, KeyCommand, listing as list_keys, show as show_key};
pub use merge::MergeArgs;
pub use output::{Output, Table, colors, size};
pub use sse::chunks;
pub use train::{TrainArgs, TrainFlags, create_job, plan_job};
pub use trust::Trust;

/// Where the daemon is and how to print; the same on every client command.
#[derive(Debug, Clone, clap::Args)]
pub struct Connection {
    /// The daemon to talk to: HOST, HOST:PORT (8080 where there is none) or a URL
    /// [env: ADAPTERD_SERVER] [default: http://127.0.0.1:8080]
    #[arg(long, global = true, value_name = "URL", help_heading = "Connection")]
    pub server: Option<String>,
    /// Sent as a bearer token.
    #[arg(
        long,
        global = true,
        env = "ADAPTERD_API_KEY",
        hide_env_values = true,
        value_name = "KEY",
        help_heading = "Connection"
    )]
    pub api_key: Option<String>,
    /// Print JSON for programs instead of text for people.
    #[arg(long, global = true, help_heading = "Connection")]
    pub json: bool,
    #[command(flatten)]
    pub trust: Trust,
}

impl Connection {
    /// A handle to the daemon that the command line or the environment names, or else to the one at the usual address.
    pub fn client(&self) -> Result<Client, Failure> {
        let named = self.named();
        let server = named.as_deref().unwrap_or(server::DEFAULT);
        Client::trusting(server, self.api_key.as_deref(), &self.trust)
    }

    /// The daemon that is named, where one is.
    pub fn named(&self) -> Option<String> {
        let said = || {
            let value = std::env::var_os("ADAPTERD_SERVER")?;
            let value = value.to_string_lossy().trim().to_owned();
            // An empty variable is as good as none; an empty flag is a mistake.
            (!value.is_empty()).then_some(value)
        };
        self.server.clone().or_else(said)
    }
}

/// The commands that need a daemon.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Talk to the model, turn by turn; from a pipe, one user message a line
    Chat(ChatArgs),
    /// Continue one prompt and print the answer
    Generate(GenerateArgs),
    /// Train a new adapter from a data file and serve it under a name
    Train(Box<TrainArgs>),
    /// Look after fine-tuning jobs
    #[command(subcommand)]
    Job(JobCommand),
    /// Look after adapters
    #[command(subcommand)]
    Adapter(AdapterCommand),
    /// Say who may ask the daemon: make keys, list and end them
    Key(KeyArgs),
}

/// Runs one command against the daemon that `connection` names.
pub async fn run(command: Command, connection: &Connection) -> Result<(), Failure> {
    let client = connection.client()?;
    let output = Output::new(connection.json);
    match command {
        Command::Chat(args) => chat::chat(&client, &args, output).await,
        Command::Generate(args) => chat::generate(&client, &args, output).await,
        Command::Train(args) => train::train(&client, &args, output).await,
        Command::Job(command) => job::run(&client, command, output).await,
        Command::Adapter(command) => adapter::run(&client, command, output).await,
        Command::Key(args) => key::run(&client, &args.command, output).await,
    }
}
