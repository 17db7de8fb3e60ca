//! The keys there are: all of them in memory, so that letting somebody in asks no disk; every change is stored first.

mod identity;
mod pass;

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use futures::{Stream, StreamExt};

use super::Caller;
use crate::domain::{
    Actor, IssuedKey, KeyAsk, KeyId, KeyView, Reason, Scope, check_span, id_in_key, key_text,
    plain_identity,
};
use crate::store::{self, Database, KeyRow, joined, now};
use pass::{Held, Proof, judge, over};

/// Bytes of a secret: none is ever guessed.
const SECRET: usize = 24;
/// Bytes of an id.
const ID: usize = 6;

pub(super) use pass::Pass;

/// Cheap to clone.
#[derive(Clone)]
pub struct Keys {
    inner: Arc<Inner>,
    /// Who changes what is changed through this handle.
    actor: Actor,
}

struct Inner {
    stored: store::Keys,
    /// By id.
    known: ArcSwap<HashMap<String, Arc<Held>>>,
    /// Their ids by what a certificate calls their holders.
    identities: ArcSwap<HashMap<String, KeyId>>,
    /// Held for every change.
    changing: tokio::sync::Mutex<()>,
}

impl Keys {
    pub async fn open(database: Database) -> Result<Self, Reason> {
        let stored = store::Keys::open(database).await?;
        let keys = Self {
            inner: Arc::new(Inner {
                stored,
                known: ArcSwap::default(),
                identities: ArcSwap::default(),
                changing: tokio::sync::Mutex::default(),
            }),
            actor: Actor::system(),
        };
        keys.read().await?;
        Ok(keys)
    }

    /// A handle by which somebody changes things.
    pub fn by(&self, actor: Actor) -> Self {
        Self {
            actor,
            ..self.clone()
        }
    }

    /// Takes the stored keys for what there is.
    async fn read(&self) -> Result<(), Reason> {
        let _changing = self.inner.changing.lock().await;
        let rows = self.inner.stored.all().await?.into_iter();
        let rows: Vec<KeyRow> = rows.collect();
        let mut identities = HashMap::new();
        for KeyRow { view, .. } in &rows {
            // Of several with the same, all but the newest have ended.
            if let Some(identity) = &view.identity {
                identities.insert(identity.clone(), view.id.clone());
            }
        }
        let known = rows.into_iter();
        let known = known.map(|row| (row.view.id.to_string(), Arc::new(Held::new(row))));
        self.inner.known.store(Arc::new(known.collect()));
        self.inner.identities.store(Arc::new(identities));
        Ok(())
    }

    /// For the end of a process that holds nothing else of the database.
    pub async fn close(&self) {
        self.inner.stored.close().await;
    }

    pub fn is_empty(&self) -> bool {
        self.inner.known.load().is_empty()
    }

    /// The first key is made by another process: nobody can ask this one for it.
    async fn look_for_the_first(&self) -> Result<(), Reason> {
        match self.is_empty() {
            true => self.read().await,
            false => Ok(()),
        }
    }

    /// The oldest first.
    pub fn list(&self) -> Vec<KeyView> {
        let known = self.inner.known.load();
        let mut views: Vec<KeyView> = known.values().map(|held| held.view()).collect();
        views.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        views
    }

    pub async fn create(&self, ask: KeyAsk) -> Result<IssuedKey, Reason> {
        self.look_for_the_first().await?;
        self.make(ask, false).await
    }

    /// Where there is none yet: an admin's, since without one nobody could make the next.
    pub async fn create_first(&self, ask: KeyAsk) -> Result<IssuedKey, Reason> {
        if !ask.scopes.allow(Scope::Admin) {
            let why = "need `admin` for the first key: without it nobody could make the next one";
            return Err(Reason::field("scopes", why));
        }
        self.make(ask, true).await
    }

    async fn make(&self, ask: KeyAsk, is_first: bool) -> Result<IssuedKey, Reason> {
        ask.check()?;
        let id = KeyId::new(&hex(&rand::random::<[u8; ID]>()));
        let secret = fresh_text(&id);
        let created_at = now();
        let expires = |span: u64| created_at.saturating_add(span as i64);
        let row = KeyRow {
            view: KeyView {
                id,
                object: "key".to_owned(),
                name: ask.name.trim().to_owned(),
                scopes: ask.scopes,
                adapters: ask.adapters,
                weight: ask.weight,
                limits: ask.limits,
                created_at,
                expires_at: ask.expires_in.map(expires),
                revoked_at: None,
                last_used_at: None,
                identity: ask.identity.as_deref().map(plain_identity),
            },
            digest: self.inner.stored.digest(&secret),
            replaced: None,
        };
        let keys = self.clone();
        carried_through(async move {
            let _changing = keys.inner.changing.lock().await;
            keys.check_identity(row.view.identity.as_deref())?;
            let stored = &keys.inner.stored;
            match is_first {
                true => stored.create_first(&row, &keys.actor).await?,
                false => stored.create(&row, &keys.actor).await?,
            }
            tracing::info!(key = %row.view.id, name = row.view.name, "created a key");
            let key = keys.put(row);
            Ok(IssuedKey { key, secret })
        })
        .await
    }

    /// From when this returns on the key lets nobody in.
    pub async fn revoke(&self, id: &KeyId) -> Result<KeyView, Reason> {
        let (keys, id) = (self.clone(), id.clone());
        carried_through(async move {
            let _changing = keys.inner.changing.lock().await;
            let row = keys.inner.stored.revoke(&id, now(), &keys.actor).await?;
            tracing::info!(key = %id, "revoked a key");
            Ok(keys.put(row))
        })
        .await
    }

