//! The record of changes: who acts, and what is told of it.

use serde::{Deserialize, Serialize};

use super::{Generation, JobId, KeyId};

/// Who changes something, and by which request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    who: Option<String>,
    request: Option<String>,
}

impl Default for Actor {
    fn default() -> Self {
        Self::system()
    }
}

impl Actor {
    fn named(who: &str) -> Self {
        Self {
            who: Some(who.to_owned()),
            request: None,
        }
    }

    /// The program by itself.
    pub fn system() -> Self {
        Self::named("system")
    }

    /// Whoever can write the data directory, without a daemon.
    pub fn offline() -> Self {
        Self::named("offline")
    }

    pub fn job(id: &JobId) -> Self {
        Self::named(&format!("job:{id}"))
    }

    /// A caller; without a key where none is asked for.
    pub fn caller(key: Option<&KeyId>, request: Option<&str>) -> Self {
        Self {
            who: key.map(ToString::to_string),
            request: request.map(str::to_owned),
        }
    }

    pub fn who(&self) -> Option<&str> {
        self.who.as_deref()
    }

    pub fn request(&self) -> Option<&str> {
        self.request.as_deref()
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditRow {
    /// A number, as text; larger is newer.
    pub id: String,
    /// Unix seconds.
    pub at: i64,
    /// The id of a key, `job:<id>`, `offline` or `system`; none where no key was asked for.
    pub who: Option<String>,
    /// As `adapter.promote`.
    pub action: String,
    /// The name or id of what was changed.
    pub object: String,
    pub before: Option<Generation>,
    pub after: Option<Generation>,
    /// Where an adapter came from, what a key opens.
    pub detail: Option<String>,
    pub request_id: Option<String>,
    pub outcome: String,
    /// 64 hex digits, over the digest of the row before and this row.
    pub digest: String,
}

/// Which rows are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditAsk {
    pub object: Option<String>,
    /// Whole, or its first part: `adapter` is all that happened to adapters.
    pub action: Option<String>,
    pub who: Option<String>,
    /// Unix seconds.
    pub since: Option<i64>,
}

/// What a walk along the chain found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditState {
    pub intact: bool,
    /// Rows that follow from the ones before.
    pub rows: u64,
    /// Of the last of them. Kept elsewhere, it shows later whether all up to here was written anew.
    pub digest: String,
    /// The first row that does not follow, and why.
    pub broken: Option<String>,
    pub why: Option<String>,
}
