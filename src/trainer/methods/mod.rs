//! methods: what a job trains, one file a method and one row of [`CATALOGUE`].
//!
//! A [`Kind`] turns a recipe into a [`Method`] that fits one base; that gives the [`Trainable`] a job starts with, which
//! adapts the forwards it learns from and becomes the folder that is published; it is scored as that folder is served.
//! Nothing else in the trainer knows which method runs.

mod bottleneck;
mod dense;
mod ia3;
mod lora;
mod masks;
mod prefix;
mod prompt;

use std::sync::Arc;

use crate::adapter::peft::{self, Files};
use crate::adapter::{
    Adapt, Adapter, AdapterFault, BaseShape, BaseWeights, Fit, SiteShape, Uniform,
};
use crate::device::Result;
use crate::domain::{self, Reason, Recipe, Wishes};
use crate::kernels::tape::Parameter;
use crate::model::Base;
use crate::text::Tokenizer;
use crate::trainer::account::Footprint;

pub use masks::Masks;

/// The base that a method must fit.
#[derive(Clone, Copy)]
pub struct Fitting<'a> {
    /// Every linear layer that an adapter can change.
    pub sites: &'a [SiteShape],
    pub weights: &'a dyn BaseWeights,
    /// Where texts have to become tokens.
    pub tokenizer: Option<&'a Tokenizer>,
}

impl<'a> Fitting<'a> {
    pub fn of(base: &'a Base) -> Self {
        Self {
            sites: base.model.sites(),
            weights: &base.model,
            tokenizer: Some(&base.tokenizer),
        }
    }
}

/// A way to train, before anything is known of base and recipe.
pub trait Kind: Sync {
    fn method(&self) -> domain::Method;

    /// Whether an adapter was trained so.
    fn made(&self, adapter: &Adapter) -> bool {
        domain::Named::name(self.method()) == adapter.kind()
    }

    /// Whether an adapter can be trained further so.
    fn continues(&self, adapter: &Adapter) -> bool {
        self.made(adapter)
    }

    /// What a job that continues `parent`, an adapter of this method, has to have in common with it. `wishes.targets`, where
    /// said, must choose the same layers.
    fn shape(
        &self,
        parent: &Adapter,
        wishes: &Wishes,
        base: Fitting<'_>,
    ) -> std::result::Result<Wishes, Reason>;

    /// `parent` is an adapter of this method.
    fn settle(
        &self,
        recipe: &Recipe,
        parent: Option<Arc<Adapter>>,
        base: Fitting<'_>,
    ) -> std::result::Result<Box<dyn Method>, Reason>;
}

/// A method with the settings of one job, fitted to a base.
pub trait Method: Send + Sync {
    /// Numbers that learn.
    fn count(&self) -> u64;

    /// Numbers that it adds to those of the base.
    fn added(&self) -> u64 {
        self.count()
    }

    /// The largest rank of an update; 0 where updates have none.
    fn rank(&self) -> usize;

    /// Bytes of the weights file it makes, and of the adapter in memory; 0 where both are small beside any limit.
    fn sizes(&self) -> (u64, u64) {
        (0, 0)
    }

    /// What it does to a forward, as far as memory goes: of each stage.
    fn footprints(&self) -> Vec<Footprint>;

    /// What is trained, before the first step: the parent's values, or fresh ones for a base with these weights.
    fn start(&self, weights: &dyn BaseWeights) -> Result<Box<dyn Trainable>>;
}

/// Parameters that learn, and what they do to a forward.
pub trait Trainable: Send {
    /// Each with its name in an adapter's weights file, always in the same order.
    fn parameters(&self) -> Vec<(String, &Parameter)>;

    /// The learning rate of each parameter over the job's, in the same order.
    fn rates(&self) -> Vec<f64> {
        vec![1.0; self.parameters().len()]
    }

    /// From here on what is declared for this stage of the job learns, counted from 0.
    fn enter(&mut self, _stage: usize) {}

    /// Which parameters learn in the stage that was entered last, in the same order.
    fn active(&self) -> Vec<bool> {
        vec![true; self.parameters().len()]
    }

    /// Adapts a forward whose gradients are wanted.
    fn learning(&self, masks: Option<Masks>) -> Box<dyn Adapt + '_>;

    /// The folder it becomes. The same values give the same bytes.
    fn files(&self, base_name: &str) -> Result<Files>;

    /// The adapter as a registry serves it that reads it under `fit`, on every row.
    ///
    /// # Errors
    /// The folder's fault, where it could not be served.
    fn served(&self, fit: &Fit<'_>) -> Result<std::result::Result<Uniform, AdapterFault>> {
        let files = self.files("")?;
        Ok(peft::read(&files, fit).map(|adapter| Uniform {
            adapter: Arc::new(adapter),
        }))
    }
}

impl dyn Trainable {
    /// All values, one flat vector a parameter.
    pub fn values(&self) -> Vec<Vec<f32>> {
        let parameters = self.parameters().into_iter();
        parameters
            .map(|(_, parameter)| parameter.array().values().to_vec())
            .collect()
    }

    /// Takes over what `values` gave, changed.
    pub fn set(&self, values: &[Vec<f32>]) {
        for ((_, parameter), new) in self.parameters().into_iter().zip(values) {
            parameter.update(|values| values.copy_from_slice(new));
        }
    }
}

/// Every method that is trained.
static CATALOGUE: [&dyn Kind; 9] = [
    &lora::LORA,
    &lora::DORA,
    &ia3::Kind,
    &bottleneck::Kind,
    &prefix::Kind,
    &prompt::Kind,
    &dense::MODULES,
    &dense::STAGED,
    &dense::FULL,
];

/// The row of a method.
pub fn kind(method: domain::Method) -> std::result::Result<&'static dyn Kind, Reason> {
    let found = CATALOGUE.into_iter().find(|kind| kind.method() == method);
    found.ok_or_else(|| Reason::field("method", "is not trained here"))
}

/// How an adapter is trained further: as `wished` where that can be, else as it was made.
pub fn kind_for(
    adapter: &Adapter,
    wished: Option<domain::Method>,
) -> std::result::Result<&'static dyn Kind, Reason> {
    let mut kinds = CATALOGUE.into_iter();
    let wished = kinds.find(|kind| Some(kind.method()) == wished && kind.continues(adapter));
    let made = CATALOGUE.into_iter().find(|kind| kind.made(adapter));
    wished.or(made).ok_or_else(|| not_resumed(adapter))
}

/// Of prefixes and prompts: some of the context must be left.
fn check_virtual_tokens(tokens: usize, base: BaseShape) -> std::result::Result<(), Reason> {
    if base.context == 0 || tokens < base.context {
        return Ok(());
    }
    let why = format!(
        "is {tokens}; they and a prompt have {} tokens together here",
        base.context
    );
    Err(Reason::field("virtual_tokens", why))
}

fn not_resumed(parent: &Adapter) -> Reason {
    let why = format!("a {} adapter cannot be trained further here", parent.kind());
    Reason::field("from", why)
}

/// A fault of a folder's key, as one of the setting that it was made from.
fn as_wish(AdapterFault { field, why }: AdapterFault) -> Reason {
    match field.split_once('.') {
        _ if field == "target_modules" => Reason::field("targets", why),
        // The inner configuration of AdapterHub's layout.
        Some(("config", name)) => Reason::field(name, why),
        // One entry of a setting's.
        Some((name, entry)) if domain::settings::find(name).is_some() => {
            Reason::field(name, format!("`{entry}`: {why}"))
        }
        _ => Reason::field(field, why),
    }
}
