//! Uploaded training files.

use bytes::Bytes;

use super::{Gateway, Page, listed};
use crate::domain::{FileId, FileView, Reason};

/// The only purpose a file can serve here.
const PURPOSE: &str = "fine-tune";

/// Where the file lay on the caller's machine is dropped from its name, and no name that may leave a folder is kept.
fn base_name(path: &str) -> &str {
    match path.rsplit(['/', '\\']).next() {
        None | Some("" | "." | "..") => "file",
        Some(name) => name,
    }
}

impl Gateway {
    pub async fn put_file(
        &self,
        filename: &str,
        purpose: &str,
        bytes: Bytes,
    ) -> Result<FileView, Reason> {
        if purpose != PURPOSE {
            return Err(Reason::field("purpose", format!("must be `{PURPOSE}`")));
        }
        self.parts()
            .trainer
            .put_file(base_name(filename), purpose, bytes)
            .await
    }

    pub async fn files(
        &self,
        after: Option<&FileId>,
        limit: usize,
    ) -> Result<Page<FileView>, Reason> {
        if let Some(after) = after {
            listed(self.file(after).await)?;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_path_only_the_name_is_kept() {
        for (path, name) in [
            ("rows.jsonl", "rows.jsonl"),
            ("../../../etc/x", "x"),
            ("C:\\data\\my rows.jsonl", "my rows.jsonl"),
            ("data/", "file"),
            ("..", "file"),
            ("", "file"),
        ] {
            assert_eq!(base_name(path), name);
        }
    }
}
