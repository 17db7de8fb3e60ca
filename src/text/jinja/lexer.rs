//! Cuts a template into texts and tokens, with Jinja's rules about the space around tags.

use super::fault::{Fault, Kind, Outcome};
use super::literals::{float_len, int_len, name_len, string_len, unescape};
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
