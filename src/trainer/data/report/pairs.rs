//! What is only seen between rows: copies, different answers to one question, held-out rows that are trained on.

use std::collections::HashMap;

use super::facts::Facts;
use super::finding::{
    Conflicts, Duplicates, Finding, Group, Leak, Leakage, Like, Lines, NAMED, Severity, rows, share,
};
use super::grow;
use super::near::{Near, ROWS, Repeat, Sketch};

/// Words from which answers that are nearly the same are no different answers.
const LONG: usize = 8;
/// Rows whose texts are kept to be quoted.
const QUOTABLE: usize = 20_000;

/// What is kept of the first rows, in their order; those that are held out in a file of their own come first.
#[derive(Default)]
pub struct Pairs {
    near: Near,
    lines: Vec<u32>,
    questions: Vec<u64>,
    answers: Vec<u32>,
    texts: Vec<(String, String)>,
    held: usize,
    /// By question, the rows of the held-out file.
    held_questions: HashMap<u64, Vec<u32>>,
    leaks: HashMap<u32, Leak>,
}

/// Copies and conflicts among rows that are trained on, and what of the held-out ones leaks.
pub struct Found {
    pub duplicates: Duplicates,
    pub conflicts: Conflicts,
    pub leakage: Option<Leakage>,
    pub findings: Vec<Finding>,
}

impl Pairs {
    pub const fn is_full(&self) -> bool {
        self.near.is_full()
    }

    /// What the next rows are compared by.
    pub fn sketch(&self, features: Vec<u32>) -> Option<Sketch> {
        (!self.is_full()).then(|| self.near.sketch(features))
    }

    /// Adds a row of the held-out file. All of them come before those to train on.
    pub fn add_held(&mut self, facts: &Facts, sketch: Option<&Sketch>) {
        let row = self.near.len() as u32;
        if !self.is_full() {
            self.held_questions
                .entry(facts.question_hash)
                .or_default()
                .push(row);
        }
        self.put(facts, sketch);
        self.held = self.near.len();
    }

    pub fn add(&mut self, facts: &Facts, sketch: Option<&Sketch>) {
        for held in self
            .held_questions
            .get(&facts.question_hash)
            .into_iter()
            .flatten()
        {
            let kind = match self.answers[*held as usize] == answer(facts) {
                true => "exact",
                false => "question",
            };
            let leak = Leak {
                held_out_line: self.lines[*held as usize] as usize,
                line: facts.line,
                kind,
            };
            let found = self.leaks.entry(*held).or_insert(leak);
            if found.kind == "question" && kind == "exact" {
                *found = leak;
            }
        }
        // Of a held-out file nothing is quoted.
        if self.put(facts, sketch) && self.texts.len() < QUOTABLE {
            self.texts
                .push((facts.shown_question.clone(), facts.shown_answer.clone()));
        }
    }

    /// `false` where there is no room for it.
    fn put(&mut self, facts: &Facts, sketch: Option<&Sketch>) -> bool {
        let Some(sketch) = sketch.filter(|_| !self.is_full()) else {
            return false;
        };
        self.near.add(facts.whole_hash, sketch);
        grow(&mut self.lines);
        self.lines
            .push(u32::try_from(facts.line).unwrap_or(u32::MAX));
        grow(&mut self.questions);
        self.questions.push(facts.question_hash);
        grow(&mut self.answers);
        self.answers.push(answer(facts));
        true
    }

    /// `held` are the rows that a split would hold out, where there is no file of them; `all` rows were read.
    pub fn finish(mut self, held: Option<&[u32]>, all: usize) -> Found {
        let copies = self.near.copies();
        let mut findings = Vec::new();
        let duplicates = self.duplicates(&copies, all, &mut findings);
        let conflicts = self.conflicts(&copies, all, &mut findings);
        let leakage = match held {
            Some(held) => Some(self.split(&copies, held)),
            None if self.held > 0 => Some(self.file(&copies)),
            None => None,
        };
        findings.extend(leakage.as_ref().and_then(leakage_finding));
        Found {
            duplicates,
            conflicts,
            leakage,
            findings,
        }
    }

    fn line(&self, row: u32) -> usize {
        self.lines[row as usize] as usize
    }

    fn both(&self, row: u32) -> String {
        self.texts
            .get(row as usize - self.held)
            .map_or_else(String::new, |(question, answer)| {
                format!("{question} → {answer}")
            })
    }

