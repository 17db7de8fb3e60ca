//! The learning rate of each step: warm-up, then linear, cosine or constant, as transformers' schedulers compute it.

use crate::domain::{Recipe, Schedule};

/// Learning rates of one job; pure in the step number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LearningRate {
    pub peak: f64,
    pub schedule: Schedule,
    /// In steps.
    pub warmup: u64,
    pub total: u64,
}

impl LearningRate {
    pub fn of(recipe: &Recipe, total: u64) -> Self {
        Self {
            peak: recipe.learning_rate,
            schedule: recipe.schedule,
            warmup: warmup_steps(recipe.warmup, total),
            total,
        }
    }

    /// The rate of the update that `done` updates precede: 0 before the first.
    ///
    /// Formulas: transformers, `get_linear_schedule_with_warmup`, `get_cosine_schedule_with_warmup` (half a wave),
    /// `get_constant_schedule_with_warmup`.
    pub fn at(&self, done: u64) -> f64 {
        if done < self.warmup {
            return self.peak * (done as f64 / self.warmup.max(1) as f64);
        }
        let left = self.total.saturating_sub(self.warmup).max(1) as f64;
        let share = match self.schedule {
            Schedule::Constant => 1.0,
            Schedule::Linear => self.total.saturating_sub(done) as f64 / left,
            Schedule::Cosine => {
                let progress = (done - self.warmup) as f64 / left;
                (0.5 * (1.0 + (std::f64::consts::PI * progress).cos())).max(0.0)
            }
        };
        self.peak * share
    }
}

/// Below 1 a share of all steps, rounded up; from 1 on a count.
fn warmup_steps(warmup: f64, total: u64) -> u64 {
    if warmup < 1.0 {
        (total as f64 * warmup).ceil() as u64
    } else {
        warmup as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: Schedule, warmup: f64, total: u64) -> Vec<f64> {
        let rate = LearningRate {
            peak: 1.0,
            schedule,
            warmup: warmup_steps(warmup, total),
            total,
        };
        (0..total).map(|done| rate.at(done)).collect()
    }

    #[test]
    fn rates_are_those_of_transformers() {
        assert_eq!(
            rates(Schedule::Linear, 2.0, 6),
            [0.0, 0.5, 1.0, 0.75, 0.5, 0.25]
        );
        assert_eq!(rates(Schedule::Constant, 2.0, 4), [0.0, 0.5, 1.0, 1.0]);
        let half = 0.5 * (1.0 + (std::f64::consts::PI * 0.25).cos());
        assert_eq!(
            rates(Schedule::Cosine, 0.0, 4)[..3],
            [1.0, half, 0.5 * (1.0 + (std::f64::consts::PI * 0.5).cos())]
        );
    }

    #[test]
    fn a_warmup_share_is_rounded_up() {
        assert_eq!(warmup_steps(0.03, 20), 1);
        assert_eq!(warmup_steps(0.0, 20), 0);
        assert_eq!(warmup_steps(7.0, 20), 7);
    }

    #[test]
    fn a_warmup_longer_than_the_job_never_reaches_the_peak() {
        assert_eq!(rates(Schedule::Linear, 10.0, 3), [0.0, 0.1, 0.2]);
    }
}
