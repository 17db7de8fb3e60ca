//! Copying all of the input, or the part that was asked for.

use super::lexicon::{COLORS, FIELDS, JOBS, THINGS};
use super::{value, values};
use crate::factory::record::Record;
use crate::factory::words::Draw;

pub fn copy(draw: &mut Draw) -> Record {
    let count = draw.between(1, 6);
    let text = values(draw, count).join(draw.one(&[" ", " ", ", "]));
    let ask = draw.one(&[
        "Repeat the text.",
        "Copy the line.",
        "Say this again.",
        "Write the same words.",
        "Echo.",
    ]);
    Record::new(ask, &text, &text)
}

pub fn list_item(draw: &mut Draw) -> Record {
    let count = draw.between(2, 5);
    let items = values(draw, count);
    let at = draw.below(count);
    let rank = if at + 1 == count && draw.chance(0.5) {
        "last"
    } else {
        ["first", "second", "third", "fourth", "fifth"][at]
    };
    let ask = match draw.below(3) {
        0 => format!("Give the {rank} item."),
        1 => format!("Which item is {rank}?"),
        _ => format!("Write only the {rank} word of the list."),
    };
    Record::new(
        ask,
        items.join(draw.one(&[", ", "; ", " / ", "\n"])),
        &items[at],
    )
}

pub fn field(draw: &mut Draw) -> Record {
    let (labels, values, text) = card(draw, 1);
    let at = draw.below(labels.len());
    let label = labels[at];
    let ask = match draw.below(5) {
        0 => format!("What is the {label}?"),
        1 => format!("Give the {label}."),
        2 => format!("Extract the {label}."),
        3 => format!("Find the {label} in the card."),
        _ => format!("{label}?"),
    };
    Record::new(ask, text, &values[at])
}

pub fn fields(draw: &mut Draw) -> Record {
    let (labels, values, text) = card(draw, 2);
    let first = draw.below(labels.len());
    let second = (first + draw.between(1, labels.len() - 1)) % labels.len();
    let (one, two) = (labels[first], labels[second]);
    let (ask, answer) = match draw.below(4) {
        0 => (
            format!("Give the {one} and the {two}."),
            format!("{}, {}", values[first], values[second]),
        ),
        1 => (
            format!("Write the {one} and then the {two}."),
            format!("{} {}", values[first], values[second]),
        ),
        2 => (
            format!("Write {one} / {two}."),
            format!("{} / {}", values[first], values[second]),
        ),
        _ => (
            format!("Name the {one} and the {two} in a sentence."),
            format!(
                "The {one} is {} and the {two} is {}.",
                values[first], values[second]
            ),
        ),
    };
    Record::new(ask, text, answer)
}

/// A card of labelled values in another notation.
pub fn notation(draw: &mut Draw) -> Record {
    let (labels, values, text) = card(draw, 2);
    let keep = labels.len().min(3);
    let pairs: Vec<(&str, &str)> = labels
        .iter()
        .copied()
        .zip(values.iter().map(String::as_str))
        .take(keep)
        .collect();
    let lines: Vec<String> = text
        .split(['\n', ';'])
        .map(|line| line.trim().to_owned())
        .take(keep)
        .collect();
    let each = |shape: &str, between: &str| {
        pairs
            .iter()
            .map(|(label, value)| shape.replace("LABEL", label).replace("VALUE", value))
            .collect::<Vec<_>>()
            .join(between)
    };
    let (ask, answer) = match draw.below(6) {
        0 | 1 => (
            "Write the card as JSON.",
            format!("{{{}}}", each("\"LABEL\":\"VALUE\"", ",")),
        ),
        2 => ("Write the card as tags.", each("<LABEL>VALUE</LABEL>", "")),
        3 => ("Write the card as one row.", each("VALUE", " | ")),
        4 => ("List the labels.", each("LABEL", ", ")),
        _ => (
            "Write the card as a sentence.",
            format!("{}.", each("The LABEL is VALUE", ", ")),
        ),
    };
    Record::new(ask, lines.join("\n"), answer)
}

/// Labels, their values, and the text that shows them.
fn card(draw: &mut Draw, least: usize) -> (Vec<&'static str>, Vec<String>, String) {
    let count = draw.between(least.max(2), 4);
    let labels = draw.several(FIELDS, count);
    let mut values: Vec<String> = Vec::with_capacity(count);
    for label in &labels {
        let value = match *label {
            "age" => draw.number(2, 99),
            "size" | "code" | "number" | "year" => draw.number(2, 9999),
            "color" => draw.one(COLORS).to_owned(),
            "job" => draw.one(JOBS).to_owned(),
            "thing" => draw.one(THINGS).to_owned(),
            "word" => value(draw),
            _ => draw.name(),
        };
        values.push(value);
    }
    let is = draw.one(&[": ", ": ", " = ", " is "]);
    let between = draw.one(&["\n", "\n", "; "]);
    let text = labels
        .iter()
        .zip(&values)
        .map(|(label, value)| format!("{label}{is}{value}"))
        .collect::<Vec<_>>()
        .join(between);
    (labels, values, text)
}
