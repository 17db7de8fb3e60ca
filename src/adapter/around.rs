//! What an adapter does around the linear layers of blocks: to the embedding and the head, and by whole weights of its own.

use std::sync::Arc;

use super::own::Own;
use super::points::{AtHead, Change, NormAt, Rows};
use super::{Scales, Site};
use crate::device::{Array, Result};
use crate::kernels::lookup::{LowRankRows, OwnRows};
use crate::kernels::quant::Layer;
use crate::kernels::segmented::LowRank;

#[derive(Debug, Default)]
pub struct Around {
    pub own: Own,
    pub embedding: OnEmbedding,
    pub head: OnHead,
}

/// What it does to the states that tokens become; in this order.
#[derive(Debug, Default)]
pub struct OnEmbedding {
    pub rows: Option<Arc<OwnRows>>,
    pub low_rank: Option<LowRankRows>,
    /// [hidden]
    pub factors: Option<Arc<[f32]>>,
}

/// What it does to logits.
#[derive(Debug, Default)]
pub struct OnHead {
    pub low_rank: Option<LowRank>,
    pub scales: Option<Scales>,
    /// Of a tied head these are the embedding's.
    pub rows: Option<Arc<OwnRows>>,
}

impl OnEmbedding {
    fn is_nothing(&self) -> bool {
        self.rows.is_none() && self.low_rank.is_none() && self.factors.is_none()
    }

    fn bytes(&self) -> u64 {
        let rows = self.rows.as_ref().map_or(0, |rows| rows.bytes());
        let update = self.low_rank.as_ref().map_or(0, LowRankRows::bytes);
        let factors = self.factors.as_ref();
        rows + update + factors.map_or(0, |factors| size_of_val(&factors[..]) as u64)
    }
}

impl OnHead {
    fn bytes(&self, of_embedding: Option<&Arc<OwnRows>>) -> u64 {
        let update = self.low_rank.as_ref().map_or(0, LowRank::bytes);
        let scales = self.scales.as_ref().map_or(0, Scales::bytes);
        let rows = self.rows.as_ref();
        let rows = rows.filter(|rows| of_embedding.is_none_or(|other| !Arc::ptr_eq(rows, other)));
        update + scales + rows.map_or(0, |rows| rows.bytes())
    }
}

impl Around {
    /// Nothing, where there is nothing to do.
    pub fn into_change(self) -> Option<Arc<dyn Change>> {
        let nothing =
            self.own.is_empty() && self.embedding.is_nothing() && self.at_head().is_nothing();
        (!nothing).then(|| Arc::new(self) as _)
    }
}

impl Change for Around {
    fn bytes(&self) -> u64 {
        let rows = self.embedding.rows.as_ref();
        self.own.bytes() + self.embedding.bytes() + self.head.bytes(rows)
    }

    fn sites(&self) -> Vec<Site> {
        self.own.sites()
    }

    fn embedded(&self, tokens: &[u32], x: Rows<'_>) -> Result<Option<Array>> {
        let own = self.own.embedded(tokens, x)?;
        let on = &self.embedding;
        if on.is_nothing() {
            return Ok(own);
        }
        let mut y = own.unwrap_or_else(|| x.array());
        if let Some(rows) = &on.rows {
            rows.replace(tokens, &mut y)?;
        }
        if let Some(update) = &on.low_rank {
            update.add(tokens, &mut y)?;
        }
        if let Some(factors) = &on.factors {
            let width = y.width().max(1);
            for row in y.values_mut().chunks_exact_mut(width) {
                let places = row.iter_mut().zip(&factors[..]);
                places.for_each(|(y, factor)| *y *= factor);
            }
        }
        Ok(Some(y))
    }

    fn linear(&self, site: Site) -> Option<Layer<'_>> {
        self.own.linear(site)
    }

    fn norm(&self, at: NormAt) -> Option<&Array> {
        self.own.norm(at)
    }

    fn head(&self) -> Option<Layer<'_>> {
        self.own.head()
    }

    fn at_head(&self) -> AtHead<'_> {
        AtHead {
            low_rank: self.head.low_rank.as_ref(),
            scales: self.head.scales.as_ref(),
            rows: self.head.rows.as_deref(),
        }
    }
}
