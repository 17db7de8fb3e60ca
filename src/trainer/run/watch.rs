//! What is told of a run while it runs.

use std::time::Duration;

use crate::domain::Level;
use crate::trainer::checkpoint::Progress;
use crate::trainer::evaluate::Score;
use crate::trainer::fault::Fault;
use crate::trainer::step::Stepped;

/// What one step did, for those who follow the job.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Counted from 1.
    pub step: u64,
    pub total: u64,
    pub stepped: Stepped,
    pub tokens_per_second: f64,
    /// Tokens read so far.
    pub total_tokens: u64,
}

/// Follows a job and may interrupt it. A fault it returns ends the job.
pub trait Watch {
    /// Asked before each forward: `false` interrupts the job. What this waits for, the job waits for.
    fn go_on(&mut self) -> bool {
        true
    }

    /// Waits for storage to recover; `false`: there is no time for that.
    fn wait(&mut self, pause: Duration) -> bool {
        std::thread::sleep(pause);
        true
    }

    fn started(&mut self, _progress: &Progress, _total: u64) -> Result<(), Fault> {
        Ok(())
    }

    fn stepped(&mut self, _report: &StepReport) -> Result<(), Fault> {
        Ok(())
    }

    /// Training went back: what was done after `step` will be done again, in another way.
    fn went_back(&mut self, _step: u64) -> Result<(), Fault> {
        Ok(())
    }

    fn evaluated(&mut self, _step: u64, _score: &Score) -> Result<(), Fault> {
        Ok(())
    }

    fn note(&mut self, _level: Level, _message: String) -> Result<(), Fault> {
        Ok(())
    }

    /// Before a checkpoint is written: what was reported of the steps up to it must not be lost from here on.
    fn saving(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    /// A checkpoint has been written; `kept` are the steps that still have one.
    fn saved(&mut self, _progress: &Progress, _kept: &[u64]) -> Result<(), Fault> {
        Ok(())
    }
}
