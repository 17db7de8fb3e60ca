//! When training counts as diverged. Pure: what a run has seen goes in, the reason to stop it comes out.
//!
//! A step whose loss or gradients are not finite is skipped, since one bad batch need not end a job. Where skipping no longer
//! helps ([`of_step`]) a job goes back, once. It has diverged when that does not help either, or when what it made must not
//! be served ([`at_the_end`]).

use super::checkpoint::Progress;
use crate::domain::Precision;

/// Losses that a new one is compared with.
pub const WINDOW: usize = 32;
/// Fewer losses say nothing about the next one.
const FEWEST: usize = 8;
/// As many skipped steps in a row lead back to a checkpoint, and the second time end a job.
const SKIPPED_IN_A_ROW: u32 = 3;
/// A loss up to which every target may have a probability that rounds to 1, so that no gradient is left.
const LEARNED: f64 = 1e-3;
/// What the loss on trained rows may rise over a whole job, in nats: 1 means that each token has become e times less
/// likely. Training lowers that loss; noise moves it by far less.
const RISE: f64 = 1.0;

/// Mean losses of the same trained rows.
#[derive(Debug, Clone, Copy)]
pub struct Losses {
    pub before: f64,
    pub after: f64,
}

/// After a step.
pub fn of_step(progress: &Progress) -> Option<String> {
    let times = progress.skipped_in_a_row;
    (times >= SKIPPED_IN_A_ROW)
        .then(|| format!("loss or gradients were not finite {times} times in a row"))
}

/// The median of earlier losses, where `loss` is more than twice that and half a nat above it.
pub fn spike(recent: &[f64], loss: f64) -> Option<f64> {
    if recent.len() < FEWEST {
        return None;
    }
    let mut sorted = recent.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    (loss > 2.0 * median + 0.5).then_some(median)
}

/// Why a run ended, the losses before that, oldest first, and what may help.
pub fn with_advice(why: &str, recent: &[f64], precision: Precision) -> String {
    let last = &recent[recent.len().saturating_sub(FEWEST)..];
    let last: Vec<String> = last.iter().map(|loss| format!("{loss:.4}")).collect();
    let losses = match last.is_empty() {
        true => String::new(),
        false => format!("; losses before: {}", last.join(", ")),
    };
    let numbers = match precision {
        Precision::F32 => "",
        Precision::Bf16 => ", or precision f32",
        Precision::F16 => ", or precision bf16, or a smaller loss_scale",
    };
    format!(
        "{why}{losses}. A lower lr, a warmup, a smaller max_grad_norm or a larger adam_epsilon may help{numbers}"
    )
}

