//! What the report needs to know of one row: a pure function of the row, made on any thread and folded in order.

use super::copies::whole;
use super::flaws::{Ending, ending, is_placeholder, mojibake, repeats};
use super::language::Language;
use super::near::features;
use super::secrets::{self, Found};
use super::text::{normal_hash, quoted, units};
use crate::domain::Role;
use crate::trainer::data::format::{Format, Values};
use crate::trainer::data::record::{Body, Record, is_trained, said};

/// Characters of a text that a report quotes.
pub const QUOTED: usize = 60;
/// Units of an instruction that name its task: words, and characters of a script without spaces.
const HEAD_WORDS: usize = 16;
const HEAD_CHARACTERS: usize = 28;
/// Characters of an answer that may be a class.
const LABEL: usize = 40;

/// What is asked and answered in a row; of two answers, the better one.
pub struct View<'a> {
    pub system: Option<&'a str>,
    /// All texts before the last answer that is trained on.
    pub asked: Vec<&'a str>,
    /// The last of them that is a question.
    pub question: &'a str,
    pub answer: &'a str,
    /// What the answer is compared with.
    pub others: Vec<&'a str>,
}

impl<'a> View<'a> {
    pub fn of(body: &'a Body) -> Self {
        match body {
            Body::Raw { prompt, completion } => Self {
                system: None,
                asked: Some(prompt.as_str())
                    .filter(|text| !text.is_empty())
                    .into_iter()
                    .collect(),
                question: prompt,
                answer: completion,
                others: Vec::new(),
            },
            Body::Chat(turns) => {
                let last = turns.iter().rposition(is_trained).unwrap_or(0);
                let before = &turns[..last];
                let of = |role| before.iter().filter(move |turn| turn.role == role);
                let text = said;
                Self {
                    system: of(Role::System).next().map(text),
                    asked: before.iter().map(text).collect(),
                    question: of(Role::User)
                        .next_back()
                        .or_else(|| before.last())
                        .map_or("", text),
                    answer: turns.get(last).map_or("", text),
                    others: Vec::new(),
                }
            }
            Body::Preference(both) => {
                let mut view = Self::of(&both[0]);
                let other = Self::of(&both[1]);
                view.others.push(other.answer);
                view
            }
        }
    }
}

impl<'a> View<'a> {
    /// The answer, and what it is compared with.
    pub fn answers(&self) -> impl Iterator<Item = &'a str> {
        [self.answer].into_iter().chain(self.others.iter().copied())
    }

    /// All that is asked, then all that is answered.
    pub fn texts(&self) -> impl Iterator<Item = &'a str> {
        self.asked.iter().copied().chain(self.answers())
    }
}

/// Of one row.
pub struct Facts {
    pub line: usize,
    pub form: &'static str,
    /// Whether its answer is compared with another.
    pub compares: bool,
    /// What the task of the row is named by, and a hash of it.
    pub head: String,
    pub head_hash: u64,
    pub system: Option<(u64, String)>,
    pub question_hash: u64,
    pub answer_hash: u64,
    pub whole_hash: u64,
    pub features: Vec<u32>,
    pub shown_question: String,
    pub shown_answer: String,
    pub shown_end: String,
    /// The answer, where it is short enough to be a class.
    pub class: Option<String>,
    pub format: Format,
    pub values: Values,
    pub words: usize,
    pub answer_words: usize,
    pub asked_language: Option<Language>,
    pub language: Option<Language>,
    pub ending: Ending,
    /// Whether the question ends as a sentence does.
    pub asked_whole: bool,
    pub placeholder: bool,
    pub repeats: bool,
    pub mojibake: Option<String>,
    pub secrets: Vec<Found>,
}

impl Facts {
    pub fn of(line: usize, record: &Record) -> Self {
        let view = View::of(&record.body);
        let head = head(
            record
                .task
                .as_deref()
                .unwrap_or(match view.asked.is_empty() {
                    true => "",
                    false => first_question(&record.body, &view),
                }),
        );
        let (format, values) = Format::of(view.answer);
        let prose = matches!(format, Format::Line | Format::Text);
        let asked_hash = normal_hash(view.asked.iter().copied());
        let answer_hash = normal_hash([view.answer]);
        let answered_hash = match view.others.is_empty() {
            true => answer_hash,
            false => normal_hash(view.answers()),
        };
        let (features, counts) = features(view.texts());
        let mut secrets = Vec::new();
        view.texts()
            .for_each(|text| secrets::scan(text, &mut secrets));
        let trimmed = view.answer.trim();
        let short = trimmed.len() <= 4 * LABEL
            && trimmed.chars().count() <= LABEL
            && !trimmed.contains('\n');
        let answer_words = counts.get(view.asked.len()).copied().unwrap_or(0);
        // A few words say little of a language.
        let language = (prose && answer_words >= 3)
            .then(|| Language::of(view.answer))
            .flatten()
            .filter(|language| answer_words >= 6 || matches!(language, Language::Of(_)));
        let echo = view.system.is_none() && view.asked.len() == 1;
        let facts = Self {
            line,
            form: record.form,
            compares: !view.others.is_empty(),
            head_hash: normal_hash([head]),
            head: quoted(head, 2 * QUOTED),
            system: view
                .system
                .map(|text| (normal_hash([text]), quoted(text, 2 * QUOTED))),
            // Raw text without a prompt is told apart by itself.
            question_hash: if view.asked.is_empty() {
                answer_hash
            } else {
                asked_hash
            },
            answer_hash,
            whole_hash: whole(asked_hash, answered_hash),
            features,
            shown_question: quoted(view.question, QUOTED),
            shown_answer: quoted(view.answer, QUOTED),
            shown_end: ending_of(view.answer),
            class: short.then(|| trimmed.to_owned()),
            values,
            words: counts.iter().take(view.asked.len() + 1).sum(),
            answer_words,
            // It is asked for only where the answer has one.
            asked_language: language.and_then(|_| Language::of(view.question)),
            language,
            ending: ending(view.answer, prose),
            asked_whole: super::text::ends_whole(view.question),
            placeholder: is_placeholder(view.answer),
            repeats: (echo && repeats(view.answer, view.question))
                || record
                    .task
                    .as_deref()
                    .is_some_and(|task| repeats(view.answer, task)),
            mojibake: view.texts().find_map(mojibake),
            secrets,
            format,
        };
        facts.guarded()
    }

