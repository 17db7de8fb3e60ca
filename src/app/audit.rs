//! `audit …`: asked of a daemon, or read in a data directory, also one that a daemon uses.

use serde_json::{Value, json};

use super::assemble::database;
use super::command::SettingFlags;
use crate::cli::{self, AuditArgs, AuditCommand, Connection, Failure, Output};
use crate::gateway::Audit;

pub async fn run(args: AuditArgs, connection: &Connection) -> Result<(), Failure> {
    let names_daemon = connection.named().is_some() || connection.api_key.is_some();
    if args.data_dir.is_none() && names_daemon {
        return cli::run(cli::Command::Audit(args), connection).await;
    }
    let flags = SettingFlags {
        config: args.config.clone(),
        data_dir: args.data_dir.clone(),
        ..SettingFlags::default()
    };
    // What a daemon would refuse to serve must not stand in the way of looking.
    let settings = flags.load_with(&[("auth.mode", "keys".to_owned())])?;
    let place = settings.place().map_err(super::unusable)?;
    if !place.dir.exists() {
        return Err(Failure::Failed(format!(
            "there is no data directory {}; --data-dir names another",
            place.dir.display()
        )));
    }
    let audit = Audit::new(database(&place.dir).await.map_err(Failure::failed)?);
    let answer = read(&audit, &args.command).await;
    audit.close().await;
    eprintln!("Record of the data directory {}", place.dir.display());
    cli::show_audit(&answer?, Output::new(connection.json))
}

/// What the daemon would answer.
async fn read(audit: &Audit, command: &AuditCommand) -> Result<Value, Failure> {
    match command {
        AuditCommand::List(args) => {
            let after = args.after.as_deref().map(str::parse::<i64>).transpose();
            let after = after.map_err(|_| Failure::Usage("--after is no id of a row".into()))?;
            let page = audit.list(&args.ask(), after, args.limit).await;
            let page = page.map_err(Failure::failed)?;
            let ends = (page.items.first(), page.items.last());
            Ok(json!({
                "object": "list",
                "data": page.items,
                "first_id": ends.0.map(|row| &row.id),
                "last_id": ends.1.map(|row| &row.id),
                "has_more": page.has_more,
            }))
        }
        AuditCommand::Verify => {
            let state = audit.verify().await.map_err(Failure::failed)?;
            Ok(json!(state))
        }
    }
}
