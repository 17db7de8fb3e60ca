//! The sums of a report: rows are folded into them in order.

use std::collections::{BTreeMap, HashMap};

use super::classes::Tally;
use super::facts::Facts;
use super::finding::{Bad, Finding, Lines, NAMED, Severity, rows};
use super::flaws::Ending;
use super::language::Language;
use super::lengths::Lengthy;
use super::near::Sketch;
use super::pairs::Pairs;
use super::scope::Scope;
use super::secrets::Kind;
use super::tasks::Clusters;
use super::{Checked, Made, Options, Tile};
use crate::domain::BadRow;
use crate::trainer::data::remarks::Remarks;
use crate::trainer::data::unused::Unused;
use crate::trainer::data::{Example, ReadFault};

/// Bytes of rows that are all measured with the model's tokenizer, and one of how many rows behind them.
const MEASURED: u64 = 16 << 20;
const SAMPLE: usize = 128;
/// Bytes a token, at least, in nearly all texts: longer rows behind the measured ones may be too long and are measured.
const LEAST_BYTES: usize = 2;
/// Instructions, and system prompts, whose answers are compared among themselves.
const INSTRUCTIONS: usize = 1024;
const SYSTEMS: usize = 64;
/// Lines of rows that are wrong by themselves.
#[derive(Default)]
pub struct Flaws {
    pub placeholders: Lines,
    pub repeats: Lines,
    pub cut: Lines,
    pub mojibake: Lines,
    pub secrets: BTreeMap<Kind, Lines>,
    pub without_label: Lines,
}

/// Scopes by a hash, as many as there is room for.
pub struct Scopes {
    most: usize,
    same: bool,
    at: HashMap<u64, usize>,
    pub scopes: Vec<Scope>,
}

impl Scopes {
    fn new(most: usize, same: bool) -> Self {
        Self {
            most,
            same,
            at: HashMap::new(),
            scopes: Vec::new(),
        }
    }

    fn add(&mut self, hash: u64, name: &str, facts: &Facts) {
        let at = match self.at.get(&hash) {
            Some(at) => *at,
            None if self.scopes.len() < self.most => {
                self.scopes
                    .push(Scope::new(Some(name.to_owned()), self.same));
                self.at.insert(hash, self.scopes.len() - 1);
                self.scopes.len() - 1
            }
            None => return,
        };
        self.scopes[at].add(facts);
    }
}

/// All that is summed up.
pub struct Fold<'a> {
    pub options: Options<'a>,
    /// Rows, bad ones included, and their bytes.
    pub rows: usize,
    pub bytes: u64,
    long_bytes: u64,
    pub good: usize,
    pub bad: Bad,
    pub held_bad: Lines,
    pub kinds: BTreeMap<&'static str, usize>,
    pub tokens: Lengthy,
    pub words: Lengthy,
    pub clusters: Clusters,
    pub answers: Tally,
    pub labels: Tally,
    pub languages: BTreeMap<Language, usize>,
    pub instructions: Scopes,
    pub systems: Scopes,
    pub all: Scope,
    pub flaws: Flaws,
    pub pairs: Pairs,
    pub unused: Unused,
    pub remarks: Remarks,
    /// Why files cannot be read to their ends.
    pub broken: Vec<String>,
    first: Vec<Example>,
}

impl<'a> Fold<'a> {
    pub fn new(options: &Options<'a>) -> Self {
        Self {
            options: *options,
            rows: 0,
            bytes: 0,
            long_bytes: 0,
            good: 0,
            bad: Bad::default(),
            held_bad: Lines::default(),
            kinds: BTreeMap::new(),
            tokens: Lengthy::new(options.voice.map(|voice| voice.limit)),
            words: Lengthy::new(None),
            clusters: Clusters::default(),
            answers: Tally::default(),
            labels: Tally::of_field(),
            languages: BTreeMap::new(),
            instructions: Scopes::new(INSTRUCTIONS, true),
            systems: Scopes::new(SYSTEMS, false),
            all: Scope::new(None, false),
            flaws: Flaws::default(),
            pairs: Pairs::default(),
            unused: Unused::default(),
            remarks: Remarks::default(),
            broken: Vec::new(),
            first: Vec::new(),
        }
    }

    /// Whether a row of so many bytes, `at` behind those that were folded, is to be measured in tokens.
    pub fn measures(&self, at: usize, bytes: usize) -> bool {
        let Some(voice) = self.options.voice else {
            return false;
        };
        let long = bytes / LEAST_BYTES > voice.limit && self.long_bytes < MEASURED;
        self.bytes < MEASURED || (self.rows + at).is_multiple_of(SAMPLE) || long
    }

    /// Whether the row is to be given back as a model sees it.
    pub fn shows(&self, at: usize) -> bool {
        // Of a block no more are given than bad rows can make necessary.
        self.first.len() < self.options.show && at < 1000 + self.options.show
    }

