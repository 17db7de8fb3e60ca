//! Connects the running job with the rest of the program: stores its events, updates its row, and passes interruptions
//! to it.
//!
//! Events are stored in groups: a commit a step would wait for the disk more than it trains. A group is closed twice a
//! second, before every checkpoint and with every message that is more than a number.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::checkpoint::Progress;
use super::evaluate::Score;
use super::fault::Fault;
use super::run::{StepReport, Watch};
use super::worker::Worker;
use crate::domain::{CheckpointWritten, Evaluation, EventData, JobId, Level, Rewards, StepMetrics};
use crate::store::{JobProgress, NewEvent, now};

const GROUP: Duration = Duration::from_millis(500);
/// Events of one group at most: very small steps are stored in time, too.
const GROUP_SIZE: usize = 256;

pub struct Follower<'a> {
    worker: Worker<'a>,
    job: &'a JobId,
    /// Set from outside to interrupt this job.
    interrupted: &'a AtomicBool,
    pending: Vec<NewEvent>,
    far: Option<JobProgress>,
    stored: Instant,
    /// When this run began, and after which step.
    began: (Instant, u64),
}

impl<'a> Follower<'a> {
    pub fn new(worker: Worker<'a>, job: &'a JobId, interrupted: &'a AtomicBool) -> Self {
        Self {
            worker,
            job,
            interrupted,
            pending: Vec::new(),
            far: None,
            stored: Instant::now(),
            began: (Instant::now(), 0),
        }
    }

    /// Stores what is pending and sends it to live followers.
    pub fn store(&mut self) -> Result<(), Fault> {
        self.stored = Instant::now();
        if self.pending.is_empty() {
            return Ok(());
        }
        let shared = self.worker.shared;
        let events = self.worker.retry(async || {
            let far = self.far.as_ref();
            shared.store.record(self.job, &self.pending, far).await
        })?;
        self.pending.clear();
        shared.broadcast(events);
        Ok(())
    }

    fn tell(&mut self, event: NewEvent) -> Result<(), Fault> {
        self.pending.push(event);
        self.store()
    }

    /// What there is to say at the end.
    pub fn summarized(&mut self, summary: Option<NewEvent>) -> Result<(), Fault> {
        self.pending.extend(summary);
        self.store()
    }

    fn finish_at(&self, report: &StepReport) -> Option<i64> {
        let (since, first) = self.began;
        let done = report.step.checked_sub(first).filter(|done| *done > 0)?;
        let left = report.total.saturating_sub(report.step);
        let seconds = since.elapsed().as_secs_f64() / done as f64 * left as f64;
        Some(now() + seconds.ceil() as i64)
    }
}

impl Watch for Follower<'_> {
    fn go_on(&mut self) -> bool {
        self.worker.shared.turns.give_way();
        !self.interrupted.load(Ordering::Relaxed)
    }

    fn wait(&mut self, pause: Duration) -> bool {
        self.worker.pause(pause)
    }

    fn started(&mut self, progress: &Progress, total: u64) -> Result<(), Fault> {
        self.began = (Instant::now(), progress.step);
        self.tell(NewEvent::message(
            Level::Info,
            format!("training: step {} of {total}", progress.step),
        ))
    }

    fn stepped(&mut self, report: &StepReport) -> Result<(), Fault> {
        self.far = Some(JobProgress {
            step: report.step,
            tokens: report.total_tokens,
            train_loss: finite(report.stepped.loss),
            estimated_finish: self.finish_at(report),
        });
        self.pending.push(metrics(report));
        if self.stored.elapsed() >= GROUP || self.pending.len() >= GROUP_SIZE {
            self.store()?;
        }
        Ok(())
    }

    fn went_back(&mut self, step: u64) -> Result<(), Fault> {
        self.store()?;
        let shared = self.worker.shared;
        self.worker
            .retry(async || shared.store.forget_steps(self.job, step).await)
    }

    fn evaluated(&mut self, step: u64, score: &Score) -> Result<(), Fault> {
        let message = match step {
            0 => format!("before training: held-out loss {:.4}", score.loss),
            _ => format!("step {step}: held-out loss {:.4}", score.loss),
        };
        let data = Evaluation {
            step,
            valid_loss: finite(score.loss),
            valid_mean_token_accuracy: finite(score.accuracy),
        };
        self.tell(NewEvent::about(message, EventData::Evaluation(data)))
    }

    fn note(&mut self, level: Level, message: String) -> Result<(), Fault> {
        self.tell(NewEvent::message(level, message))
    }

    fn saving(&mut self) -> Result<(), Fault> {
        self.store()
    }

    fn saved(&mut self, progress: &Progress, kept: &[u64]) -> Result<(), Fault> {
        let metrics = checkpoint_metrics(progress);
        let step = progress.step;
        let message = format!("step {step}: checkpoint written");
        let data = EventData::Checkpoint(CheckpointWritten { step });
        let event = NewEvent::about(message, data);
        let shared = self.worker.shared;
        let events = self.worker.retry(async || {
            let checkpoint = (step, &metrics);
            let store = &shared.store;
            store
                .keep_checkpoints(self.job, checkpoint, kept, &event)
                .await
        })?;
        shared.broadcast(events);
        Ok(())
    }
}

fn metrics(report: &StepReport) -> NewEvent {
    let (StepReport { step, total, .. }, stepped) = (report, &report.stepped);
    // A step with numbers that are not finite says so by being skipped.
    let rewards = stepped.rewards.filter(Rewards::is_finite);
    let data = StepMetrics {
        step: *step,
        train_loss: finite(stepped.loss),
        learning_rate: stepped.learning_rate,
        grad_norm: finite(stepped.grad_norm),
        tokens: stepped.tokens,
        tokens_per_second: report.tokens_per_second,
        loss_scale: stepped.loss_scale,
        skipped: !stepped.applied,
        rewards,
    };
    let mut message = format!("step {step}/{total}: loss {:.4}", stepped.loss);
    if let Some(rewards) = &rewards {
        let (share, margin) = (100.0 * rewards.accuracy, rewards.margin);
        message += &format!(", {share:.0} % preferred by {margin:.4}");
    }
    NewEvent::about(message, EventData::Step(data))
}

fn finite(number: f64) -> Option<f64> {
    Some(number).filter(|number| number.is_finite())
}

fn checkpoint_metrics(progress: &Progress) -> Value {
    let score = progress
        .held_out
        .filter(|_| progress.evaluated == progress.step);
    json!({
        "step": progress.step,
        "train_loss": progress.train_loss,
        "valid_loss": score.map(|score| score.loss),
        "valid_mean_token_accuracy": score.map(|score| score.accuracy),
        "full_valid_loss": score.map(|score| score.loss),
        "full_valid_mean_token_accuracy": score.map(|score| score.accuracy),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trainer::step::Stepped;

    #[test]
    fn a_step_says_of_itself_whether_it_was_skipped() {
        for (applied, loss_scale) in [(true, None), (false, Some(512.0))] {
            let event = metrics(&StepReport {
                step: 4,
                total: 9,
                stepped: Stepped {
                    loss: 1.5,
                    grad_norm: 0.5,
                    learning_rate: 1e-3,
                    tokens: 30,
                    rewards: None,
                    loss_scale,
                    applied,
                },
                tokens_per_second: 100.0,
                total_tokens: 120,
            });
            let EventData::Step(step) = event.data else {
                panic!("{event:?}")
            };
            assert_eq!((step.step, step.tokens), (4, 30));
            assert_eq!((step.skipped, step.loss_scale), (!applied, loss_scale));
        }
    }
}
