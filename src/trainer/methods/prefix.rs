//! Prefix-tuning: keys and values of virtual tokens in every layer, learned as they are, or through a projection that makes
//! them all of one narrow embedding a token.

use std::sync::Arc;

use super::{Fitting, Masks, Method, Trainable, check_virtual_tokens, not_resumed};
use crate::adapter::peft::prefix_files;
use crate::adapter::peft::{ENCODER_NAMES, Encoder, Files, PROMPT_EMBEDDINGS, PrefixResume};
use crate::adapter::{Adapt, Adapter, BaseShape, BaseWeights, virtual_rows};
use crate::device::{Array, Result, bail};
use crate::domain::{self, Reason, Recipe, Wishes};
use crate::kernels::linear::Linear;
use crate::kernels::nonlinear::{Activate, Activation};
use crate::kernels::op::{Run, Value};
use crate::kernels::replace::Replace;
use crate::kernels::tape::Parameter;
use crate::trainer::account::{Footprint, Past};
use crate::trainer::rng::{self, Purpose};

pub struct Kind;

impl super::Kind for Kind {
    fn method(&self) -> domain::Method {
        domain::Method::Prefix
    }

    /// A prefix whose projection is not at hand is trained further without one.
    fn shape(
        &self,
        parent: &Adapter,
        _: &Wishes,
        _: Fitting<'_>,
    ) -> std::result::Result<Wishes, Reason> {
        let PrefixResume {
            embeddings,
            encoder,
        } = resume_of(parent)?;
        let hidden = encoder.as_ref().map(|encoder| encoder.first[0].rows());
        Ok(Wishes {
            method: Some(domain::Method::Prefix),
            virtual_tokens: Some(embeddings.rows()),
            prefix_projection: Some(encoder.is_some()),
            prefix_hidden: hidden,
            ..Wishes::default()
        })
    }

    fn settle(
        &self,
        recipe: &Recipe,
        parent: Option<Arc<Adapter>>,
        base: Fitting<'_>,
    ) -> std::result::Result<Box<dyn Method>, Reason> {
        let base = base.weights.shape();
        check_virtual_tokens(recipe.virtual_tokens, base)?;
        let parent = match &parent {
            Some(parent) => Some(resume_of(parent)?.clone()),
            None => None,
        };
        let hidden = recipe.prefix_hidden.unwrap_or(base.key_width);
        Ok(Box::new(Prefix {
            tokens: recipe.virtual_tokens,
            hidden: recipe.prefix_projection.then_some(hidden),
            seed: recipe.seed,
            parent,
            base,
        }))
    }
}

fn resume_of(parent: &Adapter) -> std::result::Result<&PrefixResume, Reason> {
    parent.resume().ok_or_else(|| not_resumed(parent))
}

struct Prefix {
    tokens: usize,
    /// Of the projection, where there is one.
    hidden: Option<usize>,
    seed: u64,
    parent: Option<PrefixResume>,
    base: BaseShape,
}

impl Method for Prefix {
    fn count(&self) -> u64 {
        let BaseShape {
            layers, key_width, ..
        } = self.base;
        let all = 2 * layers * key_width;
        let count = match self.hidden {
            None => self.tokens * all,
            Some(hidden) => self.tokens * key_width + (key_width + 1) * hidden + (hidden + 1) * all,
        };
        count as u64
    }

    fn rank(&self) -> usize {
        0
    }

    /// Of a prefix with a projection, the file beside it may be the larger one.
    fn sizes(&self) -> (u64, u64) {
        let all = 2 * self.base.layers * self.base.key_width;
        let memory = 4 * (self.tokens * all) as u64;
        (memory.max(4 * self.count()), memory)
    }

    fn footprints(&self) -> Vec<Footprint> {
        vec![Footprint {
            past: Some(Past {
                projection: self.hidden,
            }),
            virtual_tokens: self.tokens,
            ..Footprint::default()
        }]
    }

