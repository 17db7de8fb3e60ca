//! Uploaded files: staged, synchronised, renamed, and only then recorded.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::database::Database;
use super::page::{Page, one_more};
use super::{blocking, disk, fault, now};
use crate::domain::{FileId, FileView, Reason};

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

    /// Both the content and its row are durable when this returns.
    pub async fn put(
        &self,
        filename: &str,
        purpose: &str,
        bytes: Bytes,
    ) -> Result<FileView, Reason> {
        if bytes.len() as u64 > self.max_bytes {
            return Err(Reason::TooLarge {
                limit: usize::try_from(self.max_bytes).unwrap_or(usize::MAX),
            });
        }
        if bytes.is_empty() {
            return Err(Reason::field("file", "is empty"));
        }
        let view = FileView {
            id: FileId::new(&Uuid::new_v4().simple().to_string()),
            bytes: bytes.len() as u64,
            created_at: now(),
            filename: filename.to_owned(),
            purpose: purpose.to_owned(),
        };
        let (folder, id) = (self.folder.clone(), view.id.clone());
        let publish = move || {
            disk::publish_file(&folder, id.as_str(), &bytes)?;
            Ok(blake3::hash(&bytes).to_string())
        };
        let digest = on_disk("storing an upload", publish).await?;
        sqlx::query("INSERT INTO files (id, bytes, created_at, filename, purpose, digest) VALUES (?, ?, ?, ?, ?, ?)")
            .bind(view.id.as_str())
            .bind(view.bytes as i64)
            .bind(view.created_at)
            .bind(&view.filename)
            .bind(&view.purpose)
            .bind(&digest)
            .execute(self.database.pool())
            .await?;
        Ok(view)
    }

    pub async fn view(&self, id: &FileId) -> Result<FileView, Reason> {
        view(&self.row(id).await?)
    }

    /// The content, as it was uploaded.
    pub async fn content(&self, id: &FileId) -> Result<Vec<u8>, Reason> {
        let row = self.row(id).await?;
        let digest: String = row.try_get("digest")?;
        let path = self.path(&view(&row)?.id);
        let bytes = on_disk("reading an upload", move || fs::read(path)).await?;
        if blake3::hash(&bytes).to_string() != digest {
            return Err(Reason::Storage(format!(
                "the content of {id} is not what was uploaded"
            )));
        }
        Ok(bytes)
    }

    pub async fn list(
        &self,
        after: Option<&FileId>,
        limit: usize,
    ) -> Result<Page<FileView>, Reason> {
        let rows = sqlx::query(
            "SELECT * FROM files WHERE ?1 IS NULL OR number < (SELECT number FROM files WHERE id = ?1) \
             ORDER BY number DESC LIMIT ?2",
        )
        .bind(after.map(FileId::as_str))
        .bind(one_more(limit))
        .fetch_all(self.database.pool())
        .await;
        Page::read(rows, limit, view)
    }

    /// A file that an unfinished job needs stays.
    pub async fn delete(&self, id: &FileId) -> Result<(), Reason> {
        let path = self.path(&self.view(id).await?.id);
        let done = sqlx::query(
            "DELETE FROM files WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM jobs \
             WHERE (training_file = ?1 OR validation_file = ?1) AND status NOT IN ('succeeded', 'failed', 'cancelled'))",
        )
        .bind(id.as_str())
        .execute(self.database.pool())
        .await?;
        if done.rows_affected() == 0 {
            return Err(Reason::WrongState(format!(
                "file {id} is needed by a job that has not ended"
            )));
        }
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
