//! The catalogue: one row for each kind of adapter.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::fold::Outside;
use super::kinds::{Bottleneck, Dense, Dora, Ia3, Lora, Prefix, Prompt};
use super::peft::{ConfigFile, Tensors};
use super::{AdapterFault, Change, Fit, Scales, SiteMap};
use crate::kernels::segmented::LowRank;

/// Every kind that is served.
pub static CATALOGUE: [&dyn AdapterKind; 7] =
    [&Lora, &Dora, &Ia3, &Bottleneck, &Dense, &Prefix, &Prompt];

/// A way to change the base: how its folder is recognised and checked.
pub trait AdapterKind: Sync {
    /// As shown to users: `lora`.
    fn name(&self) -> &'static str;

    /// The value of `peft_type` that marks a folder of this kind; `None` where its layout has no such key.
    fn peft_type(&self) -> Option<&'static str>;

    /// Of kinds with the same `peft_type`, or without, whether a folder is of this one.
    fn is(&self, _config: &ConfigFile) -> Result<bool, AdapterFault> {
        Ok(true)
    }

    /// Checks everything, then returns everything; a fault names the key or tensor.
    fn read(&self, folder: &Folder<'_>, fit: &Fit<'_>) -> Result<Parts, AdapterFault>;
}

/// A folder, parsed but not yet understood.
pub struct Folder<'a> {
    pub config: ConfigFile,
    pub weights: Tensors<'a>,
    /// What made a prefix, where that lies beside.
    pub encoder: Option<Tensors<'a>>,
}

/// What an adapter changes, by the place it acts on. A kind fills in the places it knows.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    /// The largest rank of any site.
    pub rank: usize,
    /// `y += scale · B A x` on linear layers.
    pub low_rank: SiteMap<LowRank>,
    /// Products that are added one after the other, where several adapters are blended.
    pub blended: SiteMap<Vec<LowRank>>,
    /// `W (x ∘ input) ∘ output` on linear layers.
    pub scales: SiteMap<Scales>,
    /// All else it does.
    pub change: Option<Arc<dyn Change>>,
    /// What it takes to train it further, of a type that its kind knows; where it was read from its folder.
    pub resume: Option<Arc<dyn Any + Send + Sync>>,
    /// What folding it into a base needs beside that.
    pub outside: Option<Arc<Outside>>,
}

/// The row whose folders carry this `peft_type`.
pub fn kind_of(config: &ConfigFile) -> Result<&'static dyn AdapterKind, AdapterFault> {
    const FIELD: &str = "peft_type";
    let name = config.text(FIELD)?;
    for kind in CATALOGUE {
        if kind.peft_type() == name && kind.is(config)? {
            return Ok(kind);
        }
    }
    let Some(name) = name else {
        return Err(AdapterFault::new(FIELD, "is missing"));
    };
    let known: BTreeSet<_> = CATALOGUE
        .iter()
        .filter_map(|kind| kind.peft_type())
        .collect();
    let known: Vec<_> = known.into_iter().collect();
    let why = format!(
        "`{name}` is not supported; served are: {}",
        known.join(", ")
    );
    Err(AdapterFault::new(FIELD, why))
}
