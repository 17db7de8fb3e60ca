//! From the sums to the report: what is worth saying, and in which order.

use std::collections::BTreeMap;

use super::classes::Of;
use super::finding::{Finding, Lines, Named, Report, SHOWN, Severity, Tasks, rows, share};
use super::fold::{Flaws, Fold, bad_rows};
use super::pairs;
use super::scope::{ENOUGH, Odd, Scope};
use super::secrets::Kind;
use super::{Options, check};
use crate::domain::Recipe;
use crate::trainer::data::{ReadFault, RowReader, held_out};

/// Of the schema of reports.
const VERSION: u32 = 1;
/// Rows of a task over those of another from which tasks are out of balance.
const TASK_RATIO: usize = 20;

pub fn report(fold: Fold<'_>) -> Report {
    let all = fold.rows;
    let mut findings = Vec::new();
    findings.extend(bad_rows(&fold.bad, all));
    let whole_file = fold.broken.is_empty();
    findings.extend(fold.broken.into_iter().map(broken));
    findings.extend(nothing(all).filter(|_| whole_file));
    let held_bad = fold.held_bad;
    if held_bad.count > 0 {
        let says = format!(
            "{} of the held-out file cannot be used",
            rows(held_bad.count)
        );
        let advice =
            "Correct these rows or take them out; the lines are those of the held-out file.";
        let count = held_bad.count;
        findings.push(held_bad.finding("held_out_bad_rows", Severity::Error, count, says, advice));
    }
    let (tasks, answers) = fold.clusters.tasks(fold.good);
    let mut classes = Vec::new();
    if let Some(field) = fold.options.label {
        let of = Of {
            field: Some(field),
            task: None,
        };
        let judged = fold.labels.judge(of, all);
        classes.extend(judged.map(|(found, more)| {
            findings.extend(more);
            found
        }));
    }
    let of_all = fold.answers.judge(Of::default(), all);
    let by_task = || {
        let of = |task| Of {
            field: None,
            task: Some(task),
        };
        answers
            .iter()
            .filter_map(|(task, tally)| tally.judge(of(task.as_str()), all))
            .collect()
    };
    let inferred = of_all.map_or_else(by_task, |found| vec![found]);
    for (found, more) in inferred {
        // Classes that were named are those to be balanced.
        let named = fold.options.label.is_some();
        findings.extend(
            more.into_iter()
                .filter(|finding| !(named && finding.code == "class_imbalance")),
        );
        classes.push(found);
    }
    findings.extend(tasks_finding(&tasks, all));
    let mut flaws = fold.flaws;
    findings.extend(odd(
        &fold.instructions.scopes,
        &fold.systems.scopes,
        &fold.all,
        &mut flaws,
        all,
    ));
    findings.extend(flawed(flaws, fold.options.label, all));
    // Which rows a split takes depends on how many there are in all.
    let whole = fold.options.most.is_none_or(|most| fold.bytes < most);
    let held = { fold.options.split }
        .filter(|_| whole)
        .and_then(|(wanted, seed)| held_out(fold.good, wanted, seed).ok());
    let held = held.filter(|held| !held.is_empty());
    let found = fold.pairs.finish(held.as_deref(), all);
    findings.extend(found.findings);
    let mut bounds: Vec<String> = pairs::bound(fold.good).into_iter().collect();
    let measured = fold.tokens.count();
    let (lengths, too_long) = match fold.options.voice {
        Some(voice) => fold.tokens.finish("tokens", voice.judges),
        None => fold.words.finish("words", false),
    };
    if fold.options.voice.is_some() && measured < fold.good {
        bounds.push(format!(
            "lengths in tokens are those of {} of {} rows",
            measured, fold.good
        ));
    }
    findings.extend(too_long);
    findings.sort_by(|a, b| {
        a.severity
            .cmp(&b.severity)
            .then(b.count.cmp(&a.count))
            .then(a.code.cmp(b.code))
    });
    let mut warnings = fold.unused.warnings();
    warnings.extend(fold.remarks.warnings());
    let languages: usize = fold.languages.values().sum();
    let mut named: Vec<_> = { fold.languages.into_iter() }
        .map(|(name, count)| Named {
            name,
            rows: count,
            share: share(count, languages),
        })
        .collect();
    named.sort_by_key(|one| std::cmp::Reverse(one.rows));
    let mut kinds: Vec<(&str, usize)> = fold.kinds.into_iter().collect();
    kinds.sort_by_key(|one| std::cmp::Reverse(one.1));
    Report {
        version: VERSION,
        usable: fold.bad.total == 0 && all > 0 && whole_file,
        rows: all,
        bytes: fold.bytes,
        findings,
        kinds: kinds
            .into_iter()
            .map(|(kind, count)| (kind.to_owned(), count.into()))
            .collect(),
        lengths,
        tasks,
        classes,
        languages: named,
        near_duplicates: found.duplicates,
        conflicts: found.conflicts,
        leakage: found.leakage,
        bad_rows: fold.bad,
        warnings,
        bounds,
    }
}

