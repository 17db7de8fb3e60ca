//! settings: the hyperparameters of a training job, as one table.
//!
//! A row of `table.rs` is a hyperparameter in every interface: its flag of `adapterd train`, its fields on HTTP and
//! gRPC, its range and default, its help. What a row cannot say (settings that limit each other, what a parent adapter
//! dictates, what a model can read) is the trainer's.

mod loss_scale;
mod patterns;
mod recipe;
mod stages;
mod table;
mod values;

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value, json};

use super::{Bytes, Range, Reason};

pub use loss_scale::LossScale;
pub use patterns::Patterns;
pub use recipe::{Recipe, TABLE, Wishes};
pub use stages::{Layers, Stage, Stages};
pub(crate) use table::each_setting;
pub use values::{
    Bias, Checkpointing, Gate, Keep, Method, Named, NonLinearity, Objective, Offload, OnSpike,
    Optimizer, Placement, Precision, PromptInit, Schedule, Targets,
};

/// A row of the table.
pub struct Setting {
    /// As users say it, with `_`.
    pub name: &'static str,
    /// The field of [`Wishes`] and [`Recipe`] that holds it.
    pub field: &'static str,
    /// Another name, which OpenAI's clients use.
    pub aliases: &'static [&'static str],
    pub group: Group,
    pub kind: Kind,
    /// The methods it means something to.
    pub methods: &'static [Method],
    pub about: &'static str,
    /// In words.
    pub(super) default: fn() -> String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    Method,
    LowRank,
    Bottleneck,
    Virtual,
    Whole,
    Data,
    Batches,
    Schedule,
    Optimizer,
    Memory,
    Evaluation,
    /// Not of a job: how an answer is chosen.
    Answer,
}

/// What a setting may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Flag,
    /// A flag that switches off what its field says is on.
    Off,
    /// A whole number, both ends included.
    Whole(u64, u64),
    /// Steps from one time to the next.
    Interval,
    Number(Range),
    /// A share below 1, a whole count from 1 on.
    ShareOrCount,
    Choice(&'static [&'static str]),
    Text,
    Modules,
    /// A list of stages, as JSON.
    Stages,
    /// Whole numbers for names or patterns, as a JSON object.
    Ranks,
    /// Numbers above 0 for them.
    Alphas,
    /// `dynamic`, or a number above 0.
    LossScale,
    /// A number of bytes, or its text.
    Bytes,
}

/// A value of a setting, to be checked or shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Said<'a> {
    Flag(bool),
    Whole(u64),
    Number(f64),
    Text(&'a str),
    List(&'a [String]),
}

/// The row of that name, be it the public one, an alias or the recipe's.
pub fn find(name: &str) -> Option<&'static Setting> {
    TABLE.iter().find(|setting| {
        setting.name == name || setting.field == name || setting.aliases.contains(&name)
    })
}

/// The setting that a refusal is about, as users say it.
pub fn public_name(field: &str) -> &str {
    find(field).map_or(field, |setting| setting.name)
}

/// What users say, by the names of settings.
///
/// # Errors
/// `BadField` for what is no setting, or cannot have that value.
pub fn wishes(said: &Map<String, Value>) -> Result<Wishes, Reason> {
    let mut wishes = Wishes::default();
    for (name, value) in said {
        let Some(setting) = find(name) else {
            return Err(Reason::field(name, "is no setting"));
        };
        let wish = Wishes::of(setting, value.clone());
        let wish = wish.map_err(|why| Reason::field(name, why))?;
        if wishes.unite(&wish).is_err() {
            return Err(Reason::field(name, "is said twice, and differently"));
        }
    }
    Ok(wishes)
}

/// Whether the public flag means the opposite of the recipe's.
pub fn switches_off(name: &str) -> bool {
    find(name).is_some_and(|setting| setting.kind == Kind::Off)
}

impl Setting {
    /// As a flag of the command line, without dashes in front.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// What it is where nothing is said, in words.
    pub fn default(&self) -> String {
        let words = (self.default)();
        match (self.kind, words.as_str()) {
            (Kind::Off, "true") => "false".to_owned(),
            (Kind::Off, _) => "true".to_owned(),
            _ => words,
        }
    }

    /// What users say, as its field holds it.
    pub fn kept(&self, value: Value) -> Value {
        match value {
            Value::Bool(off) if self.kind == Kind::Off => (!off).into(),
            value => value,
        }
    }

