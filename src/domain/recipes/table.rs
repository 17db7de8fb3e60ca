//! How the table of a format from elsewhere is written, and how it reads for people.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::told::{Effect, shown};

/// A format: what its keys become here.
pub(super) struct Format {
    /// The field and flag that hands such a file over.
    pub name: &'static str,
    /// What it is called in a sentence.
    pub title: &'static str,
    pub about: &'static str,
    pub blocks: &'static [Block],
}

/// Keys of one object of a file.
pub(super) struct Block {
    /// Its path, empty for the file's own keys; several where it may stand in any of them.
    pub at: &'static [&'static str],
    pub rows: &'static [Row],
}

/// Keys that share a fate.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub keys: &'static [&'static str],
    pub kind: Kind,
    pub fate: Fate,
    /// Values that say nothing, beside null.
    pub nothing: &'static [&'static str],
    /// What `auto` becomes.
    pub auto: Option<Fate>,
}

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Flag,
    /// Whole and not negative, also where it is written as 5e8.
    Whole,
    Number,
    Text,
    List,
    TextOrList,
    Any,
}

/// What becomes of a key.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    /// The setting has this value.
    Setting(&'static str),
    /// The setting has that value, written as on the command line.
    Sets(&'static str, &'static str),
    /// Settings are made of it, or it is judged, in a way that the words tell.
    Made(&'static str, fn(&At<'_>) -> Result<Outcome, String>),
    /// What these settings have in the end, whoever says it.
    Filled(&'static [&'static str]),
    /// No setting: what it asks for holds anyway, or changes no result.
    Here(&'static str),
    /// No setting, and what happens differs from what it asks for.
    Differs(&'static str),
    /// It would change results and is not built; the words say what to do.
    Refused(&'static str),
    /// As refused, where it is on: by `true`, by an `enabled` within, or by being there where nothing in it says so.
    RefusedOn(&'static str),
    /// By value, whatever its case; others are refused.
    Cases(&'static [(&'static [&'static str], Fate)]),
    /// An object of another format.
    File(&'static Format),
}

/// A value and what stands around it.
pub(super) struct At<'a> {
    pub value: &'a Value,
    /// The object that it is in.
    pub beside: &'a Map<String, Value>,
}

/// What a row makes of a value.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Outcome {
    /// Settings by their names, and the values as users say them.
    pub sets: Vec<(&'static str, Value)>,
    /// Beside what it sets.
    pub words: String,
    pub effect: Effect,
    /// Counts only where the job's precision turns out to be f16.
    pub only_f16: bool,
}

impl Outcome {
    pub fn sets(name: &'static str, value: impl Into<Value>) -> Self {
        let outcome = Self {
            effect: Effect::Setting,
            ..Self::default()
        };
        outcome.and(name, value)
    }

    /// One more setting.
    pub fn and(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.sets.push((name, value.into()));
        self
    }

    pub fn here(words: impl Into<String>) -> Self {
        Self {
            words: words.into(),
            ..Self::default()
        }
    }

    pub fn differs(mut self, words: impl Into<String>) -> Self {
        self.words = words.into();
        self.effect = Effect::Differs;
        self
    }

    pub fn only_f16(mut self) -> Self {
        self.only_f16 = true;
        self
    }
}

impl<'a> At<'a> {
    /// Another key of the same object; `None` where it is absent or null.
    pub fn other(&self, key: &str) -> Option<&'a Value> {
        self.beside.get(key).filter(|value| !value.is_null())
    }

    /// Another key of the same object, where it is a text.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.other(key).and_then(Value::as_str)
    }

    /// Whether another key of the same object is `true`.
    pub fn is(&self, key: &str) -> bool {
        self.other(key) == Some(&Value::Bool(true))
    }

    pub fn number(&self) -> f64 {
        self.value.as_f64().unwrap_or_default()
    }
}

impl Row {
    pub const fn new(keys: &'static [&'static str], kind: Kind, fate: Fate) -> Self {
        Self {
            keys,
            kind,
            fate,
            nothing: &[],
            auto: None,
        }
    }

    /// These values say nothing.
    pub const fn nothing(mut self, values: &'static [&'static str]) -> Self {
        self.nothing = values;
        self
    }

    /// What the word `auto` becomes.
    pub const fn auto(mut self, fate: Fate) -> Self {
        self.auto = Some(fate);
        self
    }

    pub fn says_nothing(&self, value: &Value) -> bool {
        let text = shown(value);
        value.is_null() || self.nothing.iter().any(|nothing| *nothing == text)
    }

    /// What `auto` becomes in this row. Where the value does not matter, neither does that word.
    pub fn filled(&self) -> Option<Fate> {
        match self.fate {
            Fate::Here(_) => Some(self.fate),
            _ => self.auto,
        }
    }

    /// For the page.
    fn words(&self) -> String {
        let mut words = self.fate.words();
        if let Some(Fate::Here(auto)) = self.auto {
            let _ = write!(words, "; `auto`: {auto}");
        }
        if !self.nothing.is_empty() {
            let values: Vec<String> = self.nothing.iter().map(|value| quoted(value)).collect();
            let say = if values.len() == 1 { "says" } else { "say" };
            let _ = write!(words, "; {} {say} nothing", values.join(", "));
        }
        words
    }
}

fn quoted(value: &str) -> String {
    match value {
        "" => "an empty text".to_owned(),
        value => format!("`{value}`"),
    }
}

impl Kind {
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Flag => "true or false",
            Self::Whole => "a whole number of at least 0",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::List => "a list",
            Self::TextOrList => "a text or a list",
            Self::Any => "anything",
        }
    }

    /// The value as it counts; `None` where it is of another kind.
    pub fn take(self, value: &Value) -> Option<Value> {
        let fits = match self {
            Self::Flag => value.is_boolean(),
            Self::Whole => return whole(value).map(Value::from),
            Self::Number => value.is_number(),
            Self::Text => value.is_string(),
            Self::List => value.is_array(),
            Self::TextOrList => value.is_string() || value.is_array(),
            Self::Any => true,
        };
        fits.then(|| value.clone())
    }
}