fn broken(why: String) -> Finding {
    let advice = "Make the file again, or copy it again from where it is whole.";
    Lines::default().finding("unreadable", Severity::Error, 1, why, advice)
}

fn nothing(all: usize) -> Option<Finding> {
    let advice = "Give one record a line (JSON Lines), a JSON array of records, or Parquet.";
    (all == 0).then(|| {
        Lines::default().finding(
            "no_rows",
            Severity::Error,
            1,
            "the file has no rows".into(),
            advice,
        )
    })
}

/// Tasks with an instruction each, of which one has many times the rows of another.
fn tasks_finding(tasks: &Tasks, all: usize) -> Option<Finding> {
    let ([first, .., last], true) = (tasks.largest.as_slice(), tasks.total <= 10 && all >= 50)
    else {
        return None;
    };
    let few = { tasks.largest.iter() }.all(|task| task.instructions * 5 <= task.rows.max(5));
    if !few || first.rows < TASK_RATIO * last.rows || tasks.other_rows * 10 > all {
        return None;
    }
    let lines = Lines {
        count: last.rows,
        first: vec![last.first_line],
        shown: Vec::new(),
    };
    let says = format!(
        "task `{}` has {}, task `{}` {}",
        first.task,
        rows(first.rows),
        last.task,
        last.rows
    );
    let advice =
        "Add rows of the rare task, or leave it out: so few of so many are hardly learned.";
    Some(lines.finding("task_imbalance", Severity::Warning, all, says, advice))
}

/// What is odd about answers: among those to one instruction where most rows have one in common, else to one system
/// prompt, else in the whole file.
fn odd(
    instructions: &[Scope],
    systems: &[Scope],
    whole: &Scope,
    flaws: &mut Flaws,
    all: usize,
) -> Vec<Finding> {
    let large = |scopes: &'_ [Scope]| -> usize {
        scopes
            .iter()
            .filter(|scope| scope.rows >= ENOUGH)
            .map(|scope| scope.rows)
            .sum()
    };
    let scopes: Vec<&Scope> = match () {
        () if 2 * large(instructions) >= whole.rows => instructions.iter().collect(),
        () if systems.len() > 1 && 10 * large(systems) >= 9 * whole.rows => {
            systems.iter().collect()
        }
        () => vec![whole],
    };
    let mut found: BTreeMap<Odd, Vec<(String, Lines)>> = BTreeMap::new();
    for scope in scopes {
        for (kind, says, lines) in scope.odd() {
            found.entry(kind).or_default().push((says, lines));
        }
    }
    // Answers that certainly break off are told with those that only look so.
    if let Some(long) = found.remove(&Odd::Unfinished) {
        long.into_iter()
            .for_each(|(_, lines)| flaws.cut.merge(lines));
    }
    let mut findings = Vec::new();
    for (kind, mut parts) in found {
        parts.sort_by_key(|one| std::cmp::Reverse(one.1.count));
        let others: usize = parts.iter().skip(1).map(|(_, lines)| lines.count).sum();
        let more = match parts.len() {
            1 => String::new(),
            2 => format!("; {} more in 1 other task", rows(others)),
            many => format!("; {} more in {} other tasks", rows(others), many - 1),
        };
        let mut lines = Lines::default();
        let mut says = String::new();
        for (said, part) in parts {
            if says.is_empty() {
                says = said;
            }
            lines.merge(part);
        }
        let (code, severity, advice) = kind.words();
        findings.push(lines.finding(code, severity, all, says + &more, advice));
    }
    findings
}

impl Odd {
    const fn words(self) -> (&'static str, Severity, &'static str) {
        match self {
            Self::Format => (
                "inconsistent_format",
                Severity::Warning,
                "Give all answers to one instruction one form, or say in the instruction which one is wanted.",
            ),
            Self::Keys => (
                "inconsistent_keys",
                Severity::Warning,
                "Name the same things by the same keys in every object.",
            ),
            Self::Types => (
                "inconsistent_types",
                Severity::Warning,
                "Write the value of a key in one way: a number as a number everywhere.",
            ),
            Self::Endings => (
                "inconsistent_endings",
                Severity::Note,
                "End all sentences alike; the model learns when to stop from them.",
            ),
            Self::Unfinished => (
                "unfinished_answers",
                Severity::Warning,
                "Complete these answers.",
            ),
            Self::Language => (
                "inconsistent_language",
                Severity::Warning,
                "Answer in one language, or say in the instruction which one is wanted.",
            ),
            Self::Length => (
                "unusual_length",
                Severity::Note,
                "Look at these answers: far longer or shorter ones are often mistakes.",
            ),
        }
    }
}

