//! How long rows are: in the model's tokens, or in words.

use super::finding::{Finding, Lengths, Lines, Severity, percent, rows, share};

/// Bars of a plot of lengths.
const BARS: usize = 24;

#[derive(Default)]
pub struct Lengthy {
    lengths: Vec<u32>,
    over: Lines,
    limit: Option<usize>,
}

impl Lengthy {
    pub fn new(limit: Option<usize>) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    pub fn add(&mut self, length: usize, line: usize, shown: &str) {
        super::grow(&mut self.lengths);
        self.lengths.push(u32::try_from(length).unwrap_or(u32::MAX));
        if self.limit.is_some_and(|limit| length > limit) {
            self.over.add(line, || format!("{length} tokens: {shown}"));
        }
    }

    pub const fn count(&self) -> usize {
        self.lengths.len()
    }

    /// The account, and the finding where rows are longer than they may be and that `judges`.
    pub fn finish(mut self, unit: &'static str, judges: bool) -> (Lengths, Option<Finding>) {
        self.lengths.sort_unstable();
        let count = self.lengths.len();
        let at = |share: f64| {
            let place = (count.max(1) - 1) as f64 * share;
            self.lengths
                .get(place.round() as usize)
                .map_or(0, |length| *length as usize)
        };
        let total: u64 = self.lengths.iter().map(|length| u64::from(*length)).sum();
        let over = self.over;
        let lengths = Lengths {
            unit,
            rows: count,
            total,
            mean: total as f64 / count.max(1) as f64,
            median: at(0.5),
            p95: at(0.95),
            longest: at(1.0),
            limit: self.limit,
            over: over.count,
            over_share: share(over.count, count),
            over_lines: over.first.clone(),
            histogram: histogram(&self.lengths),
        };
        let limit = self.limit.unwrap_or_default();
        let says = format!(
            "{} ({}) {} longer than the {limit} tokens of `max_seq`: a job refuses them",
            rows(over.count),
            percent(lengths.over_share),
            if over.count == 1 { "is" } else { "are" }
        );
        let advice = "Shorten or split them, or raise `--max-seq` as far as the model reads.";
        let finding = (judges && over.count > 0)
            .then(|| over.finding("too_long", Severity::Warning, count, says, advice));
        (lengths, finding)
    }
}

/// Bars of equal width, in round numbers, over sorted lengths.
fn histogram(lengths: &[u32]) -> Vec<[usize; 3]> {
    let Some(longest) = lengths.last() else {
        return Vec::new();
    };
    // The longest few would leave one bar for all others.
    let most = lengths[(lengths.len() - 1) * 99 / 100].max(1) as usize;
    let exact = most.div_ceil(BARS).max(1);
    let magnitude = 10_usize.pow(exact.ilog10());
    let width = [1, 2, 5, 10]
        .into_iter()
        .map(|step| step * magnitude)
        .find(|width| *width >= exact)
        .unwrap_or(exact);
    let bars = most / width + 1;
    let mut found: Vec<[usize; 3]> = (0..bars)
        .map(|bar| [bar * width, (bar + 1) * width, 0])
        .collect();
    for length in lengths {
        found[(*length as usize / width).min(bars - 1)][2] += 1;
    }
    // Nothing is seen of bars before the first.
    let empty = found.iter().take_while(|bar| bar[2] == 0).count();
    found.drain(..empty);
    if let Some(last) = found.last_mut() {
        last[1] = last[1].max(*longest as usize + 1);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_summed_up_and_what_is_too_long_is_told() {
        let mut lengthy = Lengthy::new(Some(90));
        (1..=100).for_each(|length| lengthy.add(length, length, "row"));
        let (lengths, finding) = lengthy.finish("tokens", true);
        assert_eq!(
            (lengths.total, lengths.median, lengths.p95, lengths.longest),
            (5050, 51, 95, 100)
        );
        assert_eq!((lengths.over, lengths.over_lines[0]), (10, 91));
        assert_eq!(
            lengths.histogram.iter().map(|bar| bar[2]).sum::<usize>(),
            100
        );
        assert!(finding.is_some_and(|finding| finding.code == "too_long" && finding.count == 10));
        let (lengths, finding) = Lengthy::new(None).finish("words", true);
        assert!(lengths.histogram.is_empty() && finding.is_none());
    }
}
