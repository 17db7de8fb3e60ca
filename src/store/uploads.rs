//! Uploaded files: staged while they come, synchronised, renamed, and only then recorded. No file is ever in memory as a
//! whole.

mod incoming;

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::audit::{self, Line};
use super::database::{Database, commit, run};
use super::page::{Page, one_more};
use super::{blocking, disk, fault};
use crate::domain::{Action, Actor, Asker, FileId, FileView, KeyId, Limit, LimitReached, Reason};

pub use incoming::Incoming;

/// A file that is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    pub id: FileId,
    pub path: PathBuf,
    pub bytes: u64,
    pub owner: Option<KeyId>,
    /// As hex.
    digest: String,
}

impl Stored {
    /// Reads the file through, a piece at a time, and compares it with what was uploaded. Not for an async thread.
    pub fn read(&self, piece: impl FnMut(&[u8])) -> Result<(), Reason> {
        let read = File::open(&self.path);
        let read = read.and_then(|mut file| disk::read_through(&mut file, piece));
        let digest = read.map_err(|error| fault::io("reading an upload", &error))?;
        match digest.to_string() == self.digest {
            true => Ok(()),
            false => Err(Reason::Storage(format!(
                "the content of {} is not what was uploaded",
                self.id
            ))),
        }
    }
}

/// What the files of a key take.
#[derive(Clone, Copy)]
struct Room {
    most: u64,
    used: u64,
}

impl Room {
    /// Whether so many bytes more fit.
    fn check(self, owner: &KeyId, bytes: u64) -> Result<(), Reason> {
        match self.used.saturating_add(bytes) > self.most {
            true => Err(self.refusal(owner, bytes)),
            false => Ok(()),
        }
    }

    fn refusal(self, owner: &KeyId, asked: u64) -> Reason {
        Reason::limit(LimitReached {
            limit: Limit::Storage,
            of: format!("key {owner}"),
            most: self.most,
            used: self.used,
            asked,
            resets: None,
        })
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Uploads {
    database: Database,
    folder: PathBuf,
    max_bytes: u64,
}

impl Uploads {
    /// Also removes content that no row names: uploads and deletions that a crash cut short.
    pub async fn open(database: Database, folder: PathBuf, max_bytes: u64) -> Result<Self, Reason> {
        let uploads = Self {
            database,
            folder,
            max_bytes,
        };
        let ids = sqlx::query_scalar("SELECT id FROM files").fetch_all(uploads.database.pool());
        let known: HashSet<String> = ids.await?.into_iter().collect();
        let folder = uploads.folder.clone();
        let sweep = move || {
            disk::create_folder(&folder)?;
            disk::sweep(&folder, |name| known.contains(name))
        };
        on_disk("cleaning the folder of uploads", sweep).await?;
        Ok(uploads)
    }

    /// A file that is about to come.
    pub async fn receive(&self, filename: &str, asker: &Asker) -> Result<Incoming, Reason> {
        let room = self.room(asker).await?;
        Incoming::begin(self.clone(), filename, asker.key.clone(), room).await
    }

    /// What the asker's files may still grow by; an error where that is nothing.
    async fn room(&self, asker: &Asker) -> Result<Option<Room>, Reason> {
        let (Some(owner), Some(most)) = (&asker.key, asker.limits.storage_bytes) else {
            return Ok(None);
        };
        let sum = sqlx::query_scalar("SELECT coalesce(sum(bytes), 0) FROM files WHERE owner = ?");
        let used: i64 = sum
            .bind(owner.as_str())
            .fetch_one(self.database.pool())
            .await?;
        let used = used as u64;
        let room = Room { most, used };
        room.check(owner, 1).map(|()| Some(room))
    }

    /// A file as a whole. Both the content and its row are durable when this returns.
    pub async fn put(
        &self,
        filename: &str,
        purpose: &str,
        bytes: Bytes,
    ) -> Result<FileView, Reason> {
        let mut incoming = self.receive(filename, &Asker::default()).await?;
        incoming.write(bytes).await?;
        incoming.finish(purpose).await
    }

    /// Of one file.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    pub async fn view(&self, id: &FileId) -> Result<FileView, Reason> {
        view(&self.row(id).await?)
    }

    /// Where a file lies; whether it is what was uploaded is found where it is read.
    pub async fn stored(&self, id: &FileId) -> Result<Stored, Reason> {
        let row = self.row(id).await?;
        let digest = row.try_get("digest")?;
        let FileView {
            id, bytes, owner, ..
        } = view(&row)?;
        let path = self.path(&id);
        Ok(Stored {
            id,
            path,
            bytes,
            owner,
            digest,
        })
    }

    /// The same of a file that is what was uploaded.
    pub async fn verified(&self, id: &FileId) -> Result<Stored, Reason> {
        let stored = self.stored(id).await?;
        blocking(move || stored.read(|_| ()).map(|()| stored)).await
    }

    /// Those that exist for the asker.
    pub async fn list(
        &self,
        asker: &Asker,
        after: Option<&FileId>,
        limit: usize,
    ) -> Result<Page<FileView>, Reason> {
        let rows = sqlx::query(
            "SELECT * FROM files WHERE (?1 IS NULL OR number < (SELECT number FROM files WHERE id = ?1)) \
             AND (?3 IS NULL OR owner = ?3) ORDER BY number DESC LIMIT ?2",
        )
        .bind(after.map(FileId::as_str))
        .bind(one_more(limit))
        .bind(asker.whose())
        .fetch_all(self.database.pool())
        .await;
        Page::read(rows, limit, view)
    }

    /// A file that an unfinished job needs stays.
    pub async fn delete(&self, id: &FileId, actor: &Actor) -> Result<(), Reason> {
        let path = self.path(&self.view(id).await?.id);
        let mut change = self.database.begin().await?;
        let delete = sqlx::query(
            "DELETE FROM files WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM jobs \
             WHERE (training_file = ?1 OR validation_file = ?1) AND status NOT IN ('succeeded', 'failed', 'cancelled'))",
        )
        .bind(id.as_str());
        if run(&mut *change, delete).await? == 0 {
            return Err(Reason::WrongState(format!(
                "file {id} is needed by a job that has not ended"
            )));
        }
        audit::write(
            &mut change,
            &Line::of(actor, Action::FileDelete, id.as_str()),
        )
        .await?;
        commit(change).await?;
        // Without its row the content is unreachable; what cannot be removed now goes when the process starts next.
        let _ = on_disk("removing an upload", move || disk::remove(&path)).await;
        Ok(())
    }

    async fn row(&self, id: &FileId) -> Result<SqliteRow, Reason> {
        let row = sqlx::query("SELECT * FROM files WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(self.database.pool())
            .await;
        row?.ok_or_else(|| Reason::NoSuchFile(id.to_string()))
    }

    /// Ids in rows are ours, made of hex digits: the path cannot leave the folder.
    fn path(&self, id: &FileId) -> PathBuf {
        self.folder
            .join(Path::new(id.as_str()).file_name().unwrap_or_default())
    }
}

fn view(row: &SqliteRow) -> Result<FileView, Reason> {
    Ok(FileView {
        id: FileId::from_text(row.try_get::<String, _>("id")?),
        owner: row
            .try_get::<Option<String>, _>("owner")?
            .map(KeyId::from_text),
        bytes: row.try_get::<i64, _>("bytes")? as u64,
        created_at: row.try_get("created_at")?,
        filename: row.try_get("filename")?,
        purpose: row.try_get("purpose")?,
    })
}

/// `what` is being done, for the failure.
async fn on_disk<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Reason> {
    blocking(move || work().map_err(|error| fault::io(what, &error))).await
}
