//! The tape that takes gradients back through operations.
//!
//! It is walked once, from the end, and gives up what it has passed. A parameter's gradient reaches the [`Sink`] as soon as
//! nothing earlier on the tape can add to it. One that is [`recomputing`](Tape::recomputing) keeps of a block ([`Run::block`]) only
//! the input and computes the rest again when its gradient is due (Chen et al., arXiv 1604.06174).

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::narrow;
use super::op::{Holds, Op, Run, Value, Wants};
use crate::device::{Array, Device, Half, Result, bail};

/// A place on a tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node(usize);

/// Numbers that learn. Clones are the same parameter.
#[derive(Debug, Clone)]
pub struct Parameter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: ParameterId,
    array: RwLock<Array>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParameterId(u64);

impl Parameter {
    pub fn new(array: Array) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(Arc::new(Inner {
            id: ParameterId(NEXT.fetch_add(1, Ordering::Relaxed)),
            array: RwLock::new(array),
        }))
    }

    pub fn id(&self) -> ParameterId {
        self.0.id
    }

    /// As it is now.
    pub fn array(&self) -> Array {
        let array = self.0.array.read();
        array.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// (rows, width)
    pub fn dims(&self) -> (usize, usize) {
        self.array().dims()
    }

    /// Changes its values, which lie on the host; in place once every forward that used them is gone.
    pub fn update(&self, change: impl FnOnce(&mut [f32])) {
        let array = self.0.array.write();
        change(array.unwrap_or_else(PoisonError::into_inner).values_mut());
    }
}

/// Where gradients go.
pub trait Sink {
    /// The whole gradient of a parameter, or the next part of it: a block that is computed again uses its parameters on
    /// a tape of its own.
    fn take(&mut self, parameter: ParameterId, gradient: Array) -> Result<()>;
}

/// Keeps the sum of what it is given, by parameter.
impl Sink for HashMap<ParameterId, Array> {
    fn take(&mut self, parameter: ParameterId, gradient: Array) -> Result<()> {
        match self.get_mut(&parameter) {
            Some(sum) => add(sum, &gradient)?,
            None => drop(self.insert(parameter, gradient)),
        }
        Ok(())
    }
}

/// What ran, in order.
pub struct Tape<'a> {
    device: &'a Device,
    recomputes: bool,
    /// What results, and their gradients, are rounded to.
    half: Option<Half>,
    entries: RefCell<Vec<Entry<'a>>>,
    parameters: RefCell<HashMap<ParameterId, Node>>,
}

type Backward<'a> = Box<dyn FnOnce(&Device, Array) -> Result<Vec<Option<Array>>> + 'a>;
type Block<'a> = Box<dyn Fn(Run<'_, 'a>, &Value) -> Result<Value> + 'a>;
/// Of each that is recorded, its place and sizes.
type Inputs = [Option<(Node, (usize, usize))>; Tape::MOST_INPUTS];

enum Entry<'a> {
    Input,
    Parameter(ParameterId),
    Op {
        name: &'static str,
        inputs: Inputs,
        back: Backward<'a>,
    },
    Block {
        input: Value,
        block: Block<'a>,
    },
}

impl Tape<'_> {
    /// Inputs an operation has at most.
    pub const MOST_INPUTS: usize = 4;
}

impl<'a> Tape<'a> {
    pub fn new(device: &'a Device) -> Self {
        Self {
            device,
            recomputes: false,
            half: None,
            entries: RefCell::default(),
            parameters: RefCell::default(),
        }
    }

    /// Keeps of a block only its input, and computes the rest again when its gradient is due.
    pub fn recomputing(device: &'a Device) -> Self {
        Self {
            recomputes: true,
            ..Self::new(device)
        }
    }

    /// With results and their gradients rounded to numbers of 16 bits, and held in them for the way back.
    pub fn rounding(self, half: Option<Half>) -> Self {
        Self { half, ..self }
    }

    pub(super) const fn recomputes(&self) -> bool {
        self.recomputes
    }

    /// A forward that is recorded here.
    pub fn run(&self) -> Run<'_, 'a> {
        Run {
            device: self.device,
            tape: Some(self),
            learns: None,
            half: self.half,
        }
    }

    fn push(&self, entry: Entry<'a>) -> Node {
        let mut entries = self.entries.borrow_mut();
        entries.push(entry);
        Node(entries.len() - 1)
    }

