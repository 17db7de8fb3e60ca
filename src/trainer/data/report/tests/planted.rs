//! Files with something wrong that was put there.

use serde_json::{Value, json};

use super::{lines, pick, report, report_with};
use crate::trainer::data::report::finding::{Finding, Report};
use crate::trainer::data::report::{Options, to_html, to_text};

/// The findings' codes, and the lines of one of them.
fn finding<'a>(report: &'a Report, code: &str) -> &'a Finding {
    let found = report.findings.iter().find(|finding| finding.code == code);
    found.unwrap_or_else(|| panic!("no {code} in:\n{}", to_text(report, "file")))
}

fn only<'a>(report: &'a Report, code: &str) -> &'a Finding {
    let found = finding(report, code);
    assert_eq!(report.findings.len(), 1, "{}", to_text(report, "file"));
    found
}

const WORDS: [&str; 40] = [
    "tenant", "river", "doctor", "ledger", "window", "garden", "engine", "letter", "market",
    "bridge", "silver", "pepper", "lantern", "meadow", "harbor", "needle", "orchard", "pillow",
    "quarry", "ribbon", "saddle", "timber", "valley", "walnut", "anchor", "basket", "candle",
    "desert", "estate", "forest", "guitar", "hammer", "island", "jacket", "kettle", "ladder",
    "magnet", "nickel", "oyster", "parcel",
];

fn text(seed: u64, words: u64) -> String {
    let words: Vec<&str> = (0..words).map(|at| pick(&WORDS, seed * 97 + at)).collect();
    format!("The {}.", words.join(" "))
}

fn rows(count: u64) -> Vec<Value> {
    (0..count).map(|n| json!({"instruction": format!("Explain the {} of case {n}.", text(n, 6)), "output": text(n + 5000, 20)})).collect()
}

fn set(row: &mut Value, key: &str, value: impl Into<Value>) {
    row[key] = value.into();
}

#[test]
fn copies_exact_and_near() {
    let mut rows = rows(200);
    let mut again = rows[20].clone();
    rows.push(again.clone());
    set(
        &mut again,
        "output",
        format!("  {} ", rows[20]["output"].as_str().unwrap().to_uppercase()),
    );
    rows.push(again);
    let mut near = rows[50].clone();
    set(
        &mut near,
        "output",
        format!("{} Indeed.", rows[50]["output"].as_str().unwrap()),
    );
    rows.push(near);
    let report = report(&rows);
    assert_eq!(only(&report, "near_duplicates").lines, [201, 202, 203]);
    assert_eq!(
        (report.near_duplicates.exact, report.near_duplicates.near),
        (2, 1)
    );
    let groups: Vec<&[usize]> = report
        .near_duplicates
        .groups
        .iter()
        .map(|group| group.lines.as_slice())
        .collect();
    assert_eq!(groups, [&[21, 201, 202][..], &[51, 203]]);
}

#[test]
fn different_answers_to_one_question() {
    let mut rows = rows(100);
    let mut other = rows[7].clone();
    set(
        &mut other,
        "instruction",
        rows[7]["instruction"]
            .as_str()
            .unwrap()
            .to_uppercase()
            .replace(' ', "  "),
    );
    set(&mut other, "output", text(90_000, 20));
    rows.push(other);
    let report = report(&rows);
    assert_eq!(only(&report, "conflicting_answers").lines, [8, 101]);
    assert_eq!(report.conflicts.groups, [[8, 101]]);
}

#[test]
fn classes_out_of_balance() {
    let classify = |n: u64, answer: &str, kind: &str| json!({"instruction": "Name the mood.", "input": format!("{} {n}", text(n, 12)), "output": answer, "kind": kind});
    let rows: Vec<Value> = (0..200)
        .map(|n| classify(n, if n % 20 == 0 { "bad" } else { "good" }, "x"))
        .collect();
    let found = report(&rows);
    assert!(
        only(&found, "class_imbalance")
            .says
            .contains("`good` occurs 190 times, `bad` 10")
    );
    let rows: Vec<Value> = (0..200)
        .map(|n| {
            classify(
                n,
                &text(n * 3, 9),
                if n % 20 == 0 { "rare" } else { "usual" },
            )
        })
        .collect();
    let options = Options {
        label: Some("kind"),
        ..Options::default()
    };
    let found = report_with(&lines(&rows), None, &options);
    assert_eq!(only(&found, "class_imbalance").lines[..3], [1, 21, 41]);
    assert_eq!(found.classes[0].field.as_deref(), Some("kind"));
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
}

