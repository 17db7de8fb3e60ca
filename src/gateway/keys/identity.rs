//! The key of who shows a certificate, by what that calls its holder.

use std::sync::atomic::Ordering;

use super::{Keys, Pass, Proof, over};
use crate::domain::{KeyId, Reason, Scope, plain_identity};
use crate::store::now;

impl Keys {
    /// What a certificate calls its holder has one key at a time.
    pub(super) fn check_identity(&self, identity: Option<&str>) -> Result<(), Reason> {
        let holder = identity.and_then(|it| self.inner.identities.load().get(it).cloned());
        let known = self.inner.known.load();
        let held = holder.and_then(|id| known.get(id.as_str()).cloned());
        match held.filter(|held| over(&held.row.view, now()).is_none()) {
            Some(held) => {
                let why = format!("is that of key {}; revoke it first", held.row.view.id);
                Err(Reason::field("identity", why))
            }
            None => Ok(()),
        }
    }

    /// The key of who shows a certificate with these names; `None` where none of them is a key's.
    pub(in crate::gateway) fn certified(&self, names: &[String]) -> Result<Option<Pass>, Reason> {
        let identities = self.inner.identities.load();
        let mut found: Option<(&KeyId, String)> = None;
        for name in names {
            let name = plain_identity(name);
            let Some(id) = identities.get(&name) else {
                continue;
            };
            match &found {
                Some((other, _)) if *other != id => return Err(Reason::TwoKeys),
                _ => found = Some((id, name)),
            }
        }
        let Some((id, name)) = found else {
            return Ok(None);
        };
        let held = self.inner.known.load().get(id.as_str()).cloned();
        let held = held.ok_or(Reason::UnknownKey(Scope::Infer))?;
        let (proof, now) = (Proof::Certificate(name), now());
        proof.judge(&held.row, now)?;
        held.used_at.store(now, Ordering::Relaxed);
        Ok(Some(Pass {
            keys: self.clone(),
            held,
            proof,
        }))
    }
}