    /// As PEFT begins: embeddings from a normal distribution, products as torch's linear layers.
    fn start(&self, _: &dyn BaseWeights) -> Result<Box<dyn Trainable>> {
        let (layers, width) = (self.base.layers, self.base.key_width);
        let source = match (&self.parent, self.hidden) {
            (
                Some(PrefixResume {
                    encoder: Some(encoder),
                    ..
                }),
                Some(_),
            ) => continued(encoder, layers)?,
            (Some(parent), _) => Source::Own(
                columns(&parent.embeddings, layers)?
                    .map(Parameter::new)
                    .collect(),
            ),
            (None, None) => {
                let fresh = |layer| self.normal(2 * width, layer as u64).map(Parameter::new);
                Source::Own((0..layers).map(fresh).collect::<Result<_>>()?)
            }
            (None, Some(hidden)) => self.fresh(hidden)?,
        };
        Ok(Box::new(Trained {
            source,
            tokens: self.tokens,
            base: self.base,
        }))
    }
}

impl Prefix {
    fn normal(&self, width: usize, part: u64) -> Result<Array> {
        let mut words = rng::stream(self.seed, Purpose::Init, &[part]);
        let values = (0..self.tokens * width).map(|_| rng::normal(&mut words));
        Array::new(values.collect(), (self.tokens, width))
    }

    fn fresh(&self, hidden: usize) -> Result<Source> {
        let (layers, width) = (self.base.layers, self.base.key_width);
        // Uniform in ±1/√inputs, weights and biases alike.
        let product = |(outputs, inputs): (usize, usize), part: u64| -> Result<[Parameter; 2]> {
            let mut words = rng::stream(self.seed, Purpose::Init, &[part]);
            let bound = 1.0 / (inputs as f32).sqrt();
            let mut draw = |dims: (usize, usize)| {
                let values =
                    (0..dims.0 * dims.1).map(|_| bound * (2.0 * rng::unit(&mut words) - 1.0));
                Array::new(values.collect(), dims).map(Parameter::new)
            };
            Ok([draw((outputs, inputs))?, draw((1, outputs))?])
        };
        let last = (0..layers).map(|layer| product((2 * width, hidden), 2 + layer as u64));
        Ok(Source::Projection {
            embedding: Parameter::new(self.normal(width, 0)?),
            first: product((hidden, width), 1)?,
            last: last.collect::<Result<_>>()?,
        })
    }
}

fn continued(encoder: &Encoder, layers: usize) -> Result<Source> {
    let [weight, bias] = &encoder.last;
    let outputs = weight.rows() / layers.max(1);
    let last = (0..layers).map(|layer| {
        let rows: Vec<usize> = (layer * outputs..(layer + 1) * outputs).collect();
        let bias = bias.values()[rows[0]..rows[0] + outputs].to_vec();
        Ok([weight.select_rows(&rows)?, Array::row(bias)].map(Parameter::new))
    });
    Ok(Source::Projection {
        embedding: Parameter::new(encoder.embedding.clone()),
        first: encoder.first.clone().map(Parameter::new),
        last: last.collect::<Result<_>>()?,
    })
}

/// The columns of each layer.
fn columns(all: &Array, layers: usize) -> Result<impl Iterator<Item = Array>> {
    let width = all.width() / layers.max(1);
    if width == 0 || width * layers != all.width() {
        bail!("{all:?} for {layers} layers");
    }
    Ok((0..layers).map(move |layer| {
        let mut part = Array::zeros((all.rows(), width));
        let rows = part.values_mut().chunks_exact_mut(width);
        let from = all.values().chunks_exact(all.width());
        rows.zip(from)
            .for_each(|(row, all)| row.copy_from_slice(&all[layer * width..][..width]));
        part
    }))
}

/// Arrays of as many rows side by side.
fn side_by_side(parts: &[Array]) -> Array {
    let rows = parts.first().map_or(0, Array::rows);
    let width = parts.iter().map(Array::width).sum();
    let mut all = Array::zeros((rows, width));
    let values = all.values_mut();
    for row in 0..rows {
        let mut at = row * width;
        for part in parts {
            let width = part.width();
            values[at..at + width].copy_from_slice(&part.values()[row * width..][..width]);
            at += width;
        }
    }
    all
}

/// One array's rows after the other's.
fn stacked(parts: impl Iterator<Item = Array>) -> Result<Array> {
    let (mut values, mut width) = (Vec::new(), 0);
    for part in parts {
        width = part.width();
        values.extend_from_slice(part.values());
    }
    let rows = values.len() / width.max(1);
    Array::new(values, (rows, width))
}

/// What keys and values come from, a layer's keys beside its values: [tokens, 2 · key width].
enum Source {
    /// Of each layer.
    Own(Vec<Parameter>),
    /// See [`Encoder`]; `last` by layers.
    Projection {
        embedding: Parameter,
        first: [Parameter; 2],
        last: Vec<[Parameter; 2]>,
    },
}

