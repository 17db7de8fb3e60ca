//! A few sentences about people; a question about one of them, or all of it said shorter.

use super::lexicon::{ACTS, COLORS, COUNTED, JOBS, SPOTS, THINGS};
use crate::factory::record::{Record, fill};
use crate::factory::words::Draw;

/// Sentence, then questions with the slot that answers each: `{a}` and `{b}` are people, `{n}` a number, `{o}` counted
/// things, `{s}` a spot, `{t}` a thing, `{c}` a color, `{j}` a job, `{v}` and `{w}` an act and its past.
struct Fact {
    wordings: &'static [&'static str],
    questions: &'static [(&'static str, &'static str)],
    short: &'static str,
}

const FACTS: [Fact; 7] = [
    Fact {
        wordings: &[
            "{a} lives in {b}.",
            "The home of {a} is in {b}.",
            "In {b} there lives {a}.",
        ],
        questions: &[
            ("Where does {a} live?", "{b}"),
            ("Who lives in {b}?", "{a}"),
        ],
        short: "{a} - {b}",
    },
    Fact {
        wordings: &[
            "{a} has {n} {o}.",
            "{n} {o} belong to {a}.",
            "{a} owns {n} of the {o}.",
        ],
        questions: &[
            ("How many {o} does {a} have?", "{n}"),
            ("Who has {n} {o}?", "{a}"),
            ("What does {a} have?", "{n} {o}"),
        ],
        short: "{a}: {n} {o}",
    },
    Fact {
        wordings: &[
            "{a} gave the {t} to {b}.",
            "{b} got the {t} from {a}.",
            "The {t} was given to {b} by {a}.",
        ],
        questions: &[
            ("Who got the {t}?", "{b}"),
            ("Who gave the {t}?", "{a}"),
            ("What did {b} get from {a}?", "the {t}"),
        ],
        short: "{t}: {a} to {b}",
    },
    Fact {
        wordings: &[
            "{a} is a {j}.",
            "The {j} is called {a}.",
            "{a} works as a {j}.",
        ],
        questions: &[
            ("What is the job of {a}?", "{j}"),
            ("Who is the {j}?", "{a}"),
        ],
        short: "{a} ({j})",
    },
    Fact {
        wordings: &[
            "{a} waits in the {s}.",
            "In the {s} {a} is waiting.",
            "The one in the {s} is {a}.",
        ],
        questions: &[
            ("Where is {a}?", "in the {s}"),
            ("Who is in the {s}?", "{a}"),
        ],
        short: "{a} in {s}",
    },
    Fact {
        wordings: &["{a} {w} the {c} {t}.", "The {c} {t} was {w} by {a}."],
        questions: &[
            ("Who {w} the {t}?", "{a}"),
            ("What did {a} {v}?", "the {c} {t}"),
            ("What color is the {t}?", "{c}"),
        ],
        short: "{a}: {c} {t}",
    },
    Fact {
        wordings: &[
            "{a} came after {n} days.",
            "It took {n} days until {a} came.",
            "After {n} days {a} came.",
        ],
        questions: &[
            ("When did {a} come?", "after {n} days"),
            ("Who came after {n} days?", "{a}"),
        ],
        short: "{a} +{n}",
    },
];

pub fn answer(draw: &mut Draw) -> Record {
    let (told, text) = tell(draw, 3);
    let (fact, values) = &told[draw.below(told.len())];
    let (question, answer) = fact.questions[draw.below(fact.questions.len())];
    Record::new(
        fill(question, &lent(values)),
        text,
        fill(answer, &lent(values)),
    )
}

pub fn summary(draw: &mut Draw) -> Record {
    let (told, text) = tell(draw, 2);
    let short: Vec<String> = told
        .iter()
        .map(|(fact, values)| fill(fact.short, &lent(values)))
        .collect();
    let ask = draw.one(&["Say it in short form.", "Shorten the text.", "Take notes."]);
    Record::new(ask, text, short.join("; "))
}

type Told = (&'static Fact, Vec<(char, String)>);

fn tell(draw: &mut Draw, most: usize) -> (Vec<Told>, String) {
    let count = draw.between(1, most);
    let names = draw.names(2 * count);
    let things = draw.several(THINGS, count);
    let spots = draw.several(SPOTS, count);
    let counted = draw.several(COUNTED, count);
    let jobs = draw.several(JOBS, count);
    let (mut told, mut sentences) = (Vec::new(), Vec::new());
    for at in 0..count {
        let fact = &FACTS[draw.below(FACTS.len())];
        let (act, past) = ACTS[draw.below(ACTS.len())];
        let values: Vec<(char, String)> = vec![
            ('a', names[2 * at].clone()),
            ('b', names[2 * at + 1].clone()),
            ('n', draw.number(2, 999)),
            ('t', things[at].to_owned()),
            ('s', spots[at].to_owned()),
            ('o', counted[at].to_owned()),
            ('j', jobs[at].to_owned()),
            ('c', draw.one(COLORS).to_owned()),
            ('v', act.to_owned()),
            ('w', past.to_owned()),
        ];
        sentences.push(fill(draw.one(fact.wordings), &lent(&values)));
        told.push((fact, values));
    }
    (told, sentences.join(" "))
}

fn lent(values: &[(char, String)]) -> Vec<(char, &str)> {
    values
        .iter()
        .map(|(slot, value)| (*slot, value.as_str()))
        .collect()
}
