//! Where the rendering of a conversation holds the answer of its last turn.
//!
//! A template is a program, so this is found by looking at what it renders. Mostly the rendered prompt is how the whole
//! conversation begins, and all that follows is the answer. Where it is not (a prompt that opens a thought which a finished
//! answer does not have, earlier turns that are written otherwise once an answer follows), the turn is rendered again with
//! other contents: what stays the same is the template's, what differs is the content's.

use std::ops::Range;

use crate::domain::Message;
use crate::text::{ChatTemplate, TextError};

/// A rendering that holds an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Located {
    pub text: String,
    /// Byte ranges of `text` that the loss covers: in order, apart, none empty, at least one.
    pub answers: Vec<Range<usize>>,
    /// The template itself says where the answer ends; else it goes on to the end of the text.
    pub marked: bool,
}

/// Contents that no template takes for anything: digits, which have no case, nothing to escape and nothing to trim.
/// They share neither their first character nor their last.
const PROBES: [&str; 2] = ["31415926535897932384", "27182818284590452353"];

/// Renders `turns[..=at]` and finds the answer that turn `at` is.
///
/// # Errors
/// Why it cannot be found for certain, or what the template says.
pub fn locate(template: &ChatTemplate, turns: &[Message], at: usize) -> Result<Located, String> {
    let whole = &turns[..=at];
    if !template.marks_answers() {
        return find(template, whole);
    }
    let marked = template.render_marked(whole, false).map_err(told)?;
    let assistants = whole.iter().filter(|turn| turn.role == whole[at].role);
    let answers = match marked.answers.last() {
        None => return find(template, whole),
        Some(last) if marked.answers.len() == assistants.count() => vec![last.clone()],
        Some(_) => within(&marked.answers, template, whole, &marked.text)?,
    };
    Ok(Located {
        text: marked.text,
        answers,
        marked: true,
    })
}

/// Those marked parts that lie in the answer, where they cannot be found by counting.
fn within(
    marks: &[Range<usize>],
    template: &ChatTemplate,
    whole: &[Message],
    text: &str,
) -> Result<Vec<Range<usize>>, String> {
    let found = find(template, whole)?;
    let length = found.text.len() - found.answers.first().map_or(0, |range| range.start);
    let from = text.len() - length;
    let inside: Vec<Range<usize>> = marks
        .iter()
        .filter(|mark| mark.end > from)
        .cloned()
        .collect();
    match inside.is_empty() {
        true => Err("the chat template marks answers, but none in this turn".into()),
        false => Ok(inside),
    }
}

fn find(template: &ChatTemplate, whole: &[Message]) -> Result<Located, String> {
    let (before, _) = whole.split_at(whole.len() - 1);
    let prompt = template.render(before, true).map_err(told)?;
    let text = template.render(whole, false).map_err(told)?;
    let located = |text: String, from: usize| {
        let answer = from..text.len();
        match answer.is_empty() {
            true => Err(LEFT_OUT.to_owned()),
            false => Ok(Located {
                text,
                answers: vec![answer],
                marked: false,
            }),
        }
    };
    if text.starts_with(&prompt) {
        let from = prompt.len();
        return located(text, from);
    }
    match search(template, whole, &text, &prompt)? {
        Begin::At(from) => located(text, from),
        Begin::Behind(from) => located(format!("{prompt}{}", &text[from..]), prompt.len()),
    }
}

const LEFT_OUT: &str =
    "the chat template leaves the whole answer out: there is nothing to learn from it";
const NOT_FOUND: &str = "the chat template does not continue its own prompt with the answer";

enum Begin {
    /// The answer begins here in the rendering of the whole.
    At(usize),
    /// The same, and what comes before it ends as the prompt does: then the answer follows the prompt itself, which is
    /// what a model sees when it serves.
    Behind(usize),
}

