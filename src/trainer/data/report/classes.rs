//! Classes: values of a field that was named, or answers that are chosen from a few. How they are spread, and how they
//! are written.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::finding::{Classes, Finding, Lines, NAMED, Named, Severity, percent, rows, share};
use super::text::{folded, quoted};

/// Different answers up to which a task is read as choosing among classes.
const MOST: usize = 20;
/// Different values that are counted of answers, and of a field that was named.
const COUNTED: usize = 64;
const COUNTED_OF_FIELD: usize = 1000;
/// Rows from which a judgement makes sense, and rows a class.
const ENOUGH: usize = 20;
const ROWS_A_CLASS: usize = 4;
/// Share of the answers that must be classes.
const COVERED: f64 = 0.9;
/// The most frequent class over the rarest from which classes are out of balance.
const RATIO: f64 = 5.0;
/// Numbers may be counts or results; up to so many of them are a scale.
const SCALE: usize = 6;

/// How often each short answer, or each value of a field, occurs.
#[derive(Default)]
pub struct Tally {
    rows: usize,
    counts: HashMap<String, (usize, Vec<usize>)>,
    /// Rows with another text than those that are counted.
    others: Lines,
    /// All values are of a field: more of them are counted.
    is_field: bool,
}

impl Tally {
    pub fn of_field() -> Self {
        Self {
            is_field: true,
            ..Self::default()
        }
    }

    pub fn add(&mut self, text: Option<&str>, line: usize) {
        self.rows += 1;
        let most = if self.is_field {
            COUNTED_OF_FIELD
        } else {
            COUNTED
        };
        let Some(text) = text else {
            return self.others.add(line, String::new);
        };
        if self.counts.len() >= most && !self.counts.contains_key(text) {
            return self.others.add(line, || quoted(text, 60));
        }
        let (count, lines) = self.counts.entry(text.to_owned()).or_default();
        *count += 1;
        if lines.len() < NAMED {
            lines.push(line);
        }
    }

    pub fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        self.others.merge(other.others);
        for (text, (count, lines)) in other.counts {
            let mine = self.counts.entry(text).or_default();
            mine.0 += count;
            mine.1.extend(lines);
            mine.1.sort_unstable();
            mine.1.truncate(NAMED);
        }
    }

    /// Most frequent first, ties in the order of the texts.
    fn sorted(&self) -> Vec<(&str, usize, &[usize])> {
        let counts = self.counts.iter();
        let mut sorted: Vec<_> = counts
            .map(|(text, (count, lines))| (text.as_str(), *count, lines.as_slice()))
            .collect();
        sorted.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        sorted
    }

    /// The answers and their rows, where they are chosen from a few.
    pub fn labels(&self) -> Option<Map<String, Value>> {
        let sorted = self.sorted();
        let few = sorted.len() <= MOST
            && self.others.count == 0
            && self.rows >= ROWS_A_CLASS * sorted.len();
        few.then(|| {
            { sorted.into_iter() }
                .map(|(text, count, _)| (quoted(text, 80), count.into()))
                .collect()
        })
    }

    /// The classes, and what is to be said of them; `None` where answers are not chosen from a few.
    pub fn judge(&self, of: Of<'_>, all: usize) -> Option<(Classes, Vec<Finding>)> {
        let sorted = self.sorted();
        let groups = grouped(&sorted);
        let longest = { groups.iter() }
            .filter(|group| group.count * 20 >= self.rows)
            .map(|group| group.name.chars().count())
            .max()
            .or(self.is_field.then_some(0))?;
        // A text much longer than the classes explains itself instead of choosing one.
        let (groups, strays): (Vec<Group>, Vec<Group>) =
            { groups.into_iter() }.partition(|group| {
                self.is_field || group.name.chars().count() <= (2 * longest).max(12)
            });
        let covered: usize = groups.iter().map(|group| group.count).sum();
        let numbers = groups.iter().all(|group| group.name.parse::<f64>().is_ok());
        let closed = groups.len() <= MOST
            && self.rows >= ENOUGH.max(ROWS_A_CLASS * groups.len())
            && covered as f64 >= COVERED * self.rows as f64
            && !(numbers && groups.len() > SCALE);
        if !(self.is_field || closed) {
            return None;
        }
        let most = groups.first().map_or(0, |group| group.count);
        let least = groups.last().map_or(0, |group| group.count);
        let classes = Classes {
            field: of.field.map(str::to_owned),
            task: of.task.map(str::to_owned),
            rows: self.rows,
            total: groups.len(),
            ratio: most as f64 / least.max(1) as f64,
            largest: { groups.iter().take(MOST) }
                .map(|group| Named {
                    name: quoted(group.name, 80),
                    rows: group.count,
                    share: share(group.count, self.rows),
                })
                .collect(),
        };
        let mut findings = Vec::new();
        if groups.len() <= 5 * MOST {
            findings.extend(imbalance(&classes, &groups, of, all));
            findings.extend(variants(&groups, of, all));
        }
        if !self.is_field {
            findings.extend(self.strays(strays, &groups, of, all));
        }
        Some((classes, findings))
    }

    /// Answers that are none of the classes.
    fn strays(
        &self,
        strays: Vec<Group<'_>>,
        groups: &[Group<'_>],
        of: Of<'_>,
        all: usize,
    ) -> Option<Finding> {
        let mut lines = self.others.clone();
        for stray in strays {
            lines.merge(stray.lines());
        }
        let named: Vec<String> = groups
            .iter()
            .take(3)
            .map(|group| format!("`{}`", quoted(group.name, 20)))
            .collect();
        let says = format!(
            "{}{} of {} answers {} none of the usual ones ({}{})",
            of.prefix(),
            lines.count,
            self.rows,
            if lines.count == 1 { "is" } else { "are" },
            named.join(", "),
            if groups.len() > 3 { ", …" } else { "" },
        );
        let advice = "Answer with the class alone everywhere, or give these rows an instruction of their own.";
        (lines.count > 0 && groups.len() > 1)
            .then(|| lines.finding("stray_answers", Severity::Warning, all, says, advice))
    }
}

