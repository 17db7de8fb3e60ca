//! The newest gaps between tokens.

/// Gaps that are kept.
const KEPT: usize = 256;

#[derive(Debug)]
pub struct Gaps {
    newest: Vec<f64>,
    /// Where the next one goes once all places are taken.
    next: usize,
    added: usize,
}

impl Default for Gaps {
    fn default() -> Self {
        Self {
            newest: Vec::with_capacity(KEPT),
            next: 0,
            added: 0,
        }
    }
}

impl Gaps {
    pub fn add(&mut self, seconds: f64) {
        self.added += 1;
        match self.newest.get_mut(self.next) {
            Some(place) => *place = seconds,
            None => self.newest.push(seconds),
        }
        self.next = (self.next + 1) % KEPT;
    }

    /// How many were added, those that have been replaced too.
    pub fn since_cleared(&self) -> usize {
        self.added
    }

    pub fn clear(&mut self) {
        self.newest.clear();
        (self.next, self.added) = (0, 0);
    }

    /// The shortest that `share` of them do not exceed; 0 where there is none.
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.newest.clone();
        let rank = (share * sorted.len() as f64).ceil() as usize;
        let at = rank.clamp(1, sorted.len().max(1)) - 1;
        match at < sorted.len() {
            true => *sorted.select_nth_unstable_by(at, f64::total_cmp).1,
            false => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_of_the_newest_gaps() {
        let mut gaps = Gaps::default();
        assert_eq!(gaps.quantile(0.5), 0.0);
        (1..=1000).for_each(|gap| gaps.add(f64::from(gap)));
        assert_eq!(gaps.since_cleared(), 1000);
        assert_eq!(gaps.quantile(1.0), 1000.0);
        assert_eq!(gaps.quantile(0.0), 745.0);
        assert_eq!(gaps.quantile(0.5), 872.0);
        gaps.clear();
        gaps.add(3.0);
        assert_eq!(gaps.quantile(0.99), 3.0);
    }
}
