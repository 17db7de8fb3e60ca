//! Uploaded training files.

use super::{Gateway, Page};
use crate::domain::{FileId, FileView, Reason};

/// The only purpose a file can serve here.
const PURPOSE: &str = "fine-tune";

impl Gateway {
    pub async fn put_file(
        &self,
        filename: &str,
        purpose: &str,
        bytes: Vec<u8>,
    ) -> Result<FileView, Reason> {
        if purpose != PURPOSE {
            return Err(Reason::field("purpose", format!("must be `{PURPOSE}`")));
        }
        self.parts()
            .trainer
            .put_file(filename, purpose, bytes)
            .await
    }

    pub async fn files(
        &self,
        after: Option<&FileId>,
        limit: usize,
    ) -> Result<Page<FileView>, Reason> {
        self.parts().trainer.list_files(after, limit).await
    }

    pub async fn file(&self, id: &FileId) -> Result<FileView, Reason> {
        self.parts().trainer.file(id).await
    }

    pub async fn file_content(&self, id: &FileId) -> Result<Vec<u8>, Reason> {
        self.parts().trainer.file_content(id).await
    }

    pub async fn delete_file(&self, id: &FileId) -> Result<(), Reason> {
        self.parts().trainer.delete_file(id).await
    }
}
