//! Which rows each step learns from: a function of the seed and the step, so a cursor is all that has to be saved.

use crate::domain::Recipe;
use crate::trainer::rng::{self, Purpose};

/// The order of rows over all epochs.
#[derive(Debug, Clone)]
pub struct Order {
    rows: usize,
    batch: usize,
    /// `None`: file order in every epoch.
    seed: Option<u64>,
    epoch: u64,
    permutation: Vec<usize>,
}

impl Order {
    pub fn new(recipe: &Recipe, rows: usize) -> Self {
        let seed = recipe.shuffle.then_some(recipe.seed);
        let mut order = Self {
            rows,
            batch: recipe.batch_size,
            seed,
            epoch: 0,
            permutation: Vec::new(),
        };
        order.enter(0);
        order
    }

    /// Steps that see every row once; the last of them may be smaller.
    pub fn steps_an_epoch(&self) -> u64 {
        self.rows.div_ceil(self.batch).max(1) as u64
    }

    /// Steps of the whole job: the given number, or epochs rounded up to whole steps.
    pub fn total_steps(&self, recipe: &Recipe) -> u64 {
        match (recipe.steps, recipe.epochs) {
            (Some(steps), _) => steps,
            (None, epochs) => {
                ((epochs.unwrap_or(1.0) * self.steps_an_epoch() as f64).ceil() as u64).max(1)
            }
        }
    }

    /// The rows of the step that `done` steps precede.
    pub fn batch(&mut self, done: u64) -> &[usize] {
        self.enter(done / self.steps_an_epoch());
        let first = (done % self.steps_an_epoch()) as usize * self.batch;
        &self.permutation[first..(first + self.batch).min(self.rows)]
    }

    fn enter(&mut self, epoch: u64) {
        if self.permutation.len() == self.rows && self.epoch == epoch {
            return;
        }
        self.epoch = epoch;
        self.permutation = (0..self.rows).collect();
        if let Some(seed) = self.seed {
            rng::shuffle(
                &mut self.permutation,
                &mut rng::stream(seed, Purpose::Order, &[epoch]),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trainer::recipe::{Wishes, resolve};

    fn recipe(shuffle: bool, batch_size: usize, epochs: f64) -> Recipe {
        let wishes = Wishes {
            shuffle: Some(shuffle),
            batch_size: Some(batch_size),
            epochs: Some(epochs),
            ..Wishes::default()
        };
        resolve(&wishes, None, 512).unwrap()
    }

    #[test]
    fn file_order_repeats_every_epoch_with_a_smaller_last_step() {
        let recipe = recipe(false, 2, 1.5);
        let mut order = Order::new(&recipe, 5);
        assert_eq!(order.total_steps(&recipe), 5);
        let seen: Vec<Vec<usize>> = (0..5).map(|done| order.batch(done).to_vec()).collect();
        assert_eq!(
            seen,
            [vec![0, 1], vec![2, 3], vec![4], vec![0, 1], vec![2, 3]]
        );
    }

    #[test]
    fn a_shuffled_epoch_sees_every_row_once_and_differs_from_the_next() {
        let recipe = recipe(true, 4, 2.0);
        let mut order = Order::new(&recipe, 10);
        let epoch = |order: &mut Order, n: u64| -> Vec<usize> {
            (n * 3..n * 3 + 3)
                .flat_map(|done| order.batch(done).to_vec())
                .collect()
        };
        let (first, second) = (epoch(&mut order, 0), epoch(&mut order, 1));
        assert_ne!(first, second);
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        assert_eq!(
            Order::new(&recipe, 10).batch(4),
            &second[4..8],
            "a step can be entered without those before it"
        );
    }
}
