//! Rows of uploaded files.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteExecutor};

use super::{Page, failed, one_more};
use crate::domain::{FileId, FileView, Reason};

#[derive(Debug, Clone, PartialEq)]
pub struct FileRow {
    pub view: FileView,
    /// BLAKE3 of the content.
    pub digest: String,
}

fn read(row: &SqliteRow) -> Result<FileRow, sqlx::Error> {
    Ok(FileRow {
        view: FileView {
            id: FileId::from_text(row.try_get::<String, _>("id")?),
            bytes: row.try_get::<i64, _>("bytes")? as u64,
            created_at: row.try_get("created_at")?,
            filename: row.try_get("filename")?,
            purpose: row.try_get("purpose")?,
        },
        digest: row.try_get("digest")?,
    })
}

pub async fn insert_file(db: impl SqliteExecutor<'_>, file: &FileRow) -> Result<(), Reason> {
    let view = &file.view;
    sqlx::query("INSERT INTO files (id, bytes, created_at, filename, purpose, digest) VALUES (?, ?, ?, ?, ?, ?)")
        .bind(view.id.as_str())
        .bind(view.bytes as i64)
        .bind(view.created_at)
        .bind(&view.filename)
        .bind(&view.purpose)
        .bind(&file.digest)
        .execute(db)
        .await
        .map(drop)
        .map_err(failed)
}

pub async fn file(db: impl SqliteExecutor<'_>, id: &FileId) -> Result<FileRow, Reason> {
    let row = sqlx::query("SELECT * FROM files WHERE id = ?")
        .bind(id.as_str())
        .fetch_optional(db)
        .await;
    match row.map_err(failed)? {
        Some(row) => read(&row).map_err(failed),
        None => Err(Reason::NoSuchFile(id.to_string())),
    }
}

pub async fn list_files(
    db: impl SqliteExecutor<'_>,
    after: Option<&FileId>,
    limit: usize,
) -> Result<Page<FileView>, Reason> {
    let rows = sqlx::query(
        "SELECT * FROM files WHERE ?1 IS NULL OR number < (SELECT number FROM files WHERE id = ?1) \
         ORDER BY number DESC LIMIT ?2",
    )
    .bind(after.map(FileId::as_str))
    .bind(one_more(limit))
    .fetch_all(db)
    .await
    .map_err(failed)?;
    let files = rows
        .iter()
        .map(|row| read(row).map(|file| file.view))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    Ok(Page::of(files, limit))
}

/// Whether the file was deleted; it stays while an unfinished job needs it.
pub async fn delete_file(db: impl SqliteExecutor<'_>, id: &FileId) -> Result<bool, Reason> {
    let done = sqlx::query(
        "DELETE FROM files WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM jobs \
         WHERE (training_file = ?1 OR validation_file = ?1) AND status NOT IN ('succeeded', 'failed', 'cancelled'))",
    )
    .bind(id.as_str())
    .execute(db)
    .await
    .map_err(failed)?;
    Ok(done.rows_affected() > 0)
}
