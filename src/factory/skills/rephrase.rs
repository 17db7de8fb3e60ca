//! Saying the same in another form.

use super::lexicon::{ACTS, COLORS, THINGS};
use super::{value, values};
use crate::factory::record::{Record, fill};
use crate::factory::words::Draw;

/// Active into passive, passive into active, statement into question.
pub fn passive(draw: &mut Draw) -> Record {
    let (act, past) = ACTS[draw.below(ACTS.len())];
    let name = draw.name();
    let slots = [
        ('a', name.as_str()),
        ('c', draw.one(COLORS)),
        ('t', draw.one(THINGS)),
        ('v', act),
        ('w', past),
    ];
    let active = fill("{a} {w} the {c} {t}.", &slots);
    let passive = fill("The {c} {t} was {w} by {a}.", &slots);
    match draw.below(5) {
        0 => Record::new("Make the sentence passive.", active, passive),
        1 => Record::new("Make the sentence active.", passive, active),
        2 => Record::new(
            "Turn the sentence into a question.",
            active,
            fill("Did {a} {v} the {c} {t}?", &slots),
        ),
        3 => Record::new(
            "Make it a plan.",
            active,
            fill("{a} will {v} the {c} {t}.", &slots),
        ),
        _ => Record::new(
            "Deny it.",
            passive,
            fill("{a} did not {v} the {c} {t}.", &slots),
        ),
    }
}

pub fn reorder(draw: &mut Draw) -> Record {
    let count = draw.between(2, 4);
    let parts = values(draw, count);
    let mark = draw.one(&[" | ", " / ", " + ", ", "]);
    let text = parts.join(mark);
    match draw.below(4) {
        0 => {
            let turned: Vec<String> = parts.iter().rev().cloned().collect();
            Record::new("Write the parts in reverse order.", text, turned.join(mark))
        }
        1 => {
            let mut moved = parts.clone();
            moved.rotate_left(1);
            Record::new("Move the first part to the end.", text, moved.join(mark))
        }
        2 => Record::new("Leave out the first part.", text, parts[1..].join(mark)),
        _ => {
            let new = draw.one(&[" and ", " - ", " ", "; "]);
            let ask = format!("Join the parts with \"{new}\".");
            Record::new(ask, text, parts.join(new))
        }
    }
}

pub fn wrap(draw: &mut Draw) -> Record {
    let count = draw.between(1, 3);
    let text = values(draw, count).join(" ");
    match draw.below(5) {
        0 => Record::new("Put the text in brackets.", &text, format!("({text})")),
        1 => Record::new("Put the text in quotes.", &text, format!("\"{text}\"")),
        2 => {
            let head = value(draw);
            Record::new(
                format!("Write {head} before the text."),
                &text,
                format!("{head} {text}"),
            )
        }
        3 => {
            let tail = value(draw);
            Record::new(
                format!("Write {tail} after the text."),
                &text,
                format!("{text} {tail}"),
            )
        }
        _ => Record::new("Write the text twice.", &text, format!("{text} {text}")),
    }
}
