//! Whether answers to the same instruction have the same form: which of them are the odd ones out.

use std::collections::BTreeMap;

use super::facts::Facts;
use super::finding::{Lines, rows};
use super::flaws::Ending;
use super::language::Language;
use super::text::quoted;
use crate::trainer::data::format::{self, Format};

/// Rows from which a judgement of forms makes sense, and of endings, languages and lengths.
pub const ENOUGH: usize = 10;
const ENOUGH_OF_TEXT: usize = 20;
/// Sets of keys, and keys, that are told apart.
const KEYS: usize = 32;
/// Parts of a doubling by which lengths are counted.
const PARTS: f64 = 4.0;
const BINS: usize = 96;

/// Kinds of findings about forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Odd {
    Format,
    Keys,
    Types,
    Endings,
    Unfinished,
    Language,
    Length,
}

/// Answers to one instruction, one system prompt, or all of a file.
pub struct Scope {
    /// What it is called, where it is not the whole file.
    pub name: Option<String>,
    /// Whether its rows have the very same instruction.
    pub same: bool,
    pub rows: usize,
    shapes: BTreeMap<&'static str, Lines>,
    keys: BTreeMap<Vec<String>, Lines>,
    types: BTreeMap<String, BTreeMap<&'static str, Lines>>,
    whole: usize,
    open: Lines,
    long: Lines,
    languages: BTreeMap<(Option<Language>, Language), Lines>,
    lengths: Vec<Lines>,
}

impl Scope {
    pub fn new(name: Option<String>, same: bool) -> Self {
        Self {
            name,
            same,
            rows: 0,
            shapes: BTreeMap::new(),
            keys: BTreeMap::new(),
            types: BTreeMap::new(),
            whole: 0,
            open: Lines::default(),
            long: Lines::default(),
            languages: BTreeMap::new(),
            lengths: vec![Lines::default(); BINS],
        }
    }

    pub fn add(&mut self, facts: &Facts) {
        self.rows += 1;
        let line = facts.line;
        let shown = || facts.shown_answer.clone();
        self.shapes
            .entry(facts.format.class())
            .or_default()
            .add(line, shown);
        if let Format::Object(keys) = &facts.format
            && (self.keys.len() < KEYS || self.keys.contains_key(keys))
        {
            self.keys.entry(keys.clone()).or_default().add(line, shown);
        }
        for (key, kind) in &facts.values {
            if self.types.len() < KEYS || self.types.contains_key(key) {
                let kinds = self.types.entry(key.clone()).or_default();
                kinds.entry(*kind).or_default().add(line, shown);
            }
        }
        match facts.ending {
            Ending::Whole => self.whole += 1,
            // A phrase that is asked about, or translated, is answered by a phrase.
            Ending::Open if facts.asked_whole => self.open.add(line, || facts.shown_end.clone()),
            Ending::Long if facts.asked_whole => self.long.add(line, || facts.shown_end.clone()),
            _ => {}
        }
        if let Some(language) = facts.language {
            let of = (facts.asked_language, language);
            self.languages.entry(of).or_default().add(line, shown);
        }
        let bin = (facts.answer_words.max(1) as f64).log2() * PARTS;
        self.lengths[(bin as usize).min(BINS - 1)].add(line, || {
            format!("{} words: {}", facts.answer_words, facts.shown_answer)
        });
    }

    /// Rows whose answers are unlike the others', with a sentence about them.
    pub fn odd(&self) -> Vec<(Odd, String, Lines)> {
        if self.rows < ENOUGH {
            return Vec::new();
        }
        let mut found = Vec::new();
        found.extend(
            self.odd_format()
                .map(|(says, lines)| (Odd::Format, says, lines)),
        );
        found.extend(
            self.odd_keys()
                .map(|(says, lines)| (Odd::Keys, says, lines)),
        );
        found.extend(
            self.odd_types()
                .map(|(says, lines)| (Odd::Types, says, lines)),
        );
        if self.rows >= ENOUGH_OF_TEXT {
            found.extend(self.odd_endings());
            found.extend(
                self.odd_language()
                    .map(|(says, lines)| (Odd::Language, says, lines)),
            );
            found.extend(
                self.odd_length()
                    .map(|(says, lines)| (Odd::Length, says, lines)),
            );
        }
        found.retain(|(_, _, lines)| lines.count > 0);
        found
    }

