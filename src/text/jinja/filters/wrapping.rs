//! Filters that give texts another shape: `indent`, `truncate`, `wordwrap`.

use crate::text::jinja::args::{self, Args};
use crate::text::jinja::fault::{Outcome, failed};
use crate::text::jinja::machine::Machine;
use crate::text::jinja::text::{byte_at, split_lines};
use crate::text::jinja::value::Value;

pub(super) fn indent(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.bind("indent", &["s", "width?", "first?", "blank?"])?;
    let text = args::text(&args.need(0))?;
    let indent = match args.or(1, Value::Int(4)) {
        Value::Str(indent) => indent.to_string(),
        width => {
            let width = usize::try_from(width.as_index()?).unwrap_or(0);
            m.budget.text(width)?;
            " ".repeat(width)
        }
    };
    let (first, blank) = (args.flag(2), args.flag(3));
    let whole = format!("{}\n", &*text);
    let lines = split_lines(&whole, false);
    m.budget.text(
        text.len()
            .saturating_add(lines.len().saturating_mul(indent.len())),
    )?;
    let mut out = String::with_capacity(text.len());
    for (at, line) in lines.iter().enumerate() {
        if at > 0 {
            out.push('\n');
        }
        let indented = if at == 0 {
            first
        } else {
            blank || !line.is_empty()
        };
        if indented {
            out.push_str(&indent);
        }
        out.push_str(line);
    }
    Ok(Value::Str(text.like(out)))
}

pub(super) fn truncate(_: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.bind(
        "truncate",
        &["s", "length?", "killwords?", "end?", "leeway?"],
    )?;
    let value = args.need(0);
    let length = args.index(1, 255)?;
    let cut_words = args.flag(2);
    let end = args::text(&args.or(3, Value::str("...")))?;
    let leeway = match args.get(4) {
        None | Some(Value::None) => 5,
        Some(leeway) => leeway.as_index()?,
    };
    let end_len = i64::try_from(end.chars().count()).unwrap_or(i64::MAX);
    if length < end_len {
        return Err(failed(format!(
            "expected length >= {end_len}, got {length}"
        )));
    }
    if leeway < 0 {
        return Err(failed(format!("expected leeway >= 0, got {leeway}")));
    }
    let len = value.len().ok_or_else(|| {
        failed(format!(
            "object of type '{}' has no len()",
            value.type_name()
        ))
    })?;
    if i64::try_from(len).unwrap_or(i64::MAX) <= length.saturating_add(leeway) {
        return Ok(value);
    }
    let text = args::text(&value)?;
    let kept = usize::try_from(length - end_len).unwrap_or(0);
    let kept = &text[..byte_at(&text, kept)];
    let kept = match cut_words {
        true => kept,
        false => kept.rsplit_once(' ').map_or(kept, |(before, _)| before),
    };
    Ok(Value::Str(text.like(format!("{kept}{}", &*end))))
}

pub(super) fn wordwrap(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.bind(
        "wordwrap",
        &[
            "s",
            "width?",
            "break_long_words?",
            "wrapstring?",
            "break_on_hyphens?",
        ],
    )?;
    let text = args::text(&args.need(0))?;
    let wrap = Wrap {
        width: args.or(1, Value::Int(79)),
        break_words: args.or(2, Value::Bool(true)).is_true(),
        at_hyphens: true,
    };
    let between = match args.maybe_text(3)? {
        Some(between) => between.to_string(),
        None => "\n".to_owned(),
    };
    let wrap = Wrap {
        at_hyphens: args.or(4, Value::Bool(true)).is_true(),
        ..wrap
    };
    // Each word is a list of its own for a while.
    m.budget.spend(text.len() as u64)?;
    let mut out = String::new();
    for (at, line) in split_lines(&text, false).into_iter().enumerate() {
        if at > 0 {
            out.push_str(&between);
        }
        for (at, part) in wrap.wrap(line)?.iter().enumerate() {
            if at > 0 {
                out.push_str(&between);
            }
            out.push_str(part);
            m.budget.spend((between.len() / 128) as u64)?;
            m.budget.bound(out.len())?;
        }
    }
    Ok(Value::str(out))
}

/// Python's `textwrap.wrap`.
struct Wrap {
    width: Value,
    break_words: bool,
    at_hyphens: bool,
}

fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\x0b' | '\x0c' | '\r' | ' ')
}

