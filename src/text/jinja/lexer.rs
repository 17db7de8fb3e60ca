//! Cuts a template into texts and tokens, with Jinja's rules about the space around tags.

use super::fault::{Fault, Kind, Outcome};
use super::text::{is_identifier, is_space};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// Text outside of tags.
    Data(String),
    /// `{{` and `}}`.
    VariableBegin,
    VariableEnd,
    /// `{%` and `%}`.
    BlockBegin,
    BlockEnd,
    Name(String),
    Str(String),
    Int(String),
    Float(f64),
    Sign(&'static str),
    End,
}

#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub token: Token,
    pub line: usize,
}

/// The longest first.
const SIGNS: &[&str] = &[
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}",
    ">", "<", "=", ".", ":", "|", ",", ";",
];

pub(super) fn tokenize(source: &str) -> Outcome<Vec<Placed>> {
    let mut source = source.replace("\r\n", "\n").replace('\r', "\n");
    if source.ends_with('\n') {
        source.pop();
    }
    let lexer = Lexer {
        source: &source,
        at: 0,
        line: 1,
        line_starting: true,
        tokens: Vec::new(),
    };
    lexer.run()
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: usize,
    /// What was read last ended a line.
    line_starting: bool,
    tokens: Vec<Placed>,
}

/// What a tag is closed by, and whether it takes a line's end with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tag {
    Variable,
    Block,
    Comment,
}

impl Tag {
    fn end(self) -> &'static str {
        match self {
            Self::Variable => "}}",
            Self::Block => "%}",
            Self::Comment => "#}",
        }
    }
}

impl<'a> Lexer<'a> {
    fn run(mut self) -> Outcome<Vec<Placed>> {
        while self.at < self.source.len() {
            self.root()?;
        }
        self.push(Token::End);
        Ok(self.tokens)
    }

    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn push(&mut self, token: Token) {
        let line = self.line;
        self.tokens.push(Placed { token, line });
    }

    fn fail(&self, why: impl Into<String>) -> Fault {
        Fault::new(Kind::Syntax, why).at(self.line)
    }

