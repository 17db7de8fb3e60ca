//! What a template consists of, and which variable each name means.

use std::sync::Arc;

use num_bigint::BigInt;

use super::checks::Check;
use super::compare::Order;
use super::filters::Filter;
use super::operators::Operator;

/// Where a variable is: so many functions outwards, and its place there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::text) struct Slot {
    pub up: usize,
    pub index: usize,
}

/// What a variable starts as where its scope is entered.
#[derive(Clone, Debug)]
pub(in crate::text) enum Load {
    /// From the values that the template was given.
    Resolve(Arc<str>),
    /// As the variable of that name further out.
    Alias(Slot),
    Missing,
}

pub(in crate::text) type Loads = Vec<(usize, Load)>;

#[derive(Clone, Debug)]
pub(in crate::text) enum Const {
    None,
    Bool(bool),
    Int(i64),
    Big(Arc<BigInt>),
    Float(f64),
    Str(Arc<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::text) enum Comparison {
    Equal,
    NotEqual,
    Ordered(Order),
    In,
    NotIn,
}

#[derive(Debug)]
pub(in crate::text) enum Expr {
    Const(Const),
    Name {
        name: Arc<str>,
        slot: Slot,
    },
    Tuple(Vec<Expr>),
    List(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Not(Box<Expr>),
    Sign {
        negative: bool,
        of: Box<Expr>,
    },
    Binary(Operator, Box<(Expr, Expr)>),
    And(Box<(Expr, Expr)>),
    Or(Box<(Expr, Expr)>),
    Concat(Vec<Expr>),
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    If(Box<Choice>),
    Attribute(Box<Expr>, Arc<str>),
    Item(Box<(Expr, Expr)>),
    Slice(Box<Slice>),
    Call(Box<Call>),
    Filter(Box<Apply<Filter>>),
    Check(Box<Apply<Check>>),
    /// What the block that is filtered has rendered.
    Captured,
}

#[derive(Debug)]
pub(in crate::text) struct Choice {
    pub test: Expr,
    pub then: Expr,
    pub otherwise: Option<Expr>,
    pub line: usize,
}

#[derive(Debug)]
pub(in crate::text) struct Slice {
    pub of: Expr,
    pub start: Option<Expr>,
    pub stop: Option<Expr>,
    pub step: Option<Expr>,
    /// It is part of what Jinja computes beforehand: a value that cannot be sliced gives an undefined one there.
    pub constant: bool,
}

#[derive(Debug, Default)]
pub(in crate::text) struct Arguments {
    pub positional: Vec<Expr>,
    pub named: Vec<(Arc<str>, Expr)>,
    pub starred: Option<Expr>,
    pub double_starred: Option<Expr>,
}

#[derive(Debug)]
pub(in crate::text) struct Call {
    pub callee: Expr,
    pub arguments: Arguments,
    pub line: usize,
}

/// A filter or a test, applied to a value.
#[derive(Debug)]
pub(in crate::text) struct Apply<F> {
    pub name: Arc<str>,
    /// `None` for an unknown one in a branch, which fails when it is taken.
    pub function: Option<F>,
    pub of: Expr,
    pub arguments: Arguments,
    pub line: usize,
}

#[derive(Debug)]
pub(in crate::text) enum Target {
    Name {
        name: Arc<str>,
        slot: Slot,
    },
    Attribute {
        name: Arc<str>,
        slot: Slot,
        attribute: Arc<str>,
    },
    Tuple(Vec<Target>),
}

pub(in crate::text) type Body = Vec<Statement>;

#[derive(Debug)]
pub(in crate::text) struct Statement {
    pub line: usize,
    pub kind: Kind,
}

#[derive(Debug)]
pub(in crate::text) enum Kind {
    Text(Arc<str>),
    Print(Expr),
    Set {
        target: Target,
        value: Expr,
        exported: bool,
    },
    SetBlock(Box<SetBlock>),
    If {
        arms: Vec<(Expr, Body)>,
        otherwise: Body,
    },
    For(Arc<For>),
    Macro {
        name: Arc<str>,
        slot: Slot,
        declared: Arc<Macro>,
        exported: bool,
    },
    Call {
        body: Arc<Macro>,
        call: Expr,
    },
    /// A block whose text is an answer.
    Generation(Arc<Macro>),
    Filter {
        filter: Expr,
        scope: Scope,
    },
    With {
        values: Vec<(Target, Expr)>,
        scope: Scope,
    },
    Block {
        name: Arc<str>,
        required: bool,
        locals: Option<Vec<(Arc<str>, Slot)>>,
    },
    AutoEscape {
        on: Expr,
        scope: Scope,
    },
    Break,
    Continue,
    /// `extends`, `include`, `import`: there is nowhere to load from.
    Load(Loading),
}

#[derive(Debug)]
pub(in crate::text) struct Loading {
    pub names: Vec<Arc<str>>,
    pub template: Expr,
}

/// Statements that see variables of their own.
#[derive(Debug, Default)]
pub(in crate::text) struct Scope {
    pub loads: Loads,
    pub body: Body,
}

#[derive(Debug)]
pub(in crate::text) struct SetBlock {
    pub target: Target,
    pub filter: Option<Expr>,
    pub scope: Scope,
    pub exported: bool,
}

#[derive(Debug)]
pub(in crate::text) struct For {
    pub line: usize,
    pub target: Target,
    pub over: Expr,
    pub test: Option<Test>,
    pub recursive: bool,
    /// Where `loop` is, for bodies that may ask for it.
    pub loop_slot: Option<Slot>,
    pub scope: Scope,
    pub otherwise: Scope,
    /// Variables of the function that a recursive loop is.
    pub slots: usize,
}

/// The test of a loop, which sees the loop's variable under a name of its own.
#[derive(Debug)]
pub(in crate::text) struct Test {
    pub target: Target,
    pub loads: Loads,
    pub condition: Expr,
}

#[derive(Debug)]
pub(in crate::text) struct Parameter {
    pub name: Arc<str>,
    pub slot: Slot,
    pub default: Option<Expr>,
}

#[derive(Debug, Default)]
pub(in crate::text) struct Macro {
    /// `None` for the body of a call block.
    pub name: Option<Arc<str>>,
    pub parameters: Vec<Parameter>,
    pub accesses_caller: bool,
    pub caller: Option<Slot>,
    pub kwargs: Option<Slot>,
    pub varargs: Option<Slot>,
    pub loads: Loads,
    pub body: Body,
    pub slots: usize,
}

impl Macro {
    pub fn names_caller(&self) -> bool {
        self.parameters.iter().any(|p| &*p.name == "caller")
    }
}

#[derive(Debug)]
pub(in crate::text) struct Block {
    pub name: Arc<str>,
    pub loads: Loads,
    pub body: Body,
    pub slots: usize,
    /// Where `self` and `super` are, if it asks for them.
    pub own: Vec<(&'static str, usize)>,
}
