//! Points of a forward where adapters act, besides the linear layers of its blocks.

use std::fmt;

use crate::device::{Array, Result};
use crate::kernels::lookup::OwnRows;
use crate::kernels::norm::RmsNorm;
use crate::kernels::op::Value;
use crate::kernels::quant::Layer;
use crate::kernels::segmented::{Bottleneck, LowRank};

use super::{Scales, Site};

/// Which norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NormAt {
    /// Of what enters a layer's attention.
    Attention(usize),
    /// Of what enters a layer's feed-forward block.
    FeedForward(usize),
    /// Of each head of a layer's queries.
    Query(usize),
    /// Of each head of a layer's keys.
    Key(usize),
    /// After the last layer.
    Last,
}

impl NormAt {
    /// `model.layers.3.input_layernorm.weight`
    pub fn path(self) -> String {
        match self {
            Self::Attention(layer) => format!("model.layers.{layer}.input_layernorm.weight"),
            Self::FeedForward(layer) => {
                format!("model.layers.{layer}.post_attention_layernorm.weight")
            }
            Self::Query(layer) => format!("model.layers.{layer}.self_attn.q_norm.weight"),
            Self::Key(layer) => format!("model.layers.{layer}.self_attn.k_norm.weight"),
            Self::Last => "model.norm.weight".to_owned(),
        }
    }
}

/// A part of a block that adds to the residual stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sublayer {
    pub layer: usize,
    pub part: Part,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    Attention,
    FeedForward,
}

/// Ids from here on are not in any vocabulary: they stand for positions that an adapter fills, counted from 0, before the
/// first token of a prompt.
pub const FIRST_VIRTUAL: u32 = 1 << 31;

/// The ids of so many virtual tokens.
pub fn virtual_tokens(count: usize) -> impl Iterator<Item = u32> {
    (FIRST_VIRTUAL..).take(count)
}

/// Which virtual token an id stands for.
pub fn as_virtual(id: u32) -> Option<usize> {
    id.checked_sub(FIRST_VIRTUAL).map(|number| number as usize)
}

/// The rows that virtual tokens have among those of `tokens`, and which they are.
pub fn virtual_rows(tokens: &[u32]) -> (Vec<usize>, Vec<usize>) {
    let rows = tokens.iter().enumerate();
    rows.filter_map(|(row, id)| Some((row, as_virtual(*id)?)))
        .unzip()
}

/// What an adapter does to its rows beyond low-rank products and scales on linear layers. A method that has nothing to say
/// leaves its rows to the base.
pub trait Change: fmt::Debug + Send + Sync {
    /// Memory it holds.
    fn bytes(&self) -> u64;

    /// Linear layers that it replaces.
    fn sites(&self) -> Vec<Site> {
        Vec::new()
    }

    /// Virtual tokens before every prompt.
    fn virtual_tokens(&self) -> usize {
        0
    }

    /// What enters the first layer for these tokens, of which the base makes `x` [t, hidden].
    fn embedded(&self, _tokens: &[u32], _x: Rows<'_>) -> Result<Option<Array>> {
        Ok(None)
    }

    /// What takes the place of a linear layer.
    fn linear(&self, _site: Site) -> Option<Layer<'_>> {
        None
    }

    /// What takes the place of a norm's weight [1, n].
    fn norm(&self, _at: NormAt) -> Option<&Array> {
        None
    }

    /// What takes the place of the head.
    fn head(&self) -> Option<Layer<'_>> {
        None
    }

    /// What it does to the logits of the head, its own or the base's.
    fn at_head(&self) -> AtHead<'_> {
        AtHead::default()
    }

    /// What it adds to the residual stream after a sublayer.
    fn inserted(&self, _at: Sublayer) -> Option<&Inserted> {
        None
    }

    /// Keys, which do not turn, and values of the virtual tokens in a layer, each [tokens, key width].
    fn past(&self, _layer: usize) -> Option<[&Array; 2]> {
        None
    }
}

/// A bottleneck at a sublayer, and the rows that go through it.
#[derive(Debug)]
pub struct Inserted {
    pub reads: Reads,
    pub bottleneck: Bottleneck,
}

/// Of a sublayer that makes y of the residual stream x.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// x
    Stream,
    /// y
    Output,
    /// x + y
    Sum,
}

/// What an adapter does to the logits of its rows.
#[derive(Debug, Clone, Copy, Default)]
pub struct AtHead<'a> {
    pub low_rank: Option<&'a LowRank>,
    pub scales: Option<&'a Scales>,
    /// Rows that take the place of the weight's.
    pub rows: Option<&'a OwnRows>,
}

impl AtHead<'_> {
    pub fn is_nothing(&self) -> bool {
        self.low_rank.is_none() && self.scales.is_none() && self.rows.is_none()
    }
}

/// Consecutive rows of an array.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    of: &'a Array,
    first: usize,
    count: usize,
}

impl<'a> Rows<'a> {
    /// Rows `range`, which `of` has.
    pub fn new(of: &'a Array, range: &std::ops::Range<usize>) -> Self {
        Self {
            of,
            first: range.start,
            count: range.len(),
        }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    pub fn width(&self) -> usize {
        self.of.width()
    }

    /// Row after row.
    pub fn values(&self) -> &'a [f32] {
        let width = self.of.width();
        &self.of.values()[self.first * width..(self.first + self.count) * width]
    }

    /// A copy.
    pub fn array(&self) -> Array {
        let mut copy = Array::zeros((self.count, self.of.width()));
        copy.values_mut().copy_from_slice(self.values());
        copy
    }
}

/// Keys and values that take the place of those of some rows of a batch.
#[derive(Debug)]
pub struct Past {
    /// Ascending.
    pub rows: Vec<usize>,
    /// [rows, key width], not turned.
    pub keys: Array,
    /// [rows, key width]
    pub values: Array,
}

/// A norm and its base's weight.
#[derive(Clone, Copy)]
pub struct BaseNorm<'a> {
    pub at: NormAt,
    pub norm: RmsNorm,
    /// [1, n]
    pub weight: &'a Value,
}