struct Trained {
    source: Source,
    tokens: usize,
    base: BaseShape,
}

impl Trained {
    fn keys_and_values(&self, run: Run<'_, '_>, layer: usize) -> Result<Value> {
        match &self.source {
            Source::Own(layers) => match layers.get(layer) {
                Some(own) => Ok(run.parameter(own)),
                None => bail!("a prefix without layer {layer}"),
            },
            Source::Projection {
                embedding,
                first,
                last,
            } => {
                let Some(last) = last.get(layer) else {
                    bail!("a prefix without layer {layer}")
                };
                // The narrow product is made again in each layer: a block that is recomputed has only its own tape.
                let [weight, bias] = first.each_ref().map(|part| run.parameter(part));
                let inner = run.op(Linear, &[&run.parameter(embedding), &weight, &bias])?;
                let inner = run.op(Activate(Activation::Tanh), &[&inner])?;
                let [weight, bias] = last.each_ref().map(|part| run.parameter(part));
                run.op(Linear, &[&inner, &weight, &bias])
            }
        }
    }

    fn resume(&self) -> Result<PrefixResume> {
        let of_layer = |layer| Ok(self.keys_and_values(Run::host(), layer)?.into_array());
        let parts = (0..self.base.layers).map(of_layer);
        let encoder = match &self.source {
            Source::Own(_) => None,
            Source::Projection {
                embedding,
                first,
                last,
            } => {
                let biases = last
                    .iter()
                    .flat_map(|[_, bias]| bias.array().values().to_vec());
                Some(Encoder {
                    embedding: embedding.array(),
                    first: first.each_ref().map(Parameter::array),
                    last: [
                        stacked(last.iter().map(|[weight, _]| weight.array()))?,
                        Array::row(biases.collect()),
                    ],
                })
            }
        };
        Ok(PrefixResume {
            embeddings: side_by_side(&parts.collect::<Result<Vec<_>>>()?),
            encoder,
        })
    }
}

impl Trainable for Trained {
    fn parameters(&self) -> Vec<(String, &Parameter)> {
        match &self.source {
            Source::Own(layers) => {
                let layers = layers.iter().enumerate();
                layers
                    .map(|(layer, own)| (format!("{PROMPT_EMBEDDINGS}.{layer}"), own))
                    .collect()
            }
            Source::Projection {
                embedding,
                first: [first, first_bias],
                last,
            } => {
                let [of_embedding, of_first, of_first_bias, of_last, of_last_bias] = ENCODER_NAMES;
                let shared = [
                    (of_embedding.to_owned(), embedding),
                    (of_first.to_owned(), first),
                    (of_first_bias.to_owned(), first_bias),
                ];
                let last = last.iter().enumerate().flat_map(|(layer, [weight, bias])| {
                    [
                        (format!("{of_last}.{layer}"), weight),
                        (format!("{of_last_bias}.{layer}"), bias),
                    ]
                });
                shared.into_iter().chain(last).collect()
            }
        }
    }

    fn learning(&self, _: Option<Masks>) -> Box<dyn Adapt + '_> {
        Box::new(Learning(self))
    }

    fn files(&self, base_name: &str) -> Result<Files> {
        prefix_files(base_name, self.base, &self.resume()?)
    }
}

struct Learning<'a>(&'a Trained);

impl Adapt for Learning<'_> {
    fn virtual_tokens(&self) -> usize {
        self.0.tokens
    }

    fn with_past(
        &self,
        run: Run<'_, '_>,
        layer: usize,
        tokens: &[u32],
        [keys, values]: [Value; 2],
    ) -> Result<[Value; 2]> {
        let (rows, from) = virtual_rows(tokens);
        if rows.is_empty() {
            return Ok([keys, values]);
        }
        let own = self.0.keys_and_values(run, layer)?;
        let (rows, from, width) = (Arc::from(rows), Arc::from(from), keys.width());
        let of_keys = Replace {
            rows,
            from,
            first: 0,
        };
        let of_values = Replace {
            first: width,
            ..of_keys.clone()
        };
        Ok([
            run.op(of_keys, &[&keys, &own])?,
            run.op(of_values, &[&values, &own])?,
        ])
    }
}
