//! layers: what decoders are wired from. Each is written once, for every architecture, for serving and for learning:
//! a [`Step`] says whether rows attend over a cache or over the record they are packed in.

mod attention;
mod block;
mod embedding;
mod linear;
mod mlp;
mod norm;
mod weight;

pub(super) use attention::Attention;
pub(super) use block::Block;
pub(super) use embedding::Embedding;
pub(super) use linear::Linear;
pub(super) use mlp::GatedMlp;
pub(super) use norm::Norm;
pub(super) use weight::{Vector, Weight};

use super::step::Step;
use super::supply::At;
