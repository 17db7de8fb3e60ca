//! Uploaded files: staged, synchronised, renamed, and only then recorded.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use sqlx::SqlitePool;
use uuid::Uuid;

use super::disk;
use super::fault::Fault;
use super::store::{self, FileRow, Page};
use crate::domain::{FileId, FileView, Reason};

/// Where uploads lie.
#[derive(Clone)]
pub struct Uploads {
    pub pool: SqlitePool,
    pub folder: PathBuf,
    pub max_bytes: u64,
}

impl Uploads {
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
        let id = FileId::new(&Uuid::new_v4().simple().to_string());
        let view = FileView {
            id: id.clone(),
            bytes: bytes.len() as u64,
            created_at: store::now(),
            filename: filename.to_owned(),
            purpose: purpose.to_owned(),
        };
        let folder = self.folder.clone();
        let digest = blocking(move || {
            disk::publish_file(&folder, id.as_str(), &bytes)?;
            Ok(blake3::hash(&bytes).to_string())
        })
        .await?;
        store::insert_file(
            &self.pool,
            &FileRow {
                view: view.clone(),
                digest,
            },
        )
        .await?;
        Ok(view)
    }

    /// The content, as it was uploaded.
    pub async fn content(&self, id: &FileId) -> Result<Vec<u8>, Reason> {
        let row = store::file(&self.pool, id).await?;
        let path = self.path(&row.view.id);
        let bytes = blocking(move || Ok(std::fs::read(path)?)).await?;
        if blake3::hash(&bytes).to_string() != row.digest {
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
        store::list_files(&self.pool, after, limit).await
    }

    /// A file that an unfinished job needs stays.
    pub async fn delete(&self, id: &FileId) -> Result<(), Reason> {
        let row = store::file(&self.pool, id).await?;
        if !store::delete_file(&self.pool, id).await? {
            return Err(Reason::WrongState(format!(
                "file {id} is needed by a job that has not ended"
            )));
        }
        // Without its row the content is unreachable; what cannot be removed now goes when the process starts next.
        let path = self.path(&row.view.id);
        let _ = blocking(move || Ok(std::fs::remove_file(path)?)).await;
        Ok(())
    }

    /// Removes content that no row names: uploads and deletions that a crash cut short.
    pub async fn sweep(&self) -> Result<(), Reason> {
        let folder = self.folder.clone();
        let names = blocking(move || {
            std::fs::create_dir_all(&folder)?;
            let names = std::fs::read_dir(&folder)?.map(|entry| Ok(entry?.file_name()));
            Ok(names.collect::<std::io::Result<Vec<_>>>()?)
        })
        .await?;
        for name in names {
            let known = match name.to_str() {
                Some(name) => store::file(&self.pool, &FileId::from_text(name))
                    .await
                    .is_ok(),
                None => true,
            };
            if !known {
                let path = self.folder.join(&name);
                blocking(move || Ok(std::fs::remove_file(path)?)).await?;
            }
        }
        Ok(())
    }

    /// Ids in rows are ours, made of hex digits: the path cannot leave the folder.
    fn path(&self, id: &FileId) -> PathBuf {
        self.folder
            .join(Path::new(id.as_str()).file_name().unwrap_or_default())
    }
}

/// Runs blocking work off the async threads.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Reason> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(fault) => Err(Reason::Internal(fault.to_string())),
    }
}