fn search(
    template: &ChatTemplate,
    whole: &[Message],
    text: &str,
    prompt: &str,
) -> Result<Begin, String> {
    let last = whole.len() - 1;
    let frame = Frame::of(template, whole, last, false)?
        .ok_or_else(|| format!("{NOT_FOUND}, and does not write an answer as one piece"))?;
    let content = common(text, &frame.head);
    let tail = common_end(text, &frame.tail);
    if text[content..].len() <= tail || text[content..text.len() - tail].trim().is_empty() {
        return Err(LEFT_OUT.into());
    }
    let independent = content == frame.head.len();
    // Most templates write the turns before the answer as if no answer followed; then the prompt's end is what differs.
    if independent
        && let Ok(before) = template.render(&whole[..last], false)
        && text.starts_with(&before)
        && prompt.starts_with(&before)
    {
        return Ok(Begin::At(content));
    }
    let seam = Seam::of(template, whole, text, prompt)?;
    match seam.filter(|seam| seam.text <= content) {
        Some(seam) if text[seam.text..content].starts_with(&prompt[seam.prompt..]) => {
            Ok(Begin::Behind(seam.text + prompt.len() - seam.prompt))
        }
        // All before the content is the same whatever the answer is: it is the template's.
        _ if independent => Ok(Begin::At(content)),
        // What heads the answer depends on it, as where a thought is taken out of it; the prompt tells the header apart.
        Some(seam) => {
            let (header, asks) = (&text[seam.text..content], &prompt[seam.prompt..]);
            match whole_tags(header, common(header, asks)) {
                0 => Err(format!("{NOT_FOUND}, and heads both in different ways")),
                shared => Ok(Begin::At(seam.text + shared)),
            }
        }
        None => Err(format!(
            "{NOT_FOUND}, and does not show where the turn before the answer ends"
        )),
    }
}

/// What a template writes before and after the content of one turn.
struct Frame {
    head: String,
    tail: String,
}

impl Frame {
    /// `None` where the template does not write the content as one piece.
    fn of(
        template: &ChatTemplate,
        turns: &[Message],
        at: usize,
        prompt: bool,
    ) -> Result<Option<Self>, String> {
        let mut turns = turns.to_vec();
        let mut probe = |content: &str| {
            turns[at].content = content.to_owned();
            template.render(&turns, prompt).map_err(told)
        };
        let [one, other] = PROBES;
        let (first, second) = (probe(one)?, probe(other)?);
        let head = &first[..common(&first, &second)];
        let around = |text: &str, probe: &str| {
            let tail = text.strip_prefix(head)?.strip_prefix(probe)?;
            Some(tail.to_owned())
        };
        Ok(match (around(&first, one), around(&second, other)) {
            (Some(tail), Some(same)) if tail == same => Some(Self {
                head: head.to_owned(),
                tail,
            }),
            _ => None,
        })
    }
}

/// Where the content of the turn before the answer ends, in the rendering of the whole and in the prompt.
struct Seam {
    text: usize,
    prompt: usize,
}

impl Seam {
    /// `None` where that cannot be known.
    fn of(
        template: &ChatTemplate,
        whole: &[Message],
        text: &str,
        prompt: &str,
    ) -> Result<Option<Self>, String> {
        let last = whole.len() - 1;
        let Some(previous) = last.checked_sub(1) else {
            return Ok(None);
        };
        let answered = Frame::of(template, whole, previous, false)?;
        let asked = Frame::of(template, &whole[..last], previous, true)?;
        let (Some(answered), Some(asked)) = (answered, asked) else {
            return Ok(None);
        };
        let ends = |text: &str, tail: &str| text.strip_suffix(tail).map(str::len);
        Ok(ends(text, &answered.tail)
            .zip(ends(prompt, &asked.tail))
            .map(|(text, prompt)| Self { text, prompt }))
    }
}

/// Bytes that two texts begin with alike, in whole characters.
fn common(a: &str, b: &str) -> usize {
    let pairs = a.chars().zip(b.chars());
    pairs
        .take_while(|(a, b)| a == b)
        .map(|(a, _)| a.len_utf8())
        .sum()
}

/// Bytes that two texts end with alike, in whole characters.
fn common_end(a: &str, b: &str) -> usize {
    let pairs = a.chars().rev().zip(b.chars().rev());
    pairs
        .take_while(|(a, b)| a == b)
        .map(|(a, _)| a.len_utf8())
        .sum()
}

/// Less than `end` where a tag of `text` is cut in two there: a tag belongs to one side as a whole.
fn whole_tags(text: &str, end: usize) -> usize {
    let cut = |(open, close): (char, char)| {
        let before = &text[..end];
        let opened = before.rfind(open)?;
        let closed = before[opened..].contains(close);
        (!closed).then_some(opened)
    };
    [('<', '>'), ('[', ']')]
        .into_iter()
        .filter_map(cut)
        .min()
        .unwrap_or(end)
}

fn told(fault: TextError) -> String {
    fault.to_string()
}

#[cfg(test)]
mod tests;