    fn of(&self, what: &str) -> String {
        match &self.name {
            Some(name) => format!("of {} to `{}`, {what}", rows(self.rows), quoted(name, 40)),
            None => format!("of {}, {what}", rows(self.rows)),
        }
    }

    fn count(&self, class: &str) -> usize {
        self.shapes.get(class).map_or(0, |lines| lines.count)
    }

    /// Those of all classes but some.
    fn but(&self, classes: &[&str]) -> Lines {
        let mut lines = Lines::default();
        let others = self
            .shapes
            .iter()
            .filter(|(class, _)| !classes.contains(class));
        others.for_each(|(_, other)| lines.merge(other.clone()));
        lines
    }

    fn odd_format(&self) -> Option<(String, Lines)> {
        const JSON: [&str; 2] = [format::OBJECTS, format::JSON];
        let share = |count: usize| count as f64 / self.rows as f64;
        let json = self.count(JSON[0]) + self.count(JSON[1]);
        if share(json) >= 0.5 {
            let lines = self.but(&JSON);
            let nearly = match self.count(format::BROKEN) {
                0 => String::new(),
                count => format!(" ({count} of them nearly)"),
            };
            let what = format!(
                "{json} answers are JSON and {} {} not{nearly}",
                lines.count,
                are(lines.count)
            );
            return Some((self.of(&what), lines));
        }
        // In any other form that most answers have; words, lines and texts pass into each other.
        for class in [format::FENCED, format::CODE, format::NUMBERS, format::LISTS] {
            let count = self.count(class);
            let needed = if class == format::CODE { 0.9 } else { 0.85 };
            if share(count) >= needed && count < self.rows {
                let lines = self.but(&[class]);
                let what = format!(
                    "{count} answers are {class} and {} {} not",
                    lines.count,
                    are(lines.count)
                );
                return Some((self.of(&what), lines));
            }
        }
        // The same instruction, and a few answers for programs among many for people.
        if !self.same || self.rows < ENOUGH_OF_TEXT {
            return None;
        }
        let mut lines = Lines::default();
        for class in [
            JSON[0],
            JSON[1],
            format::BROKEN,
            format::FENCED,
            format::CODE,
        ] {
            lines.merge(self.shapes.get(class).cloned().unwrap_or_default());
        }
        let what = format!(
            "{} {} JSON or code and the others are text",
            lines.count,
            are(lines.count)
        );
        (share(lines.count) <= 0.2).then(|| (self.of(&what), lines))
    }

    fn odd_keys(&self) -> Option<(String, Lines)> {
        let all: usize = self.keys.values().map(|lines| lines.count).sum();
        let (usual, most) = self.keys.iter().max_by_key(|(_, lines)| lines.count)?;
        let share = most.count as f64 / all.max(1) as f64;
        if all < ENOUGH || share < 0.7 {
            return None;
        }
        let mut lines = Lines::default();
        let mut named = None;
        for (keys, other) in self.keys.iter().filter(|(keys, _)| *keys != usual) {
            // Some keys may be left out where there is nothing to say; a key with another name is a slip.
            let fewer = keys.iter().all(|key| usual.contains(key));
            let more = usual.iter().all(|key| keys.contains(key));
            if !(fewer || more) || share >= 0.97 {
                named.get_or_insert_with(|| keys.join(", "));
                lines.merge(other.clone());
            }
        }
        let what = format!(
            "{} objects have the keys {} and {} {} others ({})",
            most.count,
            quoted(&usual.join(", "), 60),
            lines.count,
            if lines.count == 1 { "has" } else { "have" },
            quoted(&named.unwrap_or_default(), 60)
        );
        Some((self.of(&what), lines))
    }

    fn odd_types(&self) -> Option<(String, Lines)> {
        let mut lines = Lines::default();
        let mut named = None;
        for (key, kinds) in &self.types {
            let all: usize = kinds.values().map(|lines| lines.count).sum();
            let Some((usual, most)) = kinds.iter().max_by_key(|(_, lines)| lines.count) else {
                continue;
            };
            if all < ENOUGH || (most.count as f64) < 0.8 * all as f64 {
                continue;
            }
            for (kind, other) in kinds.iter().filter(|(kind, _)| *kind != usual) {
                named.get_or_insert_with(|| {
                    format!(
                        "`{}` is {usual} in {} objects and {kind} in {}",
                        quoted(key, 30),
                        most.count,
                        other.count
                    )
                });
                lines.merge(other.clone());
            }
        }
        Some((self.of(&named?), lines))
    }