    /// Goes on by so many bytes.
    fn take(&mut self, len: usize) -> &'a str {
        let taken = &self.rest()[..len];
        self.at += len;
        self.line += taken.matches('\n').count();
        if !taken.is_empty() {
            self.line_starting = taken.ends_with('\n');
        }
        taken
    }

    fn take_space(&mut self) {
        let rest = self.rest();
        self.take(rest.len() - rest.trim_start_matches(is_space).len());
    }

    /// Text up to a tag, and the tag.
    fn root(&mut self) -> Outcome<()> {
        let rest = self.rest();
        let found = rest
            .match_indices('{')
            .find_map(|(at, _)| match rest.as_bytes().get(at + 1) {
                Some(b'{') => Some((at, Tag::Variable)),
                Some(b'%') => Some((at, Tag::Block)),
                Some(b'#') => Some((at, Tag::Comment)),
                _ => None,
            });
        let Some((len, tag)) = found else {
            let text = self.take(rest.len()).to_owned();
            self.push(Token::Data(text));
            return Ok(());
        };
        let starting = self.line_starting;
        let line = self.line;
        let text = self.take(len);
        let opening = self.rest();
        let mark = opening.as_bytes().get(2).copied();
        let kept = stripped(text, mark, tag != Tag::Variable, starting);
        if !kept.is_empty() {
            let token = Token::Data(kept.to_owned());
            self.tokens.push(Placed { token, line });
        }
        if tag == Tag::Block && self.raw()? {
            return Ok(());
        }
        self.take(if matches!(mark, Some(b'-' | b'+')) {
            3
        } else {
            2
        });
        match tag {
            Tag::Comment => self.comment(),
            tag => self.inside(tag),
        }
    }

    fn comment(&mut self) -> Outcome<()> {
        let rest = self.rest();
        let Some(end) = rest.find("#}") else {
            // A template may end where something begins.
            if rest.is_empty() {
                return Ok(());
            }
            return Err(self.fail("Missing end of comment tag"));
        };
        let mark = rest[..end]
            .chars()
            .next_back()
            .filter(|c| "-+".contains(*c));
        self.take(end + 2);
        self.after_tag(mark);
        Ok(())
    }

    /// The space behind a block or a comment that belongs to it.
    fn after_tag(&mut self, mark: Option<char>) {
        match mark {
            Some('-') => self.take_space(),
            None if self.rest().starts_with('\n') => {
                self.take(1);
            }
            _ => {}
        }
    }

    /// `{% raw %}` up to `{% endraw %}`; `false` where something else begins.
    fn raw(&mut self) -> Outcome<bool> {
        let Some(len) = keyword_tag(self.rest(), "raw", false) else {
            return Ok(false);
        };
        let strips = self.rest()[..len].ends_with("-%}");
        self.take(len);
        if strips {
            self.take_space();
        }
        let rest = self.rest();
        let found = rest.match_indices("{%").find_map(|(at, _)| {
            let len = keyword_tag(&rest[at..], "endraw", true)?;
            Some((at, len))
        });
        let Some((at, len)) = found else {
            if rest.is_empty() {
                return Ok(true);
            }
            return Err(self.fail("Missing end of raw directive"));
        };
        let (starting, line) = (self.line_starting, self.line);
        let text = self.take(at);
        let mark = self.rest().as_bytes().get(2).copied();
        let kept = stripped(text, mark, true, starting);
        if !kept.is_empty() {
            let token = Token::Data(kept.to_owned());
            self.tokens.push(Placed { token, line });
        }
        let tag = self.take(len);
        let mark = tag[..len - 2]
            .chars()
            .next_back()
            .filter(|c| "-+".contains(*c));
        self.after_tag(mark);
        Ok(true)
    }

    /// Tokens up to the end of a tag.
    fn inside(&mut self, tag: Tag) -> Outcome<()> {
        self.push(match tag {
            Tag::Variable => Token::VariableBegin,
            _ => Token::BlockBegin,
        });
        let mut open: Vec<&str> = Vec::new();
        loop {
            let rest = self.rest();
            if open.is_empty()
                && let Some((len, mark)) = tag_end(rest, tag)
            {
                let line = self.line;
                self.take(len);
                match tag {
                    Tag::Variable if mark == Some('-') => self.take_space(),
                    Tag::Variable => {}
                    _ => self.after_tag(mark),
                }
                let token = match tag {
                    Tag::Variable => Token::VariableEnd,
                    _ => Token::BlockEnd,
                };
                self.tokens.push(Placed { token, line });
                return Ok(());
            }
            let Some(first) = rest.chars().next() else {
                // The parser tells what is missing.
                return Ok(());
            };
            if is_space(first) {
                self.take_space();
            } else if let Some(len) = float_len(self.source, self.at) {
                let text = self.take(len).replace('_', "");
                let value = text.parse().map_err(|_| self.fail("not a number"))?;
                self.push(Token::Float(value));
            } else if let Some(len) = int_len(rest) {
                let text = self.take(len).to_owned();
                self.push(Token::Int(text));
            } else if let Some(len) = name_len(rest) {
                let name = self.take(len).to_owned();
                if !is_identifier(&name) {
                    return Err(self.fail("Invalid character in identifier"));
                }
                self.push(Token::Name(name));
            } else if matches!(first, '\'' | '"') {
                let line = self.line;
                let len = string_len(rest)
                    .ok_or_else(|| self.fail(format!("unexpected char '{first}'")))?;
                let text = self.take(len);
                let value = unescape(&text[1..len - 1]).map_err(|why| self.fail(why))?;
                let token = Token::Str(value);
                self.tokens.push(Placed { token, line });
            } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                match *sign {
                    "(" => open.push(")"),
                    "[" => open.push("]"),
                    "{" => open.push("}"),
                    ")" | "]" | "}" if open.pop() != Some(sign) => {
                        return Err(self.fail(format!("unexpected '{sign}'")));
                    }
                    _ => {}
                }
                self.take(sign.len());
                self.push(Token::Sign(sign));
            } else {
                return Err(self.fail(format!("unexpected char '{first}'")));
            }
        }
    }
}

/// What is left of the text before a tag.
fn stripped(text: &str, mark: Option<u8>, strips_line: bool, starting: bool) -> &str {
    match mark {
        Some(b'-') => text.trim_end_matches(is_space),
        Some(b'+') => text,
        _ if strips_line => {
            let line = text.rfind('\n').map_or(0, |at| at + 1);
            let blank = !text[line..].is_empty() && text[line..].chars().all(is_space);
            match blank && (line > 0 || starting) {
                true => &text[..line],
                false => text,
            }
        }
        _ => text,
    }
}

/// The length of the end of a tag, and the mark before it.
fn tag_end(rest: &str, tag: Tag) -> Option<(usize, Option<char>)> {
    let mark = rest.chars().next().filter(|c| match tag {
        Tag::Variable => *c == '-',
        _ => "-+".contains(*c),
    });
    let skipped = usize::from(mark.is_some());
    rest[skipped..]
        .starts_with(tag.end())
        .then_some((skipped + 2, mark))
}

