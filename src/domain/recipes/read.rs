//! Walking a file along its format: every key becomes something, or is refused by its path.

use serde_json::{Map, Value};

use super::FORMATS;
use super::table::{At, Fate, Format, Outcome, Row};
use super::told::{Effect, Mapping, NOTHING, shown};
use crate::domain::Reason;
use crate::domain::settings::{self, Setting};

/// What a file says.
#[derive(Default)]
pub(super) struct Reading {
    pub sets: Vec<Set>,
    pub mappings: Vec<Mapping>,
    /// Mappings that are settings nobody has said yet.
    pub filled: Vec<(usize, &'static [&'static str])>,
    /// Mappings that count only with f16, and what they set then.
    pub only_f16: Vec<(usize, Vec<Set>)>,
}

/// A setting that a key says.
pub(super) struct Set {
    pub setting: &'static Setting,
    /// As users say it.
    pub value: Value,
    /// Where, and what stands there.
    pub key: String,
    pub shown: String,
}

/// Reads `file`, which lies at `path`, into `reading`.
///
/// # Errors
/// `BadField` with the path of the key at fault.
pub(super) fn read(
    format: &'static Format,
    path: &str,
    file: &Map<String, Value>,
    reading: &mut Reading,
) -> Result<(), Reason> {
    let mut reader = Reader {
        format,
        path,
        reading,
    };
    reader.object("", file)
}

struct Reader<'a> {
    format: &'static Format,
    path: &'a str,
    reading: &'a mut Reading,
}

fn below(at: &str, key: &str) -> String {
    match at {
        "" => key.to_owned(),
        at => format!("{at}.{key}"),
    }
}

