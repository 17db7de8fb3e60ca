//! store: files, jobs, events and checkpoints as rows. Statuses change by compare-and-set, so that a cancel and the end of
//! a job cannot both win.

mod checkpoints;
mod events;
mod files;
mod jobs;

pub use checkpoints::{checkpoints, keep_checkpoints};
#[cfg(test)]
pub use events::Telling;
pub use events::{NewEvent, append, events};
pub use files::{FileRow, delete_file, file, insert_file, list_files};
pub use jobs::{
    Far, JobRow, Publishing, adopt, begin_publishing, cancel, claim, counts, fail, insert_job,
    is_over, job, list_jobs, pause, progress, queued, recover, release, resume, strangers, succeed,
};

use crate::domain::Reason;
pub use crate::registry::database_fault as failed;

/// A page of a listing, newest first; what it starts after is not in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub has_more: bool,
}

impl<T> Page<T> {
    /// From one row more than asked for, where there are that many.
    fn of(mut items: Vec<T>, limit: usize) -> Self {
        let has_more = items.len() > limit;
        items.truncate(limit);
        Self { items, has_more }
    }
}

/// SQLite counts in i64; one row more than asked for tells whether there are more.
fn one_more(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

pub fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}

/// A stored value that does not read: somebody else wrote this database.
fn unreadable(what: &str, fault: impl std::fmt::Display) -> Reason {
    Reason::Storage(format!("a stored {what} cannot be read: {fault}"))
}

#[cfg(test)]
mod tests;
