//! Clinical shorthand in; one plain sentence out.

use crate::factory::record::{Record, fill};
use crate::factory::words::Draw;

const INSTRUCTION: &str = "Write the clinical note as a plain sentence.";

/// Shorthand and what it stands for.
type Glossary = [(&'static str, &'static str)];

const SYMPTOMS: &Glossary = &[
    ("HA", "a headache"),
    ("SOB", "shortness of breath"),
    ("CP", "chest pain"),
    ("N/V", "nausea and vomiting"),
    ("LBP", "back pain"),
    ("abd pain", "belly pain"),
    ("fvr", "a fever"),
    ("dizz", "dizziness"),
];
const CONDITIONS: &Glossary = &[
    ("HTN", "high blood pressure"),
    ("DM", "diabetes"),
    ("CAD", "heart disease"),
    ("COPD", "lung disease"),
    ("UTI", "a bladder infection"),
    ("GERD", "acid reflux"),
    ("CKD", "kidney disease"),
];
const TIMES: &Glossary = &[
    ("qd", "once a day"),
    ("bid", "twice a day"),
    ("tid", "three times a day"),
    ("qid", "four times a day"),
    ("qhs", "at bedtime"),
    ("prn", "when needed"),
];
const ROUTES: &Glossary = &[
    ("PO", "by mouth"),
    ("IV", "into a vein"),
    ("IM", "into a muscle"),
    ("SL", "under the tongue"),
];
const TESTS: &Glossary = &[
    ("CXR", "a chest X-ray"),
    ("ECG", "a heart tracing"),
    ("CBC", "a blood count"),
    ("UA", "a urine test"),
];
const SPANS: &Glossary = &[("d", "days"), ("wk", "weeks"), ("mo", "months")];
const SEXES: &Glossary = &[("M", "man"), ("F", "woman")];

/// `{a}` is a person, `{g}` a drug, `{n}` a number; `{s}` a symptom, `{c}` a condition, `{t}` a time, `{r}` a route,
/// `{x}` a test, `{u}` a unit of time, `{m}` a sex: shorthand in the note, words in the sentence.
struct Note {
    shorthand: &'static [&'static str],
    plain: &'static str,
}

const NOTES: [Note; 7] = [
    Note {
        shorthand: &[
            "Pt {a} c/o {s} x {n} {u}.",
            "{a} p/w {s}, {n} {u}.",
            "CC {s} x {n} {u}, pt {a}.",
        ],
        plain: "{a} has had {s} for {n} {u}.",
    },
    Note {
        shorthand: &[
            "Rx {g} {n} mg {r} {t}.",
            "{g} {n} mg {r} {t}, start.",
            "Start {g} {r} {t}, {n} mg.",
        ],
        plain: "Take {n} mg of {g} {r} {t}.",
    },
    Note {
        shorthand: &[
            "{a}, {n} yo {m}, PMH {c}.",
            "{n} yo {m} w/ h/o {c}, {a}.",
            "Pt {a} {n} {m}, hx {c}.",
        ],
        plain: "{a} is a {n}-year-old {m} who has had {c}.",
    },
    Note {
        shorthand: &[
            "Pt {a} denies {s}, NKDA.",
            "{a}: no {s}, NKDA.",
            "NKDA. {a} neg for {s}.",
        ],
        plain: "{a} has no allergies and does not have {s}.",
    },
    Note {
        shorthand: &[
            "F/u {n} {u} w/ {x}.",
            "RTC {n} {u}, {x}.",
            "{x} then f/u {n} {u}.",
        ],
        plain: "Come back in {n} {u} for {x}.",
    },
    Note {
        shorthand: &["D/c {g} 2/2 {s}.", "Stop {g}, {s}.", "{s} on {g}, d/c."],
        plain: "Stop {g} because of {s}.",
    },
    Note {
        shorthand: &[
            "Dx {c}. {g} {t}.",
            "{c}: tx {g} {t}.",
            "Pt w/ {c}, cont {g} {t}.",
        ],
        plain: "Take {g} {t} for {c}.",
    },
];

pub fn record(draw: &mut Draw) -> Record {
    let note = &NOTES[draw.below(NOTES.len())];
    let person = draw.name();
    let drug = draw.drug();
    let number = draw.number(2, 95);
    let mut short = vec![
        ('a', person.as_str()),
        ('g', drug.as_str()),
        ('n', number.as_str()),
    ];
    let mut long = short.clone();
    for (slot, glossary) in [
        ('s', SYMPTOMS),
        ('c', CONDITIONS),
        ('t', TIMES),
        ('r', ROUTES),
        ('x', TESTS),
        ('u', SPANS),
        ('m', SEXES),
    ] {
        let (shorthand, words) = glossary[draw.below(glossary.len())];
        short.push((slot, shorthand));
        long.push((slot, words));
    }
    let shorthand = draw.one(note.shorthand);
    Record::new(
        INSTRUCTION,
        fill(shorthand, &short),
        fill(note.plain, &long),
    )
}
