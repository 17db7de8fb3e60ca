//! jinja: templates as Python's Jinja2 renders them, in the sandbox that transformers puts around chat templates.
//!
//! Knows nothing of chats, and loads nothing: a template is one text and the values it is given.

mod args;
mod ast;
mod attributes;
mod braces;
mod budget;
mod checks;
mod clock;
mod compare;
mod dict;
mod evaluate;
mod expressions;
mod fault;
mod filters;
mod floats;
mod fold;
mod functions;
mod iterate;
mod json;
mod lexer;
mod literals;
mod loops;
mod machine;
mod macros;
mod markup;
mod methods;
mod numbers;
mod operators;
mod parser;
mod percent;
mod repr;
mod resolve;
mod run;
mod sorting;
mod spec;
mod symbols;
mod text;
mod value;
mod walk;

use chrono::{DateTime, Local};
use indexmap::IndexMap;

pub(super) use dict::Dict;
pub(super) use fault::{Fault, Kind};
pub(super) use value::Value;

/// A compiled template. Rendering does not change it.
pub(super) struct Template {
    resolved: resolve::Resolved,
    marks_answers: bool,
}

/// The budget of a rendering, and the time that its clock shows.
#[derive(Default)]
pub(super) struct Options {
    /// Steps before it is ended.
    pub steps: u64,
    /// Two characters to put around what `{% generation %}` blocks render.
    pub fence: Option<(char, char)>,
    /// What its clock shows; `None` for the present.
    pub time: Option<DateTime<Local>>,
}

impl Template {
    /// Fails with a line where the source is malformed.
    pub fn compile(source: &str) -> Result<Self, Fault> {
        let parsed = parser::parse(source)?;
        let marks_answers = parsed.marks_answers;
        let resolved = resolve::resolve(parsed)?;
        Ok(Self {
            resolved,
            marks_answers,
        })
    }

    /// Whether it has `{% generation %}` blocks.
    pub fn marks_answers(&self) -> bool {
        self.marks_answers
    }

    /// Fails where Python would raise, where the template raises itself, and where it takes too much.
    pub fn render(
        &self,
        values: &IndexMap<String, Value>,
        options: &Options,
    ) -> Result<String, Fault> {
        let Options { steps, fence, time } = *options;
        machine::Machine::new(&self.resolved, values, steps, fence, time).render()
    }
}

#[cfg(test)]
mod tests;
