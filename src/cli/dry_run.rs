//! What `train --dry-run` shows.

use serde_json::Value;

use super::output::{Table, cell};
use super::{Failure, Output, size};
use crate::domain::{parameters_report, thousands};

/// Prints a plan; a failure where the job would not run.
pub fn show(plan: &Value, output: Output) -> Result<(), Failure> {
    output.show(plan, as_text)?;
    match plan["fits_in_smaller_forwards"].as_bool() {
        Some(false) => Err(Failure::failed("the job does not fit")),
        _ => Ok(()),
    }
}

fn as_text(plan: &Value) -> String {
    let count = |field: &str| thousands(plan[field].as_u64().unwrap_or(0));
    let bytes = |field: &str| plan[field].as_u64().map(size);
    let of = |which: &str| plan["parameters"][which].as_u64().unwrap_or(0);
    let mut text = format!(
        "`{}` on {}, nothing created\n{} rows to learn from, {} held out; {} tokens, {} of them learned, {} in the longest row\n{} steps an epoch, {} in all\n{}\n\n",
        cell(plan, "name"),
        cell(plan, "model"),
        count("rows"),
        count("held_out_rows"),
        count("tokens"),
        count("trained_tokens"),
        count("longest_row"),
        count("steps_per_epoch"),
        count("steps"),
        parameters_report(of("trainable"), of("all")),
    );
    let mut table = Table::new(&["PART", "AT THE PEAK"]);
    for (part, value) in plan["parts"].as_object().into_iter().flatten() {
        table.row(vec![part.clone(), size(value.as_u64().unwrap_or(0))]);
    }
    let peak = bytes("training_bytes").unwrap_or_default();
    table.row(vec!["training".to_owned(), peak]);
    text += &table.render();
    let left = match (bytes("memory_limit"), bytes("available_bytes")) {
        (Some(limit), Some(left)) => format!("memory_limit {limit}, machine {left}"),
        (Some(limit), None) => format!("memory_limit {limit}"),
        (None, Some(left)) => format!("machine {left}"),
        (None, None) => "no limit is known".to_owned(),
    };
    text += &match (&plan["fits"], &plan["fits_in_smaller_forwards"]) {
        (Value::Bool(true), _) => format!("\nIt fits ({left}).\n"),
        (_, Value::Bool(true)) => {
            format!("\nIt fits only in smaller forwards ({left}), which the job would take.\n")
        }
        _ => format!("\nIt does not fit ({left}).\n"),
    };
    let mut changes = Table::default();
    for change in plan["changes"].as_array().into_iter().flatten() {
        let settings = change["settings"].as_object().into_iter().flatten();
        let settings: Vec<String> = settings
            .map(|(name, value)| format!("{name} {}", value.as_str().unwrap_or_default()))
            .collect();
        let taken = size(change["training_bytes"].as_u64().unwrap_or(0));
        let fits = if change["fits"] == true {
            "fits"
        } else {
            "too much"
        };
        changes.row(vec![
            format!("  {}", settings.join(", ")),
            taken,
            fits.to_owned(),
        ]);
    }
    text += &changes.render();
    for warning in plan["warnings"].as_array().into_iter().flatten() {
        text += &format!("warning: {}\n", warning.as_str().unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_says_what_fits_and_a_job_that_would_not_run_fails() {
        let plan = json!({
            "name": "law", "model": "base", "rows": 1200, "held_out_rows": 10, "tokens": 5000, "trained_tokens": 900,
            "longest_row": 60, "steps_per_epoch": 150, "steps": 450, "parameters": {"trainable": 12, "all": 100},
            "parts": {"activations": 3 << 20, "optimizer": 1 << 20}, "training_bytes": 4 << 20, "memory_limit": 2 << 20,
            "available_bytes": null, "fits": false, "fits_in_smaller_forwards": false, "warnings": ["a key is not used"],
            "changes": [{"settings": {"max_seq": "32"}, "training_bytes": 1 << 20, "fits": true}],
        });
        let text = as_text(&plan);
        for said in [
            "1,200 rows to learn from, 10 held out",
            "150 steps an epoch, 450 in all",
            "trainable params: 12 || all params: 100 || trainable%: 12.0000",
            "activations  3.0 MiB",
            "It does not fit (memory_limit 2.0 MiB)",
            "max_seq 32  1.0 MiB  fits",
            "warning: a key is not used",
        ] {
            assert!(text.contains(said), "{said}\n{text}");
        }
        assert!(show(&plan, Output::new(true)).is_err());
    }
}
