//! A report for people at a terminal: 80 columns, what needs attention first.

use super::finding::{Finding, Report, Severity, percent};
use super::text::is_unit;
use crate::domain::thousands;

/// Columns of a line.
const WIDTH: usize = 80;
const BAR: usize = 20;
/// Where the text of a section begins.
const INDENT: usize = 2;
/// Tasks, classes and groups that are shown; the rest are in the JSON report.
const SHOWN: usize = 10;

/// `name` is the file's.
pub fn to_text(report: &Report, name: &str) -> String {
    let mut page = Page::default();
    let verdict = match (report.usable, report.findings.len()) {
        (false, _) => "cannot be trained on as it is",
        (true, 0) => "nothing to remark",
        (true, _) => "can be trained on",
    };
    let kinds: Vec<&str> = report.kinds.keys().map(String::as_str).collect();
    page.put(
        0,
        &format!(
            "{}: {} rows, {}, {verdict}",
            printable(name),
            thousands(report.rows as u64),
            size(report.bytes)
        ),
    );
    if !kinds.is_empty() {
        page.put(0, &format!("Form: {}", kinds.join(", ")));
    }
    if !report.findings.is_empty() {
        page.section("Findings");
        report
            .findings
            .iter()
            .for_each(|finding| page.finding(finding));
    }
    if report.bad_rows.total > 0 {
        page.section("Rows that cannot be used");
        for row in &report.bad_rows.first {
            page.put_hanging(
                INDENT,
                8,
                &format!("line {}: {}", row.line, printable(&row.why)),
            );
        }
        page.more(report.bad_rows.total, report.bad_rows.first.len());
    }
    page.lengths(report);
    page.tasks(report);
    page.classes(report);
    page.languages(report);
    page.between(report);
    if !report.warnings.is_empty() {
        page.section("Not used, or changed");
        report
            .warnings
            .iter()
            .for_each(|warning| page.put_hanging(INDENT, 2, &printable(warning)));
    }
    if !report.bounds.is_empty() {
        page.section("Bounds");
        report
            .bounds
            .iter()
            .for_each(|bound| page.put_hanging(INDENT, 2, bound));
    }
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn section(&mut self, title: &str) {
        self.text.push('\n');
        self.text.push_str(title);
        self.text.push('\n');
    }

    fn put(&mut self, indent: usize, text: &str) {
        self.put_hanging(indent, 0, text);
    }

    /// Lines of a text after the first stand further in.
    fn put_hanging(&mut self, indent: usize, hanging: usize, text: &str) {
        for (at, line) in wrapped(text, WIDTH - indent, hanging)
            .into_iter()
            .enumerate()
        {
            let blanks = indent + if at > 0 { hanging } else { 0 };
            self.text.push_str(&" ".repeat(blanks));
            self.text.push_str(line.trim_end());
            self.text.push('\n');
        }
    }

    fn more(&mut self, all: usize, shown: usize) {
        if all > shown {
            self.put(
                INDENT,
                &format!("and {} more", thousands((all - shown) as u64)),
            );
        }
    }

    fn finding(&mut self, finding: &Finding) {
        let severity = severity(finding.severity);
        self.put_hanging(
            INDENT,
            9,
            &format!(
                "{severity:<8} {} [{}]",
                printable(&finding.says),
                finding.code
            ),
        );
        if !finding.lines.is_empty() {
            let lines: Vec<String> = finding.lines.iter().map(ToString::to_string).collect();
            let word = if lines.len() == 1 && finding.count <= 1 {
                "line"
            } else {
                "lines"
            };
            let more = if finding.count > lines.len() {
                ", …"
            } else {
                ""
            };
            let share = percent(finding.share);
            self.put_hanging(
                INDENT + 9,
                2,
                &format!("{word} {}{more} ({share})", lines.join(", ")),
            );
        }
        for shown in finding
            .examples
            .iter()
            .filter(|shown| !shown.text.is_empty())
        {
            self.put_hanging(
                INDENT + 9,
                2,
                &format!("{}: {}", shown.line, printable(&shown.text)),
            );
        }
        self.put_hanging(INDENT + 9, 2, &format!("→ {}", finding.advice));
    }

    fn bar(&mut self, share: f64, rows: usize, name: &str) {
        let filled = (share * BAR as f64).round() as usize;
        let filled = filled.clamp(usize::from(rows > 0), BAR);
        let bar = format!("{}{}", "█".repeat(filled), "·".repeat(BAR - filled));
        let name = cut(&printable(name), WIDTH - INDENT - BAR - 20);
        self.put(
            INDENT,
            &format!(
                "{bar} {:>9} {:>6}  {name}",
                thousands(rows as u64),
                percent(share)
            ),
        );
    }

    fn lengths(&mut self, report: &Report) {
        let lengths = &report.lengths;
        if lengths.rows == 0 {
            return;
        }
        self.section(&format!("Lengths in {}", lengths.unit));
        let line = format!(
            "median {}, mean {:.0}, 95 % up to {}, longest {}, {} in all",
            thousands(lengths.median as u64),
            lengths.mean,
            thousands(lengths.p95 as u64),
            thousands(lengths.longest as u64),
            thousands(lengths.total)
        );
        self.put(INDENT, &line);
        if let Some(limit) = lengths.limit {
            let over = match lengths.over {
                0 => "none is longer".to_owned(),
                over => format!(
                    "{} ({}) are longer and would be refused",
                    thousands(over as u64),
                    percent(lengths.over_share)
                ),
            };
            self.put(
                INDENT,
                &format!(
                    "of at most {} (`max_seq` where a job says nothing): {over}",
                    thousands(limit as u64)
                ),
            );
        }
        let most = lengths
            .histogram
            .iter()
            .map(|bar| bar[2])
            .max()
            .unwrap_or(0);
        for [from, to, rows] in lengths
            .histogram
            .iter()
            .filter(|_| lengths.histogram.len() > 1)
        {
            let filled = (rows * BAR).div_ceil(most.max(1));
            let range = format!("{from}–{}", to - 1);
            self.put(
                INDENT,
                &format!(
                    "{range:>13} {:>9} {}",
                    thousands(*rows as u64),
                    "█".repeat(filled)
                ),
            );
        }
    }

    fn tasks(&mut self, report: &Report) {
        let tasks = &report.tasks;
        if tasks.total == 0 {
            return;
        }
        self.section(&format!("Tasks ({})", tasks.total));
        for task in tasks.largest.iter().take(SHOWN) {
            self.bar(task.share, task.rows, &task.task);
        }
        let shown: usize = tasks.largest.iter().take(SHOWN).map(|task| task.rows).sum();
        let rest =
            tasks.largest.iter().map(|task| task.rows).sum::<usize>() - shown + tasks.other_rows;
        if rest > 0 {
            let share = rest as f64 / report.rows.max(1) as f64;
            self.bar(share, rest, "others, each of few rows");
        }
    }

    fn classes(&mut self, report: &Report) {
        for classes in &report.classes {
            let of = match (&classes.field, &classes.task) {
                (Some(field), _) => format!("by `{}`", printable(field)),
                (None, Some(task)) => format!("of `{}`", cut(&printable(task), 40)),
                (None, None) => "of the answers".to_owned(),
            };
            self.section(&format!(
                "Classes {of} ({}, {:.1} to 1)",
                classes.total, classes.ratio
            ));
            for class in classes.largest.iter().take(SHOWN) {
                self.bar(class.share, class.rows, &class.name);
            }
            self.more(classes.total, classes.largest.len().min(SHOWN));
        }
    }

    fn languages(&mut self, report: &Report) {
        // One language is no news.
        if report.languages.len() < 2 {
            return;
        }
        self.section("Languages of answers in sentences");
        for language in report.languages.iter().take(SHOWN) {
            self.bar(language.share, language.rows, language.name.name());
        }
    }

    /// What is seen between rows.
    fn between(&mut self, report: &Report) {
        let copies = &report.near_duplicates;
        if copies.rows > 0 {
            self.section("Groups of rows that repeat each other");
            for group in copies.groups.iter().take(SHOWN) {
                let lines: Vec<String> = group.lines.iter().map(ToString::to_string).collect();
                let more = if group.rows > lines.len() {
                    ", …"
                } else {
                    ""
                };
                let how = match group.exact {
                    true => "exactly".to_owned(),
                    false => format!("Jaccard {:.2}", group.likeness),
                };
                self.put_hanging(
                    INDENT,
                    2,
                    &format!("{how}: lines {}{more}", lines.join(", ")),
                );
            }
            self.more(copies.total_groups, copies.groups.len().min(SHOWN));
        }
        if report.conflicts.questions > 0 {
            self.section("Questions with different answers");
            for group in report.conflicts.groups.iter().take(SHOWN) {
                let lines: Vec<String> = group.iter().map(ToString::to_string).collect();
                self.put_hanging(INDENT, 2, &format!("lines {}", lines.join(", ")));
            }
            self.more(
                report.conflicts.questions,
                report.conflicts.groups.len().min(SHOWN),
            );
        }
        if let Some(leakage) = &report.leakage {
            self.section("Held-out rows that are trained on");
            self.put(
                INDENT,
                &format!(
                    "{} of {} ({})",
                    leakage.rows,
                    leakage.held_out_rows,
                    percent(leakage.share)
                ),
            );
            for leak in leakage.first.iter().take(SHOWN) {
                self.put(
                    INDENT,
                    &format!(
                        "held-out line {} is line {} ({})",
                        leak.held_out_line, leak.line, leak.kind
                    ),
                );
            }
            self.more(leakage.rows, leakage.first.len().min(SHOWN));
        }
    }
}

