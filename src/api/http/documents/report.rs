//! The report on a file's quality.

use super::super::shape::{ANY_NUMBER, COUNT, FLAG, Field, Kind, Shape, TEXT};
use super::{list_of, shape};

const SHOWN: Shape = shape(
    "ReportQuote",
    "A row as a report quotes it; secrets are masked.",
    &[&[
        Field::new("line", COUNT, "Counted from 1.").required(),
        Field::new("text", TEXT, "").required(),
    ]],
);
const FINDING: Shape = shape(
    "ReportFinding",
    "Something about some of the rows that somebody should know.",
    &[&[
        Field::new("code", TEXT, "For programs.").required(),
        Field::new(
            "severity",
            Kind::Choice(&["error", "warning", "note"]),
            "Jobs refuse files with errors.",
        )
        .required(),
        Field::new("says", TEXT, "For people.").required(),
        Field::new("count", COUNT, "Rows it is about.").required(),
        Field::new("share", ANY_NUMBER, "Of all rows.").required(),
        Field::new("lines", list_of(&COUNT), "The first 20 of their lines.").required(),
        Field::new("examples", list_of(&Kind::Object(&SHOWN)), "").required(),
        Field::new("advice", TEXT, "What to do about it.").required(),
    ]],
);
const LENGTHS: Shape = shape(
    "ReportLengths",
    "How long rows are.",
    &[&[
        Field::new("unit", Kind::Choice(&["tokens", "words"]), "").required(),
        Field::new("rows", COUNT, "Rows that were measured.").required(),
        Field::new("total", COUNT, "").required(),
        Field::new("mean", ANY_NUMBER, "").required(),
        Field::new("median", COUNT, "").required(),
        Field::new("p95", COUNT, "").required(),
        Field::new("longest", COUNT, "").required(),
        Field::new("limit", COUNT, "`max_seq` where a job says nothing."),
        Field::new("over", COUNT, "Rows that are longer.").required(),
        Field::new("over_share", ANY_NUMBER, "").required(),
        Field::new("over_lines", list_of(&COUNT), "").required(),
        Field::new(
            "histogram",
            list_of(&list_of(&COUNT)),
            "`[from, to, rows]`.",
        )
        .required(),
    ]],
);
const TASK: Shape = shape(
    "ReportTask",
    "A kind of instructions.",
    &[&[
        Field::new("task", TEXT, "In the words of its instructions.").required(),
        Field::new("rows", COUNT, "").required(),
        Field::new("share", ANY_NUMBER, "").required(),
        Field::new("instructions", COUNT, "Different ones.").required(),
        Field::new("first_line", COUNT, "").required(),
        Field::new(
            "labels",
            Kind::Any,
            "Answers and their rows, where they are chosen from a few.",
        ),
        Field::new("formats", Kind::Any, "Forms of answers and their rows.").required(),
        Field::new(
            "format_consistency",
            ANY_NUMBER,
            "Share of the most frequent form.",
        )
        .required(),
    ]],
);
const TASKS: Shape = shape(
    "ReportTasks",
    "",
    &[&[
        Field::new("total", COUNT, "").required(),
        Field::new("largest", list_of(&Kind::Object(&TASK)), "").required(),
        Field::new("other_rows", COUNT, "Rows of tasks that are not listed.").required(),
    ]],
);
const BAD_ROW: Shape = shape(
    "ReportBadRow",
    "",
    &[&[
        Field::new("line", COUNT, "Counted from 1.").required(),
        Field::new("why", TEXT, "").required(),
    ]],
);
const BAD_ROWS: Shape = shape(
    "ReportBadRows",
    "Rows that cannot be used.",
    &[&[
        Field::new("total", COUNT, "").required(),
        Field::new("first", list_of(&Kind::Object(&BAD_ROW)), "The first 20.").required(),
    ]],
);
pub(in super::super) const REPORT: Shape = shape(
    "DataReport",
    "What is in a training file, and what is wrong with it; docs/data-report.md describes every part.",
    &[&[
        Field::new("version", COUNT, "Of this schema.").required(),
        Field::new("usable", FLAG, "Whether a job would take the file.").required(),
        Field::new("rows", COUNT, "").required(),
        Field::new("bytes", COUNT, "").required(),
        Field::new(
            "findings",
            list_of(&Kind::Object(&FINDING)),
            "Errors first; empty where nothing is to be said.",
        )
        .required(),
        Field::new("kinds", Kind::Any, "Forms of records and their rows.").required(),
        Field::new("lengths", Kind::Object(&LENGTHS), "").required(),
        Field::new("tasks", Kind::Object(&TASKS), "").required(),
        Field::new(
            "classes",
            list_of(&Kind::Any),
            "Sets of classes and how they are spread.",
        )
        .required(),
        Field::new(
            "languages",
            list_of(&Kind::Any),
            "Scripts and languages of answers.",
        )
        .required(),
        Field::new("near_duplicates", Kind::Any, "Rows that repeat each other.").required(),
        Field::new("conflicts", Kind::Any, "Questions with different answers.").required(),
        Field::new(
            "leakage",
            Kind::Any,
            "Held-out rows that are trained on, where rows are held out.",
        ),
        Field::new("bad_rows", Kind::Object(&BAD_ROWS), "").required(),
        Field::new(
            "warnings",
            list_of(&TEXT),
            "Keys that are not used, and what the chat template changes.",
        )
        .required(),
        Field::new(
            "bounds",
            list_of(&TEXT),
            "What was left out of a large file.",
        )
        .required(),
    ]],
);
