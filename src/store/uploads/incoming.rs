//! One file on its way to disk.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use bytes::Bytes;
use uuid::Uuid;

use super::{Room, Uploads, on_disk};
use crate::domain::{Asker, FileId, FileView, KeyId, KeyLimits, Reason};
use crate::store::artefacts::SLICE;
use crate::store::database::run;
use crate::store::{disk, now};

/// What came of a file so far. Dropping it removes that.
pub struct Incoming {
    uploads: Uploads,
    id: FileId,
    filename: String,
    owner: Option<KeyId>,
    /// As it was when the file began to come.
    room: Option<Room>,
    bytes: u64,
    /// What has not been written yet.
    pending: Vec<u8>,
    /// With another thread while that writes.
    sink: Option<Sink>,
}

struct Sink {
    file: File,
    hasher: blake3::Hasher,
    staged: Staged,
}

struct Staged(PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        // What cannot be removed now goes when the process starts next.
        let _ = disk::remove(&self.0);
    }
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes)
    }
}

impl Incoming {
    pub(super) async fn begin(
        uploads: Uploads,
        filename: &str,
        owner: Option<KeyId>,
        room: Option<Room>,
    ) -> Result<Self, Reason> {
        let id = FileId::new(&Uuid::new_v4().simple().to_string());
        let staged = uploads.folder.join(format!(".{id}.part"));
        let create = move || {
            Ok(Sink {
                file: File::create_new(&staged)?,
                hasher: blake3::Hasher::new(),
                staged: Staged(staged),
            })
        };
        let sink = on_disk("storing an upload", create).await?;
        Ok(Self {
            uploads,
            id,
            filename: filename.to_owned(),
            owner,
            room,
            bytes: 0,
            pending: Vec::new(),
            sink: Some(sink),
        })
    }

    /// The next piece of the content.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), Reason> {
        self.bytes += piece.len() as u64;
        let most = self.uploads.max_bytes;
        if self.bytes > most {
            return Err(Reason::TooLarge {
                limit: usize::try_from(most).unwrap_or(usize::MAX),
            });
        }
        if let (Some(room), Some(owner)) = (self.room, &self.owner) {
            room.check(owner, self.bytes)?;
        }
        self.pending.extend_from_slice(&piece);
        match self.pending.len() >= SLICE {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    async fn flush(&mut self) -> Result<(), Reason> {
        let pending = std::mem::take(&mut self.pending);
        let Some(mut sink) = self.sink.take() else {
            return Err(Reason::Storage("an upload's file is gone".into()));
        };
        let write = move || {
            for slice in pending.chunks(SLICE) {
                sink.write(slice)?;
            }
            Ok((sink, pending))
        };
        let (sink, mut pending) = on_disk("storing an upload", write).await?;
        pending.clear();
        self.pending = pending;
        self.sink = Some(sink);
        Ok(())
    }

    /// All has come. Both the content and its row are durable when this returns.
    pub async fn finish(mut self, purpose: &str) -> Result<FileView, Reason> {
        if self.bytes == 0 {
            return Err(Reason::field("file", "is empty"));
        }
        self.flush().await?;
        let Some(Sink {
            file,
            hasher,
            staged,
        }) = self.sink
        else {
            return Err(Reason::Storage("an upload's file is gone".into()));
        };
        let view = FileView {
            id: self.id,
            owner: self.owner,
            bytes: self.bytes,
            created_at: now(),
            filename: self.filename,
            purpose: purpose.to_owned(),
        };
        let folder = self.uploads.folder.clone();
        let place = folder.join(view.id.as_str());
        let publish = move || {
            file.sync_all()?;
            fs::rename(&staged.0, place)?;
            disk::sync_folder(&folder)
        };
        on_disk("storing an upload", publish).await?;
        let most = self.room.map(|room| room.most as i64);
        // Other files of the key may have come meanwhile.
        let insert = sqlx::query(
            "INSERT INTO files (id, bytes, created_at, filename, purpose, digest, owner) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 \
             WHERE ?8 IS NULL OR ?2 + (SELECT coalesce(sum(bytes), 0) FROM files WHERE owner = ?7) <= ?8",
        )
        .bind(view.id.as_str())
        .bind(view.bytes as i64)
        .bind(view.created_at)
        .bind(&view.filename)
        .bind(&view.purpose)
        .bind(hasher.finalize().to_string())
        .bind(view.owner.as_ref().map(KeyId::as_str))
        .bind(most);
        if run(self.uploads.database.pool(), insert).await? > 0 {
            return Ok(view);
        }
        let path = self.uploads.path(&view.id);
        // What cannot be removed now goes when the process starts next.
        let _ = on_disk("removing an upload", move || disk::remove(&path)).await;
        let asker = Asker {
            key: view.owner.clone(),
            limits: KeyLimits {
                storage_bytes: self.room.map(|room| room.most),
                ..KeyLimits::default()
            },
            ..Asker::default()
        };
        let room = self.uploads.room(&asker).await?.or(self.room);
        Err(match (room, &view.owner) {
            (Some(room), Some(owner)) => room.refusal(owner, view.bytes),
            _ => Reason::Storage("an upload was not recorded".into()),
        })
    }
}
