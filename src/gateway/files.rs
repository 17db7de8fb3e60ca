//! Uploaded training files.

use std::path::PathBuf;

use serde_json::Value;

use super::{Caller, Incoming, Page, ReportAsk, Work, listed};
use crate::domain::{FileId, FileView, Reason, Scope};

const TRAIN: Scope = Scope::Train;

/// The only purpose a file can serve here.
const PURPOSE: &str = "fine-tune";

/// Where the file lay on the caller's machine is dropped from its name, and no name that may leave a folder is kept.
fn base_name(path: &str) -> &str {
    match path.rsplit(['/', '\\']).next() {
        None | Some("" | "." | "..") => "file",
        Some(name) => name,
    }
}

impl Caller {
    /// A file that is about to come.
    pub async fn receive_file(&self, filename: &str) -> Result<Incoming, Reason> {
        let trainer = &self.may(TRAIN)?.trainer;
        self.afford(Work::Upload)?;
        let asker = self.asker();
        let received = trainer.receive_file(base_name(filename), &asker).await;
        self.count_refusal(received)
    }

    /// A file that has come as a whole.
    pub async fn keep_file(&self, file: Incoming, purpose: &str) -> Result<FileView, Reason> {
        // Its key may have ended while it came.
        self.check(TRAIN)?;
        match purpose == PURPOSE {
            true => self.count_refusal(file.finish(purpose).await),
            false => Err(Reason::field("purpose", format!("must be `{PURPOSE}`"))),
        }
    }

    pub async fn files(
        &self,
        after: Option<&FileId>,
        limit: usize,
    ) -> Result<Page<FileView>, Reason> {
        if let Some(after) = after {
            listed(self.file(after).await)?;
        }
        let trainer = &self.may(TRAIN)?.trainer;
        trainer.list_files(&self.asker(), after, limit).await
    }

    pub async fn file(&self, id: &FileId) -> Result<FileView, Reason> {
        let file = self.may(TRAIN)?.trainer.file(id).await?;
        match self.asker().sees(file.owner.as_ref()) {
            true => Ok(file),
            false => Err(Reason::NoSuchFile(id.to_string())),
        }
    }

    /// Where a file lies, whose content is what was uploaded.
    pub async fn file_content(&self, id: &FileId) -> Result<PathBuf, Reason> {
        self.file(id).await?;
        let stored = self.may(TRAIN)?.trainer.stored_file(id).await?;
        Ok(stored.path)
    }

    /// What is in a file's records, and what is wrong with them.
    pub async fn file_report(&self, ask: ReportAsk) -> Result<Value, Reason> {
        let trainer = &self.may(TRAIN)?.trainer;
        self.afford(Work::Upload)?;
        self.unless_ended(trainer.report(ask, &self.asker())).await
    }

    pub async fn delete_file(&self, id: &FileId) -> Result<(), Reason> {
        self.file(id).await?;
        self.trainer()?.delete_file(id).await
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