const HAVE: (&str, &str) = ("has", "have");

/// What is wrong with rows by themselves.
fn flawed(flaws: Flaws, label: Option<&str>, all: usize) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut put = |code, severity, lines: Lines, (one, many): (&str, &str), what: &str, advice| {
        if lines.count > 0 {
            let verb = if lines.count == 1 { one } else { many };
            let says = format!("{} {verb} {what}", rows(lines.count));
            found.push(lines.finding(code, severity, all, says, advice));
        }
    };
    let few = |lines: Lines, most: f64| {
        if share(lines.count, all) <= most {
            lines
        } else {
            Lines::default()
        }
    };
    put(
        "placeholder_answers",
        Severity::Warning,
        // What many rows answer is meant so.
        few(flaws.placeholders, 0.05),
        HAVE,
        "a placeholder where an answer should be",
        "Write the answers, or take the rows out.",
    );
    put(
        "answer_repeats_question",
        Severity::Warning,
        few(flaws.repeats, 0.5),
        ("answers", "answer"),
        "with the question itself",
        "Write the answers, or take the rows out.",
    );
    put(
        "unfinished_answers",
        Severity::Warning,
        // Text that is cut everywhere is cut on purpose.
        few(flaws.cut, 0.3),
        HAVE,
        "an answer that seems to break off",
        "Complete these answers: the model would learn to stop in the middle.",
    );
    put(
        "mojibake",
        Severity::Warning,
        flaws.mojibake,
        HAVE,
        "characters that were decoded wrongly",
        "Make the file again from its source, read and written as UTF-8.",
    );
    put(
        "missing_label",
        Severity::Warning,
        flaws.without_label,
        HAVE,
        &format!("no class in `{}`", label.unwrap_or_default()),
        "Give every row a text, number or truth value there; `--balance` refuses rows without.",
    );
    found.extend(secret(&flaws.secrets, true, all));
    found.extend(secret(&flaws.secrets, false, all));
    found
}

/// Keys and accounts in one finding, what names people in another.
fn secret(found: &BTreeMap<Kind, Lines>, secret: bool, all: usize) -> Option<Finding> {
    let mut lines = Lines::default();
    let mut named = Vec::new();
    for (kind, of) in found.iter().filter(|(kind, _)| kind.is_secret() == secret) {
        named.push(format!("{} in {}", kind.plural(), rows(of.count)));
        lines.merge(of.clone());
    }
    lines.first.dedup();
    lines.shown.truncate(SHOWN);
    let says = format!("what looks like {}", named.join(", "));
    let (code, severity, advice) = match secret {
        true => (
            "secrets",
            Severity::Warning,
            "Take them out, and revoke keys that are real: a model may repeat what it has learned.",
        ),
        false => (
            "personal_data",
            Severity::Note,
            "Take them out or put others in their place, unless those people agreed.",
        ),
    };
    (lines.count > 0).then(|| lines.finding(code, severity, all, says, advice))
}

/// Bytes of a file that a job is warned about when it is created.
const GLANCE: u64 = 16 << 20;

/// What a job is to be warned of: a sentence for each finding that its settings do not take care of, of the beginning of a
/// large file.
///
/// # Errors
/// That one of the files cannot be read from its disk.
pub fn at_a_glance(
    rows: RowReader,
    held_out: Option<RowReader>,
    recipe: &Recipe,
) -> Result<Vec<String>, ReadFault> {
    let options = Options {
        label: recipe.balance.as_deref(),
        split: (recipe.eval_split > 0.0).then_some((recipe.eval_split, recipe.seed)),
        most: Some(GLANCE),
        ..Options::default()
    };
    let report = check(rows, held_out, &options)?.report;
    let minded = |finding: &Finding| match finding.code {
        "near_duplicates" => recipe.dedup,
        "leakage" => recipe.dedup && options.split.is_some(),
        "class_imbalance" => recipe.balance.is_some(),
        // Refused or told by the job itself.
        "bad_rows" | "held_out_bad_rows" | "no_rows" | "unreadable" => true,
        _ => finding.severity == Severity::Note,
    };
    let told = report.findings.iter().filter(|finding| !minded(finding));
    Ok(told
        .map(|finding| match finding.lines.first() {
            Some(line) => format!("data: {} (the first at line {line})", finding.says),
            None => format!("data: {}", finding.says),
        })
        .collect())
}