    pub(super) fn record<O: Op + 'a>(
        &self,
        op: O,
        mut saved: O::Saved,
        inputs: &[&Value],
        wants: Wants,
        result: Array,
    ) -> Value
    where
        O::Saved: 'a,
    {
        let mut nodes = [None; Tape::MOST_INPUTS];
        for (node, input) in nodes.iter_mut().zip(inputs) {
            *node = input.node.map(|node| (node, input.dims()));
        }
        let half = self.half.filter(|_| !O::EXACT);
        let node = self.push(Entry::Op {
            name: std::any::type_name::<O>(),
            inputs: nodes,
            back: Box::new(move |on, grad| {
                let grad = match half {
                    Some(half) => narrow::rounded(grad, half),
                    None => grad,
                };
                saved.arrays(&mut narrow::take_out);
                match on {
                    Device::Host => op.backward(saved, grad, wants),
                    Device::Accelerator(on) => op.backward_on(&**on, saved, grad, wants),
                }
            }),
        });
        Value::recorded(result, node)
    }

    pub(super) fn parameter(&self, parameter: &Parameter) -> Value {
        let known = self.parameters.borrow().get(&parameter.id()).copied();
        let node = known.unwrap_or_else(|| {
            let node = self.push(Entry::Parameter(parameter.id()));
            self.parameters.borrow_mut().insert(parameter.id(), node);
            node
        });
        Value::recorded(parameter.array(), node)
    }

    pub(super) fn record_block(&self, x: &Value, block: Block<'a>, result: Array) -> Value {
        let mut input = x.clone();
        narrow::put_away(input.array_mut());
        let node = self.push(Entry::Block { input, block });
        Value::recorded(result, node)
    }

    /// Takes the gradient `seed` of `of`, which was computed on this tape, back to every parameter. Nothing happens where
    /// no parameter had a part in `of`.
    ///
    /// # Errors
    /// When `seed` has other sizes than `of`, and as operations and the sink fail.
    pub fn backward(self, of: &Value, seed: Array, sink: &mut dyn Sink) -> Result<()> {
        self.walk(of, seed, sink).map(drop)
    }

    /// The gradient of this tape's input, where it has one.
    fn walk(self, of: &Value, seed: Array, sink: &mut dyn Sink) -> Result<Option<Array>> {
        if seed.dims() != of.dims() {
            bail!("a gradient {seed:?} of {:?}", &**of);
        }
        let Some(Node(last)) = of.node else {
            return Ok(None);
        };
        let mut entries = self.entries.into_inner();
        let mut grads: Vec<Option<Array>> = vec![None; entries.len()];
        grads[last] = Some(seed);
        let mut of_input = None;
        while let Some(entry) = entries.pop() {
            let Some(grad) = grads.pop().flatten() else {
                continue;
            };
            match entry {
                Entry::Input => of_input = Some(grad),
                Entry::Parameter(id) => sink.take(id, grad)?,
                Entry::Op { name, inputs, back } => {
                    let mut found = back(self.device, grad)?.into_iter();
                    for input in inputs {
                        let (grad, Some((node, dims))) = (found.next().flatten(), input) else {
                            continue;
                        };
                        match grad.filter(|grad| grad.dims() == dims) {
                            Some(grad) => gather(&mut grads[node.0], grad)?,
                            None => bail!("{name} has no gradient of {dims:?} for an input"),
                        }
                    }
                }
                Entry::Block { mut input, block } => {
                    narrow::take_out(input.array_mut());
                    let inner = Tape::new(self.device).rounding(self.half);
                    let x = match input.node {
                        Some(_) => Value::recorded((*input).clone(), inner.push(Entry::Input)),
                        None => (*input).clone().into(),
                    };
                    let y = block(inner.run(), &x)?;
                    let found = inner.walk(&y, grad, sink)?;
                    if let (Some(node), Some(grad)) = (input.node, found) {
                        gather(&mut grads[node.0], grad)?;
                    }
                }
            }
        }
        Ok(of_input)
    }
}

impl fmt::Debug for Tape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tape of {}", self.entries.borrow().len())
    }
}

fn gather(into: &mut Option<Array>, grad: Array) -> Result<()> {
    match into {
        Some(sum) => add(sum, &grad),
        None => {
            *into = Some(grad);
            Ok(())
        }
    }
}

fn add(sum: &mut Array, grad: &Array) -> Result<()> {
    let on_host = [&*sum, grad].iter().all(|array| array.is_on(&Device::Host));
    if sum.dims() != grad.dims() || !on_host {
        bail!("gradients {sum:?} and {grad:?} of one value cannot be added here");
    }
    let values = sum.values_mut().iter_mut().zip(grad.values());
    values.for_each(|(sum, grad)| *sum += grad);
    Ok(())
}

#[cfg(test)]
mod tests;
