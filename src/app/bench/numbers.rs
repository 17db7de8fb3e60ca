//! Medians, percentiles, and how they are shown.

use serde_json::{Value, json};

use crate::device::machine;

/// Measured values in ascending order.
#[derive(Debug, Clone, Default)]
pub struct Numbers(Vec<f64>);

impl Numbers {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Self(sorted)
    }

    /// The smallest value that `share` of all values do not exceed; 0 where nothing was measured.
    pub fn percentile(&self, share: f64) -> f64 {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        let index = rank.clamp(1, self.0.len().max(1)) - 1;
        self.0.get(index).copied().unwrap_or(0.0)
    }

    /// The middle value, or the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        let count = self.0.len();
        let at = |index: usize| self.0.get(index).copied().unwrap_or(0.0);
        match count % 2 {
            1 => at(count / 2),
            _ => (at((count / 2).saturating_sub(1)) + at(count / 2)) / 2.0,
        }
    }

    pub fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or(0.0)
    }

    /// Of values that are one a run.
    pub fn spread(&self) -> Value {
        let least = self.0.first().copied().unwrap_or(0.0);
        json!({"median": self.median(), "min": least, "max": self.max()})
    }

    /// Of seconds, as milliseconds.
    pub fn latencies(&self) -> Value {
        let ms = |seconds: f64| seconds * 1e3;
        json!({
            "p50": ms(self.percentile(0.5)), "p90": ms(self.percentile(0.9)), "p99": ms(self.percentile(0.99)),
            "max": ms(self.max()),
        })
    }
}

/// The most memory this process has held, in bytes; nothing where the system does not say.
pub fn peak_memory() -> Option<u64> {
    machine::of_process("VmHWM")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let numbers = Numbers::of([3.0, 1.0, 2.0, 4.0]);
        assert_eq!(numbers.percentile(0.5), 2.0);
        assert_eq!(numbers.percentile(0.99), 4.0);
        assert_eq!(numbers.median(), 2.5);
        assert_eq!(Numbers::of([5.0]).median(), 5.0);
        assert_eq!(Numbers::default().percentile(0.5), 0.0);
        assert_eq!(Numbers::default().median(), 0.0);
    }
}
