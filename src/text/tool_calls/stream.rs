//! Answers of a grammar that knows calls: arguments are told while they come, since nothing that begins one of these calls
//! turns out to be something else.

use std::sync::Arc;

use super::forced::head;
use super::tags::Tags;
use super::{Expected, Leaves, Part, Syntax};
use crate::domain::Tool;
use crate::text::stop::overlap;

pub(super) struct Stream {
    syntax: Syntax,
    tools: Arc<[Tool]>,
    /// Blanks may stand between the signs of a call, as in any JSON.
    loose: bool,
    at: At,
    /// Text that is not told yet.
    held: String,
}

/// What comes next.
enum At {
    /// Text up to what begins calls.
    Text,
    /// What stands before a call, and its beginning.
    Head {
        first: bool,
    },
    Arguments(Arguments),
    /// The end of a call.
    Tail,
    /// Something else came, and so does all that follows: text.
    Rest,
}

/// Arguments as they are written.
enum Arguments {
    Object(Object),
    Tags(Tags),
}

impl Stream {
    /// `None` where the model says what it likes.
    pub fn new(leaves: Leaves, syntax: Syntax, tools: Arc<[Tool]>) -> Option<Self> {
        let at = match leaves {
            Leaves::Anything => return None,
            Leaves::TextAndCalls => At::Text,
            Leaves::Calls | Leaves::Either | Leaves::EitherJson => At::Head { first: true },
        };
        Some(Self {
            syntax,
            tools,
            loose: leaves == Leaves::EitherJson,
            at,
            held: String::new(),
        })
    }

    pub fn push(&mut self, text: &str) -> Vec<Part> {
        self.held.push_str(text);
        let mut parts = Vec::new();
        while self.step(&mut parts) {}
        parts
    }

    /// What is left where the answer ends before its form does.
    pub fn finish(&mut self) -> Vec<Part> {
        let rest = std::mem::take(&mut self.held);
        match &self.at {
            // Behind a call it is the end of all of them, or the beginning of one that was cut short.
            At::Text | At::Head { first: true } | At::Rest if !rest.is_empty() => {
                vec![Part::Text(rest)]
            }
            _ => Vec::new(),
        }
    }

    /// True where there is more to read.
    fn step(&mut self, parts: &mut Vec<Part>) -> bool {
        match &mut self.at {
            At::Text => self.text(parts),
            At::Head { first } => {
                let first = *first;
                self.head(first, parts)
            }
            At::Arguments(arguments) => {
                let (told, whole) = match arguments {
                    Arguments::Object(object) => {
                        let bytes = object.read(self.held.as_bytes());
                        let told = self.held.drain(..bytes).collect();
                        (told, object.is_whole())
                    }
                    Arguments::Tags(tags) => tags.read(&mut self.held),
                };
                if !told.is_empty() {
                    parts.push(Part::Arguments(told));
                }
                if whole {
                    self.at = match arguments {
                        Arguments::Object(_) => At::Tail,
                        Arguments::Tags(_) => At::Head { first: false },
                    };
                }
                whole
            }
            At::Tail => match begins(&self.held, "}", self.loose) {
                Expected::There(bytes) => {
                    self.held.drain(..bytes);
                    self.at = At::Head { first: false };
                    true
                }
                Expected::Maybe => false,
                Expected::Not => {
                    self.at = At::Rest;
                    true
                }
            },
            At::Rest => {
                say(std::mem::take(&mut self.held), parts);
                false
            }
        }
    }

    /// Blanks between text and what may be a call wait: between text and a call they are of neither.
    fn text(&mut self, parts: &mut Vec<Part>) -> bool {
        let marker = self.syntax.row.marker().unwrap_or_default();
        let found = self.held.find(marker);
        let end = found.unwrap_or_else(|| self.held.len() - overlap(&self.held, marker));
        let told = self.held[..end].trim_end().len();
        say(self.held.drain(..told).collect(), parts);
        if found.is_some() {
            self.at = At::Head { first: true };
        }
        found.is_some()
    }

    fn head(&mut self, first: bool, parts: &mut Vec<Part>) -> bool {
        let forms = &self.syntax.row.forms;
        let before = if first { forms.begin } else { forms.between };
        let begun = if first {
            self.held.trim_start()
        } else {
            &self.held
        };
        let blanks = self.held.len() - begun.len();
        let mut open = false;
        for tool in &*self.tools {
            let (told, ahead) = match forms.key {
                // Only before an object it is the head of a call.
                Some(key) => (format!("{before}{}{{", head(tool, key)), 1),
                None => (format!("{before}{}", Tags::head(tool)), 0),
            };
            match begins(&self.held[blanks..], &told, self.loose) {
                Expected::There(bytes) => {
                    self.held.drain(..blanks + bytes - ahead);
                    parts.push(Part::Begin(tool.name.clone()));
                    self.at = At::Arguments(match forms.key {
                        Some(_) => Arguments::Object(Object::default()),
                        None => Arguments::Tags(Tags::of(tool)),
                    });
                    return true;
                }
                Expected::Maybe => open = true,
                Expected::Not => {}
            }
        }
        // After a call, what ends all of them.
        open |= !first && forms.end.starts_with(&self.held);
        if !open {
            self.at = At::Rest;
        }
        !open
    }
}

fn say(text: String, parts: &mut Vec<Part>) {
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
}

/// Whether the text begins as is wanted; blanks beside its words and signs do not matter where it is loose.
fn begins(text: &str, wanted: &str, loose: bool) -> Expected {
    if !loose {
        return match () {
            () if text.starts_with(wanted) => Expected::There(wanted.len()),
            () if wanted.starts_with(text) => Expected::Maybe,
            () => Expected::Not,
        };
    }
    let mut all = signs(text);
    let mut end = 0;
    for (_, want) in signs(wanted) {
        match all.next() {
            None => return Expected::Maybe,
            Some((at, byte)) if byte == want => end = at + 1,
            Some(_) => return Expected::Not,
        }
    }
    Expected::There(end)
}

/// The bytes of JSON, and where they stand, without blanks between its words and signs.
fn signs(text: &str) -> impl Iterator<Item = (usize, u8)> {
    let mut quoted = false;
    text.bytes().enumerate().filter(move |(_, byte)| {
        quoted ^= *byte == b'"';
        quoted || !byte.is_ascii_whitespace()
    })
}

/// Where in an object, of which only the ends of texts and of objects within it matter.
#[derive(Default)]
struct Object {
    depth: usize,
    begun: bool,
    text: bool,
    escaped: bool,
}

impl Object {
    fn is_whole(&self) -> bool {
        self.begun && self.depth == 0
    }

    /// How many of these bytes belong to the object.
    fn read(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            match (self.text, byte) {
                (true, _) if self.escaped => self.escaped = false,
                (true, b'\\') => self.escaped = true,
                (true, b'"') => self.text = false,
                (true, _) => {}
                (false, b'"') => self.text = true,
                (false, b'{' | b'[') => {
                    self.depth += 1;
                    self.begun = true;
                }
                (false, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
                (false, _) => {}
            }
            if self.is_whole() {
                return at + 1;
            }
        }
        bytes.len()
    }
}
