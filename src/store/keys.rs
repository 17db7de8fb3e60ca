//! Keys as rows. What callers send is never stored: a digest of it is, made with a secret of this database.

use blake3::Hash;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::audit::{self, Line};
use super::database::{Database, Statement, commit, run};
use super::fault::unreadable;
use crate::domain::{
    Action, Actor, AdapterGlobs, KeyId, KeyLimits, KeyView, Limit, Reason, Scopes,
};

/// A key as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyRow {
    pub view: KeyView,
    /// Comparing two takes the same time wherever they differ.
    pub digest: Hash,
    pub replaced: Option<Replaced>,
}

/// The text that a rotation replaced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Replaced {
    pub digest: Hash,
    /// Unix seconds; from then on it counts no more.
    pub until: i64,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Keys {
    database: Database,
    secret: [u8; 32],
}

impl Keys {
    /// Draws the database's secret where it has none.
    pub async fn open(database: Database) -> Result<Self, Reason> {
        let fresh: [u8; 32] = rand::random();
        let insert = "INSERT OR IGNORE INTO key_digests (only_row, secret) VALUES (1, ?)";
        run(database.pool(), sqlx::query(insert).bind(&fresh[..])).await?;
        let stored: Vec<u8> = sqlx::query_scalar("SELECT secret FROM key_digests")
            .fetch_one(database.pool())
            .await?;
        let wrong = |_| unreadable("secret of digests", "it has not 32 bytes");
        let secret = stored.try_into().map_err(wrong)?;
        Ok(Self { database, secret })
    }

    /// Ends the database's connections.
    pub async fn close(&self) {
        self.database.close().await;
    }

    /// What is stored of a key's text.
    pub fn digest(&self, text: &str) -> Hash {
        blake3::keyed_hash(&self.secret, text.as_bytes())
    }

    /// Every key, revoked and expired ones too, the oldest first.
    pub async fn all(&self) -> Result<Vec<KeyRow>, Reason> {
        let rows = sqlx::query("SELECT * FROM keys ORDER BY number")
            .fetch_all(self.database.pool())
            .await?;
        rows.iter().map(read).collect()
    }

    pub async fn create(&self, row: &KeyRow, actor: &Actor) -> Result<(), Reason> {
        self.insert(row, "WHERE true", actor).await.map(drop)
    }

    /// Where there is none.
    pub async fn create_first(&self, row: &KeyRow, actor: &Actor) -> Result<(), Reason> {
        let none = "WHERE NOT EXISTS (SELECT 1 FROM keys)";
        match self.insert(row, none, actor).await? {
            0 => Err(Reason::WrongState("there are keys already".to_owned())),
            _ => Ok(()),
        }
    }

    /// Returns how many keys were made.
    async fn insert(&self, row: &KeyRow, condition: &str, actor: &Actor) -> Result<u64, Reason> {
        let view = &row.view;
        // Columns of limits are called as the limits are.
        let limits = Limit::ALL.map(Limit::name).join(", ");
        let text = format!(
            "INSERT INTO keys (id, name, scopes, adapters, weight, digest, created_at, expires_at, identity, {limits}) \
             SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? {condition}"
        );
        let mut insert = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(view.id.as_str())
            .bind(&view.name)
            .bind(view.scopes.to_string())
            .bind(view.adapters.to_string())
            .bind(view.weight)
            .bind(&row.digest.as_bytes()[..])
            .bind(view.created_at)
            .bind(view.expires_at)
            .bind(view.identity.as_deref());
        for (_, most) in view.limits.each() {
            insert = insert.bind(most.map(|most| most as i64));
        }
        let mut change = self.database.begin().await?;
        let made = run(&mut *change, insert).await?;
        if made > 0 {
            let detail = format!("scopes={} adapters={}", view.scopes, view.adapters);
            let line = Line {
                detail: Some(&detail),
                ..Line::of(actor, Action::KeyCreate, view.id.as_str())
            };
            audit::write(&mut change, &line).await?;
            commit(change).await?;
        }
        Ok(made)
    }

