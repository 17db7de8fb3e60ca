//! Why a template cannot be compiled or rendered.

/// What kind of trouble it is; callers treat them differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::text) enum Kind {
    /// The template itself is malformed.
    Syntax,
    /// The template called `raise_exception`.
    Raised,
    /// What Python would raise: a wrong type, something undefined, a division by zero.
    Failed,
    /// Too many instructions, or too much text.
    Spent,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::text) struct Fault {
    pub kind: Kind,
    pub message: String,
    /// Counted from one.
    pub line: Option<usize>,
}

pub(in crate::text) type Outcome<T> = Result<T, Fault>;

impl Fault {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            line: None,
        }
    }

    /// The innermost place wins.
    pub fn at(mut self, line: usize) -> Self {
        self.line.get_or_insert(line);
        self
    }
}

/// What Python would raise.
pub(super) fn failed(message: impl Into<String>) -> Fault {
    Fault::new(Kind::Failed, message)
}

pub(super) fn spent(message: impl Into<String>) -> Fault {
    Fault::new(Kind::Spent, message)
}
