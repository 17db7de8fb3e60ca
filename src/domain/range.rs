//! Which numbers a field takes: stated once; checks, error texts and documents are made from it.

use std::fmt;

/// The numbers between two ends. Infinity stands for an end that is open; it is no number of the range itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    pub low: f64,
    pub high: f64,
    /// Whether `low` itself is left out.
    pub above: bool,
    /// Whether `high` itself is left out.
    pub below: bool,
}

impl Range {
    pub const ANY: Self = Self::between(f64::NEG_INFINITY, f64::INFINITY);

    pub const fn between(low: f64, high: f64) -> Self {
        Self {
            low,
            high,
            above: false,
            below: false,
        }
    }

    pub const fn at_least(low: f64) -> Self {
        Self::between(low, f64::INFINITY)
    }

    pub const fn above(low: f64) -> Self {
        Self {
            above: true,
            ..Self::at_least(low)
        }
    }

    pub const fn at_most(self, high: f64) -> Self {
        Self { high, ..self }
    }

    pub const fn below(self, high: f64) -> Self {
        Self {
            high,
            below: true,
            ..self
        }
    }

    pub fn holds(&self, number: f64) -> bool {
        let low = number > self.low || (number == self.low && !self.above);
        let high = number < self.high || (number == self.high && !self.below);
        number.is_finite() && low && high
    }

    /// `number`, or why it is not one of these.
    pub fn check(&self, number: f64) -> Result<(), String> {
        match self.holds(number) {
            true => Ok(()),
            false => Err(format!("{number} is not {self}")),
        }
    }

    pub fn bounded(&self) -> bool {
        self.low.is_finite() && self.high.is_finite()
    }
}

/// Ends a sentence that begins with `is not`.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { low, high, .. } = self;
        match (self.bounded(), low.is_finite(), self.above, self.below) {
            (true, _, false, false) => write!(f, "between {low} and {high}"),
            (true, _, true, false) => write!(f, "above {low} and at most {high}"),
            (true, _, false, true) => write!(f, "at least {low} and below {high}"),
            (true, _, true, true) => write!(f, "above {low} and below {high}"),
            (false, true, true, _) => write!(f, "a number above {low}"),
            (false, true, false, _) => write!(f, "a number of at least {low}"),
            (false, false, _, _) => f.write_str("a number"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_what_it_says() {
        let check = |range: Range, says: &str, holds: [f64; 2], not: [f64; 2]| {
            assert_eq!(range.to_string(), says);
            assert!(holds.iter().all(|number| range.holds(*number)), "{says}");
            assert!(!not.iter().any(|number| range.holds(*number)), "{says}");
        };
        let (zero, most) = (Range::at_least(0.0), f64::INFINITY);
        check(
            zero.at_most(2.0),
            "between 0 and 2",
            [0.0, 2.0],
            [-0.1, 2.1],
        );
        check(
            zero.below(1.0),
            "at least 0 and below 1",
            [0.0, 0.9],
            [-0.1, 1.0],
        );
        check(
            zero,
            "a number of at least 0",
            [0.0, 1e300],
            [-0.1, f64::NAN],
        );
        let zero = Range::above(0.0);
        check(
            zero.at_most(1.0),
            "above 0 and at most 1",
            [0.1, 1.0],
            [0.0, 1.1],
        );
        check(
            zero.below(1.0),
            "above 0 and below 1",
            [0.1, 0.9],
            [0.0, 1.0],
        );
        check(zero, "a number above 0", [1e-300, 1e300], [0.0, most]);
        check(Range::ANY, "a number", [-1e300, 0.0], [-most, f64::NAN]);
    }
}