/// What is counted: a field, answers of the whole file, or of one task.
#[derive(Clone, Copy, Default)]
pub struct Of<'a> {
    pub field: Option<&'a str>,
    pub task: Option<&'a str>,
}

impl Of<'_> {
    fn prefix(self) -> String {
        match (self.field, self.task) {
            (Some(field), _) => format!("`{field}`: "),
            (None, Some(task)) => format!("task `{task}`: "),
            (None, None) => String::new(),
        }
    }
}

/// A class with the ways it is written.
struct Group<'a> {
    /// The most frequent way.
    name: &'a str,
    count: usize,
    ways: Vec<(&'a str, usize, &'a [usize])>,
}

impl Group<'_> {
    fn lines(&self) -> Lines {
        let mut lines = Lines::default();
        for (text, count, first) in &self.ways {
            first
                .iter()
                .for_each(|line| lines.add(*line, || quoted(text, 60)));
            lines.count += count - first.len();
        }
        lines
    }
}

/// Texts that differ only in case, width, blanks and punctuation, or by a slip of the pen, are one class.
fn grouped<'a>(sorted: &[(&'a str, usize, &'a [usize])]) -> Vec<Group<'a>> {
    let plain = |text: &str| -> String {
        let letters = text
            .chars()
            .map(folded)
            .filter(|c| c.is_alphanumeric() || matches!(c, '+' | '-' | '<' | '>' | '='));
        let letters: String = letters.collect();
        if letters.is_empty() {
            text.to_owned()
        } else {
            letters
        }
    };
    let mut groups: Vec<(String, Group<'a>)> = Vec::new();
    for way in sorted {
        let text = plain(way.0);
        let slip = |group: &(String, Group<'a>)| {
            group.1.count >= 10 * way.1 && way.1 <= 3 && is_slip(&text, &group.0)
        };
        let found = groups
            .iter()
            .position(|(other, _)| *other == text)
            .or_else(|| groups.iter().position(slip));
        match found {
            Some(at) => {
                groups[at].1.count += way.1;
                groups[at].1.ways.push(*way);
            }
            None => groups.push((
                text,
                Group {
                    name: way.0,
                    count: way.1,
                    ways: vec![*way],
                },
            )),
        }
    }
    let mut groups: Vec<Group> = groups.into_iter().map(|(_, group)| group).collect();
    groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(b.name)));
    groups
}

/// One letter more, less, other, or two exchanged, in a word of at least six; digits are never slips.
fn is_slip(text: &str, of: &str) -> bool {
    let digits = |text: &str| text.chars().any(|c| c.is_ascii_digit());
    text.chars().count().min(of.chars().count()) >= 6
        && !digits(text)
        && !digits(of)
        && strsim::osa_distance(text, of) == 1
        // `possible` and `impossible`, `legal` and `illegal` differ by more; `un-` and `in-` do not.
        && text.chars().next() == of.chars().next()
}