    pub fn sketch(&self, features: Vec<u32>) -> Option<Sketch> {
        self.pairs.sketch(features)
    }

    /// A file cannot be read to its end.
    pub fn broken(&mut self, why: &ReadFault, held_out: bool) {
        let file = if held_out {
            "the held-out file"
        } else {
            "the file"
        };
        self.broken.push(format!("{file} {why}"));
    }

    /// So many bytes have been read.
    pub fn read(&mut self, bytes: usize, held_out: bool) {
        if !held_out {
            if self.bytes >= MEASURED {
                self.long_bytes += bytes as u64;
            }
            self.bytes += bytes as u64;
        }
    }

    /// Adds rows, but not to the clusters: [`cluster`] does that meanwhile.
    pub fn take(&mut self, tiles: &[Tile], held_out: bool) {
        for tile in tiles {
            if !held_out {
                self.unused.merge(tile.unused.clone());
                self.remarks.merge(tile.remarks.clone());
            }
            for made in &tile.made {
                match (made, held_out) {
                    (Ok(made), true) => self.pairs.add_held(&made.facts, made.sketch.as_ref()),
                    (Err(bad), true) => self.held_bad.add(bad.line, || bad.why.clone()),
                    (Ok(made), false) => self.row(made),
                    (Err(bad), false) => self.bad_row(bad),
                }
            }
        }
    }

    fn bad_row(&mut self, bad: &BadRow) {
        self.rows += 1;
        self.bad.total += 1;
        if self.bad.first.len() < NAMED {
            self.bad.first.push(bad.clone());
        }
    }

    fn row(&mut self, made: &Made) {
        let facts = &made.facts;
        self.rows += 1;
        self.good += 1;
        *self.kinds.entry(facts.form).or_default() += 1;
        if let Some(example) = &made.example
            && self.first.len() < self.options.show
        {
            self.first.push(example.clone());
        }
        match &made.label {
            Some(Ok(label)) => self.labels.add(Some(label), facts.line),
            Some(Err(why)) => self.flaws.without_label.add(facts.line, || why.clone()),
            None => {}
        }
        if let Some(tokens) = made.tokens {
            self.tokens.add(tokens, facts.line, &facts.shown_question);
        }
        self.words.add(facts.words, facts.line, "");
        if let Some(language) = facts.language {
            *self.languages.entry(language).or_default() += 1;
        }
        self.answers.add(facts.class.as_deref(), facts.line);
        self.instructions.add(facts.head_hash, &facts.head, facts);
        if let Some((hash, system)) = &facts.system {
            self.systems.add(*hash, system, facts);
        }
        self.all.add(facts);
        self.flawed(facts);
        self.pairs.add(facts, made.sketch.as_ref());
    }

    fn flawed(&mut self, facts: &Facts) {
        let Flaws {
            placeholders,
            repeats,
            cut,
            mojibake,
            secrets,
            ..
        } = &mut self.flaws;
        let line = facts.line;
        if facts.placeholder {
            placeholders.add(line, || facts.shown_answer.clone());
        }
        if facts.repeats {
            repeats.add(line, || facts.shown_answer.clone());
        }
        if facts.ending == Ending::Cut {
            cut.add(line, || facts.shown_end.clone());
        }
        if let Some(sign) = &facts.mojibake {
            mojibake.add(line, || format!("`{sign}` in: {}", facts.shown_answer));
        }
        for kind in Kind::ALL {
            let mut of = facts
                .secrets
                .iter()
                .filter(|found| found.kind == kind)
                .peekable();
            if of.peek().is_some() {
                let shown: Vec<&str> = of.map(|found| found.masked.as_str()).take(3).collect();
                secrets
                    .entry(kind)
                    .or_default()
                    .add(line, || shown.join(", "));
            }
        }
    }

    pub fn finish(mut self) -> Checked {
        let first = std::mem::take(&mut self.first);
        Checked {
            report: super::sum::report(self),
            first,
        }
    }
}

/// Adds rows to the clusters.
pub fn cluster(clusters: &mut Clusters, tiles: &[Tile]) {
    let made = tiles.iter().flat_map(|tile| &tile.made).flatten();
    made.for_each(|made| clusters.add(&made.facts, made.words.as_ref()));
}

/// The finding about bad rows.
pub fn bad_rows(bad: &Bad, all: usize) -> Option<Finding> {
    let mut lines = Lines::default();
    for row in &bad.first {
        lines.add(row.line, || row.why.clone());
    }
    lines.count = bad.total;
    let says = format!("{} cannot be used: a job refuses the file", rows(bad.total));
    let advice = "Correct these rows or take them out; the report lists them with what is wrong.";
    (bad.total > 0).then(|| lines.finding("bad_rows", Severity::Error, all, says, advice))
}
