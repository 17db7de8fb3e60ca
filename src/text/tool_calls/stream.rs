//! Answers that a grammar leaves nothing but calls: arguments are told while they come, since nothing that begins one of
//! these calls turns out to be something else.

use std::sync::Arc;

use super::forced::head;
use super::{Part, Syntax};
use crate::domain::Tool;

pub(super) struct Stream {
    syntax: Syntax,
    tools: Arc<[Tool]>,
    key: &'static str,
    at: At,
    /// Text that is not told yet.
    held: String,
}

/// What comes next.
enum At {
    /// What stands before a call, and its beginning.
    Head {
        first: bool,
    },
    Arguments(Object),
    /// The end of a call.
    Tail,
    /// Something else came, which a grammar does not do: it is told as text.
    Lost,
}

impl Stream {
    /// `None` where a call is no JSON object, so that its arguments are known only as a whole.
    pub fn new(syntax: Syntax, tools: Arc<[Tool]>) -> Option<Self> {
        Some(Self {
            key: syntax.row.forms.key?,
            syntax,
            tools,
            at: At::Head { first: true },
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
            At::Head { first: true } | At::Lost if !rest.is_empty() => vec![Part::Text(rest)],
            _ => Vec::new(),
        }
    }

    /// True where there is more to read.
    fn step(&mut self, parts: &mut Vec<Part>) -> bool {
        let forms = &self.syntax.row.forms;
        match &mut self.at {
            At::Head { first } => {
                let before = if *first { forms.begin } else { forms.between };
                let heads = self.tools.iter().map(|tool| {
                    let head = format!("{before}{}", head(tool, self.key));
                    (tool, head)
                });
                let mut open = false;
                for (tool, head) in heads {
                    if self.held.starts_with(&head) {
                        self.held.drain(..head.len());
                        self.at = At::Arguments(Object::default());
                        parts.push(Part::Begin(tool.name.clone()));
                        return true;
                    }
                    open |= head.starts_with(&self.held);
                }
                // After a call, what ends all of them.
                open |= !*first && forms.end.starts_with(&self.held);
                if !open {
                    self.at = At::Lost;
                }
                !open
            }
            At::Arguments(object) => {
                let bytes = object.read(self.held.as_bytes());
                let whole = object.is_whole();
                let told: String = self.held.drain(..bytes).collect();
                if !told.is_empty() {
                    parts.push(Part::Arguments(told));
                }
                if whole {
                    self.at = At::Tail;
                }
                whole
            }
            At::Tail => match self.held.strip_prefix('}') {
                Some(rest) => {
                    self.held = rest.to_owned();
                    self.at = At::Head { first: false };
                    true
                }
                None if self.held.is_empty() => false,
                None => {
                    self.at = At::Lost;
                    true
                }
            },
            At::Lost => {
                let told = std::mem::take(&mut self.held);
                if !told.is_empty() {
                    parts.push(Part::Text(told));
                }
                false
            }
        }
    }
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
