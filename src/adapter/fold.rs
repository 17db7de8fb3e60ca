//! An adapter folded into the weights of its base, some rows at a time: what a model's file holds when it is merged.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::peft::{DenseSettings, LoraResume};
use super::{Adapter, AdapterFault, Outer, Place, Site};
use crate::device::Array;
use crate::kernels::dora::factor;
use crate::kernels::gemm::{self, View};
use crate::kernels::lookup::OwnRows;

/// What an adapter makes of each weight.
#[derive(Debug, Clone, Copy)]
pub struct Fold<'a> {
    adapter: &'a Adapter,
}

/// What an adapter on linear layers does beside them, exactly as its folder says it; kept for folding only.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    pub whole: BTreeMap<Place, Array>,
    /// A new embedding is the head as well.
    pub tied: bool,
    pub updates: BTreeMap<Outer, OuterUpdate>,
    pub rows: BTreeMap<Outer, Arc<OwnRows>>,
}

/// W + s · B A of the head, W + s · (B A)ᵀ of the embedding.
#[derive(Debug, Clone)]
pub struct OuterUpdate {
    /// [rank, inputs]
    pub a: Array,
    /// [outputs, rank]
    pub b: Array,
    pub scale: f32,
    /// DoRA's, an output each.
    pub factors: Option<Arc<[f32]>>,
}

/// What it makes of one weight.
#[derive(Debug)]
pub enum Folded {
    /// W + s · B A; with `lengths`, each row then made that long.
    Update {
        a: Array,
        b: Array,
        scale: f32,
        lengths: Option<Arc<[f32]>>,
    },
    /// Each column times its factor, each row times its own.
    Scaled {
        input: Option<Arc<[f32]>>,
        output: Option<Arc<[f32]>>,
    },
    /// Other values.
    Whole(Array),
    /// Other values of some rows.
    Rows(Arc<OwnRows>),
}

impl<'a> Fold<'a> {
    /// Of an adapter that was read exactly, from its folder.
    ///
    /// # Errors
    /// Where what it does is not a weight's to do.
    pub fn new(adapter: &'a Adapter) -> Result<Self, AdapterFault> {
        let kind = adapter.kind();
        let refuse = |why: &str| {
            let why = format!("is `{kind}`: {why}; serve the base with it, as an adapter");
            Err(AdapterFault::new("kind", why))
        };
        match kind {
            "dense" => {}
            _ if { adapter.resume::<LoraResume>() }
                .is_some_and(|at| at.settings.saved.lora_bias) =>
            {
                return refuse("its updates have biases, for which the base may have no place");
            }
            "lora" | "dora" | "ia3" => {}
            "bottleneck" => {
                return refuse(
                    "its layers stand beside those of the base, which has no weight for them",
                );
            }
            "prefix" | "prompt" => {
                return refuse(
                    "it puts tokens before every prompt, which no weight of the base can do",
                );
            }
            _ => return refuse("it does more than change weights of the base"),
        }
        Ok(Self { adapter })
    }

    /// What is done to a weight, one after the other; nothing where it stays as it is. A head that is the embedding begins as
    /// the base's embedding.
    pub fn at(&self, place: Place) -> Vec<Folded> {
        if let Some(dense) = self.adapter.resume::<DenseSettings>() {
            let own = dense.values.get(&place).cloned();
            return own.map(Folded::Whole).into_iter().collect();
        }
        let whole = self.outside().and_then(|outside| outside.whole.get(&place));
        let whole = whole.cloned().map(Folded::Whole);
        let more: Vec<Folded> = match place {
            Place::Weight(site) => self.linear(site).into_iter().collect(),
            Place::Bias(site) => self.bias(site).into_iter().collect(),
            Place::Embedding => self.outer(Outer::Embedding),
            Place::Head => self.outer(Outer::Head),
            Place::Norm(_) => Vec::new(),
        };
        whole.into_iter().chain(more).collect()
    }

    /// Whether the head of a base where it is the embedding becomes a weight of its own.
    pub fn unties(&self) -> bool {
        let Some(outside) = self.outside() else {
            return false;
        };
        let rows = Outer::ALL.map(|outer| outside.rows.get(&outer));
        let rows_differ = match rows {
            [Some(one), Some(other)] => !Arc::ptr_eq(one, other),
            [None, None] => false,
            _ => true,
        };
        let places = [Place::Embedding, Place::Head];
        let has_whole = places.map(|place| outside.whole.contains_key(&place));
        let whole_differ = match has_whole {
            [true, false] => !outside.tied,
            [_, head] => head,
        };
        rows_differ || whole_differ || !outside.updates.is_empty()
    }

