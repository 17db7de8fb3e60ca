//! Muon for the matrices between hidden states, AdamW for embedding, head and norms.

use std::collections::HashMap;

use super::muon;
use crate::device::{self, Array};
use crate::kernels::tape::{Parameter, ParameterId};
use crate::model::Model;
use crate::trainer::optimizer::{AdamW, Moments, Settings};

/// Learning rates.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    pub muon: f32,
    pub adam: f32,
}

const ADAM: Settings = Settings {
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-8,
    weight_decay: 0.0,
};
/// Norm weights move slower than embeddings.
const NORM_SHARE: f64 = 0.5;

/// What moves a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Maps hidden states to hidden states: Muon's.
    Hidden,
    /// Embedding and head.
    Edge,
    Norm,
}

fn role(name: &str) -> Role {
    match name {
        _ if name.ends_with("norm.weight") => Role::Norm,
        _ if name.ends_with("_proj.weight") => Role::Hidden,
        _ => Role::Edge,
    }
}

/// The state of all three: of each hidden matrix its momentum, of the others AdamW's moments, in the model's order.
pub struct Optimizer {
    rates: Rates,
    momentum: Vec<Vec<f32>>,
    edges: AdamW,
    norms: AdamW,
}

impl Optimizer {
    pub fn new(model: &Model, rates: Rates) -> Self {
        let sizes = |role| of(model, role).map(|(_, parameter)| parameter.array().len());
        Self {
            rates,
            momentum: sizes(Role::Hidden).map(|size| vec![0.0; size]).collect(),
            edges: AdamW::new(ADAM, sizes(Role::Edge)),
            norms: AdamW::new(ADAM, sizes(Role::Norm)),
        }
    }

    /// Takes up a state that [`updates`](Self::updates) and [`state`](Self::state) gave; `take` finds what a name stood
    /// for.
    pub fn restore<E>(
        model: &Model,
        rates: Rates,
        updates: u64,
        mut take: impl FnMut(String) -> Result<Vec<f32>, E>,
    ) -> Result<Self, E> {
        let mut momentum = Vec::new();
        for (name, _) in of(model, Role::Hidden) {
            momentum.push(take(first(name))?);
        }
        let mut adam = |role| {
            let mut moments = Vec::new();
            for (name, _) in of(model, role) {
                moments.push(Moments::full(take(first(name))?, take(second(name))?));
            }
            Ok(AdamW::restore(ADAM, updates, moments))
        };
        Ok(Self {
            rates,
            momentum,
            edges: adam(Role::Edge)?,
            norms: adam(Role::Norm)?,
        })
    }

    pub fn updates(&self) -> u64 {
        self.edges.updates()
    }

    /// Everything there is to keep, by name.
    pub fn state<'a>(&'a self, model: &'a Model) -> Vec<(String, &'a [f32])> {
        let hidden = of(model, Role::Hidden).zip(&self.momentum);
        let mut all: Vec<_> = hidden
            .map(|((name, _), momentum)| (first(name), &momentum[..]))
            .collect();
        for (role, adam) in [(Role::Edge, &self.edges), (Role::Norm, &self.norms)] {
            for ((name, _), moments) in of(model, role).zip(adam.moments()) {
                all.push((first(name), moments.first.numbers()));
                all.push((second(name), moments.second.numbers()));
            }
        }
        all
    }

    /// One update at `share` of the learning rates.
    ///
    /// # Errors
    /// When a parameter of the model has no gradient; its name is in the text.
    pub fn step(
        &mut self,
        model: &Model,
        gradients: &mut HashMap<ParameterId, Array>,
        share: f32,
    ) -> device::Result<()> {
        let mut take = |(name, parameter): (&str, &Parameter)| {
            let found = gradients.remove(&parameter.id());
            found.ok_or_else(|| device::Error::new(format!("`{name}` has no gradient")))
        };
        for (named, momentum) in of(model, Role::Hidden).zip(&mut self.momentum) {
            let gradient = take(named)?;
            muon::step(named.1, &gradient, momentum, self.rates.muon * share);
        }
        let rate = f64::from(self.rates.adam * share);
        for (role, adam, rate) in [
            (Role::Edge, &mut self.edges, rate),
            (Role::Norm, &mut self.norms, rate * NORM_SHARE),
        ] {
            let parameters: Vec<_> = of(model, role)
                .map(|(_, parameter)| (parameter, 1.0))
                .collect();
            let gradients = of(model, role)
                .map(&mut take)
                .collect::<device::Result<Vec<_>>>()?;
            let stepped = adam.step(rate, &parameters, &gradients);
            stepped.map_err(device::Error::of)?;
        }
        Ok(())
    }
}

fn of(model: &Model, wanted: Role) -> impl Iterator<Item = (&str, &Parameter)> {
    let all = model.learning_parameters().iter();
    all.map(|(name, parameter)| (name.as_str(), parameter))
        .filter(move |(name, _)| role(name) == wanted)
}

fn first(name: &str) -> String {
    format!("first.{name}")
}

fn second(name: &str) -> String {
    format!("second.{name}")
}
