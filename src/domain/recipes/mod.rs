//! recipes: files that people bring from other programs, read as further places where settings are said.
//!
//! A format is a table: each key of it is a setting of ours, or something that holds here anyway, or is refused by name.
//! No key is passed over in silence: what became of each is kept with the job. What two places say differently is an error
//! that names both.

mod deepspeed;
mod joined;
mod peft_config;
mod read;
mod table;
mod told;
mod training_args;

use serde_json::{Map, Value};

use self::table::Format;
use super::{Reason, Strict, Wishes};

pub use joined::Joined;
pub use told::{Effect, Mapping, table};

/// All of them.
const FORMATS: [&Format; 3] = [
    &deepspeed::FORMAT,
    &peft_config::FORMAT,
    &training_args::FORMAT,
];

/// The fields that take such files.
pub const NAMES: [&str; FORMATS.len()] = {
    let mut names = [""; FORMATS.len()];
    let mut at = 0;
    while at < FORMATS.len() {
        names[at] = FORMATS[at].name;
        at += 1;
    }
    names
};

/// What each of them is, for people.
pub const ABOUT: [&str; FORMATS.len()] = {
    let mut about = [""; FORMATS.len()];
    let mut at = 0;
    while at < FORMATS.len() {
        about[at] = FORMATS[at].about;
        at += 1;
    }
    about
};

/// What becomes of each key of each format, as tables of Markdown.
pub fn pages() -> [(&'static str, String); FORMATS.len()] {
    FORMATS.map(|format| (format.name, format.page()))
}

/// The files that came with the wish for a job.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recipes(Vec<(&'static str, Map<String, Value>)>);

impl Recipes {
    /// # Errors
    /// `BadField` where there is no such format, or where it is no object.
    pub fn put(&mut self, name: &str, file: Value) -> Result<(), Reason> {
        let Some(name) = NAMES.into_iter().find(|known| *known == name) else {
            return Err(Reason::field(name, "is no recipe that is read"));
        };
        match file {
            Value::Object(file) => self.0.push((name, file)),
            _ => return Err(Reason::field(name, "must be a JSON object")),
        }
        Ok(())
    }

    /// As [`put`](Self::put), of JSON text.
    ///
    /// # Errors
    /// Also where it is not JSON, or a key appears twice.
    pub fn put_text(&mut self, name: &str, text: &str) -> Result<(), Reason> {
        let file = Self::parse(text).map_err(|why| Reason::field(name, why))?;
        self.put(name, file)
    }

    /// The object in a file.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str) -> Result<Value, String> {
        match serde_json::from_str(text) {
            Ok(Strict(file)) if file.is_object() => Ok(file),
            Ok(_) => Err("must be a JSON object".to_owned()),
            Err(fault) => Err(format!("is not JSON: {fault}")),
        }
    }

    /// What the files say beside `flags`.
    ///
    /// # Errors
    /// `BadField` with the path of a key that is unknown, wrong, refused, or contradicts another place.
    pub fn join(&self, flags: Wishes) -> Result<Joined, Reason> {
        let mut reading = read::Reading::default();
        for format in FORMATS {
            for (name, file) in &self.0 {
                if *name == format.name {
                    read::read(format, name, file, &mut reading)?;
                }
            }
        }
        Joined::of(flags, reading)
    }
}

#[cfg(test)]
mod tests;
