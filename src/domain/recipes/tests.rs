mod deepspeed;
mod peft_config;
mod precision;
mod training_args;

use std::fs;
use std::path::Path;

use serde_json::json;

use super::table::Fate;
use super::*;
use crate::domain::{Method, settings};

fn join(name: &str, file: Value, flags: Wishes) -> Result<Joined, Reason> {
    let mut recipes = Recipes::default();
    recipes.put(name, file)?;
    recipes.join(flags)
}

fn alone(name: &str, file: Value) -> Joined {
    join(name, file, Wishes::default()).unwrap_or_else(|reason| panic!("{reason}"))
}

/// The field and the sentence of a refusal.
fn refused(name: &str, file: Value, flags: Wishes) -> (String, String) {
    match join(name, file, flags) {
        Err(Reason::BadField { field, why }) => (field, why),
        other => panic!("{other:?}"),
    }
}

fn becomes<'a>(joined: &'a Joined, key: &str) -> &'a str {
    let found = joined.mappings.iter().find(|mapping| mapping.key == key);
    &found.unwrap_or_else(|| panic!("{key} is not told")).becomes
}

/// Published files of that format, by name.
fn published(name: &str) -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/recipes")
        .join(name);
    let files = fs::read_dir(folder).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let file = Recipes::parse(&text).unwrap_or_else(|why| panic!("{path:?}: {why}"));
        (
            path.file_stem().unwrap().to_string_lossy().into_owned(),
            file,
        )
    });
    files.collect()
}

/// One of them.
fn one_published(name: &str, title: &str) -> Value {
    let mut files = published(name).into_iter();
    files.find(|(name, _)| name == title).unwrap().1
}

fn leaves(at: &str, value: &Value, told: &[&str]) {
    if told.contains(&at) {
        return;
    }
    let within = value
        .as_object()
        .unwrap_or_else(|| panic!("{at} is passed over"));
    for (key, value) in within {
        leaves(&format!("{at}.{key}"), value, told);
    }
}

#[test]
fn published_files_are_read_and_each_of_their_keys_is_told() {
    for name in NAMES {
        let files = published(name);
        assert!(files.len() > 8, "{name}: {}", files.len());
        for (title, file) in files {
            let joined = join(name, file.clone(), Wishes::default());
            let joined = joined.unwrap_or_else(|reason| panic!("{title}: {reason}"));
            let told: Vec<&str> = joined.mappings.iter().map(|m| m.key.as_str()).collect();
            for (key, value) in file.as_object().unwrap() {
                leaves(&format!("{name}.{key}"), value, &told);
            }
            assert!(
                joined
                    .mappings
                    .iter()
                    .all(|mapping| !mapping.becomes.is_empty())
            );
        }
    }
}

#[test]
fn the_page_has_the_tables() {
    let page = include_str!("../../../docs/training.md");
    let missing: Vec<String> = pages()
        .into_iter()
        .filter(|(_, table)| !page.contains(table))
        .map(|(name, table)| format!("for {name}:\n{table}"))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/training.md should have\n{}",
        missing.join("\n")
    );
}

/// Every setting that a table names exists, and can be what the table says.
#[test]
fn tables_speak_of_settings_that_exist() {
    fn check(fate: Fate) {
        match fate {
            Fate::Setting(name) => assert!(settings::find(name).is_some(), "{name}"),
            Fate::Filled(names) => names.iter().for_each(|name| check(Fate::Setting(name))),
            Fate::Sets(name, text) => {
                let setting = settings::find(name).unwrap();
                let value = setting.parse(text).unwrap();
                Wishes::of(setting, value).unwrap_or_else(|why| panic!("{name} {text}: {why}"));
            }
            Fate::Cases(cases) => cases.iter().for_each(|(_, fate)| check(*fate)),
            _ => {}
        }
    }
    for format in FORMATS {
        let mut keys = Vec::new();
        for block in format.blocks {
            for row in block.rows {
                check(row.fate);
                row.auto.into_iter().for_each(check);
                for at in block.at {
                    keys.extend(row.keys.iter().map(|key| (*at, *key)));
                }
            }
        }
        keys.sort_unstable();
        let twice = keys.windows(2).find(|pair| pair[0] == pair[1]);
        assert_eq!(twice, None, "{}", format.name);
    }
}

#[test]
fn a_later_complaint_names_the_key_that_said_it() {
    let file = json!({"gradient_clipping": 0.5, "optimizer": {"params": {"lr": 0.1}}});
    let flags = Wishes {
        learning_rate: Some(0.1),
        method: Some(Method::Full),
        ..Wishes::default()
    };
    let joined = join("deepspeed", file, flags).unwrap();
    let about = |field: &str| match joined.explain(Reason::field(field, "no")) {
        Reason::BadField { field, .. } => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(about("max_grad_norm"), "deepspeed.gradient_clipping");
    assert_eq!(about("learning_rate"), "learning_rate");
    assert_eq!(about("rank"), "rank");
}

#[test]
fn texts_are_read_strictly() {
    let put = |text: &str| Recipes::default().put_text("deepspeed", text);
    assert!(put(r#"{"gradient_clipping": 1.0}"#).is_ok());
    for text in ["", "[]", "{", r#"{"a": 1, "a": 1}"#] {
        let told = put(text);
        assert!(
            matches!(&told, Err(Reason::BadField { field, .. }) if field == "deepspeed"),
            "{text}: {told:?}"
        );
    }
}
