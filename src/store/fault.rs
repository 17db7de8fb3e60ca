//! Failures of disk and database as reasons.

use std::io;

use crate::domain::Reason;

pub(super) fn sql(error: sqlx::Error) -> Reason {
    // Extended result codes carry the primary one in their lowest byte.
    let primary = error
        .as_database_error()
        .and_then(|error| error.code())
        .and_then(|code| code.parse::<u32>().ok())
        .map(|code| code & 0xff);
    match (primary, &error) {
        (Some(5 | 6), _) | (_, sqlx::Error::PoolTimedOut) => Reason::Overloaded { retry_after: 1 },
        (Some(13), _) => Reason::StorageFull(error.to_string()),
        _ => Reason::Storage(error.to_string()),
    }
}

/// `what` was being done: `writing adapter_model.safetensors`. The log gets the whole error; the answer gets none of
/// the paths it may name.
pub fn io(what: &str, error: &io::Error) -> Reason {
    tracing::error!(%error, "{what}");
    let cause = match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code).to_string(),
        None => error.kind().to_string(),
    };
    let text = format!("{what}: {cause}");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Reason::StorageFull(text),
        _ => Reason::Storage(text),
    }
}

/// A stored value that does not read: another program wrote this database.
pub(super) fn unreadable(what: &str, why: impl std::fmt::Display) -> Reason {
    Reason::Storage(format!("a stored {what} cannot be read: {why}"))
}
