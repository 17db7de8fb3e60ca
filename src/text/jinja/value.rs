//! Values as Python has them. A rendering stays on one thread, so they are counted without atomics.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use num_bigint::BigInt;

use super::dict::Dict;
use super::fault::{Outcome, failed, spent};
use super::functions::{Cycler, Function, Joiner, Namespace};
use super::loops::Loop;
use super::macros::Macro;
use super::methods::Method;

/// How large a value is, everything in it counted as often as it is there: what walks values recurses, and a list that
/// holds itself twice, over and over, is soon larger than memory.
#[derive(Clone, Copy, Default)]
pub(in crate::text) struct Extent {
    pub depth: u16,
    pub weight: u32,
}

const MOST_NESTED: u16 = 256;
const MOST_VALUES: u32 = 4 << 20;

#[derive(Clone)]
pub(in crate::text) enum Value {
    Undefined(Rc<Undefined>),
    None,
    Bool(bool),
    Int(i64),
    /// What an `i64` cannot hold, and nothing else.
    Big(Arc<BigInt>),
    Float(f64),
    Str(Str),
    Bytes(Rc<[u8]>),
    List(Rc<Seq>),
    Tuple(Rc<Seq>),
    Dict(Rc<Dict>),
    View(View, Rc<Dict>),
    Range(Rc<Range>),
    Iter(Rc<Iter>),
    Namespace(Rc<Namespace>),
    Loop(Rc<Loop>),
    Cycler(Rc<Cycler>),
    Joiner(Rc<Joiner>),
    Macro(Rc<Macro>),
    Method(Rc<Method>),
    Function(Function),
    /// `self`, whose attributes are blocks.
    Template,
    /// A block, to be called.
    Block(Arc<str>),
}

/// A name, attribute or item that is not there. Printing it is fine; doing anything else raises.
pub(in crate::text) struct Undefined(pub String);

/// A text, and whether it is Markup: text that escaping leaves alone.
#[derive(Clone)]
pub(in crate::text) struct Str {
    text: Arc<str>,
    pub markup: bool,
}

impl Str {
    pub fn markup(text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        Self { text, markup: true }
    }

    /// Of the same kind as this one.
    pub fn like(&self, text: impl Into<Arc<str>>) -> Self {
        Self {
            text: text.into(),
            markup: self.markup,
        }
    }

    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.text, &other.text)
    }

    pub fn shared(&self) -> Arc<str> {
        self.text.clone()
    }
}

impl Deref for Str {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl<T: Into<Arc<str>>> From<T> for Str {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            markup: false,
        }
    }
}

/// The items of a list or a tuple.
pub(in crate::text) struct Seq {
    pub items: Vec<Value>,
    pub extent: Extent,
    /// One of `groupby`'s pairs, which have names for their parts.
    pub grouped: bool,
}

/// Which part of a dict `keys()`, `values()` and `items()` show.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::text) enum View {
    Keys,
    Values,
    Items,
}

#[derive(PartialEq, Eq)]
pub(in crate::text) struct Range {
    pub start: i64,
    pub stop: i64,
    pub step: i64,
    pub len: usize,
}

impl Range {
    pub fn at(&self, index: usize) -> Value {
        Value::Int(self.start + self.step * index as i64)
    }
}

/// What can be gone through once. Filters that Python computes on demand are computed at once and keep the failure that
/// would have come for its place.
pub(in crate::text) struct Iter {
    pub items: RefCell<VecDeque<Outcome<Value>>>,
    pub extent: Extent,
    /// Of Python's type.
    pub name: &'static str,
}

impl Iter {
    pub fn next(&self) -> Option<Outcome<Value>> {
        self.items.borrow_mut().pop_front()
    }
}

impl Value {
    pub fn undefined(message: impl Into<String>) -> Self {
        Self::Undefined(Rc::new(Undefined(message.into())))
    }

    /// A name that is nowhere set.
    pub fn unknown(name: &str) -> Self {
        Self::undefined(format!("'{name}' is undefined"))
    }

    pub fn str(text: impl Into<Arc<str>>) -> Self {
        Self::Str(Str::from(text))
    }

    pub fn int(value: usize) -> Self {
        i64::try_from(value).map_or_else(|_| Self::big(value.into()), Self::Int)
    }

    pub fn big(value: BigInt) -> Self {
        match i64::try_from(&value) {
            Ok(small) => Self::Int(small),
            Err(_) => Self::Big(Arc::new(value)),
        }
    }

    pub fn list(items: Vec<Self>) -> Outcome<Self> {
        seq(items).map(Self::List)
    }

    pub fn tuple(items: Vec<Self>) -> Outcome<Self> {
        seq(items).map(Self::Tuple)
    }

