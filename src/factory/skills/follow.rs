//! Following what the prompt itself lays down: a glossary, a template, examples of a mapping.

use super::lexicon::{COUNTED, SPOTS, THINGS, WORDS};
use super::{value, values};
use crate::factory::record::{Record, fill};
use crate::factory::words::Draw;

pub fn glossary_word(draw: &mut Draw) -> Record {
    let (terms, meanings, glossary) = glossary(draw, 4);
    let at = draw.below(terms.len());
    if draw.chance(0.3) {
        let meaning = &meanings[at];
        Record::new(format!("Which word means {meaning}?"), glossary, &terms[at])
    } else {
        let ask = match draw.below(3) {
            0 => format!("What does {} mean?", terms[at]),
            1 => format!("Explain {}.", terms[at]),
            _ => format!("Look up {}.", terms[at]),
        };
        Record::new(ask, glossary, &meanings[at])
    }
}

pub fn glossary_text(draw: &mut Draw) -> Record {
    let (terms, meanings, glossary) = glossary(draw, 4);
    let count = draw.between(2, 4);
    let picks: Vec<usize> = (0..count).map(|_| draw.below(terms.len())).collect();
    let keep = if draw.chance(0.4) {
        Some(draw.name())
    } else {
        None
    };
    let write = |of: &[String]| {
        let words = picks.iter().map(|&at| of[at].clone());
        // A name the glossary does not hold stays as it is.
        keep.iter()
            .cloned()
            .chain(words)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let ask = draw.one(&[
        "Translate the text.",
        "Use the glossary on the text.",
        "Write the text in plain words.",
    ]);
    Record::new(
        ask,
        format!("{glossary}\ntext: {}", write(&terms)),
        write(&meanings),
    )
}

const TEMPLATES: &[&str] = &[
    "The {a} belongs to {b}.",
    "{a} lives in {b}.",
    "Dear {a}, please meet {b}.",
    "{b} and {a} will come.",
    "Send {a} to {b} today.",
    "[{a}] <{b}>",
    "{a} -> {b}",
    "From {a} to {b}.",
    "Ask {b} about {a}, not about {c}.",
    "{a}, {b} and {c} are here.",
    "{c} must give {a} to {b}.",
    "{a} will not see {b} before {c}.",
    "No. {a}: {b}",
    "{b} has had {a} for {c} days.",
    "Notice for {a}: the {b} is closed.",
    "{a} can keep the {b} within {c} hours.",
];

pub fn template(draw: &mut Draw) -> Record {
    let template = if draw.chance(0.7) {
        draw.one(TEMPLATES).to_owned()
    } else {
        invented(draw)
    };
    let values = values(draw, 3);
    let slots: Vec<(char, &str)> = ['a', 'b', 'c']
        .into_iter()
        .zip(values.iter().map(String::as_str))
        .filter(|(slot, _)| template.contains(&format!("{{{slot}}}")))
        .collect();
    let mut lines: Vec<String> = slots
        .iter()
        .map(|(slot, value)| format!("{slot}: {value}"))
        .collect();
    if draw.chance(0.5) {
        lines.reverse();
    }
    let ask = draw.one(&[
        "Fill the template.",
        "Fill in the blanks.",
        "Put the values in place.",
    ]);
    Record::new(
        ask,
        format!("{template}\n{}", lines.join("\n")),
        fill(&template, &slots),
    )
}

/// A template of random words around two slots.
fn invented(draw: &mut Draw) -> String {
    let mut parts: Vec<String> = (0..draw.between(1, 5))
        .map(|_| draw.one(WORDS).to_owned())
        .collect();
    for slot in ["{a}", "{b}"] {
        let at = draw.below(parts.len() + 1);
        parts.insert(at, slot.to_owned());
    }
    parts.join(" ")
}

const SENTENCES: &[&str] = &[
    "{a} has {n} {o}",
    "{n} {o} for {a}",
    "{a} took {n} {o} to the {s}",
    "in the {s} {a} counted {n} {o}",
    "the {t} of {a} cost {n}",
    "{a} in the {s}, {n}",
    "no. {n}: {a}, {t}",
    "{t} / {a} / {n}",
];
const SHAPES: &[&str] = &[
    "{a}: {n}",
    "{n} {a}",
    "({a}, {n})",
    "{a} {n}",
    "{n} -> {a}",
    "{a}={n}",
    "<{n}>{a}",
    "{a} had {n}.",
    "{n}, says {a}.",
    "name {a} number {n}",
    "{a}",
    "{n}",
    "[{a}] [{n}]",
    "{\"who\":\"{a}\",\"n\":{n}}",
];

/// Two or three lines mapped one way; the last is to be mapped likewise.
pub fn examples(draw: &mut Draw) -> Record {
    let sentence = draw.one(SENTENCES);
    let shape = draw.one(SHAPES);
    let shown = draw.between(2, 3);
    let names = draw.names(shown + 1);
    let mut lines = Vec::new();
    let mut answer = String::new();
    for (at, name) in names.iter().enumerate() {
        let number = draw.number(2, 999);
        let values = [
            ('a', name.as_str()),
            ('n', number.as_str()),
            ('o', draw.one(COUNTED)),
            ('s', draw.one(SPOTS)),
            ('t', draw.one(THINGS)),
        ];
        let (from, to) = (fill(sentence, &values), fill(shape, &values));
        if at < shown {
            lines.push(format!("{from} => {to}"));
        } else {
            lines.push(format!("{from} =>"));
            answer = to;
        }
    }
    let ask = draw.one(&[
        "Go on like the examples.",
        "Follow the pattern.",
        "Finish the last line.",
    ]);
    Record::new(ask, lines.join("\n"), answer)
}

/// Terms, meanings, and the text that pairs them.
fn glossary(draw: &mut Draw, most: usize) -> (Vec<String>, Vec<String>, String) {
    let count = draw.between(2, most);
    let mut terms: Vec<String> = Vec::with_capacity(count);
    while terms.len() < count {
        let term = if draw.chance(0.2) {
            value(draw)
        } else {
            draw.word()
        };
        if !terms.contains(&term) {
            terms.push(term);
        }
    }
    let meanings: Vec<String> = if draw.chance(0.3) {
        let pairs = draw.several(WORDS, 2 * count);
        pairs.chunks(2).map(|pair| pair.join(" ")).collect()
    } else {
        draw.several(WORDS, count)
            .into_iter()
            .map(str::to_owned)
            .collect()
    };
    let is = draw.one(&[" = ", " means ", ": "]);
    let text = terms
        .iter()
        .zip(&meanings)
        .map(|(term, meaning)| format!("{term}{is}{meaning}"))
        .collect::<Vec<_>>()
        .join(draw.one(&["\n", "; "]));
    (terms, meanings, text)
}
