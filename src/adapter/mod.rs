//! adapter: kinds of adapters, PEFT folders, and which rows of a batch each adapter touches.
//! Knows no names, versions or owners of adapters, and nothing of the model beyond its sites.

mod adapt;
mod around;
pub mod blend;
mod catalogue;
#[cfg(test)]
mod conformance;
mod fault;
mod fold;
mod kinds;
mod linear;
mod loaded;
mod own;
pub mod packed;
pub mod peft;
mod place;
mod points;
mod route;
mod scales;
mod site;
#[cfg(test)]
pub(crate) mod testing;
mod weights;

pub use crate::kernels::segmented::Precision;
pub use adapt::{Adapt, Unadapted};
pub use fault::{AdapterFault, Fit};
pub use fold::{Fold, Folded};
pub use kinds::served_dense;
pub use loaded::Adapter;
pub use place::Place;
pub use points::{
    AtHead, BaseNorm, Change, FIRST_VIRTUAL, Inserted, NormAt, Part, Past, Reads, Rows, Sublayer,
    as_virtual, virtual_rows, virtual_tokens,
};
pub use route::{Routed, Uniform};
pub use scales::Scales;
pub use site::{Module, Outer, Site, SiteMap, SiteShape};
pub use weights::{BaseShape, BaseTensor, BaseWeights, NoWeights, TensorSize};
