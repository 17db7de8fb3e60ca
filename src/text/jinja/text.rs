//! What Python knows about characters.

use std::sync::LazyLock;

use regex::Regex;

/// `str.isspace`, which `strip` and `split` go by.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// Whether a character belongs to a class of the regular expression library.
fn is_in(class: &LazyLock<Option<Regex>>, c: char) -> bool {
    let mut bytes = [0; 4];
    let text = c.encode_utf8(&mut bytes);
    class.as_ref().is_some_and(|class| class.is_match(text))
}

macro_rules! class {
    ($name:ident, $pattern:literal) => {
        pub(super) fn $name(c: char) -> bool {
            static CLASS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new($pattern).ok());
            is_in(&CLASS, c)
        }
    };
}

class!(is_alphabetic, r"^\p{L}$");
class!(is_decimal, r"^\p{Nd}$");
class!(
    is_numeric,
    r"^[\p{N}〇一二三四五六七八九十百千万億兆零壱弐参]$"
);
class!(is_titlecase, r"^\p{Lt}$");
class!(
    is_cased,
    r"^[\p{Lu}\p{Ll}\p{Lt}\p{Other_Uppercase}\p{Other_Lowercase}]$"
);
class!(is_lowercase, r"^[\p{Ll}\p{Other_Lowercase}]$");
class!(is_uppercase, r"^[\p{Lu}\p{Other_Uppercase}]$");
class!(is_identifier_start, r"^[\p{XID_Start}_]$");
class!(is_identifier_part, r"^\p{XID_Continue}$");

/// `str.isdigit`: decimal digits, and those raised, lowered or circled.
pub(super) fn is_digit(c: char) -> bool {
    is_decimal(c)
        || matches!(c, '²' | '³' | '¹' | '⁰' | '⁴'..='⁹' | '₀'..='₉' | '①'..='⑨' | '⑴'..='⑼' | '⒈'..='⒐'
            | '⓪' | '⓵'..='⓽' | '⓿' | '❶'..='❾' | '➀'..='➈' | '➊'..='➒' | '፩'..='፱')
}

/// The value of a decimal digit of any script: they come in runs of ten, from zero.
pub(super) fn decimal_value(c: char) -> Option<u32> {
    if !is_decimal(c) {
        return None;
    }
    let code = u32::from(c);
    // The mathematical digits are five runs one after another.
    if (0x1d7ce..=0x1d7ff).contains(&code) {
        return Some((code - 0x1d7ce) % 10);
    }
    let before = (1..10).take_while(|back| {
        let earlier = code.checked_sub(*back).and_then(char::from_u32);
        earlier.is_some_and(is_decimal)
    });
    Some(before.count() as u32)
}

pub(super) fn is_identifier(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(is_identifier_start) && chars.all(is_identifier_part)
}

/// The first letter of a word: `ǆ` becomes `ǅ`, `ß` becomes `Ss`.
pub(super) fn to_title(c: char, out: &mut String) {
    match c {
        'Ǆ' | 'ǅ' | 'ǆ' => out.push('ǅ'),
        'Ǉ' | 'ǈ' | 'ǉ' => out.push('ǈ'),
        'Ǌ' | 'ǋ' | 'ǌ' => out.push('ǋ'),
        'Ǳ' | 'ǲ' | 'ǳ' => out.push('ǲ'),
        'ა'..='ჿ' => out.push(c),
        c => {
            let mut upper = c.to_uppercase();
            out.extend(upper.next());
            for rest in upper {
                match rest.is_alphabetic() {
                    true => out.extend(rest.to_lowercase()),
                    false => out.push(rest),
                }
            }
        }
    }
}

/// `str.title`
pub(super) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for (at, c) in text.char_indices() {
        match inside {
            true => out.push_str(&lower_at(text, at, c)),
            false => to_title(c, &mut out),
        }
        inside = is_cased(c);
    }
    out
}

/// A capital sigma at the end of a word has a small form of its own.
fn lower_at(text: &str, at: usize, c: char) -> String {
    if c != 'Σ' {
        return c.to_lowercase().collect();
    }
    let before = &text[..at];
    let after = &text[at + c.len_utf8()..];
    let cased = |c: &char| is_cased(*c);
    let ends = before.chars().next_back().is_some_and(|c| cased(&c))
        && !after.chars().next().is_some_and(|c| cased(&c));
    if ends { "ς" } else { "σ" }.to_owned()
}

/// `str.capitalize`
pub(super) fn capitalize(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    if let Some(first) = chars.next() {
        to_title(first, &mut out);
        out.push_str(&chars.as_str().to_lowercase());
    }
    out
}

/// `str.splitlines`
pub(super) fn split_lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let ends = matches!(
            c,
            '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
        );
        if !ends {
            continue;
        }
        let mut end = at + c.len_utf8();
        if c == '\r' && chars.peek().is_some_and(|(_, next)| *next == '\n') {
            chars.next();
            end += 1;
        }
        lines.push(&text[start..if keep_ends { end } else { at }]);
        start = end;
    }
    if start < text.len() {
        lines.push(&text[start..]);
    }
    lines
}

/// The byte where the character `index` begins; the end where there are fewer.
pub(super) fn byte_at(text: &str, index: usize) -> usize {
    if text.is_ascii() {
        return index.min(text.len());
    }
    text.char_indices()
        .nth(index)
        .map_or(text.len(), |(at, _)| at)
}

/// `text[start:stop]` as Python cuts: from behind where negative, and never too far.
pub(super) fn clamp(start: i64, stop: i64, len: usize) -> (usize, usize) {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let place = |at: i64| {
        if at < 0 {
            (at.saturating_add(len)).max(0)
        } else {
            at.min(len)
        }
    };
    (place(start) as usize, place(stop) as usize)
}