    /// A row with something to hide is not quoted anywhere.
    fn guarded(mut self) -> Self {
        if !self.secrets.is_empty() {
            const HIDDEN: &str = "(not shown: it holds secrets or personal data)";
            for text in [
                &mut self.shown_question,
                &mut self.shown_answer,
                &mut self.shown_end,
            ] {
                HIDDEN.clone_into(text);
            }
            self.class = None;
            for text in { self.system.iter_mut().map(|(_, text)| text) }.chain([&mut self.head]) {
                let mut found = Vec::new();
                secrets::scan(text, &mut found);
                if !found.is_empty() {
                    HIDDEN.clone_into(text);
                }
            }
        }
        self
    }
}

/// The last characters of a text on one line.
fn ending_of(text: &str) -> String {
    let text = text.trim_end();
    let start = text
        .char_indices()
        .rev()
        .nth(QUOTED - 1)
        .map_or(0, |(at, _)| at);
    match start {
        0 => quoted(text, QUOTED),
        _ => format!("…{}", quoted(&text[start..], QUOTED)),
    }
}

/// The first thing a user asks: later turns of a conversation follow from it.
fn first_question<'a>(body: &'a Body, view: &View<'a>) -> &'a str {
    let turns = match body {
        Body::Chat(turns) => turns,
        Body::Preference(both) => match &both[0] {
            Body::Chat(turns) => turns,
            _ => return view.question,
        },
        Body::Raw { .. } => return view.question,
    };
    let first = turns.iter().find(|turn| turn.role == Role::User);
    first.map_or(view.question, |turn| turn.content.as_str())
}

/// The beginning of a text that says what is to be done: its first line, up to a colon or the end of a sentence.
fn head(text: &str) -> &str {
    let text = text.trim_start();
    let line = text.lines().next().unwrap_or_default();
    let mut weight = 0.0;
    let mut end = line.len();
    for unit in units(line) {
        weight += match unit.single {
            true => 1.0 / HEAD_CHARACTERS as f64,
            false => 1.0 / HEAD_WORDS as f64,
        };
        let rest = &line[unit.end..];
        let stops = ["：", ": ", ". ", "? ", "! ", "。", "？", "！"]
            .iter()
            .any(|stop| rest.starts_with(stop));
        if stops || rest == ":" || weight >= 0.999 {
            end = unit.end;
            break;
        }
    }
    &line[..end]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts(row: serde_json::Value) -> Facts {
        Facts::of(1, &Record::read(row).unwrap().0)
    }

    #[test]
    fn a_task_is_named_by_what_stands_before_its_input() {
        for (row, expected) in [
            (
                json!({"instruction": "Translate to French: Good morning", "output": "Bonjour"}),
                "Translate to French",
            ),
            (
                json!({"instruction": "Name the mood.", "input": "Fine.", "output": "good"}),
                "Name the mood.",
            ),
            (
                json!({"messages": [{"role": "user", "content": "Summarize.\nA long text"}, {"role": "assistant", "content": "Short"}]}),
                "Summarize.",
            ),
            (
                json!({"instruction": "翻译成英文：你好", "output": "Hello"}),
                "翻译成英文",
            ),
            (json!({"text": "Once upon a time."}), ""),
        ] {
            assert_eq!(facts(row).head, expected);
        }
    }

    #[test]
    fn the_same_question_has_the_same_hash_whatever_its_case_and_blanks() {
        let one = facts(json!({"question": "What is  BP?", "answer": "Blood pressure."}));
        let two = facts(json!({"question": "what is bp", "answer": "blood pressure"}));
        assert_eq!(
            (one.question_hash, one.answer_hash, one.whole_hash),
            (two.question_hash, two.answer_hash, two.whole_hash)
        );
        let other = facts(json!({"question": "What is BP?", "answer": "A company"}));
        assert_eq!(one.question_hash, other.question_hash);
        assert_ne!(one.answer_hash, other.answer_hash);
    }

    #[test]
    fn an_answer_that_is_what_was_asked_is_noticed_unless_that_may_be_the_task() {
        assert!(facts(json!({"question": "What is BP?", "answer": "What is BP?"})).repeats);
        assert!(facts(json!({"instruction": "Name the mood.", "input": "Fine.", "output": "Name the mood."})).repeats);
        assert!(!facts(json!({"instruction": "Correct the sentence.", "input": "He goes.", "output": "He goes."})).repeats);
    }
}
