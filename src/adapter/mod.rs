//! adapter: kinds of adapters, PEFT folders, and which rows of a batch each adapter touches.
//! Knows no names, versions or owners of adapters, and nothing of the model beyond its sites.

mod catalogue;
#[cfg(test)]
mod conformance;
mod fault;
mod kinds;
mod loaded;
pub mod packed;
pub mod peft;
mod route;
mod scales;
mod site;
#[cfg(test)]
pub(crate) mod testing;

pub use crate::kernels::segmented::Precision;
pub use fault::{AdapterFault, Fit};
pub use loaded::Adapter;
pub use route::{Adapt, Routed, Unadapted, Uniform};
pub use scales::Scales;
pub use site::{BaseWeights, Module, NoWeights, Site, SiteMap, SiteShape};
