//! The keys there are: all of them in memory, so that letting somebody in asks no disk; every change is stored first.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Caller;
use crate::domain::{
    IssuedKey, KeyAsk, KeyId, KeyView, LONGEST_SPAN, Reason, check_span, key_text,
};
use crate::store::{self, Database, KeyRow, now};

/// Bytes of a secret: none is ever guessed.
const SECRET: usize = 24;
/// Bytes of an id.
const ID: usize = 6;

/// Cheap to clone.
#[derive(Clone)]
pub struct Keys {
    inner: Arc<Inner>,
}

struct Inner {
    stored: store::Keys,
    /// By id.
    known: ArcSwap<HashMap<String, Arc<KeyRow>>>,
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
                changing: tokio::sync::Mutex::default(),
            }),
        };
        keys.read().await?;
        Ok(keys)
    }

    /// Takes the stored keys for what there is.
    async fn read(&self) -> Result<(), Reason> {
        let _changing = self.inner.changing.lock().await;
        let rows = self.inner.stored.all().await?.into_iter();
        let known = rows.map(|row| (row.view.id.to_string(), Arc::new(row)));
        self.inner.known.store(Arc::new(known.collect()));
        Ok(())
    }

    /// For the end of a process that holds nothing else of the database.
    pub async fn close(&self) {
        self.inner.stored.close().await;
    }

    pub fn is_empty(&self) -> bool {
        self.inner.known.load().is_empty()
    }

    /// The oldest first.
    pub fn list(&self) -> Vec<KeyView> {
        let known = self.inner.known.load();
        let mut views: Vec<KeyView> = known.values().map(|row| row.view.clone()).collect();
        views.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        views
    }

    pub async fn create(&self, ask: KeyAsk) -> Result<IssuedKey, Reason> {
        ask.check()?;
        let id = KeyId::new(&hex(&rand::random::<[u8; ID]>()));
        let secret = key_text(&id, &hex(&rand::random::<[u8; SECRET]>()));
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
                created_at,
                expires_at: ask.expires_in.map(expires),
                revoked_at: None,
                last_used_at: None,
            },
            digest: self.inner.stored.digest(&secret),
            replaced: None,
        };
        let _changing = self.inner.changing.lock().await;
        self.inner.stored.create(&row).await?;
        tracing::info!(key = %row.view.id, name = row.view.name, scopes = %row.view.scopes, "created a key");
        let key = self.put(row);
        Ok(IssuedKey { key, secret })
    }

    /// From when this returns on the key lets nobody in.
    pub async fn revoke(&self, id: &KeyId) -> Result<KeyView, Reason> {
        let _changing = self.inner.changing.lock().await;
        let row = self.inner.stored.revoke(id, now()).await?;
        tracing::info!(key = %id, "revoked a key");
        Ok(self.put(row))
    }

    /// Gives a key a new secret; the one before lets its holder in for `overlap` more seconds.
    pub async fn rotate(&self, id: &KeyId, overlap: u64) -> Result<IssuedKey, Reason> {
        check_span("overlap", overlap)?;
        let secret = key_text(id, &hex(&rand::random::<[u8; SECRET]>()));
        let digest = self.inner.stored.digest(&secret);
        let _changing = self.inner.changing.lock().await;
        let held = self.inner.known.load().get(id.as_str()).cloned();
        let held = held.ok_or_else(|| Reason::NoSuchKey(id.to_string()))?;
        if held.view.revoked_at.is_some() {
            let why = format!("key {id} is revoked; create another");
            return Err(Reason::WrongState(why));
        }
        let until = now().saturating_add(overlap.min(LONGEST_SPAN) as i64);
        let row = self.inner.stored.rotate(id, digest, until).await?;
        tracing::info!(key = %id, overlap, "rotated a key");
        let key = self.put(row);
        Ok(IssuedKey { key, secret })
    }

    /// Lets callers meet what has been stored. Only while changing.
    fn put(&self, row: KeyRow) -> KeyView {
        let view = row.view.clone();
        let mut known = HashMap::clone(&self.inner.known.load());
        known.insert(view.id.to_string(), Arc::new(row));
        self.inner.known.store(Arc::new(known));
        view
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Caller {
    pub fn keys(&self) -> Result<Vec<KeyView>, Reason> {
        Ok(self.parts().keys.list())
    }

    pub async fn create_key(&self, ask: KeyAsk) -> Result<IssuedKey, Reason> {
        self.parts().keys.create(ask).await
    }

    pub async fn revoke_key(&self, id: &KeyId) -> Result<KeyView, Reason> {
        self.parts().keys.revoke(id).await
    }

    pub async fn rotate_key(&self, id: &KeyId, overlap: u64) -> Result<IssuedKey, Reason> {
        self.parts().keys.rotate(id, overlap).await
    }
}
