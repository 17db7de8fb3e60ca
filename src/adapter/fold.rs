//! An adapter folded into the weights of its base, some rows at a time: what a model's file holds when it is merged.

use std::ops::Range;
use std::sync::Arc;

use super::peft::{DenseSettings, LoraResume};
use super::{Adapter, AdapterFault, Place, Site};
use crate::device::Array;
use crate::kernels::dora::factor;
use crate::kernels::gemm::{self, View};

/// What an adapter makes of each weight.
#[derive(Debug, Clone, Copy)]
pub struct Fold<'a> {
    adapter: &'a Adapter,
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
            "lora" | "dora" | "ia3" if adapter.change().is_some() => {
                return refuse(
                    "beside linear layers it changes embeddings, the head or whole modules, which is not folded",
                );
            }
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

    /// `None` where a weight stays as it is.
    pub fn at(&self, place: Place) -> Option<Folded> {
        if let Some(dense) = self.adapter.resume::<DenseSettings>() {
            return dense.values.get(&place).cloned().map(Folded::Whole);
        }
        match place {
            Place::Weight(site) => self.update(site).or_else(|| {
                let scales = self.adapter.scales(site)?;
                let (input, output) = (scales.input.clone(), scales.output.clone());
                (input.is_some() || output.is_some()).then_some(Folded::Scaled { input, output })
            }),
            // A bias is one row, whose numbers are outputs.
            Place::Bias(site) => {
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
            Place::Embedding | Place::Norm(_) | Place::Head => None,
        }
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
