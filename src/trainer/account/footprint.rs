//! What a method's parameters do to a forward, as far as memory goes, and what of each block is kept for its backward.
//!
//! Follows the layers of `model` and the operations of `kernels` step by step: an operation keeps what its `Saved` says, where
//! one of its inputs is recorded. Arrays that several operations keep are one.

use std::collections::BTreeMap;

use crate::adapter::{Module, NormAt, Part, Reads, Site, Sublayer};
use crate::model::spec::Spec;

/// What learns, and where.
#[derive(Debug, Clone, Default)]
pub struct Footprint {
    pub linears: BTreeMap<Site, Touch>,
    /// Biases that learn, or that a weight's own product takes.
    pub biases: BTreeMap<Site, Bias>,
    /// Norms whose weights are parameters, and whether they learn now.
    pub norms: BTreeMap<NormAt, bool>,
    /// Each with its width.
    pub bottlenecks: BTreeMap<Sublayer, (usize, Reads)>,
    pub past: Option<Past>,
    pub embedding: Outermost,
    pub head: Outermost,
    /// Before every record.
    pub virtual_tokens: usize,
}

/// What happens at a linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    LowRank {
        rank: usize,
        /// DoRA's lengths.
        magnitude: bool,
        dropout: bool,
    },
    /// Factors of its inputs, or of its outputs.
    Scale { on_input: bool },
    /// A whole weight; one that does not learn now is still a parameter.
    Own { learns: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// Added after the layer.
    Shift,
    /// Of the layer's own product.
    Own { learns: bool },
}

/// Embedding or head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Outermost {
    #[default]
    Frozen,
    LowRank {
        rank: usize,
        magnitude: bool,
    },
    Own {
        learns: bool,
    },
    /// Rows that stand before every text.
    Rows,
}

/// Keys and values of virtual tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// Inner width of the projection that makes them.
    pub projection: Option<usize>,
}

/// What one block keeps, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// For each token.
    pub token: u64,
    /// Whatever the tokens.
    pub fixed: u64,
    /// Beyond what is kept, for each token, where the way back through the block needs most.
    pub back: u64,
    /// Whether gradients go back through what it makes.
    pub recorded: bool,
    /// Numbers that learn in it.
    pub learned: u64,
}

/// Sizes that follow from a spec.
#[derive(Debug, Clone, Copy)]
pub struct Widths {
    pub hidden: u64,
    pub inner: u64,
    pub queries: u64,
    pub keys: u64,
    pub heads: u64,
    pub head_dim: u64,
}

impl Widths {
    pub fn of(spec: &Spec) -> Self {
        Self {
            hidden: spec.hidden as u64,
            inner: spec.intermediate as u64,
            queries: (spec.heads * spec.head_dim) as u64,
            keys: (spec.kv_heads * spec.head_dim) as u64,
            heads: spec.heads as u64,
            head_dim: spec.head_dim as u64,
        }
    }

    /// (outputs, inputs)
    fn of_module(self, module: Module) -> (u64, u64) {
        match module {
            Module::Q => (self.queries, self.hidden),
            Module::K | Module::V => (self.keys, self.hidden),
            Module::O => (self.hidden, self.queries),
            Module::Gate | Module::Up => (self.inner, self.hidden),
            Module::Down => (self.hidden, self.inner),
        }
    }

    /// What a forward that keeps nothing has at a time in a block, for each token.
    pub fn passing(self) -> u64 {
        let attention = 2 * self.hidden + 3 * self.queries + 3 * self.keys;
        attention.max(2 * self.hidden + 3 * self.inner)
    }
}

/// What a linear layer keeps beside its input.
struct Linear {
    keeps_input: bool,
    token: u64,
    fixed: u64,
    recorded: bool,
    learned: u64,
}

impl Footprint {
    /// Whether what enters the first block is learned from.
    pub fn enters_recorded(&self) -> bool {
        match self.embedding {
            Outermost::Frozen => false,
            Outermost::Own { learns } => learns,
            Outermost::LowRank { .. } | Outermost::Rows => true,
        }
    }

