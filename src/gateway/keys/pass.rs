//! A key that was shown, for as long as it counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use blake3::Hash;

use super::Keys;
use crate::domain::{KeyView, Reason, Scope};
use crate::gateway::limits::Meter;
use crate::store::{KeyRow, now};

/// A key in memory.
pub(super) struct Held {
    pub row: KeyRow,
    /// Unix seconds; 0 is never. Stored now and then.
    pub used_at: AtomicI64,
    pub meter: Arc<Meter>,
}

impl Held {
    pub fn new(row: KeyRow) -> Self {
        let used_at = AtomicI64::new(row.view.last_used_at.unwrap_or(0));
        Self {
            row,
            used_at,
            meter: Arc::default(),
        }
    }

    pub fn used_at(&self) -> Option<i64> {
        Some(self.used_at.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    pub fn view(&self) -> KeyView {
        KeyView {
            last_used_at: self.used_at(),
            ..self.row.view.clone()
        }
    }
}

/// How a key has ended, whatever its secret.
pub(super) fn over(key: &KeyView, now: i64) -> Option<&'static str> {
    match (key.revoked_at, key.expires_at) {
        (Some(_), _) => Some("was revoked"),
        (None, Some(end)) if end <= now => Some("has expired"),
        _ => None,
    }
}

/// Whether a text with this digest opens what the key does.
pub(super) fn judge(row: &KeyRow, digest: &Hash, now: i64) -> Result<(), Reason> {
    let is_current = row.digest == *digest;
    let replaced = row.replaced.filter(|replaced| replaced.digest == *digest);
    if !is_current && replaced.is_none() {
        return Err(Reason::UnknownKey(Scope::Infer));
    }
    if let Some(how) = over(&row.view, now) {
        return Err(Reason::KeyEnded(how, Scope::Infer));
    }
    match replaced {
        Some(replaced) if !is_current && replaced.until <= now => Err(Reason::KeyEnded(
            "was replaced by a new secret",
            Scope::Infer,
        )),
        _ => Ok(()),
    }
}

/// How often it is looked whether a key has ended while its holder is being answered.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A key that was shown, with what it showed. Cheap to clone.
#[derive(Clone)]
pub(in crate::gateway) struct Pass {
    pub(super) keys: Keys,
    pub(super) held: Arc<Held>,
    pub(super) proof: Proof,
}

/// What was shown.
#[derive(Clone)]
pub(super) enum Proof {
    Secret(Hash),
    /// A certificate with this name.
    Certificate(String),
}

impl Proof {
    /// Whether it opens what the key does.
    pub fn judge(&self, row: &KeyRow, now: i64) -> Result<(), Reason> {
        match self {
            Self::Secret(digest) => judge(row, digest, now),
            Self::Certificate(name) if row.view.identity.as_ref() != Some(name) => {
                Err(Reason::UnknownCertificate(name.clone(), Scope::Infer))
            }
            Self::Certificate(_) => {
                over(&row.view, now).map_or(Ok(()), |how| Err(Reason::KeyEnded(how, Scope::Infer)))
            }
        }
    }
}

impl Pass {
    pub fn key(&self) -> &KeyView {
        &self.held.row.view
    }

    /// What its holder asked.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.held.meter
    }

    /// Whether it still lets its holder in.
    pub fn check(&self) -> Result<(), Reason> {
        let known = self.keys.inner.known.load();
        let held = known.get(self.key().id.as_str());
        self.proof
            .judge(&held.ok_or(Reason::UnknownKey(Scope::Infer))?.row, now())
    }

    /// Resolves soon after it no longer does.
    pub async fn ended(&self) -> Reason {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            if let Err(reason) = self.check() {
                return reason;
            }
        }
    }
}
