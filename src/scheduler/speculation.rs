//! How many guessed tokens a step should verify: as long as they raise the tokens expected in a second. A pure decision,
//! and what it has to know: what steps of so many rows cost, as seen lately.

/// Rows of a step that speculates, at most.
pub const MOST_ROWS: usize = 16;
/// With so many answers under way a step is well used without guesses.
pub const MOST_ANSWERS: usize = 7;
/// Guessed tokens of one answer in one step.
pub const MOST_GUESSES: usize = 10;
/// Guesses must promise this much more, since what is expected is not certain.
const MARGIN: f32 = 1.1;
/// How fast what is seen replaces what was thought.
const LEARNING: f32 = 0.2;
/// How fast what was not seen lately goes back to what is usual.
const FORGETTING: f32 = 0.002;
/// The first steps only say how fast the machine is.
const FIRST: u32 = 8;
/// After so many steps of the same rows their cost is known, and what changes then, changes for all: contexts grow.
const SETTLED: u32 = 10;

/// What steps cost by their rows, as seen lately.
pub struct Costs {
    /// Seconds of a step of 1, 2, … rows.
    seconds: [f32; MOST_ROWS],
    /// Steps seen, as far as they are counted.
    seen: u32,
    /// The newest step's place in `seconds`, and how many in a row had that.
    newest: usize,
    run: u32,
}

impl Default for Costs {
    fn default() -> Self {
        Self {
            seconds: std::array::from_fn(usual),
            seen: 0,
            newest: 0,
            run: 0,
        }
    }
}

/// A step reads every weight once, and each further row adds its arithmetic.
fn usual(at: usize) -> f32 {
    1.0 + 0.2 * at as f32
}

impl Costs {
    /// A step of nothing but newest tokens and guesses took so long.
    pub fn learn(&mut self, rows: usize, seconds: f64) {
        let Some(at) = rows.checked_sub(1).filter(|&at| at < MOST_ROWS) else {
            return;
        };
        let seconds = (seconds as f32).max(1e-9);
        self.run = if at == self.newest {
            self.run.saturating_add(1)
        } else {
            1
        };
        self.newest = at;
        self.seen = self.seen.saturating_add(1);
        if self.seen == 1 {
            let level = seconds / usual(at);
            self.seconds = std::array::from_fn(|at| level * usual(at));
            return;
        }
        let known = self.seconds[at];
        // One step that took far longer says that the machine was busy.
        let change = LEARNING * (seconds.min(2.0 * known) - known);
        if self.seen <= FIRST || self.run > SETTLED {
            let factor = 1.0 + change / known;
            self.seconds.iter_mut().for_each(|cost| *cost *= factor);
        } else {
            // What so many rows cost more, others cost more too, if not as surely.
            for (other, cost) in self.seconds.iter_mut().enumerate() {
                let share = match other == at {
                    true => 1.0,
                    false if at == 0 => 0.0,
                    false => 0.5 * (other as f32 / at as f32).min(1.0),
                };
                *cost *= 1.0 + share * change / known;
            }
        }
        let level = self.seconds[at] / usual(at);
        for (other, cost) in self.seconds.iter_mut().enumerate() {
            if other != at {
                *cost += FORGETTING * (level * usual(other) - *cost);
            }
        }
    }

    fn of(&self, rows: usize) -> f32 {
        self.seconds[rows.clamp(1, MOST_ROWS) - 1]
    }

