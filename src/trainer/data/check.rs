//! The quality report of a data file: what is in it, how much it repeats itself, how balanced and consistent it is.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::duplicates::near_duplicates;
use super::format::{Format, tally};
use super::record::Record;
use super::remarks::Remarks;
use super::rows::{Row, parse};
use super::{Example, Renderer, TOLD};
use crate::domain::BadRow;
use crate::text::{ChatTemplate, Tokenizer};

/// Distinct answers up to which a task is read as choosing among labels.
const LABELS: usize = 20;
/// Names of tasks, labels and formats that are listed; the rest are counted together.
const LISTED: usize = 20;

/// A report, and the first rows as a model sees them.
pub struct Checked {
    pub report: Value,
    /// Empty without a voice.
    pub first: Vec<Example>,
}

/// Reports on the bytes of a data file. With a tokenizer and template, lengths are in the model's tokens and rows that
/// cannot be rendered are found as well, and the first `show` usable rows are given; without, lengths are in words.
///
/// `usable` says whether a job would take the file: at least one row, and none bad.
pub fn check(bytes: &[u8], voice: Option<(&Tokenizer, &ChatTemplate)>, show: usize) -> Checked {
    let parsed = parse(bytes);
    let objective = parsed.objective();
    let mut bad = parsed.bad;
    let rows = parsed.rows.len() + bad.len();
    let mut warnings = parsed.unused.warnings();
    let mut first = Vec::new();
    let (unit, lengths) = match voice {
        Some((tokenizer, template)) => {
            let renderer = Renderer {
                tokenizer,
                template,
                max_seq: usize::MAX,
                objective,
            };
            let mut lengths = Vec::new();
            let mut remarks = Remarks::default();
            for row in &parsed.rows {
                match renderer.example(row, &mut remarks) {
                    Ok(example) => {
                        lengths.push(example.tokens());
                        if first.len() < show {
                            first.push(example);
                        }
                    }
                    Err(row) => bad.push(row),
                }
            }
            warnings.extend(remarks.warnings());
            ("tokens", lengths)
        }
        None => (
            "words",
            parsed
                .rows
                .iter()
                .map(|row| row.record.body.text().split_whitespace().count())
                .collect(),
        ),
    };
    bad.sort_by_key(|row| row.line);
    let duplicates = duplicates(&parsed.rows, &mut warnings);
    let tasks = tasks(&parsed.rows, &mut warnings);
    let report = json!({
        "usable": bad.is_empty() && !parsed.rows.is_empty(),
        "rows": rows,
        "bytes": bytes.len(),
        "kinds": listed(tally(parsed.rows.iter().map(|row| row.record.form))),
        "lengths": lengths_of(unit, lengths),
        "tasks": tasks,
        "near_duplicates": duplicates,
        "bad_rows": { "total": bad.len(), "first": bad.iter().take(TOLD).map(told).collect::<Vec<_>>() },
        "warnings": warnings,
    });
    Checked { report, first }
}

fn told(row: &BadRow) -> Value {
    json!({ "line": row.line, "why": row.why })
}

fn lengths_of(unit: &str, mut lengths: Vec<usize>) -> Value {
    lengths.sort_unstable();
    let at = |share: f64| {
        lengths
            .get(((lengths.len().max(1) - 1) as f64 * share).round() as usize)
            .copied()
            .unwrap_or(0)
    };
    let total: usize = lengths.iter().sum();
    json!({
        "unit": unit,
        "total": total,
        "mean": total as f64 / lengths.len().max(1) as f64,
        "median": at(0.5),
        "p95": at(0.95),
        "longest": at(1.0),
    })
}

fn duplicates(rows: &[Row], warnings: &mut Vec<String>) -> Value {
    let texts: Vec<String> = rows.iter().map(|row| row.record.body.text()).collect();
    let pairs = near_duplicates(&texts);
    let share = pairs.len() as f64 / rows.len().max(1) as f64;
    if share > 0.2 {
        warnings.push(format!(
            "{:.0} % of the rows nearly repeat an earlier one",
            share * 100.0
        ));
    }
    let first: Vec<Value> = pairs
        .iter()
        .take(TOLD)
        .map(|(later, earlier)| json!({ "line": rows[*later].line, "like": rows[*earlier].line }))
        .collect();
    json!({ "rows": pairs.len(), "share": share, "first": first })
}

