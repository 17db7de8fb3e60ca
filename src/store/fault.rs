//! Failures of disk and database as reasons.

use std::io;

use super::disk::FileError;
use crate::domain::Reason;

impl From<sqlx::Error> for Reason {
    fn from(error: sqlx::Error) -> Self {
        // Extended result codes carry the primary one in their lowest byte.
        let primary = error
            .as_database_error()
            .and_then(|error| error.code())
            .and_then(|code| code.parse::<u32>().ok())
            .map(|code| code & 0xff);
        match (primary, &error) {
            (Some(5 | 6), _) | (_, sqlx::Error::PoolTimedOut) => {
                Self::Overloaded { retry_after: 1 }
            }
            (Some(13), _) => Self::StorageFull(error.to_string()),
            _ => Self::Storage(error.to_string()),
        }
    }
}

/// `what` was being done: `staging an adapter`. The log gets the whole error; the answer gets none of the paths it may
/// name, but which of the files stored together is at fault.
pub fn io(what: &str, error: &io::Error) -> Reason {
    tracing::error!(%error, "{what}");
    let text = format!("{what}: {}", cause(error));
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Reason::StorageFull(text),
        _ => Reason::Storage(text),
    }
}

fn cause(error: &io::Error) -> String {
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<FileError>()) {
        Some(FileError::Write { name, error }) => format!("writing {name}: {}", cause(error)),
        Some(differs @ FileError::Differs { .. }) => differs.to_string(),
        None => match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code).to_string(),
            None => error.kind().to_string(),
        },
    }
}

/// A stored value that does not read: another program wrote this database.
pub(super) fn unreadable(what: &str, why: impl std::fmt::Display) -> Reason {
    Reason::Storage(format!("a stored {what} cannot be read: {why}"))
}