    fn linear(&self, site: Site, widths: Widths, recorded: bool) -> Linear {
        let (outputs, inputs) = widths.of_module(site.module);
        let bias = self.biases.get(&site);
        let bias_learns = bias.is_some_and(|bias| *bias != Bias::Own { learns: false });
        let of_bias = if bias_learns { outputs } else { 0 };
        let plain = Linear {
            keeps_input: false,
            token: 0,
            fixed: 0,
            recorded: recorded || bias_learns,
            learned: of_bias,
        };
        match (self.linears.get(&site).copied(), bias) {
            (None, None | Some(Bias::Shift)) => plain,
            // The base's weight is unpacked for a product with a bias of its own.
            (None, Some(Bias::Own { .. })) => Linear {
                keeps_input: plain.recorded,
                fixed: if plain.recorded { outputs * inputs } else { 0 },
                ..plain
            },
            (
                Some(Touch::LowRank {
                    rank,
                    magnitude,
                    dropout,
                }),
                _,
            ) => {
                let rank = rank as u64;
                // Under DoRA what dropout leaves of the input is a copy of each layer's own.
                let copies = magnitude && dropout;
                let lengths = if magnitude { outputs } else { 0 };
                Linear {
                    keeps_input: !copies,
                    token: rank + lengths + if copies { inputs } else { 0 },
                    fixed: lengths,
                    recorded: true,
                    learned: rank * (inputs + outputs) + lengths + of_bias,
                }
            }
            (Some(Touch::Scale { on_input }), _) => Linear {
                keeps_input: on_input,
                token: if on_input { 0 } else { outputs },
                fixed: 0,
                recorded: true,
                learned: if on_input { inputs } else { outputs },
            },
            (Some(Touch::Own { learns }), _) => {
                let recorded = plain.recorded || learns;
                Linear {
                    keeps_input: recorded,
                    token: 0,
                    fixed: 0,
                    recorded,
                    learned: if learns { outputs * inputs } else { 0 } + of_bias,
                }
            }
        }
    }

    /// Whether a norm's result is recorded, and the numbers of its weight that learn.
    fn norm(&self, at: NormAt, width: u64, recorded: bool) -> (bool, u64) {
        let learns = self.norms.get(&at).copied().unwrap_or(false);
        (recorded || learns, if learns { width } else { 0 })
    }

    /// What block `layer` keeps where what enters it is recorded or not.
    pub fn block(&self, layer: usize, spec: &Spec, recorded: bool) -> Kept {
        let w = Widths::of(spec);
        let at = |module| Site { layer, module };
        let mut kept = Kept::default();
        let add = |kept: &mut Kept, linear: &Linear| {
            kept.token += linear.token;
            kept.fixed += linear.fixed;
            kept.learned += linear.learned;
        };

        let (normed, learned) = self.norm(NormAt::Attention(layer), w.hidden, recorded);
        kept.learned += learned;
        kept.token += if normed { w.hidden } else { 0 };
        let mut stream_is_kept = normed;
        let projections = [Module::Q, Module::K, Module::V];
        let [q, k, v] = projections.map(|module| self.linear(at(module), w, normed));
        [&q, &k, &v]
            .iter()
            .for_each(|linear| add(&mut kept, linear));
        if q.keeps_input || k.keeps_input || v.keeps_input {
            kept.token += w.hidden;
        }
        let mut heads = [q.recorded, k.recorded];
        if spec.head_norm {
            let norms = [
                (NormAt::Query(layer), w.queries),
                (NormAt::Key(layer), w.keys),
            ];
            for (recorded, (norm, width)) in heads.iter_mut().zip(norms) {
                let (after, learned) = self.norm(norm, w.head_dim, *recorded);
                kept.learned += learned;
                kept.token += if after { width } else { 0 };
                *recorded = after;
            }
        }
        if let Some(past) = self.past {
            let (tokens, made) = (self.virtual_tokens as u64, 2 * w.keys);
            kept.learned += match past.projection {
                None => tokens * made,
                Some(inner) => {
                    // What goes into the function between the two products, and what comes out.
                    kept.fixed += 2 * tokens * inner as u64;
                    (inner as u64 + 1) * made
                }
            };
        }
        let attends = heads[0] || heads[1] || v.recorded || self.past.is_some();
        if attends {
            kept.token += 2 * w.queries + 2 * w.keys + w.heads;
        }
        let o = self.linear(at(Module::O), w, attends);
        add(&mut kept, &o);
        if o.keeps_input && !attends {
            kept.token += w.queries;
        }
        let part = |part| Sublayer { layer, part };
        let stream = self.residual(
            part(Part::Attention),
            w,
            (recorded, o.recorded),
            stream_is_kept,
            &mut kept,
        );

        let (normed, learned) = self.norm(NormAt::FeedForward(layer), w.hidden, stream);
        kept.learned += learned;
        kept.token += if normed { w.hidden } else { 0 };
        stream_is_kept = normed;
        let [gate, up] =
            [Module::Gate, Module::Up].map(|module| self.linear(at(module), w, normed));
        add(&mut kept, &gate);
        add(&mut kept, &up);
        if gate.keeps_input || up.keeps_input {
            kept.token += w.hidden;
        }
        let gated = gate.recorded || up.recorded;
        kept.token += if gated { 2 * w.inner } else { 0 };
        let down = self.linear(at(Module::Down), w, gated);
        add(&mut kept, &down);
        if down.keeps_input {
            kept.token += w.inner;
        }
        kept.recorded = self.residual(
            part(Part::FeedForward),
            w,
            (stream, down.recorded),
            stream_is_kept,
            &mut kept,
        );
        // The gradient of the stream, and those around the gate: of its product and of both its factors, while all that the
        // block keeps but the product itself is still there.
        kept.back = match (gated, down.keeps_input) {
            (true, true) => w.hidden + 2 * w.inner,
            (true, false) => w.hidden + 3 * w.inner,
            (false, _) => 2 * w.hidden + w.queries + 2 * w.keys,
        };
        kept
    }

