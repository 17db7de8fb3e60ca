//! `key …`: asked of a daemon, or done to the keys in a data directory that no daemon uses. The first key can be made
//! beside a running daemon too: nobody could ask it for one.

use serde_json::Value;

use super::assemble::database;
use super::command::SettingFlags;
use super::serve::try_claim;
use crate::cli::{self, Connection, Failure, KeyArgs, KeyCommand, Output};
use crate::domain::{Actor, KeyId};
use crate::gateway::Keys;

pub async fn run(args: KeyArgs, connection: &Connection) -> Result<(), Failure> {
    let names_daemon = connection.named().is_some() || connection.api_key.is_some();
    if args.data_dir.is_none() && names_daemon {
        return cli::run(cli::Command::Key(args), connection).await;
    }
    let flags = SettingFlags {
        config: args.config.clone(),
        data_dir: args.data_dir.clone(),
        ..SettingFlags::default()
    };
    // Keys are made before they are asked for: what a daemon without them would refuse must not stand in the way.
    let settings = flags.load_with(&[("auth.mode", "keys".to_owned())])?;
    let place = settings.place().map_err(super::unusable)?;
    let lock = try_claim(place).map_err(Failure::failed)?;
    let keys = Keys::open(database(&place.dir).await.map_err(Failure::failed)?);
    let keys = keys.await.map_err(Failure::failed)?;
    let keys = keys.by(Actor::offline());
    let is_first = keys.is_empty() && matches!(args.command, KeyCommand::Create(_));
    if lock.is_none() && !is_first {
        if args.data_dir.is_none() || names_daemon {
            return cli::run(cli::Command::Key(args), connection).await;
        }
        return Err(Failure::Failed(format!(
            "a daemon uses {}: ask it, with --server and --api-key of an admin's key, or stop it first",
            place.dir.display()
        )));
    }
    let answer = match (&args.command, &lock) {
        (KeyCommand::Create(create), None) => {
            let made = keys.create_first(create.ask()).await;
            serde_json::to_value(made.map_err(Failure::failed)?).map_err(Failure::failed)?
        }
        (command, _) => change(&keys, command).await?,
    };
    // Another place than the daemon's would only be noticed by its refusals.
    eprintln!("Keys of the data directory {}", place.dir.display());
    keys.close().await;
    drop(lock);
    cli::show_key(&answer, Output::new(connection.json))
}

/// What the daemon would answer.
async fn change(keys: &Keys, command: &KeyCommand) -> Result<Value, Failure> {
    let json = |value| serde_json::to_value(value).map_err(Failure::failed);
    let id = |text: &String| KeyId::from_text(text);
    match command {
        KeyCommand::List => Ok(cli::list_keys(&keys.list())),
        KeyCommand::Create(args) => json(keys.create(args.ask()).await.map_err(Failure::failed)?),
        KeyCommand::Rotate { id: key, overlap } => {
            let issued = keys.rotate(&id(key), *overlap).await;
            json(issued.map_err(Failure::failed)?)
        }
        KeyCommand::Revoke { id: key } => {
            let revoked = keys.revoke(&id(key)).await.map_err(Failure::failed)?;
            serde_json::to_value(revoked).map_err(Failure::failed)
        }
    }
}