impl Wrap {
    fn wrap(&self, line: &str) -> Outcome<Vec<String>> {
        let width = self.width.as_index()?;
        let Some(width) = usize::try_from(width).ok().filter(|width| *width > 0) else {
            return Err(failed(format!("invalid width {width} (must be > 0)")));
        };
        let mut pieces: std::collections::VecDeque<Vec<char>> = self.pieces(line).into();
        let mut lines: Vec<String> = Vec::new();
        while let Some(first) = pieces.front() {
            if !lines.is_empty() && first.iter().all(|c| is_blank(*c)) {
                pieces.pop_front();
                continue;
            }
            let mut current: Vec<Vec<char>> = Vec::new();
            let mut len = 0;
            while let Some(piece) = pieces.pop_front_if(|piece| len + piece.len() <= width) {
                len += piece.len();
                current.push(piece);
            }
            if let Some(long) = pieces.front_mut().filter(|piece| piece.len() > width) {
                let left = width - len;
                if self.break_words {
                    let rest = long.split_off(self.cut(long, left));
                    current.push(std::mem::replace(long, rest));
                } else if current.is_empty() {
                    current.extend(pieces.pop_front());
                }
            }
            if current
                .last()
                .is_some_and(|last| last.iter().all(|c| is_blank(*c)))
            {
                current.pop();
            }
            if !current.is_empty() {
                lines.push(current.into_iter().flatten().collect());
            }
        }
        Ok(lines)
    }

    /// How much of a word that is too long goes on this line: up to a hyphen where there is one.
    fn cut(&self, word: &[char], left: usize) -> usize {
        let before = &word[..left.min(word.len())];
        let hyphen = before.iter().rposition(|c| *c == '-');
        match hyphen {
            Some(at) if self.at_hyphens && at > 0 && word[..at].iter().any(|c| *c != '-') => at + 1,
            _ => left,
        }
    }

    /// Words and the spaces between them; a word may be cut behind its hyphens.
    fn pieces(&self, line: &str) -> Vec<Vec<char>> {
        let chars: Vec<char> = line.chars().collect();
        let mut pieces: Vec<Vec<char>> = Vec::new();
        let mut start = 0;
        for at in 1..=chars.len() {
            let ends = match (chars.get(at - 1), chars.get(at)) {
                (Some(a), Some(b)) if is_blank(*a) || is_blank(*b) => is_blank(*a) != is_blank(*b),
                (_, None) => true,
                _ => self.at_hyphens && breaks(&chars, start, at),
            };
            if ends {
                pieces.push(chars[start..at].to_vec());
                start = at;
            }
        }
        pieces
    }
}

/// Whether a word may be cut at `at`, whose piece begins at `start`.
fn breaks(chars: &[char], start: usize, at: usize) -> bool {
    let is = |at: Option<usize>, class: fn(char) -> bool| {
        at.and_then(|at| chars.get(at)).is_some_and(|c| class(*c))
    };
    let hyphen = |c: char| c == '-';
    let letter = |c: char| c == '_' || c.is_alphabetic();
    let word = |c: char| c == '_' || c.is_alphanumeric();
    let wordish = |c: char| c == '_' || c.is_alphanumeric() || "!\"'&.,?".contains(c);
    let back = |by: usize| at.checked_sub(by).filter(|i| *i >= start);
    let dashes_from = |from: usize| chars[from..].iter().take_while(|c| **c == '-').count();
    // Before two hyphens or more that stand between words, and behind them.
    if is(Some(at), hyphen) && is(back(1), wordish) {
        let count = dashes_from(at);
        return count >= 2 && is(Some(at + count), word);
    }
    if !is(back(1), hyphen) || is(Some(at), hyphen) {
        return false;
    }
    let dashes = chars[start..at]
        .iter()
        .rev()
        .take_while(|c| **c == '-')
        .count();
    if dashes >= 2 && dashes == at - start {
        return is(start.checked_sub(1), wordish) && is(Some(at), word);
    }
    let before = is(at.checked_sub(2), letter) && is(at.checked_sub(3), letter)
        || is(at.checked_sub(2), wordish)
            && is(at.checked_sub(3), hyphen)
            && is(at.checked_sub(4), letter);
    let follows = is(Some(at), letter)
        && (is(Some(at + 1), letter) || is(Some(at + 1), hyphen) && is(Some(at + 2), letter));
    before && follows && at - start > 1
}