fn imbalance(classes: &Classes, groups: &[Group<'_>], of: Of<'_>, all: usize) -> Option<Finding> {
    let [first, .., last] = groups else {
        return only_one(classes, groups, of, all);
    };
    if classes.rows < ENOUGH || classes.ratio < RATIO || first.count < 10 {
        return None;
    }
    let rare: Vec<&Group> = groups
        .iter()
        .rev()
        .take_while(|group| first.count as f64 >= RATIO * group.count as f64)
        .collect();
    let mut lines = Lines::default();
    rare.iter()
        .rev()
        .for_each(|group| lines.merge(group.lines()));
    let says = format!(
        "{}class `{}` occurs {} times, `{}` {} ({:.0} to 1)",
        of.prefix(),
        quoted(first.name, 30),
        first.count,
        quoted(last.name, 30),
        last.count,
        classes.ratio
    );
    let advice = match of.field {
        Some(_) => {
            "Add rows of the rare classes, or train with `--balance` and this field, which repeats them."
        }
        None => {
            "Add rows of the rare classes, or name a field with the class and train with `--balance FIELD`, which repeats them."
        }
    };
    Some(lines.finding("class_imbalance", Severity::Warning, all, says, advice))
}

/// Every answer, or every value, is the same.
fn only_one(classes: &Classes, groups: &[Group<'_>], of: Of<'_>, all: usize) -> Option<Finding> {
    let [only] = groups else { return None };
    if classes.rows < ENOUGH {
        return None;
    }
    let says = format!(
        "{}{} ({}) have the same class `{}`",
        of.prefix(),
        rows(only.count),
        percent(share(only.count, classes.rows)),
        quoted(only.name, 30)
    );
    let advice = "Nothing is learned from one class alone: add rows of the others.";
    Some(
        only.lines()
            .finding("class_imbalance", Severity::Warning, all, says, advice),
    )
}

/// Classes that are written in several ways.
fn variants(groups: &[Group<'_>], of: Of<'_>, all: usize) -> Option<Finding> {
    let mut lines = Lines::default();
    let mut named = Vec::new();
    for group in groups.iter().filter(|group| group.ways.len() > 1) {
        for way in &group.ways[1..] {
            let one = Group {
                name: way.0,
                count: way.1,
                ways: vec![*way],
            };
            lines.merge(one.lines());
            named.push(format!(
                "`{}` for `{}`",
                quoted(way.0, 30),
                quoted(group.name, 30)
            ));
        }
    }
    let more = named.len().saturating_sub(3);
    named.truncate(3);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let says = format!(
        "{}classes are written in several ways: {}{more}",
        of.prefix(),
        named.join(", ")
    );
    let advice =
        "Write every class in one way: the model learns each spelling as an answer of its own.";
    (lines.count > 0)
        .then(|| lines.finding("inconsistent_labels", Severity::Warning, all, says, advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(answers: &[(&str, usize)]) -> Option<Vec<&'static str>> {
        let mut tally = Tally::default();
        let mut line = 0;
        for (text, count) in answers {
            for _ in 0..*count {
                line += 1;
                tally.add(Some(*text).filter(|text| text.len() <= 40), line);
            }
        }
        let (_, findings) = tally.judge(Of::default(), line)?;
        Some(findings.into_iter().map(|finding| finding.code).collect())
    }

    #[test]
    fn classes_are_judged_by_their_balance_and_spelling() {
        assert_eq!(codes(&[("good", 60), ("bad", 40)]), Some(vec![]));
        assert_eq!(
            codes(&[("good", 90), ("bad", 10)]),
            Some(vec!["class_imbalance"])
        );
        assert_eq!(
            codes(&[("good", 50), ("bad", 45), ("Good.", 2), ("BAD", 1)]),
            Some(vec!["inconsistent_labels"])
        );
        assert_eq!(
            codes(&[("positive", 50), ("negative", 45), ("postive", 1)]),
            Some(vec!["inconsistent_labels"])
        );
        let long = "I would say that this is good because it is";
        assert_eq!(
            codes(&[("good", 60), ("bad", 40), (long, 4)]),
            Some(vec!["stray_answers"])
        );
        assert_eq!(codes(&[("yes", 30)]), Some(vec!["class_imbalance"]));
    }

    #[test]
    fn results_and_open_answers_are_no_classes() {
        let sums: Vec<String> = (0..18).map(|n| n.to_string()).collect();
        let sums: Vec<(&str, usize)> = sums
            .iter()
            .zip([1, 2, 4, 8, 9, 10, 9, 8, 7])
            .map(|(text, n)| (text.as_str(), n))
            .collect();
        assert_eq!(codes(&sums), None);
        let cities: Vec<String> = (0..50).map(|n| format!("city {n}")).collect();
        let cities: Vec<(&str, usize)> = cities.iter().map(|city| (city.as_str(), 1)).collect();
        assert_eq!(codes(&cities), None);
        assert_eq!(codes(&[("yes", 5), ("no", 1)]), None);
    }
}