/// What a row asks for: its instruction where instructions repeat, else the first word of it.
fn tasks(rows: &[Row], warnings: &mut Vec<String>) -> Value {
    let asked: Vec<String> = rows.iter().map(|row| instruction(&row.record)).collect();
    let distinct = tally(asked.iter()).len();
    let repeats = distinct <= LABELS.max(rows.len() / 10);
    let mut groups: BTreeMap<String, Vec<&Row>> = BTreeMap::new();
    for (row, asked) in rows.iter().zip(asked) {
        let name = if repeats {
            asked
        } else {
            asked
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_lowercase()
        };
        groups.entry(name).or_default().push(row);
    }
    let mut groups: Vec<(String, Vec<&Row>)> = groups.into_iter().collect();
    groups.sort_by_key(|(_, rows)| std::cmp::Reverse(rows.len()));
    if let [(largest, most), .., (_, least)] = groups.as_slice()
        && most.len() > 20 * least.len()
    {
        warnings.push(format!(
            "task `{}` has {} rows, the smallest {}",
            cut(largest),
            most.len(),
            least.len()
        ));
    }
    let total = groups.len();
    let listed: Vec<Value> = groups
        .iter()
        .take(LISTED)
        .map(|(name, rows)| task(name, rows, warnings))
        .collect();
    json!({ "total": total, "largest": listed })
}

fn instruction(record: &Record) -> String {
    let named = record.task.clone().or_else(|| record.body.task());
    named.unwrap_or_else(|| format!("(raw {})", record.form))
}

fn task(name: &str, rows: &[&Row], warnings: &mut Vec<String>) -> Value {
    let name = cut(name);
    let formats = tally(rows.iter().map(|row| Format::of(row.record.answer())));
    let consistency = formats
        .first()
        .map_or(0.0, |(_, most)| *most as f64 / rows.len() as f64);
    if rows.len() >= 10
        && (0.5..0.98).contains(&consistency)
        && matches!(formats[0].0, Format::Object(_))
    {
        warnings.push(format!(
            "task `{name}`: {:.0} % of the answers share one format",
            consistency * 100.0
        ));
    }
    let labels = tally(rows.iter().map(|row| row.record.answer().trim()));
    let chooses = labels.len() <= LABELS && rows.len() >= 4 * labels.len();
    if chooses
        && let [(most, many), .., (least, few)] = labels.as_slice()
        && *many > 10 * few
    {
        warnings.push(format!(
            "task `{name}`: label `{}` occurs {many} times, `{}` {few}",
            cut(most),
            cut(least)
        ));
    }
    let labels = if chooses { listed(labels) } else { Value::Null };
    json!({
        "task": name,
        "rows": rows.len(),
        "labels": labels,
        "formats": listed(formats),
        "format_consistency": consistency,
    })
}

fn listed<T: ToString>(counts: Vec<(T, usize)>) -> Value {
    counts
        .into_iter()
        .take(LISTED)
        .map(|(name, count)| (cut(&name.to_string()), Value::from(count)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn cut(text: &str) -> String {
    let mut short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(rows: impl Iterator<Item = String>) -> Vec<u8> {
        rows.collect::<Vec<_>>().join("\n").into_bytes()
    }

    #[test]
    fn a_balanced_file_of_two_tasks_reads_as_such() {
        let rows = (0..40).map(|i| match i % 2 {
            0 => format!(r#"{{"instruction":"Name the mood.","input":"text {i} {}","output":"{}"}}"#, i * i, ["good", "bad"][i / 2 % 2]),
            _ => format!(r#"{{"instruction":"Read the entry.","input":"{i} paid {}","output":"{{\"a\":{i},\"b\":1}}"}}"#, i * 31),
        });
        let report = check(&file(rows), None, 0).report;
        assert_eq!(report["usable"], true);
        assert_eq!(report["rows"], 40);
        assert_eq!(report["tasks"]["total"], 2);
        let mood = &report["tasks"]["largest"][0];
        assert_eq!(mood["labels"], json!({"bad": 10, "good": 10}));
        let entry = &report["tasks"]["largest"][1];
        assert_eq!(entry["labels"], Value::Null);
        assert_eq!(entry["formats"], json!({"json object {a, b}": 20}));
        assert_eq!(report["lengths"]["unit"], "words");
    }

    #[test]
    fn bad_rows_make_a_file_unusable_and_are_listed_up_to_twenty() {
        let report = check(&file((0..30).map(|_| "{}".to_owned())), None, 0).report;
        assert_eq!(report["usable"], false);
        assert_eq!(report["rows"], 30);
        assert_eq!(report["bad_rows"]["total"], 30);
        assert_eq!(
            report["bad_rows"]["first"].as_array().map(Vec::len),
            Some(20)
        );
        assert_eq!(check(b"", None, 0).report["usable"], false);
    }

    #[test]
    fn repetition_and_imbalance_are_warned_of() {
        let rows = (0..60).map(|i| {
            format!(r#"{{"instruction":"Sort it.","input":"the same words again and again","output":"{}"}}"#, if i == 0 { "rare" } else { "common" })
        });
        let warnings = check(&file(rows), None, 0).report["warnings"].to_string();
        assert!(
            warnings.contains("nearly repeat") && warnings.contains("`common` occurs 59 times"),
            "{warnings}"
        );
    }
}