    /// Whether the stream after a sublayer is recorded. `recorded`: the stream before it, and what the sublayer made.
    fn residual(
        &self,
        at: Sublayer,
        w: Widths,
        recorded: (bool, bool),
        stream_is_kept: bool,
        kept: &mut Kept,
    ) -> bool {
        let Some((width, reads)) = self.bottlenecks.get(&at) else {
            return recorded.0 || recorded.1;
        };
        let width = *width as u64;
        kept.token += 2 * width;
        kept.token += match reads {
            Reads::Stream if stream_is_kept => 0,
            Reads::Stream | Reads::Output | Reads::Sum => w.hidden,
        };
        kept.learned += 2 * width * w.hidden + width + w.hidden;
        true
    }

    /// Numbers of an embedding that is a parameter, whether it learns now or not.
    pub fn of_embedding(&self, spec: &Spec) -> u64 {
        match self.embedding {
            Outermost::Frozen | Outermost::LowRank { .. } => 0,
            Outermost::Own { .. } => (spec.vocab * spec.hidden) as u64,
            Outermost::Rows => (self.virtual_tokens * spec.hidden) as u64,
        }
    }

    /// Numbers that learn before the first block, and after the last.
    pub fn learned_outside(&self, spec: &Spec) -> [u64; 2] {
        let (vocab, hidden) = (spec.vocab as u64, spec.hidden as u64);
        let of = |outermost, lengths: u64| match outermost {
            Outermost::Frozen | Outermost::Own { learns: false } => 0,
            Outermost::Own { learns: true } => vocab * hidden,
            Outermost::LowRank { rank, magnitude } => {
                rank as u64 * (vocab + hidden) + if magnitude { lengths } else { 0 }
            }
            Outermost::Rows => self.virtual_tokens as u64 * hidden,
        };
        // The narrow product of a projection serves all layers.
        let projection = match self.past.and_then(|past| past.projection) {
            None => 0,
            Some(inner) => {
                let keys = (spec.kv_heads * spec.head_dim) as u64;
                self.virtual_tokens as u64 * keys + (keys + 1) * inner as u64
            }
        };
        // A head that is the embedding is counted where its gradient comes first.
        let own = |outermost| matches!(outermost, Outermost::Own { learns: true });
        let embedding = match spec.tied && own(self.head) {
            true => 0,
            false => of(self.embedding, hidden),
        };
        let last = self.norms.get(&NormAt::Last) == Some(&true);
        let head = of(self.head, vocab) + if last { hidden } else { 0 };
        [embedding + projection, head]
    }
}