    /// Gives a key a new secret; the one before lets its holder in for `overlap` more seconds.
    pub async fn rotate(&self, id: &KeyId, overlap: u64) -> Result<IssuedKey, Reason> {
        check_span("overlap", overlap)?;
        self.look_for_the_first().await?;
        let (keys, id) = (self.clone(), id.clone());
        carried_through(async move {
            let _changing = keys.inner.changing.lock().await;
            let held = keys.inner.known.load().get(id.as_str()).cloned();
            let held = held.ok_or_else(|| Reason::NoSuchKey(id.to_string()))?;
            let now = now();
            if let Some(how) = over(&held.row.view, now) {
                let why = format!("key {id} {how}; create another");
                return Err(Reason::WrongState(why));
            }
            let secret = fresh_text(&id);
            let digest = keys.inner.stored.digest(&secret);
            // Without an overlap it has ended whatever the clock will say.
            let until = match overlap {
                0 => 0,
                overlap => now.saturating_add(overlap as i64),
            };
            let rotated = keys.inner.stored.rotate(&id, digest, until, &keys.actor);
            let row = rotated.await?;
            tracing::info!(key = %id, overlap, "rotated a key");
            let key = keys.put(row);
            Ok(IssuedKey { key, secret })
        })
        .await
    }

    /// Lets callers meet what has been stored. Only while changing.
    fn put(&self, row: KeyRow) -> KeyView {
        let mut known = HashMap::clone(&self.inner.known.load());
        let id = row.view.id.to_string();
        let mut held = Held::new(row);
        if let Some(before) = known.get(&id) {
            let used_at = before.used_at.load(Ordering::Relaxed);
            held.used_at.store(used_at, Ordering::Relaxed);
            held.meter = before.meter.clone();
        }
        let held = Arc::new(held);
        let view = held.view();
        if let (Some(identity), None) = (&view.identity, over(&view, now())) {
            let mut identities = HashMap::clone(&self.inner.identities.load());
            identities.insert(identity.clone(), view.id.clone());
            self.inner.identities.store(Arc::new(identities));
        }
        known.insert(id, held);
        self.inner.known.store(Arc::new(known));
        view
    }

    /// The key that a caller shows.
    pub(super) async fn find(&self, text: &str) -> Result<Pass, Reason> {
        match self.look(text) {
            Err(Reason::UnknownKey(_)) if self.is_empty() => {
                self.read().await?;
                self.look(text)
            }
            found => found,
        }
    }

    /// In memory, and as long for an id that does not exist as for a secret that is wrong.
    fn look(&self, text: &str) -> Result<Pass, Reason> {
        let digest = self.inner.stored.digest(text);
        let id = id_in_key(text).ok_or(Reason::UnknownKey(Scope::Infer))?;
        let held = self.inner.known.load().get(id).cloned();
        let held = held.ok_or(Reason::UnknownKey(Scope::Infer))?;
        let now = now();
        judge(&held.row, &digest, now)?;
        held.used_at.store(now, Ordering::Relaxed);
        Ok(Pass {
            keys: self.clone(),
            held,
            proof: Proof::Secret(digest),
        })
    }

    /// Stores when keys were used last: at every tick, and when there are no more.
    pub async fn keep_uses(self, ticks: impl Stream<Item = ()>) {
        let mut ticks = pin!(ticks);
        let mut stored: HashMap<KeyId, i64> = HashMap::new();
        loop {
            let is_last = ticks.next().await.is_none();
            let known = self.inner.known.load_full();
            let used = known.values().filter_map(|held| {
                let (view, at) = (&held.row.view, held.used_at()?);
                let before = stored.get(&view.id).copied().or(view.last_used_at);
                (before != Some(at)).then(|| (view.id.clone(), at))
            });
            let used: Vec<(KeyId, i64)> = used.collect();
            if !used.is_empty() {
                match self.inner.stored.touch(&used).await {
                    Ok(()) => stored.extend(used),
                    Err(fault) => tracing::warn!(%fault, "when keys were used is not stored"),
                }
            }
            if is_last {
                return;
            }
        }
    }
}

/// A change runs to its end even if who asked for it goes away: what is stored and what is in memory stay the same.
async fn carried_through<T: Send + 'static>(
    change: impl Future<Output = Result<T, Reason>> + Send + 'static,
) -> Result<T, Reason> {
    joined(tokio::spawn(change)).await
}

/// The text of a key with a new secret.
fn fresh_text(id: &KeyId) -> String {
    key_text(id, &hex(&rand::random::<[u8; SECRET]>()))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Caller {
    pub async fn keys(&self) -> Result<Vec<KeyView>, Reason> {
        let keys = &self.may(Scope::Admin)?.keys;
        keys.look_for_the_first().await?;
        Ok(keys.list())
    }

    pub async fn create_key(&self, ask: KeyAsk) -> Result<IssuedKey, Reason> {
        let keys = self.may(Scope::Admin)?.keys.by(self.actor());
        keys.create(ask).await
    }

    pub async fn revoke_key(&self, id: &KeyId) -> Result<KeyView, Reason> {
        let keys = self.may(Scope::Admin)?.keys.by(self.actor());
        keys.revoke(id).await
    }

    pub async fn rotate_key(&self, id: &KeyId, overlap: u64) -> Result<IssuedKey, Reason> {
        let keys = self.may(Scope::Admin)?.keys.by(self.actor());
        keys.rotate(id, overlap).await
    }
}

#[cfg(test)]
mod tests;
