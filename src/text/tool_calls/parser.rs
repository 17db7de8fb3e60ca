//! One answer's text, as it comes, to what is said and what is called.

use std::sync::Arc;

use super::stream::Stream;
use super::{Held, Leaves, Place, Scan, Syntax};
use crate::domain::Tool;

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Text(String),
    Call {
        name: String,
        /// The text of a JSON object.
        arguments: String,
    },
    /// A call of this function begins, whose arguments follow.
    Begin(String),
    /// More of the arguments of the call that began last.
    Arguments(String),
}

/// Reads one answer. Blanks beside calls belong to them and are left out.
pub struct CallParser {
    syntax: Syntax,
    tools: Arc<[Tool]>,
    /// Calls beyond the first are left out where only one is wanted.
    parallel: bool,
    calls: usize,
    place: Place,
    /// Blanks that stand before `held`: text, unless a call follows.
    blanks: String,
    held: String,
    /// Reads in place of all this where a grammar says what may come.
    stream: Option<Stream>,
}

impl CallParser {
    pub fn new(syntax: Syntax, tools: Arc<[Tool]>, parallel: bool, leaves: Leaves) -> Self {
        Self {
            stream: Stream::new(leaves, syntax, tools.clone()),
            syntax,
            tools,
            parallel,
            calls: 0,
            place: Place::Start,
            blanks: String::new(),
            held: String::new(),
        }
    }

    /// What this text makes certain.
    pub fn push(&mut self, text: &str) -> Vec<Part> {
        if let Some(stream) = &mut self.stream {
            let parts = stream.push(text);
            let begun = parts.iter().filter(|part| matches!(part, Part::Begin(_)));
            self.calls += begun.count();
            return parts;
        }
        self.held.push_str(text);
        self.read(false)
    }

    /// What is left at the end of the answer.
    pub fn finish(&mut self) -> Vec<Part> {
        if let Some(stream) = &mut self.stream {
            return stream.finish();
        }
        let mut parts = self.read(true);
        let blanks = std::mem::take(&mut self.blanks);
        if self.place != Place::Call {
            say(&mut parts, &blanks);
        }
        parts
    }

    /// Calls told so far.
    pub fn calls(&self) -> usize {
        self.calls
    }

    fn read(&mut self, ended: bool) -> Vec<Part> {
        let mut parts = Vec::new();
        loop {
            let blanks = self.held.len() - self.held.trim_start().len();
            self.blanks.extend(self.held.drain(..blanks));
            if self.held.is_empty() {
                return parts;
            }
            let held = Held {
                text: &self.held,
                place: self.place,
                ended,
                tools: &self.tools,
            };
            match (self.syntax.row.scan)(&held) {
                Scan::Calls(bytes, found) => {
                    self.held.drain(..bytes);
                    self.blanks.clear();
                    self.place = Place::Call;
                    for call in found {
                        if self.parallel || self.calls == 0 {
                            self.calls += 1;
                            parts.push(Part::Call {
                                name: call.name,
                                arguments: call.arguments,
                            });
                        }
                    }
                }
                Scan::Text(bytes) => self.tell(bytes, &mut parts),
                Scan::More if ended => self.tell(self.held.len(), &mut parts),
                Scan::More => return parts,
            }
        }
    }

    /// So much of what is held is text. Blanks at its end wait for what follows.
    fn tell(&mut self, bytes: usize, parts: &mut Vec<Part>) {
        let blanks = std::mem::take(&mut self.blanks);
        if self.place != Place::Call {
            say(parts, &blanks);
        }
        let told = self.held[..bytes].trim_end().len();
        say(parts, &self.held[..told]);
        self.held.drain(..told);
        self.place = Place::Text;
    }
}

fn say(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Text(said)) => said.push_str(text),
        _ => parts.push(Part::Text(text.to_owned())),
    }
}
