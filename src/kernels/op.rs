//! Operations: each a type with its forward and its backward, over arrays.

use std::ops::Deref;

use super::tape::{Node, Parameter, Tape};
use crate::device::{Array, Device, Result};

/// One step of a forward, and the way back through it.
pub trait Op {
    /// What the backward needs of the forward.
    type Saved;

    /// `wants`: the inputs whose gradients will be asked for; none where nothing is recorded.
    fn forward(&self, on: &Device, inputs: &[&Array], wants: Wants)
    -> Result<(Array, Self::Saved)>;

    /// Gradients of the inputs, one a place, for the result's gradient. Only those in `wants` are looked at.
    fn backward(
        &self,
        on: &Device,
        saved: Self::Saved,
        grad: Array,
        wants: Wants,
    ) -> Result<Vec<Option<Array>>>;
}

/// Some of an operation's inputs, by their places.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wants(u8);

impl Wants {
    pub fn of(inputs: impl IntoIterator<Item = bool>) -> Self {
        let bits = inputs.into_iter().enumerate();
        Self(bits.fold(0, |all, (at, wanted)| all | u8::from(wanted) << at))
    }

    pub const fn has(self, input: usize) -> bool {
        self.0 >> input & 1 == 1
    }

    pub const fn any(self) -> bool {
        self.0 != 0
    }
}

/// An array in a forward, and its place on the tape where something that learns had a part in it.
#[derive(Debug, Clone)]
pub struct Value {
    array: Array,
    pub(super) node: Option<Node>,
}

impl Value {
    pub(super) const fn recorded(array: Array, node: Node) -> Self {
        Self {
            array,
            node: Some(node),
        }
    }

    /// Whether gradients go back through it.
    pub const fn is_recorded(&self) -> bool {
        self.node.is_some()
    }

    pub fn into_array(self) -> Array {
        self.array
    }
}

/// A constant.
impl From<Array> for Value {
    fn from(array: Array) -> Self {
        Self { array, node: None }
    }
}

impl Deref for Value {
    type Target = Array;

    fn deref(&self) -> &Array {
        &self.array
    }
}

/// How a forward runs: on which device, and whether it is recorded.
#[derive(Debug, Clone, Copy)]
pub struct Run<'t, 'a> {
    pub(super) device: &'t Device,
    pub(super) tape: Option<&'t Tape<'a>>,
}

impl<'a> Run<'_, 'a> {
    /// On the host, recording nothing.
    pub const fn host() -> Self {
        Self {
            device: &Device::Host,
            tape: None,
        }
    }

    pub const fn device(&self) -> &Device {
        self.device
    }

    pub const fn records(&self) -> bool {
        self.tape.is_some()
    }

    /// Runs an operation. Its result is recorded where one of its inputs is.
    pub fn op<O: Op + 'a>(self, op: O, inputs: &[&Value]) -> Result<Value>
    where
        O::Saved: 'a,
    {
        let arrays: Vec<&Array> = inputs.iter().map(|input| &input.array).collect();
        let wants = match self.tape {
            Some(_) => Wants::of(inputs.iter().map(|input| input.is_recorded())),
            None => Wants::default(),
        };
        let (result, saved) = op.forward(self.device, &arrays, wants)?;
        Ok(match self.tape {
            Some(tape) if wants.any() => tape.record(op, saved, inputs, wants, result),
            _ => result.into(),
        })
    }

    /// A parameter as it is now; gradients reach it where this is recorded.
    pub fn parameter(self, parameter: &Parameter) -> Value {
        match self.tape {
            Some(tape) => tape.parameter(parameter),
            None => parameter.array().into(),
        }
    }

    /// What `block` makes of `x`. A tape that recomputes keeps only `x`, and the block runs again on the way back.
    pub fn block<F>(self, x: &Value, block: F) -> Result<Value>
    where
        F: Fn(Run<'_, 'a>, &Value) -> Result<Value> + 'a,
    {
        let Some(tape) = self.tape.filter(|tape| tape.recomputes()) else {
            return block(self, x);
        };
        let unrecorded = Run {
            device: self.device,
            tape: None,
        };
        let y = block(unrecorded, &x.array.clone().into())?;
        Ok(tape.record_block(x, Box::new(block), y.array))
    }
}