#[test]
fn answers_in_other_forms() {
    let object = |n: u64| json!({"party": pick(&WORDS, n), "amount": n * 3 + 1}).to_string();
    let rows_of = |answer: &dyn Fn(u64) -> String| -> Vec<Value> {
        (0..100).map(|n| json!({"instruction": "Turn the entry into JSON.", "input": format!("{} {n}", text(n, 12)), "output": answer(n)})).collect()
    };
    let report_of = |answer: &dyn Fn(u64) -> String| report(&rows_of(answer));
    let found = report_of(&|n| {
        if n == 30 || n == 60 {
            format!("The party is {}.", pick(&WORDS, n))
        } else {
            object(n)
        }
    });
    assert_eq!(only(&found, "inconsistent_format").lines, [31, 61]);
    let found = report_of(&|n| {
        if n == 30 {
            format!("```json\n{}\n```", object(n))
        } else {
            object(n)
        }
    });
    assert_eq!(only(&found, "inconsistent_format").lines, [31]);
    let found = report_of(&|n| {
        if n == 30 {
            object(n).replace("amount", "sum")
        } else {
            object(n)
        }
    });
    assert_eq!(only(&found, "inconsistent_keys").lines, [31]);
    let found = report_of(&|n| {
        if n == 30 {
            object(n).replace(":91", ":\"91\"")
        } else {
            object(n)
        }
    });
    assert_eq!(only(&found, "inconsistent_types").lines, [31]);
    let found = report_of(&|n| {
        if n == 30 {
            object(n)[..14].to_owned()
        } else {
            object(n)
        }
    });
    assert_eq!(finding(&found, "inconsistent_format").lines, [31]);
}

#[test]
fn answers_in_another_language_or_without_an_end() {
    let mut rows = rows(100);
    set(
        &mut rows[40],
        "output",
        "Der Mieter zahlt die Miete, und das ist nicht der Fall, wenn er auf Reisen ist.",
    );
    set(
        &mut rows[41],
        "output",
        "租客每个月的第一天支付租金，这是合同规定的。",
    );
    for row in &mut rows {
        let answer = row["output"]
            .as_str()
            .unwrap()
            .replace("The ", "The one that is of the ");
        set(row, "output", answer);
    }
    let found = report(&rows);
    assert_eq!(
        finding(&found, "inconsistent_language").lines,
        [41, 42],
        "{}",
        to_text(&found, "file")
    );
    assert_eq!(
        finding(&found, "inconsistent_language").says,
        "of 100 rows, most answers are in English and 1 in German, 1 in Chinese"
    );
    let mut rows = self::rows(100);
    set(&mut rows[9], "output", "The tenant pays the river and the");
    set(&mut rows[10], "output", text(4, 20).trim_end_matches('.'));
    set(&mut rows[11], "output", text(4000, 5).trim_end_matches('.'));
    let found = report(&rows);
    assert_eq!(finding(&found, "unfinished_answers").lines, [10, 11]);
    assert_eq!(finding(&found, "inconsistent_endings").lines, [12]);
}