pub const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

/// Bytes with a decimal unit.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.0} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// Characters that would command a terminal are shown as they are written in a program.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

/// Columns of a character.
fn columns(c: char) -> usize {
    let wide = is_unit(c)
        && !matches!(c as u32, 0xE00..=0xEFF | 0x1000..=0x109F | 0x1780..=0x17FF | 0xFF66..=0xFF9F);
    let wide = wide
        || matches!(c as u32, 0x1100..=0x115F | 0x3000..=0x303F | 0xAC00..=0xD7AF | 0xFF01..=0xFF60 | 0x1_F300..=0x1_FAFF);
    if wide { 2 } else { 1 }
}

/// As many characters as fit in so many columns.
fn cut(text: &str, width: usize) -> String {
    let all: usize = text.chars().map(columns).sum();
    if all <= width {
        return text.to_owned();
    }
    let mut taken = 1;
    let kept = text.chars().take_while(|c| {
        taken += columns(*c);
        taken <= width
    });
    kept.chain(['…']).collect()
}

/// Lines of at most `width` columns, broken at blanks where there are any; all but the first are `hanging` shorter.
fn wrapped(text: &str, width: usize, hanging: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_inclusive(' ') {
        let needs: usize = word.trim_end().chars().map(columns).sum();
        let room = if lines.len() > 1 {
            width - hanging
        } else {
            width
        };
        if used + needs > room && used > 0 {
            lines.push(String::new());
            used = 0;
        }
        for c in word.chars() {
            let room = if lines.len() > 1 {
                width - hanging
            } else {
                width
            };
            if used + columns(c) > room && c != ' ' {
                lines.push(String::new());
                used = 0;
            }
            used += columns(c);
            if let Some(line) = lines.last_mut() {
                line.push(c);
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_to_their_columns_in_any_script() {
        let text = "A sentence that is rather long, with words and 一些没有空格的中文字符放在一起以便看看它们在哪里换行 and an endofaverylongwordwithoutanyblankswhichdoesnotfit.";
        let lines = wrapped(text, 40, 4);
        assert!(lines.len() > 3);
        for (at, line) in lines.iter().enumerate() {
            let used: usize = line.trim_end().chars().map(columns).sum();
            assert!(used <= if at > 0 { 36 } else { 40 }, "{line}");
        }
        assert_eq!(lines.concat(), text);
        assert_eq!(cut("血压高血压", 7), "血压高…");
        assert_eq!(printable("a\u{1b}[2J"), "a\\u{1b}[2J");
    }
}
