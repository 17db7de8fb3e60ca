//! How much one forward reads.

use crate::domain::Recipe;
use crate::trainer::course::Course;
use crate::trainer::data::{Example, Length, Order, layout};

/// Optimizer steps of an epoch, and of the whole job, on so many rows that are learned from.
pub fn total_steps(recipe: &Recipe, rows: usize) -> (u64, u64) {
    let order = Order::new(recipe, rows);
    (
        order.steps_an_epoch(),
        Course::of(recipe, &order).total_steps(),
    )
}

/// Tokens of the longest row.
pub fn longest_of(rows: &[Length]) -> Option<usize> {
    rows.iter().map(|row| row.tokens as usize).max()
}

/// The largest forward of a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Virtual ones included.
    pub tokens: usize,
    /// Of them, those whose next token is learned.
    pub trained: usize,
}

impl Load {
    /// Where nothing is known of the rows: as many as a forward takes, each full, and every token learned.
    pub fn full(recipe: &Recipe) -> Self {
        let row = recipe.max_seq + recipe.virtual_positions();
        Self {
            tokens: recipe.micro_batch.saturating_mul(row),
            trained: recipe.micro_batch.saturating_mul(recipe.max_seq),
        }
    }

    /// Of one step's forwards.
    pub fn of_batch(batch: &[&Example], recipe: &Recipe) -> Self {
        let lengths: Vec<Length> = batch.iter().map(|example| Length::of(example)).collect();
        Self::of_step(&lengths, recipe)
    }

    fn of_step(lengths: &[Length], recipe: &Recipe) -> Self {
        let virtual_tokens = recipe.virtual_positions();
        let all = layout(lengths, recipe, virtual_tokens);
        all.iter().fold(Self::default(), |most, forward| {
            let rows = forward.iter().map(|row| lengths[*row]);
            most.or(Self {
                tokens: rows.clone().map(|row| row.fed(virtual_tokens)).sum(),
                trained: rows.map(|row| row.trained as usize).sum(),
            })
        })
    }

    /// Of all steps of the first epoch on rows of these lengths.
    pub fn of_rows(rows: &[Length], recipe: &Recipe) -> Self {
        let mut order = Order::new(recipe, rows.len());
        let steps = order.steps_an_epoch();
        (0..steps).fold(Self::default(), |most, step| {
            let batch: Vec<Length> = order.batch(step).iter().map(|row| rows[*row]).collect();
            most.or(Self::of_step(&batch, recipe))
        })
    }

    /// The larger of both.
    pub fn or(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.max(other.tokens),
            trained: self.trained.max(other.trained),
        }
    }
}