impl Reader<'_> {
    fn object(&mut self, at: &str, object: &Map<String, Value>) -> Result<(), Reason> {
        for (key, value) in object {
            let inner = below(at, key);
            let full = below(self.path, &inner);
            match (self.format.row(at, key), value) {
                (Some(row), _) => {
                    let here = At {
                        value,
                        beside: object,
                    };
                    self.row(row, &here, &full)?;
                }
                (None, Value::Object(within)) if self.format.has_block(&inner) => {
                    self.object(&inner, within)?;
                }
                (None, Value::Null) if self.format.has_block(&inner) => {
                    self.tell(full, value, NOTHING, Effect::None);
                }
                (None, _) if self.format.has_block(&inner) => {
                    return Err(Reason::field(full, "must be an object"));
                }
                (None, _) if is_comment(key) => {
                    self.tell(full, value, "a comment", Effect::None);
                }
                (None, _) => return Err(Reason::field(full, self.unknown(at, key))),
            }
        }
        Ok(())
    }

    fn row(&mut self, row: &'static Row, at: &At<'_>, full: &str) -> Result<(), Reason> {
        if row.says_nothing(at.value) {
            self.tell(full.to_owned(), at.value, NOTHING, Effect::None);
            return Ok(());
        }
        if at.value == "auto"
            && let Some(fate) = row.filled()
        {
            return self.fate(fate, at, full);
        }
        let Some(value) = row.kind.take(at.value) else {
            let given = match at.value {
                // In quotes, or "8" would look like 8.
                Value::String(text) => format!("the text `{text}`"),
                other => shown(other),
            };
            let why = format!("must be {}, not {given}", row.kind.describe());
            return Err(Reason::field(full, why));
        };
        let at = At {
            value: &value,
            beside: at.beside,
        };
        self.fate(row.fate, &at, full)
    }

    fn fate(&mut self, fate: Fate, at: &At<'_>, full: &str) -> Result<(), Reason> {
        let refuse = |why: String| Err(Reason::field(full, why));
        let made = match fate {
            Fate::Setting(name) => Outcome::sets(name, at.value.clone()),
            Fate::Sets(name, text) => Outcome::sets(name, constant(name, text)?),
            Fate::Made(_, make) => match make(at) {
                Ok(made) => made,
                Err(why) => return refuse(why),
            },
            Fate::Filled(names) => {
                let at = self.reading.mappings.len();
                self.reading.filled.push((at, names));
                Outcome::default()
            }
            Fate::Here(words) => Outcome::here(words),
            Fate::Differs(words) => Outcome::default().differs(words),
            Fate::Refused(words) => return refuse(format!("{}: {words}", shown(at.value))),
            Fate::RefusedOn(words) => match is_on(at.value) {
                true => return refuse(words.to_owned()),
                false => Outcome::here("is off, as here"),
            },
            Fate::Cases(cases) => {
                let text = shown(at.value);
                let is = |known: &&str| known.eq_ignore_ascii_case(&text);
                let case = cases.iter().find(|(values, _)| values.iter().any(is));
                return match case {
                    Some((_, fate)) => self.fate(*fate, at, full),
                    None => refuse(format!("`{text}` is none of {}", taken(cases))),
                };
            }
            Fate::File(format) => {
                return match at.value {
                    Value::Object(file) => read(format, full, file, self.reading),
                    _ => refuse(format!(
                        "names a file, which is read only on your side: pass it as `{}`",
                        format.name
                    )),
                };
            }
        };
        self.outcome(made, at, full)
    }

    fn outcome(&mut self, made: Outcome, at: &At<'_>, full: &str) -> Result<(), Reason> {
        let mut becomes: Vec<String> = Vec::new();
        let mut sets = Vec::new();
        for (name, value) in made.sets {
            let Some(setting) = settings::find(name) else {
                return Err(Reason::Internal(format!("`{name}` is no setting")));
            };
            becomes.push(format!("`{name}` = {}", shown(&value)));
            sets.push(Set {
                setting,
                value,
                key: full.to_owned(),
                shown: shown(at.value),
            });
        }
        if !made.words.is_empty() {
            becomes.push(made.words);
        }
        match made.only_f16 {
            true => self
                .reading
                .only_f16
                .push((self.reading.mappings.len(), sets)),
            false => self.reading.sets.extend(sets),
        }
        self.tell(full.to_owned(), at.value, &becomes.join("; "), made.effect);
        Ok(())
    }

    fn tell(&mut self, key: String, value: &Value, becomes: &str, effect: Effect) {
        self.reading.mappings.push(Mapping {
            key,
            value: value.clone(),
            becomes: becomes.to_owned(),
            effect,
        });
    }

    /// What may have been meant.
    fn unknown(&self, at: &str, key: &str) -> String {
        let mut known: Vec<(&str, &str)> = Vec::new();
        for block in self.format.blocks {
            for at in block.at {
                let keys = block.rows.iter().flat_map(|row| row.keys);
                known.extend(keys.map(|key| (*at, *key)));
            }
        }
        let objects = self.format.paths().filter(|path| !path.is_empty());
        known.extend(objects.map(|path| path.rsplit_once('.').unwrap_or(("", path))));
        if let Some((block, _)) = known.iter().find(|(_, known)| *known == key) {
            return match *block {
                "" => "is a key of the file's own level".to_owned(),
                block => format!("is a key of `{block}`"),
            };
        }
        let mut others = FORMATS
            .into_iter()
            .filter(|other| other.name != self.format.name);
        let other = others.find(|other| other.row("", key).is_some() || other.has_block(key));
        if let (Some(other), "") = (other, at) {
            return format!(
                "is no key of {}; it is one of {}, which goes under `{}`",
                self.format.title, other.title, other.name
            );
        }
        let likeness = |(block, known): &(&str, &str)| {
            strsim::jaro_winkler(key, known) + if *block == at { 0.05 } else { 0.0 }
        };
        let close = { known.iter() }.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        match close.filter(|close| likeness(close) > 0.8) {
            Some((block, known)) => format!(
                "is no key of {}; did you mean `{}`?",
                self.format.title,
                below(block, known)
            ),
            None => format!(
                "is no key of {} that is known here; take it out if nothing depends on it",
                self.format.title
            ),
        }
    }
}

/// Names under which people write remarks where JSON has no comments.
fn is_comment(key: &str) -> bool {
    key.starts_with('_') || key.starts_with("//") || key == "comment" || key == "$schema"
}

fn constant(name: &'static str, text: &str) -> Result<Value, Reason> {
    let setting = settings::find(name);
    let value = setting.and_then(|setting| setting.parse(text).ok());
    value.ok_or_else(|| Reason::Internal(format!("`{name}` cannot be `{text}`")))
}

/// Whether an object or flag switches something on: a flag by itself, an object by an `enabled` in it, or where it has
/// none by not being empty.
fn is_on(value: &Value) -> bool {
    fn enabled(value: &Value) -> Option<bool> {
        let within = value.as_object()?;
        let own = within.get("enabled").map(|on| *on != Value::Bool(false));
        let inner = within.values().filter_map(enabled);
        own.into_iter().chain(inner).reduce(|a, b| a || b)
    }
    match value {
        Value::Object(within) => enabled(value).unwrap_or(!within.is_empty()),
        other => *other != Value::Bool(false),
    }
}

/// The values that are taken.
fn taken(cases: &[(&[&str], Fate)]) -> String {
    let taken = cases
        .iter()
        .filter(|(_, fate)| !matches!(fate, Fate::Refused(_)));
    let names: Vec<&str> = taken.flat_map(|(values, _)| *values).copied().collect();
    format!("`{}`", names.join("`, `"))
}