    /// Revoking what is revoked changes nothing.
    pub async fn revoke(&self, id: &KeyId, at: i64, actor: &Actor) -> Result<KeyRow, Reason> {
        let update =
            "UPDATE keys SET revoked_at = coalesce(revoked_at, ?) WHERE id = ? RETURNING *";
        let update = sqlx::query(update).bind(at).bind(id.as_str());
        self.change(update, id, &Line::of(actor, Action::KeyRevoke, id.as_str()))
            .await
    }

    /// Gives a key another text; the one before counts `until` then.
    pub async fn rotate(
        &self,
        id: &KeyId,
        digest: Hash,
        until: i64,
        actor: &Actor,
    ) -> Result<KeyRow, Reason> {
        let update = "UPDATE keys SET replaced = digest, replaced_until = ?, digest = ? WHERE id = ? RETURNING *";
        let update = sqlx::query(update)
            .bind(until)
            .bind(&digest.as_bytes()[..])
            .bind(id.as_str());
        self.change(update, id, &Line::of(actor, Action::KeyRotate, id.as_str()))
            .await
    }

    /// One key's row, as the update returns it.
    async fn change(
        &self,
        update: Statement<'_>,
        id: &KeyId,
        line: &Line<'_>,
    ) -> Result<KeyRow, Reason> {
        let mut change = self.database.begin().await?;
        let row = update.fetch_optional(&mut *change).await?;
        let row = read(&row.ok_or_else(|| Reason::NoSuchKey(id.to_string()))?)?;
        audit::write(&mut change, line).await?;
        commit(change).await?;
        Ok(row)
    }

    /// When keys were last used.
    pub async fn touch(&self, used: &[(KeyId, i64)]) -> Result<(), Reason> {
        let mut change = self.database.begin().await?;
        for (id, at) in used {
            let update = sqlx::query("UPDATE keys SET last_used_at = ? WHERE id = ?");
            run(&mut *change, update.bind(at).bind(id.as_str())).await?;
        }
        commit(change).await
    }
}

fn read(row: &SqliteRow) -> Result<KeyRow, Reason> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let time = |column: &str| row.try_get::<Option<i64>, _>(column);
    let hash = |bytes: &[u8]| Hash::from_slice(bytes).map_err(|fault| unreadable("key", fault));
    let scopes: Result<Scopes, _> = text("scopes")?.parse();
    let adapters: Result<AdapterGlobs, _> = text("adapters")?.parse();
    let limit = |limit: Limit| {
        let most = row.try_get::<Option<i64>, _>(limit.name());
        most.map(|most| most.map(|most| most as u64))
    };
    let replaced: Option<Vec<u8>> = row.try_get("replaced")?;
    let replaced = match (replaced, time("replaced_until")?) {
        (Some(digest), Some(until)) => Some(Replaced {
            digest: hash(&digest)?,
            until,
        }),
        _ => None,
    };
    Ok(KeyRow {
        view: KeyView {
            id: KeyId::from_text(text("id")?),
            object: "key".to_owned(),
            name: text("name")?,
            scopes: scopes.map_err(|fault| unreadable("key", fault))?,
            adapters: adapters.map_err(|fault| unreadable("key", fault))?,
            weight: row.try_get("weight")?,
            limits: KeyLimits {
                requests_per_minute: limit(Limit::Requests)?,
                tokens_per_minute: limit(Limit::Tokens)?,
                concurrent: limit(Limit::Concurrent)?,
                queued_jobs: limit(Limit::QueuedJobs)?,
                training_tokens_per_day: limit(Limit::TrainingTokens)?,
                storage_bytes: limit(Limit::Storage)?,
            },
            created_at: row.try_get("created_at")?,
            expires_at: time("expires_at")?,
            revoked_at: time("revoked_at")?,
            last_used_at: time("last_used_at")?,
            identity: row.try_get("identity")?,
        },
        digest: hash(&row.try_get::<Vec<u8>, _>("digest")?)?,
        replaced,
    })
}