    fn duplicates(
        &self,
        copies: &[Option<Repeat>],
        all: usize,
        findings: &mut Vec<Finding>,
    ) -> Duplicates {
        // Held-out rows may stand for rows that are trained on; those count from the second on.
        let mut first: HashMap<u32, u32> = HashMap::new();
        let mut groups: Vec<(u32, Group)> = Vec::new();
        let mut at: HashMap<u32, usize> = HashMap::new();
        let mut found = Duplicates {
            compared: self.near.len() - self.held,
            ..Duplicates::default()
        };
        for (row, copy) in copies.iter().enumerate().skip(self.held) {
            let Some(copy) = copy else { continue };
            let row = row as u32;
            let original = match (copy.of as usize) < self.held {
                true => *first.entry(copy.of).or_insert(row),
                false => copy.of,
            };
            if original == row {
                continue;
            }
            let exact = copy.likeness >= 1.0;
            found.rows += 1;
            found.exact += usize::from(exact);
            found.near += usize::from(!exact);
            if found.first.len() < NAMED {
                found.first.push(Like {
                    line: self.line(row),
                    like: self.line(original),
                });
            }
            let place = *at.entry(original).or_insert_with(|| {
                let group = Group {
                    rows: 1,
                    exact: true,
                    likeness: 1.0,
                    lines: vec![self.line(original)],
                };
                groups.push((original, group));
                groups.len() - 1
            });
            let group = &mut groups[place].1;
            group.rows += 1;
            group.exact &= exact;
            group.likeness = group.likeness.min(copy.likeness);
            if group.lines.len() < NAMED {
                group.lines.push(self.line(row));
            }
        }
        found.share = share(found.rows, all);
        found.total_groups = groups.len();
        groups.sort_by(|(a, left), (b, right)| right.rows.cmp(&left.rows).then(a.cmp(b)));
        groups.truncate(NAMED);
        if found.rows > 0 {
            findings.push(self.duplicates_finding(&found, &groups));
        }
        found.groups = groups.into_iter().map(|(_, group)| group).collect();
        found
    }

    fn duplicates_finding(&self, found: &Duplicates, groups: &[(u32, Group)]) -> Finding {
        let mut lines = Lines {
            count: found.rows,
            first: found.first.iter().map(|like| like.line).collect(),
            ..Lines::default()
        };
        for (first, group) in groups.iter().take(super::finding::SHOWN) {
            let text = self.both(*first);
            let more = group
                .lines
                .iter()
                .skip(1)
                .take(5)
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ");
            let text = match text.is_empty() {
                true => format!("again in line {more}"),
                false => format!("{text} (again in line {more})"),
            };
            lines.shown.push(super::finding::Shown {
                line: group.lines[0],
                text,
            });
        }
        let says = format!(
            "{} {} an earlier one ({} exactly, {} nearly), in {} {}",
            rows(found.rows),
            if found.rows == 1 { "repeats" } else { "repeat" },
            found.exact,
            found.near,
            found.total_groups,
            if found.total_groups == 1 {
                "group"
            } else {
                "groups"
            }
        );
        let severity = if found.share >= 0.01 {
            Severity::Warning
        } else {
            Severity::Note
        };
        let advice = "Take the copies out, or train with `--dedup`, which leaves them out.";
        let mut finding = lines.finding("near_duplicates", severity, 1, says, advice);
        finding.share = found.share;
        finding
    }

    fn conflicts(
        &self,
        copies: &[Option<Repeat>],
        all: usize,
        findings: &mut Vec<Finding>,
    ) -> Conflicts {
        let mut order: Vec<u32> = (self.held as u32..self.near.len() as u32).collect();
        order.sort_unstable_by_key(|row| (self.questions[*row as usize], *row));
        let mut found: Vec<&[u32]> =
            { order.chunk_by(|a, b| self.questions[*a as usize] == self.questions[*b as usize]) }
                .filter(|same| same.iter().any(|row| self.differ(copies, same[0], *row)))
                .collect();
        found.sort_unstable_by_key(|same| same[0]);
        let mut conflicts = Conflicts {
            questions: found.len(),
            rows: found.iter().map(|same| same.len()).sum(),
            ..Conflicts::default()
        };
        conflicts.share = share(conflicts.rows, all);
        let named = found.iter().take(NAMED);
        conflicts.groups = named
            .map(|same| same.iter().take(NAMED).map(|row| self.line(*row)).collect())
            .collect();
        if !found.is_empty() {
            let mut lines = Lines::default();
            for same in &found {
                for row in *same {
                    lines.add(self.line(*row), || self.both(*row));
                }
            }
            let says = format!(
                "{} {} answered differently in different rows ({})",
                match found.len() {
                    1 => "1 question".to_owned(),
                    many => format!("{many} questions"),
                },
                if found.len() == 1 { "is" } else { "are" },
                rows(conflicts.rows)
            );
            let advice =
                "Keep the right answer of each: the model can only learn to guess between them.";
            findings.push(lines.finding(
                "conflicting_answers",
                Severity::Warning,
                all,
                says,
                advice,
            ));
        }
        conflicts
    }

    /// Whether two rows have different answers; long ones that are nearly the same are not.
    fn differ(&self, copies: &[Option<Repeat>], a: u32, b: u32) -> bool {
        let (left, right) = (self.answers[a as usize], self.answers[b as usize]);
        let near = || {
            left & right & 1 == 1
                && Self::root(copies, a as usize) == Self::root(copies, b as usize)
        };
        left != right && !near()
    }

