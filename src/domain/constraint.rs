//! What an answer must look like, as it was asked for.

use serde_json::Value;

/// A form that every answer to a request has, and where the request says so.
#[derive(Debug, Clone, PartialEq)]
pub struct Constraint {
    pub rule: Rule,
    /// The field that holds it, which refusals name.
    pub field: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// Any JSON object.
    JsonObject,
    /// JSON that the schema allows.
    JsonSchema(Value),
    /// Text that the expression matches as a whole.
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// Text of a grammar in Lark's syntax.
    Lark(String),
    /// Calls of functions, or else an answer of another form.
    CallsOr(CallsOr),
}

#[derive(Debug, Clone, PartialEq)]
pub struct CallsOr {
    /// A grammar in Lark's syntax, which names the other form `@form`.
    pub grammar: String,
    /// The other form.
    pub form: Box<Rule>,
    /// Expressions for how calls begin: texts of the other form do not begin so, unless they are JSON.
    pub begin: Vec<String>,
}

impl Constraint {
    pub fn new(field: impl Into<String>, rule: Rule) -> Self {
        Self {
            rule,
            field: field.into(),
        }
    }
}