    /// How many guesses each answer guesses. `odds`: for each, how likely its first one, two, … guesses are all right.
    pub fn guesses(&self, odds: &[Vec<f32>]) -> Vec<usize> {
        let rows = odds.len();
        let mut planned = vec![0; rows];
        let mut best = planned.clone();
        let mut expected = rows as f32;
        let mut rate = MARGIN * expected / self.of(rows);
        for total in rows + 1..=MOST_ROWS {
            let next = |answer: usize| odds[answer].get(planned[answer]).copied();
            let likeliest = (0..rows)
                .filter_map(|answer| Some((next(answer)?, answer)))
                .max_by(|a, b| a.0.total_cmp(&b.0));
            let Some((gain, answer)) = likeliest else {
                break;
            };
            planned[answer] += 1;
            expected += gain;
            let now = expected / self.of(total);
            if now > rate {
                (rate, best) = (now, planned.clone());
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sure(count: usize) -> Vec<f32> {
        vec![1.0; count]
    }

    #[test]
    fn what_is_likely_is_staked_and_what_is_not_is_not() {
        let costs = Costs::default();
        assert_eq!(costs.guesses(&[sure(8)]), [8]);
        assert_eq!(costs.guesses(&[vec![0.1, 0.05]]), [0]);
        assert_eq!(costs.guesses(&[vec![0.9, 0.8, 0.01, 0.01]]), [2]);
        assert_eq!(costs.guesses(&[vec![], sure(3), vec![0.1]]), [0, 3, 0]);
        assert_eq!(costs.guesses(&[]), [0usize; 0]);
    }

    #[test]
    fn a_full_batch_stakes_little() {
        let costs = Costs::default();
        let planned = |answers: usize| {
            costs
                .guesses(&vec![sure(10); answers])
                .iter()
                .sum::<usize>()
        };
        for answers in 1..=MOST_ROWS {
            assert!(answers + planned(answers) <= MOST_ROWS);
        }
        assert_eq!(planned(MOST_ROWS), 0);
    }

    #[test]
    fn where_rows_cost_as_much_as_steps_nothing_is_staked() {
        let mut costs = Costs::default();
        for _ in 0..200 {
            costs.learn(1, 1.0);
            costs.learn(4, 4.0);
            costs.learn(2, 2.0);
            costs.learn(3, 3.0);
        }
        assert_eq!(costs.guesses(&[vec![0.9, 0.8, 0.7]]), [0]);
        // Long unseen, the dear rows are given another chance.
        (0..3000).for_each(|_| costs.learn(1, 1.0));
        assert!(costs.guesses(&[vec![0.9, 0.8, 0.7]])[0] > 0);
    }

    #[test]
    fn what_slows_every_step_makes_no_rows_dearer() {
        let ratio = |costs: &Costs| costs.of(5) / costs.of(1);
        let mut costs = Costs::default();
        for step in 0..1000 {
            let growth = 1.0 + 0.001 * f64::from(step);
            costs.learn(5, 1.8 * growth);
        }
        assert!((ratio(&costs) - 1.8).abs() < 0.2, "{}", ratio(&costs));
        (0..20).for_each(|_| costs.learn(5, 7.2));
        (0..20).for_each(|_| costs.learn(1, 4.0));
        assert!((ratio(&costs) - 1.8).abs() < 0.3, "{}", ratio(&costs));
    }

    #[test]
    fn whatever_steps_last_costs_stay_numbers() {
        let (mut costs, mut random) = (Costs::default(), 1u64);
        for _ in 0..20_000 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
            let seconds = 10f64.powi((random >> 60) as i32 - 12);
            costs.learn((random >> 33) as usize % 20, seconds);
            let sane = |cost: &f32| cost.is_finite() && *cost > 0.0;
            assert!(costs.seconds.iter().all(sane), "{:?}", costs.seconds);
        }
        (0..5000).for_each(|_| costs.learn(1, 1e-3));
        assert_eq!(costs.guesses(&[sure(4)]), [4]);
    }

    #[test]
    fn dear_rows_are_found_out_and_a_single_outlier_is_not_believed() {
        let mut costs = Costs::default();
        (0..100).for_each(|_| costs.learn(1, 1.0));
        costs.learn(5, 500.0);
        assert!(costs.guesses(&[vec![0.99; 4]])[0] > 0);
        (0..20).for_each(|_| costs.learn(5, 5.0));
        assert!(costs.of(5) > 3.5 * costs.of(1));
        assert!(
            costs.of(4) > 2.0 * costs.of(1),
            "its neighbours are suspected"
        );
        assert_eq!(costs.guesses(&[vec![0.4, 0.16, 0.06, 0.03]]), [0]);
    }
}