    fn odd_endings(&self) -> Vec<(Odd, String, Lines)> {
        let without = self.open.count + self.long.count;
        let all = self.whole + without;
        if all < ENOUGH_OF_TEXT || (self.whole as f64) < 0.85 * all as f64 {
            return Vec::new();
        }
        let says = |what: &str, lines: &Lines| {
            self.of(&format!(
                "{} answers end with a mark and {} {} {what}",
                self.whole,
                lines.count,
                if lines.count == 1 { "does" } else { "do" }
            ))
        };
        vec![
            (Odd::Endings, says("not", &self.open), self.open.clone()),
            (
                Odd::Unfinished,
                says("not, after many words", &self.long),
                self.long.clone(),
            ),
        ]
    }

    /// Answers in another language than most answers to questions in the same one.
    fn odd_language(&self) -> Option<(String, Lines)> {
        let mut lines = Lines::default();
        // Of each usual language the others beside it: questions in several languages have each their own.
        let mut beside: BTreeMap<Language, BTreeMap<Language, usize>> = BTreeMap::new();
        let mut asked: Vec<Option<Language>> =
            self.languages.keys().map(|(asked, _)| *asked).collect();
        asked.dedup();
        for of in asked {
            let answers: Vec<(Language, &Lines)> = { self.languages.iter() }
                .filter(|((asked, _), _)| *asked == of)
                .map(|((_, language), lines)| (*language, lines))
                .collect();
            let all: usize = answers.iter().map(|(_, lines)| lines.count).sum();
            let Some((usual, most)) = answers
                .iter()
                .filter(|(language, _)| is_sure(*language))
                .max_by_key(|(_, lines)| lines.count)
            else {
                continue;
            };
            let against: usize = answers
                .iter()
                .filter(|(language, _)| language.differs(*usual))
                .map(|(_, lines)| lines.count)
                .sum();
            if all < ENOUGH_OF_TEXT || most.count < ENOUGH || against * 5 > most.count {
                continue;
            }
            for (language, other) in answers
                .iter()
                .filter(|(language, _)| language.differs(*usual))
            {
                *(beside.entry(*usual).or_default())
                    .entry(*language)
                    .or_default() += other.count;
                lines.merge((*other).clone());
            }
        }
        let named = beside.iter().map(|(usual, others)| {
            let mut others: Vec<_> = others.iter().collect();
            others.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            let others: Vec<String> = others
                .iter()
                .map(|(language, count)| format!("{count} in {}", language.name()))
                .collect();
            let (usual, others) = (usual.name(), others.join(", "));
            format!("most answers are in {usual} and {others}")
        });
        let named: Vec<String> = named.collect();
        (!named.is_empty()).then(|| (self.of(&named.join("; ")), lines))
    }

    /// Answers many times as long, or as short, as most.
    fn odd_length(&self) -> Option<(String, Lines)> {
        if self.rows < 2 * ENOUGH_OF_TEXT {
            return None;
        }
        let quantile = |share: f64| {
            let mut left = (self.rows as f64 * share) as usize;
            self.lengths.iter().position(|lines| {
                let here = lines.count > left;
                left = left.saturating_sub(lines.count);
                here
            })
        };
        let (low, middle, high) = (quantile(0.25)?, quantile(0.5)?, quantile(0.75)?);
        // Three doublings, or more where lengths differ much anyway.
        let far = (3 * PARTS as usize).max(4 * (high - low) + PARTS as usize);
        let mut lines = Lines::default();
        for (bin, others) in self.lengths.iter().enumerate() {
            let long = bin > middle + far && bin > 4 * PARTS as usize;
            // A short answer is odd only where texts are long throughout.
            let short = bin + far + PARTS as usize <= middle;
            if long || short {
                lines.merge(others.clone());
            }
        }
        let usual = 2_f64.powf(middle as f64 / PARTS);
        let what = format!(
            "{} {} far from the usual length of about {usual:.0} words",
            lines.count,
            are(lines.count)
        );
        (lines.count * 20 <= self.rows).then(|| (self.of(&what), lines))
    }
}

/// Latin letters alone may be any of many languages.
const fn is_sure(language: Language) -> bool {
    !matches!(language, Language::Of(super::text::Script::Latin))
}

const fn are(count: usize) -> &'static str {
    if count == 1 { "is" } else { "are" }
}
