//! The task that writes answers down, many in one transaction, beside everything that answers.

use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout_at};

use super::Note;
use crate::store::{self, now};

/// Answers of one transaction.
const BATCH: usize = 512;
/// For how long further answers are waited for.
const LINGER: Duration = Duration::from_millis(250);
/// How often what is too old or too much is removed.
const TRIM: Duration = Duration::from_secs(60);

pub(super) async fn write(stored: store::Feedback, mut notes: Receiver<Note>) {
    let mut trims = tokio::time::interval(TRIM);
    loop {
        let first = tokio::select! {
            note = notes.recv() => note,
            _ = trims.tick() => {
                told("what is too old", stored.trim(now()).await);
                told("what is too much", stored.trim_content().await);
                continue;
            }
        };
        let Some(first) = first else { return };
        let (mut answers, mut held, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        let until = Instant::now() + LINGER;
        let mut next = Some(first);
        while let Some(note) = next {
            match note {
                Note::Answered(answered, room) => {
                    answers.push(*answered);
                    held.extend(room);
                }
                Note::Settle(done) => waiting.push(done),
            }
            next = match waiting.is_empty() && answers.len() < BATCH {
                true => timeout_at(until, notes.recv()).await.ok().flatten(),
                false => None,
            };
        }
        if !answers.is_empty() {
            told("answers", stored.remember(&answers).await);
        }
        if answers.iter().any(|answered| answered.kept.is_some()) {
            told("what is too much", stored.trim_content().await);
        }
        drop(held);
        for done in waiting {
            // Who waits may have gone.
            let _ = done.send(());
        }
    }
}

/// What cannot be written is lost: no answer waits for it.
fn told(what: &str, outcome: Result<(), crate::domain::Reason>) {
    if let Err(fault) = outcome {
        tracing::warn!(%fault, "feedback: {what}: the store fails");
    }
}