    fn outside(&self) -> Option<&Outside> {
        self.adapter.outside()
    }

    fn outer(&self, outer: Outer) -> Vec<Folded> {
        let Some(outside) = self.outside() else {
            return Vec::new();
        };
        let follows = outer == Outer::Head && outside.tied;
        let whole = outside.whole.get(&Place::Embedding);
        let whole = whole.filter(|_| follows && !outside.whole.contains_key(&Place::Head));
        let mut all: Vec<Folded> = whole.cloned().map(Folded::Whole).into_iter().collect();
        let rows = outside.rows.get(&outer);
        all.extend(rows.cloned().map(Folded::Rows));
        let Some(update) = outside.updates.get(&outer) else {
            return all;
        };
        let (a, b) = match outer {
            Outer::Head => (update.a.clone(), update.b.clone()),
            Outer::Embedding => (update.b.transposed(), update.a.transposed()),
        };
        all.push(Folded::Update {
            a,
            b,
            scale: update.scale,
            lengths: None,
        });
        let factors = update.factors.clone();
        all.extend(factors.map(|factors| match outer {
            Outer::Head => Folded::Scaled {
                input: None,
                output: Some(factors),
            },
            Outer::Embedding => Folded::Scaled {
                input: Some(factors),
                output: None,
            },
        }));
        all
    }

    fn linear(&self, site: Site) -> Option<Folded> {
        self.update(site).or_else(|| {
            let scales = self.adapter.scales(site)?;
            let (input, output) = (scales.input.clone(), scales.output.clone());
            (input.is_some() || output.is_some()).then_some(Folded::Scaled { input, output })
        })
    }

    /// A bias is one row, whose numbers are outputs.
    fn bias(&self, site: Site) -> Option<Folded> {
        let resume = self.adapter.resume::<LoraResume>();
        if let Some(own) = resume.and_then(|resume| resume.biases.get(&site)) {
            return Some(Folded::Whole(own.clone()));
        }
        let input = self.adapter.scales(site)?.output.clone()?;
        Some(Folded::Scaled {
            input: Some(input),
            output: None,
        })
    }

    fn update(&self, site: Site) -> Option<Folded> {
        let (a, b, scale) = self.adapter.lora_site(site)?;
        let resume = self.adapter.resume::<LoraResume>();
        let lengths = resume.and_then(|resume| resume.magnitudes.get(site).cloned());
        Some(Folded::Update {
            a,
            b,
            scale: scale as f32,
            lengths,
        })
    }
}

impl Folded {
    /// On rows `rows` of a weight: `values` is [rows, inputs], row after row.
    pub fn apply(&self, rows: Range<usize>, values: &mut [f32]) {
        let width = values.len() / rows.len().max(1);
        match self {
            Self::Whole(array) => {
                let place = rows.start * width..rows.end * width;
                values.copy_from_slice(&array.values()[place]);
            }
            Self::Rows(own) => own.over(rows.start, width, values),
            Self::Scaled { input, output } => {
                for (row, values) in rows.zip(values.chunks_exact_mut(width.max(1))) {
                    if let Some(input) = input {
                        let places = values.iter_mut().zip(&input[..]);
                        places.for_each(|(value, factor)| *value *= factor);
                    }
                    if let Some(output) = output {
                        values.iter_mut().for_each(|value| *value *= output[row]);
                    }
                }
            }
            Self::Update {
                a,
                b,
                scale,
                lengths,
            } => {
                let rank = a.rows();
                let part = &b.values()[rows.start * rank..rows.end * rank];
                let part = View::dense(part, rows.len(), rank);
                let all = View::dense(a.values(), rank, width);
                gemm::product(part, all, values, width, 1.0, *scale);
                let Some(lengths) = lengths else {
                    return;
                };
                for (row, values) in rows.zip(values.chunks_exact_mut(width.max(1))) {
                    let square: f64 = values.iter().map(|w| f64::from(*w) * f64::from(*w)).sum();
                    let by = factor(lengths[row], square.sqrt() as f32);
                    values.iter_mut().for_each(|value| *value *= by);
                }
            }
        }
    }
}
