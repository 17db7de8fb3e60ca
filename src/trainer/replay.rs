//! What a generation was trained on, to be trained on again with something new: what is only learned from the new
//! forgets the old.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::data::RowReader;
use super::plan::settle;
use super::recipe::Wishes;
use super::service::Trainer;
use crate::domain::{AdapterName, Asker, Generation, JobId, Objective, Reason};
use crate::store::{Incoming, Stored, blocking};

/// Pieces of rows that are read ahead of their writer.
const AHEAD: usize = 4;
/// Bytes of a piece.
const PIECE: usize = 256 << 10;

impl Trainer {
    /// Whether these settings fit the base and the adapter that they continue; no row is looked at.
    pub async fn check_settings(&self, wishes: &Wishes) -> Result<(), Reason> {
        let parent = self.parent(wishes.from.as_deref()).await?;
        let parent = parent.as_ref().map(|parent| parent.adapter.as_ref());
        settle(wishes, parent, &self.shared.base).map(drop)
    }

    /// The job for this name that has not ended.
    pub async fn at_work_on(&self, name: &AdapterName) -> Result<Option<JobId>, Reason> {
        self.shared.store.at_work_on(name).await
    }

    /// The training file of the job that made a generation. `None` where no job did, where it learned something else, and
    /// where the file is gone or does not exist for the asker.
    pub async fn trained_on(
        &self,
        name: &AdapterName,
        generation: Generation,
        objective: Objective,
        asker: &Asker,
    ) -> Result<Option<Stored>, Reason> {
        let maker = self.shared.store.maker(name, generation).await?;
        let Some(job) = maker.filter(|job| job.recipe.objective == objective) else {
            return Ok(None);
        };
        match self.shared.uploads.verified(&job.training_file).await {
            Ok(stored) if asker.sees(stored.owner.as_ref()) => Ok(Some(stored)),
            Ok(_) | Err(Reason::NoSuchFile(_)) => Ok(None),
            Err(reason) => Err(reason),
        }
    }

    /// Writes the rows of a file, whatever its format, as JSON Lines, and says how many they were.
    pub async fn copy_rows(&self, from: &Stored, to: &mut Incoming) -> Result<u64, Reason> {
        let (out, mut pieces) = mpsc::channel::<Bytes>(AHEAD);
        let (path, unpacked) = (from.path.clone(), self.shared.uploads.max_bytes());
        let reading = tokio::spawn(blocking(move || {
            let (mut rows, mut piece) = (0, Vec::new());
            let unread = |fault: super::data::ReadFault| fault.refusal("training_file");
            for line in RowReader::open(&path, unpacked).map_err(unread)? {
                // A row that cannot be read was not learned from either.
                let Ok(value) = line.map_err(unread)?.value() else {
                    continue;
                };
                piece.extend_from_slice(value.to_string().as_bytes());
                piece.push(b'\n');
                rows += 1;
                // Who wanted the rows may have gone.
                if piece.len() >= PIECE
                    && out
                        .blocking_send(std::mem::take(&mut piece).into())
                        .is_err()
                {
                    return Err(Reason::Draining);
                }
            }
            match piece.is_empty() || out.blocking_send(piece.into()).is_ok() {
                true => Ok(rows),
                false => Err(Reason::Draining),
            }
        }));
        while let Some(piece) = pieces.recv().await {
            to.write(piece).await?;
        }
        crate::store::joined(reading).await
    }
}
