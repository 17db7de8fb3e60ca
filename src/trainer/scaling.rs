//! Dynamic loss scaling (Micikevicius et al., Mixed Precision Training, arXiv 1710.03740): gradients of f16 are taken of a
//! loss that is multiplied by as much as they bear. Pure.

use serde::{Deserialize, Serialize};

use crate::domain::{LossScale, Recipe};

/// A scale that rises and falls.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    pub now: f64,
    /// Good steps since it changed.
    pub steps: u64,
}

impl Scale {
    const fn start() -> Self {
        Self {
            now: LossScale::START,
            steps: 0,
        }
    }

    /// After a step whose gradients were finite.
    pub fn rise(&mut self) {
        self.steps += 1;
        if self.steps == LossScale::PATIENCE {
            self.now = (2.0 * self.now).min(LossScale::MOST);
            self.steps = 0;
        }
    }

    /// After one whose gradients were not. `false`: it is as low as it gets.
    pub fn fall(&mut self) -> bool {
        let falls = self.now > LossScale::LEAST;
        self.now = (0.5 * self.now).max(LossScale::LEAST);
        self.steps = 0;
        falls
    }
}

/// What a recipe's losses are multiplied by, and what of that changes from step to step; `None` where nothing scales them.
pub fn of(recipe: &Recipe, dynamic: &mut Option<Scale>) -> Option<f64> {
    match recipe.loss_scale? {
        LossScale::Fixed(scale) => Some(scale),
        LossScale::Dynamic => Some(dynamic.get_or_insert(Scale::start()).now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Precision, Wishes};
    use crate::trainer::testing::recipe;

    #[test]
    fn it_rises_after_many_good_steps_and_falls_after_a_bad_one_down_to_1() {
        let mut scale = Scale::start();
        (1..LossScale::PATIENCE).for_each(|_| scale.rise());
        assert_eq!(scale.now, 65_536.0);
        scale.rise();
        assert_eq!((scale.now, scale.steps), (131_072.0, 0));
        (1..LossScale::PATIENCE).for_each(|_| scale.rise());
        assert!(scale.fall());
        assert_eq!((scale.now, scale.steps), (65_536.0, 0));
        for _ in 0..16 {
            assert!(scale.fall());
        }
        assert_eq!(scale.now, 1.0);
        assert!(!scale.fall());
        assert_eq!(scale.now, 1.0);
        (0..40 * LossScale::PATIENCE).for_each(|_| scale.rise());
        assert_eq!(scale.now, LossScale::MOST);
    }

    #[test]
    fn only_f16_is_scaled() {
        let of = |precision, loss_scale| {
            let mut dynamic = None;
            let recipe = recipe(Wishes {
                precision: Some(precision),
                loss_scale,
                ..Wishes::default()
            });
            (of(&recipe, &mut dynamic), dynamic.is_some())
        };
        assert_eq!(of(Precision::F16, None), (Some(65_536.0), true));
        let fixed = Some(LossScale::Fixed(128.0));
        assert_eq!(of(Precision::F16, fixed), (Some(128.0), false));
        for precision in [Precision::F32, Precision::Bf16] {
            assert_eq!(of(precision, None), (None, false));
        }
    }
}