/// The length of `{% word %}`, if that is what `rest` begins with.
fn keyword_tag(rest: &str, word: &str, plus: bool) -> Option<usize> {
    let inner = rest.strip_prefix("{%")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    let inner = inner.trim_start_matches(is_space).strip_prefix(word)?;
    let inner = inner.trim_start_matches(is_space);
    let inner = match plus {
        true => inner.strip_prefix(['-', '+']).unwrap_or(inner),
        false => inner.strip_prefix('-').unwrap_or(inner),
    };
    let inner = inner.strip_prefix("%}")?;
    Some(rest.len() - inner.len())
}

fn name_len(rest: &str) -> Option<usize> {
    let end = rest
        .find(|c: char| !(c == '_' || c.is_alphanumeric() || super::text::is_identifier_part(c)))
        .unwrap_or(rest.len());
    (end > 0).then_some(end)
}

/// Digits, with single underscores between them.
fn digits_len(text: &str, digit: fn(&char) -> bool) -> usize {
    let mut len = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            c if digit(&c) => len = at + 1,
            '_' if len > 0 && len == at && chars.peek().is_some_and(|(_, c)| digit(c)) => {}
            _ => break,
        }
    }
    len
}

fn float_len(source: &str, at: usize) -> Option<usize> {
    let rest = &source[at..];
    if source[..at].ends_with('.') {
        return None;
    }
    let decimal: fn(&char) -> bool = char::is_ascii_digit;
    let whole = digits_len(rest, decimal);
    if whole == 0 {
        return None;
    }
    let mut end = whole;
    if let Some(behind) = rest[end..].strip_prefix('.') {
        let len = digits_len(behind, decimal);
        if len > 0 {
            end += 1 + len;
        }
    }
    let power = rest[end..].strip_prefix(['e', 'E']).and_then(|behind| {
        let digits = behind.strip_prefix(['+', '-']).unwrap_or(behind);
        let len = digits_len(digits, decimal);
        (len > 0).then_some(1 + behind.len() - digits.len() + len)
    });
    match power {
        Some(len) => Some(end + len),
        None => (end > whole).then_some(end),
    }
}

fn int_len(rest: &str) -> Option<usize> {
    let prefixed = |prefix: &str, digit: fn(&char) -> bool| {
        let head = rest.get(..2)?;
        if !head.eq_ignore_ascii_case(prefix) {
            return None;
        }
        let digits = &rest[2..];
        let skipped = usize::from(digits.starts_with('_'));
        let len = digits_len(&digits[skipped..], digit);
        (len > 0).then_some(2 + skipped + len)
    };
    let special = prefixed("0b", |c| matches!(c, '0' | '1'))
        .or_else(|| prefixed("0o", |c| matches!(c, '0'..='7')))
        .or_else(|| prefixed("0x", char::is_ascii_hexdigit));
    if special.is_some() {
        return special;
    }
    let len = match rest.starts_with('0') {
        true => digits_len(rest, |c| *c == '0'),
        false => digits_len(rest, char::is_ascii_digit),
    };
    (len > 0).then_some(len)
}

fn string_len(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices();
    let (_, quote) = chars.next()?;
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Python's escapes. Behind a backslash, what is not ASCII becomes its own escape, backslash and all.
fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let Some(escaped) = chars.next() else {
            return Err("\\ at end of string".into());
        };
        match escaped {
            '\n' => {}
            '\\' | '\'' | '"' => out.push(escaped),
            'a' => out.push('\x07'),
            'b' => out.push('\x08'),
            'f' => out.push('\x0c'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'v' => out.push('\x0b'),
            '0'..='7' => {
                let rest = chars.as_str();
                let more = rest
                    .chars()
                    .take(2)
                    .take_while(|c| matches!(c, '0'..='7'))
                    .count();
                let digits = format!("{escaped}{}", &rest[..more]);
                chars = rest[more..].chars();
                let code = u32::from_str_radix(&digits, 8).unwrap_or(0);
                out.extend(char::from_u32(code));
            }
            'x' | 'u' | 'U' => {
                let len = match escaped {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let rest = chars.as_str();
                let digits = rest
                    .get(..len)
                    .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
                let digits = digits.ok_or_else(|| format!("truncated \\{escaped} escape"))?;
                chars = rest[len..].chars();
                let code = u32::from_str_radix(digits, 16)
                    .ok()
                    .and_then(char::from_u32);
                out.push(code.ok_or("illegal Unicode character")?);
            }
            'N' => return Err("character names are not supported".into()),
            c if !c.is_ascii() => {
                let code = u32::from(c);
                out.push_str(&match code {
                    ..0x100 => format!("\\x{code:02x}"),
                    0x100..0x1_0000 => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                });
            }
            c => out.extend(['\\', c]),
        }
    }
    Ok(out)
}
