//! The form an answer must have, as flags.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Failure;

#[derive(Debug, Clone, Default, clap::Args)]
#[group(id = "form", multiple = false)]
pub struct FormArgs {
    /// The answer is JSON that follows the JSON schema in this file
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// The answer is text that this expression matches as a whole
    #[arg(long, value_name = "EXPRESSION")]
    regex: Option<String>,
    /// The answer is one of these texts
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    choice: Vec<String>,
    /// The answer follows the grammar in this file, in Lark's syntax
    #[arg(long, value_name = "FILE")]
    grammar: Option<PathBuf>,
}

impl FormArgs {
    /// The field of a request that asks for it; `None` where the answer may have any form.
    pub fn field(&self) -> Result<Option<(&'static str, Value)>, Failure> {
        if let Some(path) = &self.schema {
            return Ok(Some(("response_format", schema(path)?)));
        }
        if let Some(path) = &self.grammar {
            return Ok(Some(("guided_grammar", json!(read(path)?))));
        }
        if let Some(expression) = &self.regex {
            return Ok(Some(("guided_regex", json!(expression))));
        }
        let choice = (!self.choice.is_empty()).then(|| ("guided_choice", json!(self.choice)));
        Ok(choice)
    }
}

/// The `response_format` of a schema in a file.
pub fn schema(path: &Path) -> Result<Value, Failure> {
    let schema: Value = serde_json::from_str(&read(path)?)
        .map_err(|error| Failure::failed(format!("{} is not JSON: {error}", path.display())))?;
    let named = json!({"name": "answer", "schema": schema});
    Ok(json!({"type": "json_schema", "json_schema": named}))
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        form: FormArgs,
    }

    fn form(flags: &[&str]) -> Result<FormArgs, clap::Error> {
        let line = ["generate"].iter().chain(flags);
        <Line as clap::Parser>::try_parse_from(line).map(|line| line.form)
    }

    #[test]
    fn each_flag_asks_for_its_form() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("form");
        let path = file.to_str().unwrap();
        std::fs::write(&file, r#"{"type": "integer"}"#).unwrap();
        let field = |flags: &[&str]| form(flags).unwrap().field().unwrap();
        let (name, format) = field(&["--schema", path]).unwrap();
        assert_eq!(name, "response_format");
        assert_eq!(format["json_schema"]["schema"], json!({"type": "integer"}));
        assert_eq!(
            field(&["--choice", "yes,no"]),
            Some(("guided_choice", json!(["yes", "no"])))
        );
        assert_eq!(
            field(&["--regex", "a+"]),
            Some(("guided_regex", json!("a+")))
        );
        std::fs::write(&file, "start: \"a\"").unwrap();
        assert_eq!(
            field(&["--grammar", path]),
            Some(("guided_grammar", json!("start: \"a\"")))
        );
        assert_eq!(field(&[]), None);
        assert!(form(&["--schema", path]).unwrap().field().is_err());
        assert!(form(&["--regex", "a", "--choice", "b"]).is_err());
    }
}
