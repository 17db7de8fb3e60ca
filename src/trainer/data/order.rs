//! Which rows each step learns from: a function of the seed and the step, so a cursor is all that has to be saved.
//!
//! Rows are shuffled by their numbers, and read one by one from wherever they lie; so a whole epoch is shuffled, not what
//! happens to be in memory. Only beyond millions of rows, where the numbers themselves would fill it, an epoch is cut into
//! windows, which follow one another in an order of their own.

use crate::domain::Recipe;
use crate::trainer::rng::{self, Purpose};

/// Rows that are shuffled as one: 32 MiB of numbers.
pub const WINDOW: usize = 8 << 20;

/// The order of rows over all epochs.
#[derive(Debug, Clone)]
pub struct Order {
    rows: usize,
    batch: usize,
    window: usize,
    /// `None`: file order in every epoch.
    seed: Option<u64>,
    /// What was shuffled last.
    shuffled: Option<Shuffled>,
}

#[derive(Debug, Clone)]
struct Shuffled {
    epoch: u64,
    /// The windows of the epoch.
    windows: Vec<usize>,
    /// Which of `windows` the rows are of, and where in the epoch they begin.
    at: usize,
    first: usize,
    rows: Vec<u32>,
}

impl Order {
    pub fn new(recipe: &Recipe, rows: usize) -> Self {
        Self {
            rows,
            batch: recipe.batch_size,
            window: WINDOW,
            seed: recipe.shuffle.then_some(recipe.seed),
            shuffled: None,
        }
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
    pub fn batch(&mut self, done: u64) -> Vec<usize> {
        let epoch = done / self.steps_an_epoch();
        let first = (done % self.steps_an_epoch()) as usize * self.batch;
        let places = first..(first + self.batch).min(self.rows);
        match self.seed {
            None => places.collect(),
            Some(seed) => places.map(|place| self.row(seed, epoch, place)).collect(),
        }
    }

    /// The row at a place of an epoch.
    fn row(&mut self, seed: u64, epoch: u64, place: usize) -> usize {
        let (rows, window) = (self.rows, self.window);
        let shuffled = match self.shuffled.take() {
            Some(shuffled) if shuffled.epoch == epoch => shuffled,
            _ => Shuffled::begin(seed, epoch, rows, window),
        };
        let shuffled = shuffled.until(seed, place, (rows, window));
        let row = shuffled.rows[place - shuffled.first];
        self.shuffled = Some(shuffled);
        row as usize
    }
}

impl Shuffled {
    /// The first window of an epoch.
    fn begin(seed: u64, epoch: u64, rows: usize, window: usize) -> Self {
        let mut windows: Vec<usize> = (0..rows.div_ceil(window)).collect();
        if windows.len() > 1 {
            let place = [epoch, u64::MAX];
            rng::shuffle(&mut windows, &mut rng::stream(seed, Purpose::Order, &place));
        }
        let mut begun = Self {
            epoch,
            windows,
            at: 0,
            first: 0,
            rows: Vec::new(),
        };
        begun.fill(seed, (rows, window));
        begun
    }

    fn fill(&mut self, seed: u64, (rows, window): (usize, usize)) {
        let number = self.windows[self.at];
        let first = number * window;
        self.rows.clear();
        let end = (first + window).min(rows);
        self.rows.extend(first as u32..end as u32);
        // One window is the whole, as it was before there were any.
        let place = [self.epoch, number as u64];
        let place = if self.windows.len() == 1 {
            &place[..1]
        } else {
            &place
        };
        rng::shuffle(
            &mut self.rows,
            &mut rng::stream(seed, Purpose::Order, place),
        );
    }

    /// The window that holds a place.
    fn until(self, seed: u64, place: usize, whole: (usize, usize)) -> Self {
        let mut now = self;
        if place < now.first {
            now = Self::begin(seed, now.epoch, whole.0, whole.1);
        }
        // Sizes of windows differ only by the last one's, so those that are passed over need not be shuffled.
        let size = |number: usize| whole.1.min(whole.0 - number * whole.1);
        let before = now.at;
        while place >= now.first + size(now.windows[now.at]) {
            now.first += size(now.windows[now.at]);
            now.at += 1;
        }
        if now.at != before {
            now.fill(seed, whole);
        }
        now
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

    #[test]
    fn windows_are_shuffled_and_so_are_the_rows_within_them() {
        let recipe = recipe(true, 4, 2.0);
        let order = || Order {
            window: 8,
            ..Order::new(&recipe, 30)
        };
        let epoch = |n: u64| -> Vec<usize> {
            let mut order = order();
            let steps = n * 8..n * 8 + 8;
            steps.flat_map(|done| order.batch(done)).collect()
        };
        for n in 0..4 {
            let seen = epoch(n);
            let mut sorted = seen.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..30).collect::<Vec<_>>());
            assert_ne!(seen, sorted);
            let mut windows: Vec<usize> = seen.iter().map(|row| row / 8).collect();
            windows.dedup();
            assert_eq!(windows.len(), 4, "{seen:?}");
            // In any order of steps.
            let mut again = order();
            for done in [5, 2, 7, 0, 6] {
                let first = done as usize * 4;
                let batch = again.batch(n * 8 + done);
                assert_eq!(batch, seen[first..(first + 4).min(30)]);
            }
        }
        assert_ne!(epoch(0), epoch(1));
    }
}
