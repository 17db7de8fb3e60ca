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

/// Each action that is recorded, with its name in the record.
macro_rules! actions {
    ($($action:ident = $name:literal,)+) => {
        /// What a row of the record tells of.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Action {
            $($action,)+
        }

        impl Action {
            pub const ALL: &'static [Self] = &[$(Self::$action,)+];

            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$action => $name,)+
                }
            }
        }
    };
}

actions! {
    AdapterPublish = "adapter.publish",
    AdapterKeep = "adapter.keep",
    AdapterCanary = "adapter.canary",
    AdapterCanaryPromote = "adapter.canary_promote",
    AdapterCanaryAbort = "adapter.canary_abort",
    AdapterShadow = "adapter.shadow",
    AdapterShadowStop = "adapter.shadow_stop",
    AdapterPromote = "adapter.promote",
    AdapterRollback = "adapter.rollback",
    AdapterPin = "adapter.pin",
    AdapterUnpin = "adapter.unpin",
    AdapterRemove = "adapter.remove",
    AdapterRetrain = "adapter.retrain",
    KeyCreate = "key.create",
    KeyRotate = "key.rotate",
    KeyRevoke = "key.revoke",
    JobCreate = "job.create",
    JobPause = "job.pause",
    JobResume = "job.resume",
    JobCancel = "job.cancel",
    FileDelete = "file.delete",
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Action;

    #[test]
    fn the_page_on_security_names_every_action_that_is_recorded() {
        let place = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/security.md");
        let page = std::fs::read_to_string(place).unwrap();
        let told = page.split("What is recorded:").nth(1).unwrap();
        let told = told.split("Attempts that were refused").next().unwrap();
        let mut named = BTreeSet::new();
        for group in told.split(';') {
            let mut names = group.split('`').skip(1).step_by(2);
            let first = names.next().unwrap();
            let (object, _) = first.split_once('.').unwrap();
            named.insert(first.to_owned());
            named.extend(names.map(|verb| format!("{object}{verb}")));
        }
        let recorded = Action::ALL.iter().map(|action| action.as_str().to_owned());
        assert_eq!(named, recorded.collect::<BTreeSet<_>>());
    }
}