/// 500000000 and 5e8 alike.
pub(super) fn whole(value: &Value) -> Option<u64> {
    let written = value.as_f64().filter(|number| {
        number.fract() == 0.0 && *number >= 0.0 && *number < 18_446_744_073_709_551_616.0
    });
    value.as_u64().or(written.map(|number| number as u64))
}

impl Fate {
    /// For the page.
    fn words(&self) -> String {
        match self {
            Self::Setting(name) => format!("`{name}`"),
            Self::Sets(name, value) => format!("`{name}` = {value}"),
            Self::Filled(names) => format!("`{}`", names.join("`, `")),
            Self::Made(words, _) | Self::Here(words) => (*words).to_owned(),
            Self::Differs(words) => format!("**differs**: {words}"),
            Self::Refused(words) => format!("**refused**: {words}"),
            Self::RefusedOn(words) => format!("**refused** where it is on: {words}"),
            Self::Cases(cases) => {
                let cases = cases.iter().map(|(values, fate)| {
                    let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
                    format!("{}: {}", values.join(", "), fate.words())
                });
                cases.collect::<Vec<_>>().join("; ")
            }
            Self::File(format) => format!("read as `{}`", format.name),
        }
    }
}

impl Format {
    pub fn row(&self, at: &str, key: &str) -> Option<&'static Row> {
        let blocks = self.blocks.iter().filter(|block| block.at.contains(&at));
        let mut rows = blocks.flat_map(|block| block.rows);
        rows.find(|row| row.keys.contains(&key))
    }

    /// Whether keys lie under this path.
    pub fn has_block(&self, at: &str) -> bool {
        self.paths().any(|path| {
            let inner = path.strip_prefix(at);
            inner.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    /// Of every object whose keys are known.
    pub fn paths(&self) -> impl Iterator<Item = &'static str> {
        self.blocks.iter().flat_map(|block| block.at).copied()
    }

    /// The page's table.
    pub fn page(&self) -> String {
        let mut page = "| Key | Here |\n|---|---|\n".to_owned();
        for block in self.blocks {
            if block.at != [""] {
                let named = block.at.iter().map(|at| match *at {
                    "" => "the file itself",
                    at => at,
                });
                let at: Vec<&str> = named.collect();
                let _ = writeln!(page, "| **{}** | |", at.join(", "));
            }
            for row in block.rows {
                let _ = writeln!(page, "| `{}` | {} |", row.keys.join("`, `"), row.words());
            }
        }
        page
    }
}
