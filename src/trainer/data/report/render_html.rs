//! A report as one page that needs nothing beside it: style and plots are inline, nothing runs and nothing is loaded, and
//! all that comes from the file is escaped.

use std::fmt::{Display, Write};

use super::finding::{Finding, Report, percent};
use super::plot;
use super::render_text::{severity, size};
use crate::domain::thousands;

const STYLE: &str = include_str!("report.css");

/// `name` is the file's.
pub fn to_html(report: &Report, name: &str) -> String {
    let mut page = Page::default();
    let name = escaped(name);
    let _ = write!(
        page.0,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{name}: data report</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{name}</h1>\n"
    );
    page.summary(report);
    page.findings(&report.findings);
    page.bad_rows(report);
    page.lengths(report);
    page.tasks(report);
    page.classes(report);
    page.languages(report);
    page.between(report);
    page.list("Not used, or changed", &report.warnings);
    page.list("Bounds of this report", &report.bounds);
    page.0 + "</main>\n</body>\n</html>\n"
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn heading(&mut self, title: &str) {
        let _ = writeln!(self.0, "<h2>{}</h2>", escaped(title));
    }

    /// A table; cells are HTML already.
    fn table(&mut self, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
        self.0.push_str("<table>\n<thead><tr>");
        for cell in head {
            let _ = write!(self.0, "<th>{cell}</th>");
        }
        self.0.push_str("</tr></thead>\n<tbody>\n");
        for row in rows {
            self.0.push_str("<tr>");
            for cell in row {
                let _ = write!(self.0, "<td>{cell}</td>");
            }
            self.0.push_str("</tr>\n");
        }
        self.0.push_str("</tbody>\n</table>\n");
    }

    fn summary(&mut self, report: &Report) {
        let (class, verdict) = match (report.usable, report.findings.is_empty()) {
            (false, _) => ("error", "cannot be trained on as it is"),
            (true, true) => ("fine", "nothing to remark"),
            (true, false) => ("warning", "can be trained on"),
        };
        let kinds: Vec<String> = report.kinds.keys().map(|kind| escaped(kind)).collect();
        let _ = writeln!(
            self.0,
            "<p class=\"summary\"><strong>{}</strong> rows · {} · {} · <span class=\"tag {class}\">{verdict}</span></p>",
            thousands(report.rows as u64),
            size(report.bytes),
            if kinds.is_empty() {
                "no records".to_owned()
            } else {
                kinds.join(", ")
            }
        );
    }

    fn findings(&mut self, findings: &[Finding]) {
        if findings.is_empty() {
            return;
        }
        self.heading("Findings");
        for finding in findings {
            let word = severity(finding.severity);
            let _ = writeln!(
                self.0,
                "<section class=\"finding {word}\">\n<h3><span class=\"tag {word}\">{word}</span> {} <code>{}</code></h3>",
                escaped(&finding.says),
                finding.code
            );
            if !finding.lines.is_empty() {
                let more = if finding.count > finding.lines.len() {
                    ", …"
                } else {
                    ""
                };
                let _ = writeln!(
                    self.0,
                    "<p>Lines {}{more} ({})</p>",
                    listed(&finding.lines),
                    percent(finding.share)
                );
            }
            let shown: Vec<_> = finding
                .examples
                .iter()
                .filter(|shown| !shown.text.is_empty())
                .collect();
            if !shown.is_empty() {
                self.0.push_str("<ul class=\"quotes\">\n");
                for shown in shown {
                    let _ = writeln!(
                        self.0,
                        "<li><span class=\"line\">{}</span> <q>{}</q></li>",
                        shown.line,
                        escaped(&shown.text)
                    );
                }
                self.0.push_str("</ul>\n");
            }
            let _ = writeln!(
                self.0,
                "<p class=\"advice\">{}</p>\n</section>",
                escaped(finding.advice)
            );
        }
    }

    fn bad_rows(&mut self, report: &Report) {
        if report.bad_rows.total == 0 {
            return;
        }
        self.heading(&format!(
            "Rows that cannot be used ({})",
            thousands(report.bad_rows.total as u64)
        ));
        let rows = report.bad_rows.first.iter();
        self.table(
            &["Line", "Why"],
            rows.map(|row| vec![row.line.to_string(), escaped(&row.why)]),
        );
    }

    fn lengths(&mut self, report: &Report) {
        let lengths = &report.lengths;
        if lengths.rows == 0 {
            return;
        }
        self.heading(&format!("Lengths in {}", lengths.unit));
        let over = match lengths.limit {
            None => String::new(),
            Some(limit) => format!(
                " Of at most {} tokens (<code>max_seq</code> where a job says nothing), {} ({}) are longer and would be refused.",
                thousands(limit as u64),
                thousands(lengths.over as u64),
                percent(lengths.over_share)
            ),
        };
        let _ = writeln!(
            self.0,
            "<p>Median {}, mean {:.0}, 95 % up to {}, longest {}, {} in all.{over}</p>",
            thousands(lengths.median as u64),
            lengths.mean,
            thousands(lengths.p95 as u64),
            thousands(lengths.longest as u64),
            thousands(lengths.total)
        );
        let _ = writeln!(
            self.0,
            "{}",
            plot::histogram(&lengths.histogram, lengths.limit)
        );
    }

    fn tasks(&mut self, report: &Report) {
        if report.tasks.total == 0 {
            return;
        }
        self.heading(&format!("Tasks ({})", report.tasks.total));
        let rows = report.tasks.largest.iter().map(|task| {
            let formats: Vec<String> = task
                .formats
                .keys()
                .take(3)
                .map(|format| escaped(format))
                .collect();
            vec![
                plot::share(task.share),
                thousands(task.rows as u64),
                percent(task.share),
                escaped(&task.task),
                task.instructions.to_string(),
                formats.join("; "),
            ]
        });
        self.table(
            &["", "Rows", "Share", "Task", "Instructions", "Answers"],
            rows,
        );
        if report.tasks.other_rows > 0 {
            let _ = writeln!(
                self.0,
                "<p>{} rows of other tasks, each of few rows.</p>",
                thousands(report.tasks.other_rows as u64)
            );
        }
    }

    fn shares<'a>(&mut self, what: &str, items: impl Iterator<Item = (&'a str, usize, f64)>) {
        let rows = items.map(|(name, rows, share)| {
            vec![
                plot::share(share),
                thousands(rows as u64),
                percent(share),
                escaped(name),
            ]
        });
        self.table(&["", "Rows", "Share", what], rows);
    }

    fn classes(&mut self, report: &Report) {
        for classes in &report.classes {
            let of = match (&classes.field, &classes.task) {
                (Some(field), _) => format!("by {field}"),
                (None, Some(task)) => format!("of “{task}”"),
                (None, None) => "of the answers".to_owned(),
            };
            self.heading(&format!(
                "Classes {of} ({}, {:.1} to 1)",
                classes.total, classes.ratio
            ));
            self.shares(
                "Class",
                classes
                    .largest
                    .iter()
                    .map(|class| (class.name.as_str(), class.rows, class.share)),
            );
        }
    }

    fn languages(&mut self, report: &Report) {
        if report.languages.len() > 1 {
            self.heading("Languages of answers in sentences");
            self.shares(
                "Language",
                report
                    .languages
                    .iter()
                    .map(|language| (language.name.name(), language.rows, language.share)),
            );
        }
    }

    fn between(&mut self, report: &Report) {
        let copies = &report.near_duplicates;
        if copies.rows > 0 {
            self.heading(&format!(
                "Groups of rows that repeat each other ({})",
                copies.total_groups
            ));
            let rows = copies.groups.iter().map(|group| {
                let how = match group.exact {
                    true => "exactly".to_owned(),
                    false => format!("Jaccard {:.2}", group.likeness),
                };
                vec![group.rows.to_string(), how, listed(&group.lines)]
            });
            self.table(&["Rows", "How alike", "Lines"], rows);
        }
        if report.conflicts.questions > 0 {
            self.heading(&format!(
                "Questions with different answers ({})",
                report.conflicts.questions
            ));
            self.table(
                &["Lines"],
                report
                    .conflicts
                    .groups
                    .iter()
                    .map(|group| vec![listed(group)]),
            );
        }
        if let Some(leakage) = report.leakage.as_ref().filter(|leakage| leakage.rows > 0) {
            self.heading(&format!(
                "Held-out rows that are trained on ({} of {})",
                leakage.rows, leakage.held_out_rows
            ));
            let rows = { leakage.first.iter() }.map(|leak| {
                vec![
                    leak.held_out_line.to_string(),
                    leak.line.to_string(),
                    leak.kind.to_owned(),
                ]
            });
            self.table(&["Held-out line", "Line", "How"], rows);
        }
    }

    fn list(&mut self, title: &str, items: &[String]) {
        if items.is_empty() {
            return;
        }
        self.heading(title);
        self.0.push_str("<ul>\n");
        for item in items {
            let _ = writeln!(self.0, "<li>{}</li>", escaped(item));
        }
        self.0.push_str("</ul>\n");
    }
}

fn listed(lines: &[impl Display]) -> String {
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    lines.join(", ")
}

/// Text as HTML has it, also within attributes; control characters and those that turn the direction of text are left out.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(' '),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c if c.is_control() => {}
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_file_becomes_markup() {
        let text = escaped("<script>alert(\"x\")</script> & 'y'\u{1b}\u{202e}");
        assert_eq!(
            text,
            "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; &#39;y&#39;"
        );
    }
}