/// After the last step. `losses` is `None` where the rows could not be predicted before training either: a row that
/// spoils every loss says nothing about the adapter.
pub fn at_the_end(progress: &Progress, losses: Option<Losses>) -> Option<String> {
    let Progress { step, .. } = *progress;
    let skipped = progress.skipped - progress.overflows;
    if progress.skipped_in_a_row > 0 {
        return Some("loss or gradients of its last step were not finite".into());
    }
    if step > 0 && progress.applied() == 0 {
        return Some("no step was applied: gradients of all of them were not finite".into());
    }
    if 2 * skipped > step {
        return Some(format!(
            "loss or gradients were not finite in {skipped} of {step} steps"
        ));
    }
    if progress.grad_norm == Some(0.0) && progress.train_loss.is_some_and(|loss| loss > LEARNED) {
        return Some("its gradients are exactly zero: nothing it computes reaches the loss".into());
    }
    let held_out = progress.base.zip(progress.held_out);
    if held_out.is_some_and(|(base, adapter)| base.loss.is_finite() && !adapter.loss.is_finite()) {
        return Some("the loss of held-out rows is not finite".into());
    }
    let Losses { before, after } = losses?;
    if !after.is_finite() {
        return Some("the trained adapter's loss on its own training rows is not finite".into());
    }
    (after > before + RISE)
        .then(|| format!("the loss on its own training rows rose from {before:.4} to {after:.4}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trainer::evaluate::Score;

    fn healthy() -> Progress {
        Progress {
            step: 10,
            updates: 9,
            skipped: 1,
            train_loss: Some(1.5),
            grad_norm: Some(0.3),
            ..Progress::default()
        }
    }

    const FINE: Option<Losses> = Some(Losses {
        before: 2.0,
        after: 1.5,
    });

    #[test]
    fn one_bad_step_is_forgiven_and_three_in_a_row_are_not() {
        let skipped = |times| Progress {
            skipped_in_a_row: times,
            ..healthy()
        };
        assert_eq!(of_step(&skipped(2)), None);
        assert!(of_step(&skipped(3)).is_some());
        assert_eq!(at_the_end(&healthy(), FINE), None);
    }

    #[test]
    fn a_loss_far_above_the_median_is_a_spike() {
        let usual = [2.0, 2.2, 1.9, 2.1, 2.0, 1.8, 2.0, 9.0];
        assert_eq!(spike(&usual, 4.6), Some(2.0));
        assert_eq!(spike(&usual, 4.4), None);
        assert_eq!(spike(&usual[1..], 9.0), None, "too few to compare with");
        assert_eq!(spike(&[0.01; 8], 0.3), None, "noise of a learned file");
    }

    #[test]
    fn advice_names_the_newest_losses() {
        let told = with_advice(
            "it ran away",
            &[9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.5],
            Precision::F32,
        );
        assert!(
            told.contains("before: 1.0000, 2.0000") && told.contains("8.5000."),
            "{told}"
        );
        let told = with_advice("why", &[], Precision::F16);
        assert!(
            told.starts_with("why. A lower lr") && told.contains("loss_scale"),
            "{told}"
        );
    }

    #[test]
    fn a_job_must_end_on_a_step_that_counted_and_on_more_such_steps_than_others() {
        let last = Progress {
            skipped_in_a_row: 1,
            ..healthy()
        };
        let most = Progress {
            skipped: 6,
            updates: 4,
            ..healthy()
        };
        let half = Progress {
            skipped: 5,
            updates: 5,
            ..healthy()
        };
        assert!(at_the_end(&last, FINE).is_some());
        assert!(at_the_end(&most, FINE).is_some());
        assert_eq!(at_the_end(&half, FINE), None);
    }

    #[test]
    fn overflows_at_a_scale_that_falls_are_forgiven_where_a_step_came_through() {
        let overflowed = |overflows| Progress {
            skipped: overflows,
            overflows,
            ..healthy()
        };
        assert_eq!(at_the_end(&overflowed(9), FINE), None);
        let why = at_the_end(&overflowed(10), FINE).unwrap();
        assert!(why.contains("no step was applied"), "{why}");
    }

    #[test]
    fn no_gradient_is_a_fault_unless_everything_is_learned() {
        let numb = |loss| Progress {
            grad_norm: Some(0.0),
            train_loss: Some(loss),
            ..healthy()
        };
        assert!(at_the_end(&numb(7.34), FINE).is_some());
        assert_eq!(at_the_end(&numb(1e-6), FINE), None);
    }

    #[test]
    fn what_is_worse_than_its_beginning_or_says_nothing_is_not_served() {
        let losses = |after| Some(Losses { before: 2.0, after });
        for after in [f64::NAN, f64::INFINITY, 3.1] {
            assert!(at_the_end(&healthy(), losses(after)).is_some(), "{after}");
        }
        assert_eq!(at_the_end(&healthy(), losses(2.9)), None);
        assert_eq!(at_the_end(&healthy(), None), None);
        let score = |loss| {
            Some(Score {
                loss,
                accuracy: 0.0,
            })
        };
        let mut scored = Progress {
            base: score(2.0),
            held_out: score(f64::NAN),
            ..healthy()
        };
        assert!(at_the_end(&scored, FINE).is_some());
        scored.base = score(f64::NAN);
        assert_eq!(at_the_end(&scored, FINE), None);
    }
}
