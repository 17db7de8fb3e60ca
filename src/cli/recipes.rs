//! Flags for files that other programs read, one a format.

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use serde_json::{Map, Value};

use crate::domain::recipes::{ABOUT, NAMES, Recipes};

/// The files that were given, by the names of their fields, as the API takes them.
#[derive(Debug, Clone, Default)]
pub struct Brought {
    pub files: Map<String, Value>,
}

impl Brought {
    /// As the daemon will read them.
    pub fn recipes(&self) -> Result<Recipes, crate::domain::Reason> {
        let mut recipes = Recipes::default();
        for (name, file) in &self.files {
            recipes.put(name, file.clone())?;
        }
        Ok(recipes)
    }
}

impl Args for Brought {
    fn augment_args(command: Command) -> Command {
        NAMES
            .iter()
            .zip(ABOUT)
            .fold(command, |command, (name, about)| {
                let arg = Arg::new(*name)
                    .long(&*name.replace('_', "-").leak())
                    .value_name("FILE|JSON")
                    .help(about)
                    .help_heading("Recipes from elsewhere")
                    .value_parser(|text: &str| parse(text));
                command.arg(arg)
            })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Brought {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = NAMES.iter().filter_map(|name| {
            let file = matches.get_one::<Value>(name)?;
            Some(((*name).to_owned(), file.clone()))
        });
        Ok(Self {
            files: given.collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// An object, or a file of one.
fn parse(text: &str) -> Result<Value, String> {
    if text.trim_start().starts_with('{') {
        return Recipes::parse(text);
    }
    let read = std::fs::read_to_string(text);
    let file = read.map_err(|error| format!("is neither a JSON object nor a file: {error}"))?;
    Recipes::parse(&file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        brought: Brought,
    }

    fn given(flags: &[&str]) -> Result<Map<String, Value>, String> {
        let line = ["train"].iter().chain(flags);
        let line = <Line as clap::Parser>::try_parse_from(line);
        line.map(|line| line.brought.files)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_recipe_is_a_file_or_an_object() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ds.json");
        std::fs::write(&file, r#"{"zero_optimization": {"stage": 3}}"#).unwrap();
        let from_file = given(&["--deepspeed", file.to_str().unwrap()]).unwrap();
        let inline = given(&["--deepspeed", r#" {"zero_optimization": {"stage": 3}}"#]).unwrap();
        assert_eq!(from_file, inline);
        assert_eq!(from_file["deepspeed"]["zero_optimization"]["stage"], 3);
        assert!(given(&[]).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_told_before_anything_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ds.json");
        for (text, told) in [
            (r#"{"a": 1, "a": 2}"#, "`a` appears twice"),
            ("{\"a\": }", "line 1"),
            ("[1]", "JSON object"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = given(&["--deepspeed", file.to_str().unwrap()]).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
        let error = given(&["--deepspeed", "/no/such/file"]).unwrap_err();
        assert!(error.contains("neither"), "{error}");
    }
}