#[test]
fn rows_that_are_wrong_by_themselves() {
    let mut rows = rows(100);
    set(&mut rows[1], "output", "NaN");
    let question = rows[2]["instruction"].clone();
    set(&mut rows[2], "output", question);
    set(
        &mut rows[3],
        "output",
        format!("{} fÃ¼r donâ€™t.", text(3, 12)),
    );
    set(
        &mut rows[4],
        "output",
        format!(
            "{} Use AKIAIOSFODNN7EXAMPLE or 4111 1111 1111 1111.",
            text(4, 12)
        ),
    );
    set(
        &mut rows[5],
        "output",
        format!("{} Write to jane.doe@acme-mail.org.", text(5, 12)),
    );
    let found = report(&rows);
    for (code, line) in [
        ("placeholder_answers", 2),
        ("answer_repeats_question", 3),
        ("mojibake", 4),
        ("secrets", 5),
        ("personal_data", 6),
    ] {
        assert_eq!(finding(&found, code).lines, [line], "{code}");
    }
    assert_eq!(
        finding(&found, "placeholder_answers").says,
        "1 row has a placeholder where an answer should be"
    );
    let everything = serde_json::to_string(&found).unwrap()
        + &to_text(&found, "file")
        + &to_html(&found, "file");
    assert!(
        !everything.contains("IOSFODNN7")
            && !everything.contains("1111 1111")
            && !everything.contains("jane.doe")
    );
}

#[test]
fn held_out_rows_that_are_trained_on() {
    let mut train = rows(200);
    let mut held_out: Vec<Value> = (300..330_u64).map(|n| json!({"instruction": format!("Say what {} means.", text(n * 7, 9)), "output": text(n * 9, 20)})).collect();
    train[30] = held_out[4].clone();
    let mut near = held_out[6].clone();
    let longer = format!("{} Indeed.", near["output"].as_str().unwrap());
    set(&mut near, "output", longer);
    train[31] = near;
    set(
        &mut held_out[8],
        "instruction",
        train[90]["instruction"].clone(),
    );
    let found = report_with(&lines(&train), Some(&lines(&held_out)), &Options::default());
    only(&found, "leakage");
    let leakage = found.leakage.unwrap();
    assert_eq!(
        (leakage.rows, leakage.exact, leakage.near + leakage.question),
        (3, 1, 2)
    );
    let pairs: Vec<(usize, usize)> = leakage
        .first
        .iter()
        .map(|leak| (leak.held_out_line, leak.line))
        .collect();
    assert_eq!(pairs, [(5, 31), (7, 32), (9, 91)]);
}

#[test]
fn a_split_over_copies_leaks() {
    let rows: Vec<Value> = rows(50).into_iter().cycle().take(100).collect();
    let options = Options {
        split: Some((0.2, 42)),
        ..Options::default()
    };
    let found = report_with(&lines(&rows), None, &options);
    let leakage = found.leakage.as_ref().unwrap();
    assert_eq!((leakage.held_out, leakage.held_out_rows), ("split", 20));
    assert!(leakage.rows > 10 && finding(&found, "leakage").count == leakage.rows);
}

#[test]
fn bad_rows_and_files_that_are_none() {
    let mut bytes = lines(&rows(30));
    bytes.extend(
        b"\n{\"instruction\":\"a\"}\nnot json\n{\"instruction\":\"a\",\"output\":\"  \"}\n",
    );
    let found = report_with(&bytes, None, &Options::default());
    assert!(!found.usable);
    assert_eq!(only(&found, "bad_rows").lines, [31, 32, 33]);
    assert_eq!((found.bad_rows.total, found.rows), (3, 33));
    let found = report_with(b" \n", None, &Options::default());
    assert!(!found.usable);
    only(&found, "no_rows");
}

#[test]
fn a_page_is_whole_and_holds_nothing_but_itself() {
    let mut rows = rows(60);
    rows.push(rows[3].clone());
    set(
        &mut rows[5],
        "output",
        "<script>alert(1)</script> <img src=x onerror=y> und der die das ist nicht <b>gut</b>",
    );
    let page = to_html(&report(&rows), "<i>file</i>.jsonl");
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    assert!(
        !page.contains("<script")
            && !page.contains("<img")
            && !page.contains("<b>")
            && !page.contains("<i>")
    );
    assert!(
        !page.contains("http://") && !page.contains("https://") && !page.contains("src="),
        "nothing is loaded"
    );
    assert!(page.contains("<svg") && page.contains("prefers-color-scheme"));
    let text = to_text(&report(&rows), "file");
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
}
