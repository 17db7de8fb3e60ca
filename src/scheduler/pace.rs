//! How many tokens a step may have so that answers under way do not wait long for their next token.

/// What a step should last at most while an answer is being generated, in seconds.
const STEP: f64 = 0.2;
/// Shorter steps say little about what a prompt's token costs: reading the weights dominates them.
const TELLING: usize = 32;

/// Seconds a token costs in steps that compute prompts, as seen lately.
#[derive(Debug, Default)]
pub struct Pace {
    seconds_per_token: f64,
}

impl Pace {
    /// A step of so many tokens took so long.
    pub fn learn(&mut self, tokens: usize, seconds: f64) {
        if tokens < TELLING {
            return;
        }
        let each = seconds / tokens as f64;
        self.seconds_per_token = match self.seconds_per_token {
            0.0 => each,
            before => 0.75 * before + 0.25 * each,
        };
    }

    /// Tokens of the next step, between `least` and `most`.
    pub fn budget(&self, least: usize, most: usize) -> usize {
        if self.seconds_per_token == 0.0 {
            return most;
        }
        ((STEP / self.seconds_per_token) as usize).clamp(least.min(most), most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_model_gets_shorter_steps_and_a_fast_one_the_longest() {
        let mut pace = Pace::default();
        assert_eq!(pace.budget(64, 512), 512, "nothing is known yet");
        pace.learn(512, 2.0);
        assert_eq!(pace.budget(16, 512), 51);
        assert_eq!(
            pace.budget(80, 512),
            80,
            "but some of a prompt in every step"
        );
        (0..50).for_each(|_| pace.learn(100, 0.01));
        assert_eq!(pace.budget(16, 512), 512);
        pace.learn(1, 10.0);
        assert_eq!(
            pace.budget(16, 512),
            512,
            "a step of few tokens tells nothing"
        );
    }
}