    /// Of every row, the first of those it repeats.
    fn root(copies: &[Option<Repeat>], row: usize) -> u32 {
        copies[row].map_or(row as u32, |copy| copy.of)
    }

    /// What of a file that is held out is trained on.
    fn file(&self, copies: &[Option<Repeat>]) -> Leakage {
        let mut trained: HashMap<u32, u32> = HashMap::new();
        for row in self.held..copies.len() {
            trained.entry(Self::root(copies, row)).or_insert(row as u32);
        }
        let mut found = Vec::new();
        for held in 0..self.held as u32 {
            let near = trained
                .get(&Self::root(copies, held as usize))
                .map(|row| Leak {
                    held_out_line: self.line(held),
                    line: self.line(*row),
                    kind: "near",
                });
            let known = self.leaks.get(&held).copied();
            // That a row is there as a whole weighs more than that its question is.
            found.extend(known.filter(|leak| leak.kind == "exact").or(near).or(known));
        }
        leakage("file", self.held, found)
    }

    /// What of the rows that a split would hold out is trained on.
    fn split(&self, copies: &[Option<Repeat>], held: &[u32]) -> Leakage {
        let held: Vec<usize> = held
            .iter()
            .map(|row| *row as usize)
            .filter(|row| *row < copies.len())
            .collect();
        let is_held = |row: usize| held.binary_search(&row).is_ok();
        let mut roots: HashMap<u32, u32> = HashMap::new();
        let mut questions: HashMap<u64, u32> = HashMap::new();
        let mut wholes: HashMap<(u64, u32), u32> = HashMap::new();
        for row in (0..copies.len()).filter(|row| !is_held(*row)) {
            roots.entry(Self::root(copies, row)).or_insert(row as u32);
            questions.entry(self.questions[row]).or_insert(row as u32);
            wholes
                .entry((self.questions[row], self.answers[row]))
                .or_insert(row as u32);
        }
        let mut found = Vec::new();
        for row in &held {
            let leak = |kind| {
                move |other: &u32| Leak {
                    held_out_line: self.line(*row as u32),
                    line: self.line(*other),
                    kind,
                }
            };
            let exact = wholes
                .get(&(self.questions[*row], self.answers[*row]))
                .map(leak("exact"));
            let near = || roots.get(&Self::root(copies, *row)).map(leak("near"));
            let question = || questions.get(&self.questions[*row]).map(leak("question"));
            found.extend(exact.or_else(near).or_else(question));
        }
        leakage("split", held.len(), found)
    }
}

fn leakage(held_out: &'static str, held_out_rows: usize, found: Vec<Leak>) -> Leakage {
    let of = |kind: &str| found.iter().filter(|leak| leak.kind == kind).count();
    Leakage {
        held_out,
        held_out_rows,
        rows: found.len(),
        share: share(found.len(), held_out_rows),
        exact: of("exact"),
        near: of("near"),
        question: of("question"),
        first: found.iter().take(NAMED).copied().collect(),
    }
}

fn leakage_finding(leakage: &Leakage) -> Option<Finding> {
    let mut lines = Lines {
        count: leakage.rows,
        first: leakage.first.iter().map(|leak| leak.line).collect(),
        ..Lines::default()
    };
    let shown = leakage.first.iter().take(super::finding::SHOWN);
    lines.shown.extend(shown.map(|leak| super::finding::Shown {
        line: leak.line,
        text: format!(
            "is line {} of the held-out rows ({})",
            leak.held_out_line, leak.kind
        ),
    }));
    let says = format!(
        "{} of {} held-out rows are trained on, too ({} exactly, {} nearly, {} with another answer)",
        leakage.rows, leakage.held_out_rows, leakage.exact, leakage.near, leakage.question
    );
    let advice = match leakage.held_out {
        "file" => {
            "Take them out of one of the two files: a score on rows that were learned says nothing."
        }
        _ => {
            "Train with `--dedup`, or hold out a file of its own: a score on rows that were learned says nothing."
        }
    };
    let mut finding = lines.finding("leakage", Severity::Warning, 1, says, advice);
    finding.share = leakage.share;
    (leakage.rows > 0).then_some(finding)
}

/// A hash of an answer; its last bit tells whether it has more than a few words.
const fn answer(facts: &Facts) -> u32 {
    // Of answers that are compared with worse ones, several may be good.
    let hash = if facts.compares {
        0
    } else {
        facts.answer_hash as u32
    };
    (hash << 1) | (facts.answer_words >= LONG) as u32
}

/// What is said where a file has more rows than are compared.
pub fn bound(all: usize) -> Option<String> {
    (all > ROWS).then(|| {
        format!("copies, conflicts and near leakage were looked for among the first {ROWS} rows")
    })
}
