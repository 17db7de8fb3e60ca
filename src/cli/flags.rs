//! Flags made from a table of settings, one a row.

use std::marker::PhantomData;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use serde_json::{Map, Value};

use crate::domain::settings::{Kind, Setting};

/// Which table.
pub trait Rows {
    const ROWS: &'static [Setting];

    /// What holds where the flag is not given, in words.
    fn default(setting: &Setting) -> String {
        setting.default()
    }
}

/// What was said, by the settings' names, as the API takes it.
#[derive(Debug, Clone)]
pub struct Flags<T> {
    pub said: Map<String, Value>,
    rows: PhantomData<T>,
}

impl<T: Rows> Args for Flags<T> {
    fn augment_args(command: Command) -> Command {
        T::ROWS.iter().fold(command, |command, setting| {
            command.arg(flag(setting, &T::default(setting)))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<T: Rows> FromArgMatches for Flags<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let said = T::ROWS.iter().filter_map(|setting| {
            let value = matches.get_one::<Value>(setting.name)?;
            Some((setting.name.to_owned(), value.clone()))
        });
        Ok(Self {
            said: said.collect(),
            rows: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A list of stages may lie in a file.
fn parse(setting: &Setting, text: &str) -> Result<Value, String> {
    if setting.kind != Kind::Stages || text.trim_start().starts_with('[') {
        return setting.parse(text);
    }
    let read = std::fs::read_to_string(text);
    let stages = read.map_err(|error| format!("is neither a list nor a file: {error}"))?;
    setting.parse(&stages)
}

/// Names made here are kept for good: the parser takes no others, and there are few.
fn flag(setting: &'static Setting, default: &str) -> Arg {
    let help = format!("{} [default: {default}]", setting.about);
    let arg = Arg::new(setting.name)
        .long(&*setting.flag().leak())
        .help(help)
        .help_heading(setting.group.title())
        .value_parser(|text: &str| parse(setting, text));
    // One below zero is told as a value of its flag, and not as a flag of its own.
    let number = |name: &'static str| arg.clone().value_name(name).allow_negative_numbers(true);
    match setting.kind {
        Kind::Flag | Kind::Off => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("BOOL"),
        Kind::Whole(..) => number("N"),
        Kind::Interval => number("STEPS"),
        Kind::Number(_) => number("X"),
        Kind::ShareOrCount => number("SHARE|COUNT"),
        // So that shells complete them; the value's name tells them in help.
        Kind::Choice(names) => arg
            .value_name(&*names.join("|").leak())
            .value_parser(PossibleValuesParser::new(names).try_map(|text| parse(setting, &text)))
            .hide_possible_values(true),
        Kind::Text => arg.value_name("TEXT"),
        Kind::Stages => arg.value_name("JSON|FILE"),
        Kind::LossScale => number("dynamic|N"),
        Kind::Ranks | Kind::Alphas => arg.value_name("JSON"),
        Kind::Bytes => arg.value_name("BYTES"),
        Kind::Modules => arg.value_name("LIST|REGEX|all-linear"),
    }
}
