//! How the steps of a job are divided: one stage after the other, each with a length and a learning rate of its own. Most jobs
//! have one.

use super::data::Order;
use super::schedule::LearningRate;
use crate::domain::Recipe;

/// The stages of one job, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Course(Vec<Leg>);

/// A stage with its place among the steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Leg {
    /// Steps before it.
    pub first: u64,
    pub rate: LearningRate,
}

impl Course {
    pub fn of(recipe: &Recipe, order: &Order) -> Self {
        let whole = order.total_steps(recipe);
        // Checked with the other settings.
        let stages = recipe.stages.as_ref().and_then(|stages| stages.list().ok());
        let Some(stages) = stages else {
            let rate = LearningRate::of(recipe, whole);
            return Self(vec![Leg { first: 0, rate }]);
        };
        let mut first = 0;
        let legs = stages.iter().map(|stage| {
            let steps = match (stage.steps, stage.epochs) {
                (None, None) => whole,
                (steps, epochs) => order.total_steps(&Recipe {
                    steps,
                    epochs,
                    ..recipe.clone()
                }),
            };
            let recipe = Recipe {
                learning_rate: stage.lr.unwrap_or(recipe.learning_rate),
                ..recipe.clone()
            };
            let leg = Leg {
                first,
                rate: LearningRate::of(&recipe, steps),
            };
            first += steps;
            leg
        });
        Self(legs.collect())
    }

    pub fn total_steps(&self) -> u64 {
        self.0.last().map_or(0, |leg| leg.first + leg.rate.total)
    }

    /// Of its stages, the shortest's steps.
    pub fn shortest(&self) -> u64 {
        let steps = self.0.iter().map(|leg| leg.rate.total);
        steps.min().unwrap_or(0)
    }

    /// The number of the stage that the step after `done` steps belongs to, and the stage.
    pub fn at(&self, done: u64) -> (usize, Leg) {
        let last = self.0.partition_point(|leg| leg.first <= done).max(1) - 1;
        (last, self.0[last])
    }
}

impl Leg {
    /// The rate of the update that `done` updates of the whole job precede.
    pub fn rate_at(&self, done: u64) -> f64 {
        self.rate.at(done.saturating_sub(self.first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Stages, Wishes};

    #[test]
    fn each_stage_has_its_steps_and_its_rate() {
        let stages = r#"[{"layers":1,"steps":4,"lr":0.5},{"layers":0,"epochs":2},{}]"#;
        let recipe = Wishes {
            stages: Some(Stages::parse(stages).unwrap()),
            steps: Some(3),
            batch_size: Some(2),
            learning_rate: Some(1.0),
            ..Wishes::default()
        };
        let recipe = recipe.complete(64);
        let order = Order::new(&recipe, 6);
        let course = Course::of(&recipe, &order);
        assert_eq!((course.total_steps(), course.shortest()), (4 + 6 + 3, 3));
        let seen: Vec<_> = [0, 3, 4, 9, 10, 12].map(|done| course.at(done).0).into();
        assert_eq!(seen, [0, 0, 1, 1, 2, 2]);
        assert_eq!(course.at(2).1.rate_at(2), 0.25);
        assert_eq!(course.at(4).1.rate_at(4), 1.0);
        assert_eq!(course.at(7).1.rate_at(7), 0.5);
    }
}
