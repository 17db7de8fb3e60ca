//! Operations: each a type with its forward and its backward, over arrays.

use std::cell::Cell;
use std::ops::Deref;

use super::narrow;
use super::tape::{Node, Parameter, Tape};
use crate::device::{Accelerator, Array, Device, Half, Result, bail};

/// One step of a forward, and the way back through it. The host's arm is the numeric truth; an accelerator's is tested
/// against it.
pub trait Op {
    /// What the backward needs of the forward.
    type Saved: Holds;

    /// Whether its result, and the gradient of that, stay in f32 where others are numbers of 16 bits.
    const EXACT: bool = false;

    /// `wants`: the inputs whose gradients will be asked for; none where nothing is recorded.
    fn forward(&self, inputs: &[&Array], wants: Wants) -> Result<(Array, Self::Saved)>;

    /// Gradients of the inputs, one a place, for the result's gradient. Only those in `wants` are looked at.
    fn backward(&self, saved: Self::Saved, grad: Array, wants: Wants)
    -> Result<Vec<Option<Array>>>;

    /// [`forward`](Self::forward) where the inputs lie on an accelerator.
    fn forward_on(
        &self,
        on: &dyn Accelerator,
        _inputs: &[&Array],
        _wants: Wants,
    ) -> Result<(Array, Self::Saved)> {
        no_arm::<Self, _>(on)
    }

    /// [`backward`](Self::backward) where the gradient lies on an accelerator.
    fn backward_on(
        &self,
        on: &dyn Accelerator,
        _saved: Self::Saved,
        _grad: Array,
        _wants: Wants,
    ) -> Result<Vec<Option<Array>>> {
        no_arm::<Self, _>(on)
    }
}

fn no_arm<O: ?Sized, T>(on: &dyn Accelerator) -> Result<T> {
    let op = std::any::type_name::<O>();
    bail!("{op} has no arm for {} yet", on.name())
}

/// What an operation saves.
pub trait Holds {
    /// Shows every array it holds, so that those of 16-bit numbers can be held in 16 bits.
    fn arrays(&mut self, show: &mut dyn FnMut(&mut Array));
}

impl Holds for Array {
    fn arrays(&mut self, show: &mut dyn FnMut(&mut Array)) {
        show(self);
    }
}

impl<const N: usize> Holds for [Array; N] {
    fn arrays(&mut self, show: &mut dyn FnMut(&mut Array)) {
        self.iter_mut().for_each(show);
    }
}

macro_rules! holds_none {
    ($($type:ty)*) => {$(
        impl Holds for $type {
            fn arrays(&mut self, _: &mut dyn FnMut(&mut Array)) {}
        }
    )*};
}

holds_none!(() Vec<f32> (usize, usize) [(usize, usize); 2]);

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

    pub(super) const fn array_mut(&mut self) -> &mut Array {
        &mut self.array
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
    /// Becomes `true` where a forward that is not recorded asks for a parameter.
    pub(super) learns: Option<&'t Cell<bool>>,
    /// What results are rounded to.
    pub(super) half: Option<Half>,
}

impl<'a> Run<'_, 'a> {
    /// On the host, recording nothing.
    pub const fn host() -> Self {
        Self {
            device: &Device::Host,
            tape: None,
            learns: None,
            half: None,
        }
    }

    /// On a device, recording nothing.
    pub const fn on(device: &'a Device) -> Run<'a, 'a> {
        Run {
            device,
            tape: None,
            learns: None,
            half: None,
        }
    }

    /// With every result rounded to numbers of 16 bits.
    pub const fn rounding(self, half: Option<Half>) -> Self {
        Self { half, ..self }
    }

    /// Runs an operation. Its result is recorded where one of its inputs is.
    pub fn op<O: Op + 'a>(self, op: O, inputs: &[&Value]) -> Result<Value>
    where
        O::Saved: 'a,
    {
        let arrays: Vec<&Array> = inputs.iter().map(|input| &input.array).collect();
        if inputs.len() > Tape::MOST_INPUTS {
            bail!("an operation of {} inputs", inputs.len());
        }
        let wants = match self.tape {
            Some(_) => Wants::of(inputs.iter().map(|input| input.is_recorded())),
            None => Wants::default(),
        };
        if let Some(array) = arrays.iter().find(|array| !array.is_on(self.device)) {
            bail!("{array:?} does not lie on {:?}", self.device);
        }
        let (result, saved) = match self.device {
            Device::Host => op.forward(&arrays, wants)?,
            Device::Accelerator(on) => op.forward_on(&**on, &arrays, wants)?,
        };
        let half = self.half.filter(|_| !O::EXACT);
        Ok(match self.tape {
            Some(tape) if wants.any() => {
                let (result, saved) = match half {
                    Some(half) => rounded(result, saved, half),
                    None => (result, saved),
                };
                tape.record(op, saved, inputs, wants, result)
            }
            _ => {
                drop(saved);
                match half {
                    Some(half) => narrow::rounded(result, half).into(),
                    None => result.into(),
                }
            }
        })
    }

    /// A parameter as it is now; gradients reach it where this is recorded.
    pub fn parameter(self, parameter: &Parameter) -> Value {
        match self.tape {
            Some(tape) => tape.parameter(parameter),
            None => {
                if let Some(learns) = self.learns {
                    learns.set(true);
                }
                parameter.array().into()
            }
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
        let learns = Cell::new(false);
        let unrecorded = Run {
            device: self.device,
            tape: None,
            learns: Some(&learns),
            half: self.half,
        };
        let y = block(unrecorded, &x.array.clone().into())?;
        match x.is_recorded() || learns.get() {
            true => Ok(tape.record_block(x, Box::new(block), y.array)),
            false => Ok(y),
        }
    }
}

/// A result rounded, and what was saved held in 16 bits; where the result is part of that, so is it rounded.
fn rounded<S: Holds>(result: Array, mut saved: S, half: Half) -> (Array, S) {
    let mut is_saved = false;
    saved.arrays(&mut |array| is_saved |= array.shares(&result));
    let found = match is_saved {
        false => narrow::rounded(result, half),
        true => {
            let found = narrow::rounded(result.clone(), half);
            saved.arrays(&mut |array| {
                if array.shares(&result) {
                    *array = found.clone();
                }
            });
            found
        }
    };
    saved.arrays(&mut narrow::put_away);
    (found, saved)
}