    pub fn group(key: Self, items: Self) -> Outcome<Self> {
        let extent = extent([&key, &items])?;
        let items = vec![key, items];
        Ok(Self::Tuple(Rc::new(Seq {
            items,
            extent,
            grouped: true,
        })))
    }

    pub fn dict(dict: Dict) -> Self {
        Self::Dict(Rc::new(dict))
    }

    pub fn generator(items: Vec<Outcome<Self>>) -> Outcome<Self> {
        Self::iterator("generator", items)
    }

    pub fn iterator(name: &'static str, items: Vec<Outcome<Self>>) -> Outcome<Self> {
        let extent = extent(items.iter().flatten())?;
        let items = RefCell::new(items.into());
        Ok(Self::Iter(Rc::new(Iter {
            items,
            extent,
            name,
        })))
    }

    pub fn extent(&self) -> Extent {
        match self {
            Self::List(seq) | Self::Tuple(seq) => seq.extent,
            Self::Dict(dict) | Self::View(_, dict) => dict.extent(),
            Self::Iter(iter) => iter.extent,
            Self::Method(method) => method.receiver.extent(),
            Self::Cycler(cycler) => cycler.extent,
            _ => Extent::default(),
        }
    }

    /// How many values it holds, at any depth.
    pub fn weight(&self) -> u64 {
        u64::from(self.extent().weight)
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    pub fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined(_))
    }

    /// The name of its type in Python.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "Undefined",
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::Big(_) => "int",
            Self::Float(_) => "float",
            Self::Str(text) if text.markup => "Markup",
            Self::Str(_) => "str",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::View(View::Keys, _) => "dict_keys",
            Self::View(View::Values, _) => "dict_values",
            Self::View(View::Items, _) => "dict_items",
            Self::Range(_) => "range",
            Self::Iter(iter) => iter.name,
            Self::Namespace(_) => "Namespace",
            Self::Loop(_) => "LoopContext",
            Self::Cycler(_) => "Cycler",
            Self::Joiner(_) => "Joiner",
            Self::Macro(_) => "Macro",
            Self::Method(_) => "builtin_function_or_method",
            Self::Function(Function::Dict) => "TemplateDict",
            Self::Function(_) => "function",
            Self::Template => "TemplateReference",
            Self::Block(_) => "BlockReference",
        }
    }

    /// Fails where it is undefined, as any operation but printing does.
    pub fn defined(&self) -> Outcome<&Self> {
        match self {
            Self::Undefined(missing) => Err(failed(missing.0.clone())),
            value => Ok(value),
        }
    }

    /// What Python's `bool()` says.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::None => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::Bytes(bytes) => !bytes.is_empty(),
            Self::List(seq) | Self::Tuple(seq) => !seq.items.is_empty(),
            Self::Dict(dict) | Self::View(_, dict) => dict.len() > 0,
            Self::Range(range) => range.len > 0,
            Self::Loop(of) => of.is_true(),
            _ => true,
        }
    }

    /// A length that is known without going through it.
    pub fn len(&self) -> Option<usize> {
        Some(match self {
            Self::Undefined(_) => 0,
            Self::Str(text) if text.is_ascii() => text.len(),
            Self::Str(text) => text.chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(seq) | Self::Tuple(seq) => seq.items.len(),
            Self::Dict(dict) | Self::View(_, dict) => dict.len(),
            Self::Range(range) => range.len,
            _ => return None,
        })
    }

    /// A whole number where Python takes one as an index or a count: not a float, not a text.
    pub fn as_index(&self) -> Outcome<i64> {
        match self.defined()? {
            Self::Bool(value) => Ok(i64::from(*value)),
            Self::Int(value) => Ok(*value),
            Self::Big(_) => Err(failed("Python int too large to convert to C ssize_t")),
            value => Err(failed(format!(
                "'{}' object cannot be interpreted as an integer",
                value.type_name()
            ))),
        }
    }
}

fn seq(items: Vec<Value>) -> Outcome<Rc<Seq>> {
    let extent = extent(&items)?;
    Ok(Rc::new(Seq {
        items,
        extent,
        grouped: false,
    }))
}

/// The extent of what holds `items`.
pub(super) fn extent<'a>(items: impl IntoIterator<Item = &'a Value>) -> Outcome<Extent> {
    items.into_iter().try_fold(
        Extent {
            depth: 1,
            weight: 1,
        },
        |whole, item| whole.and(item.extent()),
    )
}

impl Extent {
    /// With one more item.
    pub fn and(self, item: Self) -> Outcome<Self> {
        let depth = self.depth.max(item.depth + 1);
        let weight = self.weight.saturating_add(item.weight).saturating_add(1);
        if depth > MOST_NESTED {
            return Err(failed("maximum recursion depth exceeded"));
        }
        match weight <= MOST_VALUES {
            true => Ok(Self { depth, weight }),
            false => Err(spent("makes a list that is too long")),
        }
    }
}