    /// The value that a text of the command line means, its range not yet checked.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        Ok(match self.kind {
            Kind::Flag | Kind::Off => json!(self.read::<bool>(text)?),
            Kind::Whole(..) | Kind::Interval => json!(self.read::<u64>(text)?),
            Kind::Number(_) | Kind::ShareOrCount => {
                let number = self.read::<f64>(text)?;
                Range::ANY.check(number)?;
                json!(number)
            }
            Kind::Choice(_) | Kind::Text => json!(text),
            Kind::Bytes => json!(Bytes::from_text(text).count()?),
            Kind::Modules => json!(Targets::from_text(text)),
            Kind::Stages => json!(Stages::parse(text)?),
            Kind::LossScale => json!(text.parse::<LossScale>()?),
            Kind::Ranks | Kind::Alphas => {
                let patterns = Patterns::from_text(text);
                self.kind.check(Said::Text(patterns.text()))?;
                json!(patterns)
            }
        })
    }

    /// The standard library's errors do not say what is allowed.
    fn read<T: FromStr>(&self, text: &str) -> Result<T, String> {
        let read = text.trim().parse();
        read.map_err(|_| format!("allowed is {}", self.kind))
    }

    fn judge(&self, said: Said<'_>, method: Option<Method>) -> Result<(), Reason> {
        if let Some(method) = method.filter(|method| !self.methods.contains(method)) {
            let why = format!("is not used by method `{}`", method.name());
            return Err(Reason::field(self.field, why));
        }
        let judged = self.kind.check(said);
        judged.map_err(|why| Reason::field(self.field, why))
    }
}

impl Group {
    pub const fn title(self) -> &'static str {
        match self {
            Self::Method => "Method",
            Self::LowRank => "Methods lora, dora and ia3",
            Self::Bottleneck => "Method bottleneck",
            Self::Virtual => "Methods prefix and prompt",
            Self::Whole => "Methods modules, staged and full",
            Self::Data => "Data",
            Self::Batches => "Batches",
            Self::Schedule => "Schedule",
            Self::Optimizer => "Optimizer",
            Self::Memory => "Memory and numbers",
            Self::Evaluation => "Evaluation and checkpoints",
            Self::Answer => "Answer",
        }
    }
}

impl Kind {
    fn check(self, said: Said<'_>) -> Result<(), String> {
        match (self, said) {
            (Self::Whole(least, most), Said::Whole(number)) => {
                match (least..=most).contains(&number) {
                    true => Ok(()),
                    false => Err(format!("{number} is not between {least} and {most}")),
                }
            }
            (Self::Interval, Said::Whole(0)) => {
                Err("0 is not a number of steps; leave it out to switch it off".to_owned())
            }
            (Self::Number(range), Said::Number(number)) => range.check(number),
            (Self::ShareOrCount, Said::Number(number)) => {
                Range::at_least(0.0).check(number)?;
                match number >= 1.0 && number.fract() != 0.0 {
                    true => Err(format!(
                        "{number} is neither a share below 1 nor a whole count"
                    )),
                    false => Ok(()),
                }
            }
            (Self::Stages, Said::Text(text)) => Stages::parse(text).map(drop),
            (Self::Ranks, Said::Text(text)) => Patterns::from_text(text).ranks().map(drop),
            (Self::Alphas, Said::Text(text)) => Patterns::from_text(text).alphas().map(drop),
            (Self::Bytes, Said::Whole(count)) => Bytes::Count(count).count().map(drop),
            (Self::Bytes, Said::Text(text)) => Bytes::from_text(text).count().map(drop),
            (Self::Modules, Said::List([])) => Err("names no module".to_owned()),
            _ => Ok(()),
        }
    }
}

/// What the setting may be, for people.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag | Self::Off => f.write_str("`true` or `false`"),
            Self::Whole(least, u64::MAX) => write!(f, "whole, from {least}"),
            Self::Whole(least, most) => write!(f, "whole, {least} to {most}"),
            Self::Interval => f.write_str("a number of steps"),
            Self::Number(range) => range.fmt(f),
            Self::ShareOrCount => f.write_str("a share below 1, or a whole count"),
            Self::Choice(names) => write!(f, "`{}`", names.join("`, `")),
            Self::Text => f.write_str("a text"),
            Self::Modules => f.write_str("names, a regular expression, or `all-linear`"),
            Self::Stages => f.write_str("a list of stages, as JSON"),
            Self::Ranks => f.write_str("a JSON object of names and whole numbers"),
            Self::Alphas => f.write_str("a JSON object of names and numbers"),
            Self::LossScale => f.write_str("`dynamic`, or a number above 0"),
            Self::Bytes => f.write_str("bytes, such as 2GiB or 800MB"),
        }
    }
}

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Whole(number) => number.fmt(f),
            Self::Number(number) if number.fract() == 0.0 => number.fmt(f),
            // The shorter of 0.0002 and 1e-8.
            Self::Number(number) => write!(f, "{number:?}"),
            Self::Text(text) => f.write_str(text),
            Self::List(names) => f.write_str(&names.join(",")),
        }
    }
}

#[cfg(test)]
mod tests;
