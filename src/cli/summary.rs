//! How a job ends for people: what its held-out rows say, and some of them answered before and after.

use std::fmt::Write;

use serde_json::Value;

use super::{Client, Failure};

/// Pages of a job's newest events that are looked at: it is told when a job ends, and little after that.
const PAGES: usize = 3;

/// The summary among a job's events; jobs without held-out rows have none.
pub async fn find(client: &Client, id: &str) -> Result<Option<Value>, Failure> {
    let mut query = vec![("limit", "100".to_owned())];
    for _ in 0..PAGES {
        let path = ["v1", "fine_tuning", "jobs", id, "events"];
        let page = client.get(&path, &query).await?;
        let events = page["data"].as_array().map_or(&[][..], Vec::as_slice);
        let mut data = events.iter().map(|event| &event["data"]);
        if let Some(found) = data.find(|data| !data["held_out_rows"].is_null()) {
            return Ok(Some(found.clone()));
        }
        let last = events.last().and_then(|event| event["id"].as_str());
        match last {
            Some(last) if page["has_more"] == true => {
                query.truncate(1);
                query.push(("after", last.to_owned()));
            }
            _ => break,
        }
    }
    Ok(None)
}

pub fn text(summary: &Value) -> String {
    let mut text = String::from("Held-out rows\n");
    let number = |path: &str| summary.pointer(path).and_then(Value::as_f64);
    let pair = |of: &str| {
        let (before, after) = (format!("/before/{of}"), format!("/after/{of}"));
        Some((number(&before)?, number(&after)?))
    };
    let rows = summary["held_out_rows"].as_u64().unwrap_or(0);
    let mut put = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<10}{value}");
    };
    put("rows", rows.to_string());
    if let Some((before, after)) = pair("loss") {
        put("loss", format!("{before:.4} before, {after:.4} after"));
    }
    if let Some((before, after)) = pair("accuracy") {
        let (before, after) = (100.0 * before, 100.0 * after);
        put(
            "accuracy",
            format!("{before:.1} % before, {after:.1} % after"),
        );
    }
    if let Some(step) = summary["best_step"].as_u64() {
        put("best step", step.to_string());
    }
    if let Some(why) = summary["withheld"].as_str() {
        put("not served", why.to_owned());
    }
    for (at, row) in summary["examples"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let told = |field: &str| row[field].as_str().unwrap_or_default().trim();
        let _ = writeln!(text, "  row {}", at + 1);
        for field in ["prompt", "expected", "before", "after"] {
            // One line each, whatever it holds: answers may have several, and nothing in them commands a terminal.
            let line = told(field).escape_debug().to_string();
            let line = line.replace("\\\"", "\"").replace("\\'", "'");
            let _ = writeln!(text, "    {field:<10}{line}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_summary_reads_as_before_and_after() {
        let summary = json!({
            "held_out_rows": 20, "best_step": 120,
            "before": {"loss": 2.301, "accuracy": 0.41}, "after": {"loss": 0.512, "accuracy": 0.884},
            "examples": [{"prompt": "Write 3 \"in\" brackets.", "expected": "[3]", "before": "three\nfour\u{1b}[2J", "after": "[3]"}],
        });
        let expected = "\
Held-out rows
  rows      20
  loss      2.3010 before, 0.5120 after
  accuracy  41.0 % before, 88.4 % after
  best step 120
  row 1
    prompt    Write 3 \"in\" brackets.
    expected  [3]
    before    three\\nfour\\u{1b}[2J
    after     [3]
";
        assert_eq!(text(&summary), expected);
        let none = json!({"held_out_rows": 2, "best_step": null, "before": null, "after": null, "examples": []});
        assert_eq!(text(&none), "Held-out rows\n  rows      2\n");
    }
}
