//! Reference pages say what the code's tables say. Where one differs, the failure prints the lines that belong there.

use std::collections::BTreeMap;
use std::fs;

use regex::Regex;
use serde_json::Value;

use crate::command_line::{outcome, program};
use crate::documents::{files, root};

/// Each line of a page's table has to begin as a line of the code's does, and go on with words of its own.
fn compare(page: &str, first: &str, wanted: &[String]) {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with(first))
        .collect();
    let missing: Vec<&String> = wanted
        .iter()
        .filter(|start| !rows.iter().any(|row| row.starts_with(start.as_str())))
        .collect();
    let unknown: Vec<&&str> = rows
        .iter()
        .filter(|row| !wanted.iter().any(|start| row.starts_with(start.as_str())))
        .collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "{page} should have lines that begin so: {missing:#?}\nand not these: {unknown:#?}"
    );
}

#[tokio::test]
async fn the_documented_settings_are_the_programs() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let command = program(&["config", "show", "--json", "--data-dir", dir]);
    let (code, said, _) = outcome(command).await;
    assert_eq!(code, 0);
    let Value::Object(settings) = serde_json::from_str(&said).unwrap() else {
        panic!("{said}");
    };
    assert!(settings.len() > 50, "{}", settings.len());
    let rows = settings.iter().map(|(key, setting)| {
        let value = match setting["value"].as_str().unwrap() {
            _ if key == "storage.data_dir" => "–",
            "" => "–",
            value => value,
        };
        format!("| `{key}` | {value} | ")
    });
    let rows: Vec<String> = rows.collect();
    let page = fs::read_to_string(root().join("docs/reference/settings.md")).unwrap();
    let table = page.split("## Every setting").nth(1).unwrap();
    assert_eq!(table.matches("\n| `").count(), rows.len());
    for section in ["model.", "server.", "engine."] {
        assert!(
            rows.iter()
                .any(|row| row.starts_with(&format!("| `{section}")))
        );
    }
    compare("docs/reference/settings.md", "| `", &rows);
}

/// The names and meanings that telemetry registers: `call("adapterd_…", "meaning"` in all its forms.
#[test]
fn the_documented_metrics_are_the_programs() {
    let mut sources = Vec::new();
    files(&root().join("src/app/telemetry"), ".rs", &mut sources);
    let code: String = sources
        .iter()
        .filter(|path| !path.ends_with("tests.rs"))
        .map(|path| fs::read_to_string(path).unwrap())
        .map(|text| {
            text.split("#[cfg(test)]\nmod tests {")
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    let registered = Regex::new(
        r#"([A-Za-z_:]*)\(\s*"((?:adapterd_|vllm:)[a-z_]+)",\s*(?:"(gauge|counter)",\s*)?"([^"]+)""#,
    )
    .unwrap();
    let written = Regex::new(
        r#"let name = "(adapterd_[a-z_]+)";\s*head\(\s*&mut text,\s*name,\s*"([a-z]+)",\s*"([^"]+)""#,
    )
    .unwrap();
    let mut rows = BTreeMap::new();
    for one in registered.captures_iter(&code) {
        let (call, name) = (&one[1], &one[2]);
        let kind = match one.get(3) {
            Some(kind) => kind.as_str(),
            None if call.contains("istogram") => "histogram",
            None if call.contains("auge") || name.starts_with("vllm:") => "gauge",
            None => "counter",
        };
        rows.insert(
            name.to_owned(),
            format!("| `{name}` | {kind} | {} |", &one[4]),
        );
    }
    for one in written.captures_iter(&code) {
        let row = format!("| `{}` | {} | {} |", &one[1], &one[2], &one[3]);
        rows.insert(one[1].to_owned(), row);
    }
    // None is named in a way that is not understood above.
    let name = Regex::new(r#""((?:adapterd_|vllm:)[a-z_]+)""#).unwrap();
    for one in name.captures_iter(&code) {
        assert!(rows.contains_key(&one[1]), "{}", &one[1]);
    }
    assert!(rows.len() > 50, "{}", rows.len());
    let resident = "process_resident_memory_bytes";
    assert!(code.contains(resident));
    rows.insert(
        resident.to_owned(),
        format!("| `{resident}` | gauge | Memory of the process |"),
    );
    let rows: Vec<String> = rows.into_values().collect();
    compare("docs/reference/metrics.md", "| `", &rows);
}

/// As gRPC writes a code that Rust writes `NotFound`.
fn screaming(code: &str) -> String {
    let mut written = String::new();
    for letter in code.chars() {
        if letter.is_uppercase() && !written.is_empty() {
            written.push('_');
        }
        written.push(letter.to_ascii_uppercase());
    }
    written
}

/// The table of `api::fault`, read as its rows are written.
#[test]
fn the_documented_errors_are_the_programs() {
    let code = fs::read_to_string(root().join("src/api/fault.rs")).unwrap();
    let row = Regex::new(
        r#"(?s)\brow\(\s*(\d{3}),\s*("?\w+"?),\s*"([a-z_]+)",\s*Code::(\w+),?\s*\)(.*?)Reason::"#,
    )
    .unwrap();
    let mut errors: BTreeMap<String, [Vec<String>; 4]> = BTreeMap::new();
    for one in row.captures_iter(&code) {
        let kind = match &one[2] {
            "INVALID" => "invalid_request_error",
            "SERVER" => "server_error",
            "kind" => "requests, tokens, jobs or storage",
            said => said.trim_matches('"'),
        };
        let entry = errors.entry(one[3].to_owned()).or_default();
        let mut add = |column: usize, value: String| {
            if !entry[column].contains(&value) {
                entry[column].push(value);
            }
        };
        add(0, one[1].to_owned());
        add(1, kind.to_owned());
        add(2, screaming(&one[4]));
        for (call, told) in [(".retry_after(", "`retry-after`"), (".final_()", "never")] {
            if one[5].contains(call) {
                add(3, told.to_owned());
            }
        }
    }
    assert!(errors.len() > 30, "{}", errors.len());
    let rows = errors.iter().map(|(code, [status, kind, grpc, retry])| {
        let retry = match retry.is_empty() {
            true => "no".to_owned(),
            false => retry.join(", "),
        };
        let (status, kind, grpc) = (status.join(", "), kind.join(", "), grpc.join(", "));
        format!("| `{code}` | {status} | {kind} | {grpc} | {retry} | ")
    });
    let rows: Vec<String> = rows.collect();
    compare("docs/reference/errors.md", "| `", &rows);
}
