//! Which rows of a flat batch each adapter changes, and how a step applies that.

use std::ops::Range;
use std::sync::Arc;

use super::adapt::{Adapt, scatter, unrecorded};
use super::linear::{AtLinear, through_each};
use super::points::{BaseNorm, Change, Past, Reads, Rows, Sublayer, as_virtual};
use super::{Adapter, Site};
use crate::device::{Array, Result, bail};
use crate::kernels::activation::Residual;
use crate::kernels::loss::{FrozenHead, losses_of};
use crate::kernels::op::{Run, Value};
use crate::kernels::quant::{Layer, Matrix};
use crate::kernels::segmented::add_bottlenecks;

/// Row ranges of a flat batch in ascending order, each with its adapter; rows in no range are base rows.
#[derive(Default)]
pub struct Routed {
    pub segments: Vec<(Range<usize>, Arc<Adapter>)>,
}

impl Routed {
    /// Every row is a base row.
    pub fn base() -> Self {
        Self::default()
    }

    /// What the adapters do at a site.
    fn at(&self, site: Site) -> AtLinear<'_> {
        let each = self.segments.iter();
        AtLinear::of(each.map(|(rows, adapter)| (rows.clone(), &**adapter)), site)
    }

    /// What they do to the products of the head.
    fn at_head(&self) -> AtLinear<'_> {
        let mut all = AtLinear::default();
        for (rows, at) in self.own(|change, _| Some(change.at_head())) {
            all.put(rows, at.low_rank, at.scales);
        }
        all
    }

    /// What adapters have for their rows at a point.
    fn own<'s, T>(
        &'s self,
        find: impl Fn(&'s dyn Change, &Range<usize>) -> Option<T> + 's,
    ) -> Vec<(Range<usize>, T)> {
        let changed = self.segments.iter();
        let changed = changed.filter_map(|(rows, adapter)| Some((rows, adapter.change()?)));
        changed
            .filter_map(|(rows, change)| Some((rows.clone(), find(change, rows)?)))
            .collect()
    }

    /// Rows that adapters compute by themselves, written over those of `all`.
    fn replaced(
        &self,
        all: Value,
        compute: impl Fn(&dyn Change, &Range<usize>) -> Result<Option<Array>>,
    ) -> Result<Value> {
        let found = self.own(|change, rows| compute(change, rows).transpose());
        if found.is_empty() {
            return Ok(all);
        }
        unrecorded(&all)?;
        let mut all = all.into_array();
        for (rows, part) in found {
            put(&mut all, rows, &part?)?;
        }
        Ok(all.into())
    }

    /// `through` for `layer` and the rows of `x` that have no layer in `own`, whose rows go through theirs.
    fn beside(
        &self,
        x: &Value,
        own: Vec<(Range<usize>, Layer<'_>)>,
        layer: &Layer<'_>,
        through: impl Fn(&Self, &Value, &Layer<'_>) -> Result<Value>,
    ) -> Result<Value> {
        unrecorded(x)?;
        let mut y = Array::zeros((x.rows(), layer.weight.dims().0));
        let is_own = |row: &usize| own.iter().any(|(rows, _)| rows.contains(row));
        let rest: Vec<usize> = (0..x.rows()).filter(|row| !is_own(row)).collect();
        if !rest.is_empty() {
            let part = x.select_rows(&rest)?.into();
            let part = through(&self.picked(&rest), &part, layer)?;
            y = scatter(y.into(), &rest, &part)?.into_array();
        }
        for (rows, layer) in own {
            let picked = self.picked(&rows.clone().collect::<Vec<_>>());
            let part = through(&picked, &Rows::new(x, &rows).array().into(), &layer)?;
            put(&mut y, rows, &part)?;
        }
        Ok(y.into())
    }

    /// The adapters of some rows, in their order.
    fn picked(&self, rows: &[usize]) -> Self {
        let mut picked = Self::default();
        for (at, row) in rows.iter().enumerate() {
            let mut segments = self.segments.iter();
            let Some((_, adapter)) = segments.find(|(range, _)| range.contains(row)) else {
                continue;
            };
            match picked.segments.last_mut() {
                Some((range, last)) if range.end == at && Arc::ptr_eq(last, adapter) => {
                    range.end += 1;
                }
                _ => picked.segments.push((at..at + 1, adapter.clone())),
            }
        }
        picked
    }
}

impl Adapt for Routed {
    fn through(&self, run: Run<'_, '_>, site: Site, x: &Value, layer: &Layer<'_>) -> Result<Value> {
        let own = self.own(|change, _| change.linear(site));
        if own.is_empty() {
            return self.at(site).through(run, x, layer);
        }
        self.beside(x, own, layer, |some, x, layer| {
            some.at(site).through(run, x, layer)
        })
    }

    fn through_each(
        &self,
        run: Run<'_, '_>,
        x: &Value,
        layers: &[(Site, Layer<'_>)],
    ) -> Result<Vec<Value>> {
        let mut sites = layers.iter().map(|(site, _)| *site);
        if sites.any(|site| !self.own(|change, _| change.linear(site)).is_empty()) {
            let layers = layers.iter();
            return layers
                .map(|(site, layer)| self.through(run, *site, x, layer))
                .collect();
        }
        let changes = layers.iter().map(|(site, _)| self.at(*site)).collect();
        through_each(run, x, layers, changes)
    }

    fn embedded(&self, _: Run<'_, '_>, tokens: &[u32], x: Value) -> Result<Value> {
        let base = (*x).clone();
        self.replaced(x, |change, rows| {
            change.embedded(&tokens[rows.clone()], Rows::new(&base, rows))
        })
    }

    fn norm(&self, run: Run<'_, '_>, base: BaseNorm<'_>, x: &Value) -> Result<Value> {
        let normed = run.op(base.norm, &[x, base.weight])?;
        self.replaced(normed, |change, rows| {
            let Some(weight) = change.norm(base.at) else {
                return Ok(None);
            };
            let (x, weight) = (Rows::new(x, rows).array().into(), weight.clone().into());
            let part = run.op(base.norm, &[&x, &weight])?;
            Ok(Some(part.into_array()))
        })
    }

    fn residual(&self, run: Run<'_, '_>, at: Sublayer, x: &Value, y: &Value) -> Result<Value> {
        let sum = run.op(Residual, &[x, y])?;
        let inserted = self.own(|change, _| change.inserted(at));
        if inserted.is_empty() {
            return Ok(sum);
        }
        unrecorded(&sum)?;
        let mut changed = sum.into_array();
        // All that read the same go in one call. A copy of the sum is made only where one of them reads it.
        let of = |reads: Reads| {
            let each = inserted.iter().filter(move |(_, one)| one.reads == reads);
            each.map(|(rows, one)| (rows.clone(), &one.bottleneck))
                .collect::<Vec<_>>()
        };
        let reading_sum = of(Reads::Sum);
        if !reading_sum.is_empty() {
            let sum = changed.clone();
            add_bottlenecks(&sum, &mut changed, &reading_sum)?;
        }
        add_bottlenecks(x, &mut changed, &of(Reads::Stream))?;
        add_bottlenecks(y, &mut changed, &of(Reads::Output))?;
        Ok(changed.into())
    }

    fn past(&self, layer: usize, tokens: &[u32]) -> Result<Option<Past>> {
        if !tokens.iter().any(|id| as_virtual(*id).is_some()) {
            return Ok(None);
        }
        let mut past: Option<(Vec<usize>, [Vec<f32>; 2], usize)> = None;
        for (range, [keys, values]) in self.own(|change, _| change.past(layer)) {
            for row in range {
                let Some(number) = tokens.get(row).copied().and_then(as_virtual) else {
                    continue;
                };
                let width = keys.width();
                let (rows, [all_keys, all_values], _) =
                    past.get_or_insert_with(|| (Vec::new(), Default::default(), width));
                let place = number * width..(number + 1) * width;
                for (array, all) in [(keys, all_keys), (values, all_values)] {
                    let Some(values) = array.values().get(place.clone()) else {
                        bail!("virtual token {number} of {}", array.rows())
                    };
                    all.extend_from_slice(values);
                }
                rows.push(row);
            }
        }
        let Some((rows, [keys, values], width)) = past else {
            return Ok(None);
        };
        let dims = (rows.len(), width);
        Ok(Some(Past {
            rows,
            keys: Array::new(keys, dims)?,
            values: Array::new(values, dims)?,
        }))
    }

    fn head(&self, run: Run<'_, '_>, x: &Value, head: &Layer<'_>) -> Result<Value> {
        let own = self.own(|change, _| change.head());
        let logits = match own.is_empty() {
            true => self.at_head().through(run, x, head)?,
            false => self.beside(x, own, head, |some, x, head| {
                some.at_head().through(run, x, head)
            })?,
        };
        let rows = self.own(|change, _| change.at_head().rows);
        if rows.is_empty() {
            return Ok(logits);
        }
        unrecorded(&logits)?;
        let mut logits = logits.into_array();
        let width = logits.width().max(1);
        for (range, own) in rows {
            let hidden = Rows::new(x, &range);
            let hidden = hidden.values().chunks_exact(x.width().max(1));
            let part = &mut logits.values_mut()[range.start * width..range.end * width];
            for (hidden, logits) in hidden.zip(part.chunks_exact_mut(width)) {
                own.logits(hidden, logits)?;
            }
        }
        Ok(logits.into())
    }

    fn of_rows(&self, rows: &[usize]) -> Option<Routed> {
        let mut changes = self.segments.iter();
        let any = changes.any(|(_, adapter)| adapter.change().is_some());
        any.then(|| self.picked(rows))
    }
}

/// Rows whose logits exist at a time where losses are asked for: a vocabulary is large.
const LOGITS: usize = 64;

/// One adapter on every row of any batch, computed as `Routed` computes it.
pub struct Uniform {
    pub adapter: Arc<Adapter>,
}

impl Uniform {
    fn over(&self, rows: usize) -> Routed {
        Routed {
            segments: vec![(0..rows, self.adapter.clone())],
        }
    }
}

impl Adapt for Uniform {
    fn through(&self, run: Run<'_, '_>, site: Site, x: &Value, layer: &Layer<'_>) -> Result<Value> {
        self.over(x.rows()).through(run, site, x, layer)
    }

    fn through_each(
        &self,
        run: Run<'_, '_>,
        x: &Value,
        layers: &[(Site, Layer<'_>)],
    ) -> Result<Vec<Value>> {
        self.over(x.rows()).through_each(run, x, layers)
    }

    fn virtual_tokens(&self) -> usize {
        self.adapter.virtual_tokens()
    }

    fn embedded(&self, run: Run<'_, '_>, tokens: &[u32], x: Value) -> Result<Value> {
        self.over(tokens.len()).embedded(run, tokens, x)
    }

    fn norm(&self, run: Run<'_, '_>, base: BaseNorm<'_>, x: &Value) -> Result<Value> {
        self.over(x.rows()).norm(run, base, x)
    }

    fn residual(&self, run: Run<'_, '_>, at: Sublayer, x: &Value, y: &Value) -> Result<Value> {
        self.over(x.rows()).residual(run, at, x, y)
    }

    fn past(&self, layer: usize, tokens: &[u32]) -> Result<Option<Past>> {
        self.over(tokens.len()).past(layer, tokens)
    }

    fn head(&self, run: Run<'_, '_>, x: &Value, head: &Layer<'_>) -> Result<Value> {
        self.over(x.rows()).head(run, x, head)
    }

    fn token_losses(
        &self,
        run: Run<'_, '_>,
        hidden: &Value,
        targets: &[u32],
        head: &Arc<Matrix>,
    ) -> Result<Value> {
        let change = self.adapter.change();
        if change.is_none_or(|change| change.at_head().is_nothing()) {
            let own = change.and_then(Change::head);
            let weight = own.map_or(head, |own| own.weight).clone();
            let targets = targets.into();
            return run.op(FrozenHead { weight, targets }, &[hidden]);
        }
        unrecorded(hidden)?;
        if hidden.rows() != targets.len() {
            bail!("{} targets for {} rows", targets.len(), hidden.rows());
        }
        let head = Layer {
            weight: head,
            bias: None,
        };
        let mut losses = Vec::with_capacity(targets.len());
        for (part, targets) in targets.chunks(LOGITS).enumerate() {
            let rows = part * LOGITS..part * LOGITS + targets.len();
            let hidden = Rows::new(hidden, &rows).array().into();
            let logits = self.head(run, &hidden, &head)?;
            losses.extend(losses_of(logits.into_array(), targets)?);
        }
        let count = losses.len();
        Ok(Array::new(losses, (count, 1))?.into())
    }
}

/// `part` in place of the rows `rows` of `all`.
fn put(all: &mut Array, rows: Range<usize>, part: &Array) -> Result<()> {
    let width = all.width();
    if part.dims() != (rows.len(), width) {
        bail!("{part:?} in place of rows {rows:?} of {all:?}");
    }
    all.values_mut()[rows.start * width..rows.end * width].copy_from_slice(part.values());
    Ok(())
}
