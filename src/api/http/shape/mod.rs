//! Tables of fields. One table says what a JSON object may hold; the check of requests, the OpenAPI document and the
//! tests are made from it, so a field cannot be accepted in one and unknown to another.

mod check;
mod json;
mod neutral;
mod path;
mod schema;
#[cfg(test)]
pub(super) mod tests;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::domain::settings::{self, Setting};
use crate::domain::{Range, Reason};

pub(super) use neutral::Neutral;
pub(super) use schema::{kind_schema, shape_schema};

/// An object with known fields.
pub(super) struct Shape {
    /// Its name in the OpenAPI document.
    pub name: &'static str,
    pub about: &'static str,
    /// Groups, so that objects can share some of their fields.
    pub fields: &'static [&'static [Field]],
}

#[derive(Clone, Copy)]
pub(super) struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    pub about: &'static str,
    /// Values that count as absent, beside null.
    pub neutral: &'static [Neutral],
}

/// What a value may be. `null` counts as absent.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Flag,
    Integer {
        min: i64,
        max: i64,
    },
    Number(Range),
    /// Lengths are in bytes.
    Text {
        min: usize,
        max: usize,
    },
    Choice(&'static [&'static str]),
    List {
        of: &'static Kind,
        min: usize,
        max: usize,
    },
    /// Any keys.
    Map {
        of: &'static Kind,
        max: usize,
    },
    Object(&'static Shape),
    /// The first kind that fits the JSON type decides.
    Either(&'static [Kind]),
    /// A value for which the text says why it cannot be taken; only what counts as absent passes.
    Unbuilt(&'static str),
    /// Anything: in answers, and in requests where it is not looked at.
    Any,
}

pub(super) const FLAG: Kind = Kind::Flag;
pub(super) const NAME: Kind = Kind::Text { min: 1, max: 512 };
pub(super) const TEXT: Kind = Kind::Text {
    min: 0,
    max: usize::MAX,
};
pub(super) const COUNT: Kind = Kind::Integer {
    min: 0,
    max: i64::MAX,
};
pub(super) const ANY_INTEGER: Kind = Kind::Integer {
    min: i64::MIN,
    max: i64::MAX,
};
pub(super) const ANY_NUMBER: Kind = Kind::Number(Range::ANY);
pub(super) const TOKEN_ID: Kind = Kind::Integer {
    min: 0,
    max: u32::MAX as i64,
};

/// Strictly read JSON, to be held against a table.
pub(super) fn parse(body: &[u8]) -> Result<Value, Reason> {
    json::read(body)
}

impl Field {
    pub const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self {
            name,
            kind,
            required: false,
            about,
            neutral: &[],
        }
    }

    /// The field of each setting; `N` is their number.
    pub const fn all_of<const N: usize>(settings: &[Setting]) -> [Self; N] {
        let mut fields = [Self::new("", Kind::Any, ""); N];
        let mut at = 0;
        while at < N {
            let Setting {
                name, kind, about, ..
            } = settings[at];
            fields[at] = Self::new(name, Kind::of(kind), about);
            at += 1;
        }
        fields
    }

    /// A field of other servers that does nothing here; the refusal says `why` where a value asks for something.
    pub const fn unbuilt(
        name: &'static str,
        why: &'static str,
        neutral: &'static [Neutral],
    ) -> Self {
        Self::new(name, Kind::Unbuilt(why), "").neutral(neutral)
    }

    /// A field that is accepted and not looked at.
    pub const fn ignored(name: &'static str) -> Self {
        Self::new(name, Kind::Any, "Ignored.")
    }

    /// These values count as absent.
    pub const fn neutral(mut self, values: &'static [Neutral]) -> Self {
        self.neutral = values;
        self
    }

    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

impl Kind {
    const fn of(kind: settings::Kind) -> Self {
        match kind {
            settings::Kind::Flag | settings::Kind::Off => FLAG,
            settings::Kind::Whole(min, max) => {
                let most = i64::MAX as u64;
                Self::Integer {
                    min: min as i64,
                    max: if max < most { max as i64 } else { i64::MAX },
                }
            }
            settings::Kind::Interval => Self::Integer {
                min: 1,
                max: i64::MAX,
            },
            settings::Kind::Number(range) => Self::Number(range),
            settings::Kind::ShareOrCount => Self::Number(Range::at_least(0.0)),
            settings::Kind::Choice(names) => Self::Choice(names),
            settings::Kind::Text => NAME,
            settings::Kind::Stages => Self::Either(&[
                NAME,
                Self::List {
                    of: &Self::Any,
                    min: 1,
                    max: 1024,
                },
            ]),
            settings::Kind::Bytes => Self::Either(&[
                Self::Integer {
                    min: 1,
                    max: i64::MAX,
                },
                NAME,
            ]),
            settings::Kind::Ranks | settings::Kind::Alphas => Self::Either(&[
                TEXT,
                Self::Map {
                    of: &Self::Any,
                    max: 1024,
                },
            ]),
            settings::Kind::LossScale => {
                const WORD: Kind = Kind::Choice(&[settings::LossScale::DYNAMIC]);
                const NUMBER: Kind = Kind::Number(Range::above(0.0));
                Self::Either(&[WORD, NUMBER])
            }
            settings::Kind::Modules => Self::Either(&[
                NAME,
                Self::List {
                    of: &NAME,
                    min: 1,
                    max: 1024,
                },
            ]),
        }
    }
}

impl Shape {
    pub fn all(&self) -> impl Iterator<Item = &'static Field> {
        self.fields.iter().flat_map(|group| group.iter())
    }

    /// The body, if it is this object and nothing else; otherwise the path that is not.
    pub fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Reason> {
        self.take(parse(body)?)
    }

    /// As [`Self::read`], of a value already parsed.
    pub fn take<T: DeserializeOwned>(&self, value: Value) -> Result<T, Reason> {
        let value = self.settle(value)?;
        // The tables and the types agree (a test reads an example of every field), so this is a fault of ours.
        serde_json::from_value(value)
            .map_err(|fault| Reason::Internal(format!("{}: {fault}", self.name)))
    }
}
