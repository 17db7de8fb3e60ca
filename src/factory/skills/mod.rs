//! General skills with a checkable answer: copying, picking out, translating by a given glossary, filling templates,
//! following examples, answering from a passage, rephrasing. Names and numbers come from one side of the split.

mod follow;
mod lexicon;
mod passage;
mod pick;
mod rephrase;

use super::record::Record;
use super::words::Draw;
pub use lexicon::WORDS;

/// One family of records.
pub struct Skill {
    pub name: &'static str,
    make: fn(&mut Draw) -> Record,
}

impl Skill {
    pub fn record(&self, draw: &mut Draw) -> Record {
        (self.make)(draw)
    }
}

/// Every family, from the plainest on.
pub const SKILLS: [Skill; 14] = [
    Skill {
        name: "copy",
        make: pick::copy,
    },
    Skill {
        name: "list-item",
        make: pick::list_item,
    },
    Skill {
        name: "field",
        make: pick::field,
    },
    Skill {
        name: "fields",
        make: pick::fields,
    },
    Skill {
        name: "notation",
        make: pick::notation,
    },
    Skill {
        name: "glossary-word",
        make: follow::glossary_word,
    },
    Skill {
        name: "glossary-text",
        make: follow::glossary_text,
    },
    Skill {
        name: "template",
        make: follow::template,
    },
    Skill {
        name: "examples",
        make: follow::examples,
    },
    Skill {
        name: "passage",
        make: passage::answer,
    },
    Skill {
        name: "summary",
        make: passage::summary,
    },
    Skill {
        name: "passive",
        make: rephrase::passive,
    },
    Skill {
        name: "reorder",
        make: rephrase::reorder,
    },
    Skill {
        name: "wrap",
        make: rephrase::wrap,
    },
];

/// A name, a number or a word: what a slot may hold.
fn value(draw: &mut Draw) -> String {
    match draw.below(8) {
        0..=3 => draw.name(),
        4 => draw.number(2, 99),
        5 => draw.number(100, 9999),
        6 => draw.word(),
        _ => draw.one(WORDS).to_owned(),
    }
}

/// `count` values, no two alike.
fn values(draw: &mut Draw, count: usize) -> Vec<String> {
    let mut values: Vec<String> = Vec::with_capacity(count);
    while values.len() < count {
        let next = value(draw);
        if !values.contains(&next) {
            values.push(next);
        }
    }
    values
}
