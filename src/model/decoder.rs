//! The decoder: embedding, blocks, norm and head, with one forward for serving and for learning.

use std::fmt;
use std::sync::Arc;

use super::groups::WeightGroup;
use super::layers::{Block, Embedding, Norm, Weight};
use super::rotation::Rotation;
use super::spec::Spec;
use super::step::{Mode, Step};
use super::supply::{At, Frozen, Initial, Learning, Supply, Taken, seeded};
use super::weights::{Source, WeightError};
use super::{Batch, Cache, KvKind, Pack, Sequence};
use crate::adapter::{Adapt, BaseShape, BaseTensor, BaseWeights, NormAt, Site, SiteShape};
use crate::device::{Array, Result, bail};
use crate::kernels::attention::{Pages, Stored};
use crate::kernels::loss::{LearningHead, log_softmax};
use crate::kernels::op::{Run, Value};
use crate::kernels::quant::Matrix;
use crate::kernels::rotary::Angles;
use crate::kernels::tape::Parameter;

pub struct Model {
    spec: Spec,
    embedding: Embedding,
    blocks: Vec<Block>,
    norm: Norm,
    head: Weight,
    rotation: Rotation,
    sites: Vec<SiteShape>,
    taken: Taken,
    stored: Stored,
    parameters: Vec<(String, Parameter)>,
}

impl Model {
    /// A base whose weights never change.
    pub fn from_source(
        source: &mut dyn Source,
        kv: KvKind,
    ) -> std::result::Result<Self, WeightError> {
        let mut model = Self::build(&mut Frozen(source))?;
        model.stored = kv.stored(model.taken.single);
        Ok(model)
    }

    /// A model of which every parameter learns, starting at what `initial` says of its path and shape.
    pub fn learning<'a>(
        spec: &'a Spec,
        initial: &'a mut Initial<'a>,
    ) -> std::result::Result<Self, WeightError> {
        let mut supply = Learning {
            spec,
            initial,
            parameters: Vec::new(),
        };
        let mut model = Self::build(&mut supply)?;
        model.parameters = supply.parameters;
        Ok(model)
    }

    /// A model of which every parameter learns, starting at seeded random values.
    pub fn initial(spec: &Spec, seed: u64) -> std::result::Result<Self, WeightError> {
        Self::learning(spec, &mut seeded(spec, seed))
    }

    fn build(supply: &mut dyn Supply) -> std::result::Result<Self, WeightError> {
        let spec = supply.spec().clone();
        let block = spec.arch.block;
        let mut at = At::new(supply);
        let outside = (spec.vocab, spec.hidden);
        let embedding = Embedding::new(at.matrix("model.embed_tokens.weight", outside)?);
        let blocks = (0..spec.layers)
            .map(|layer| block(at.in_layer(layer)))
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let norm = Norm::new(&mut at, NormAt::Last, spec.hidden)?;
        let head = match spec.tied {
            true => embedding.weight().clone(),
            false => at.matrix("lm_head.weight", outside)?,
        };
        let taken = at.taken;
        Ok(Self {
            rotation: Rotation::of(&spec.rope, spec.head_dim),
            sites: blocks.iter().flat_map(Block::sites).collect(),
            stored: Stored::F32,
            parameters: Vec::new(),
            spec,
            embedding,
            blocks,
            norm,
            head,
            taken,
        })
    }

    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    pub fn vocab(&self) -> usize {
        self.spec.vocab
    }

    pub fn layers(&self) -> usize {
        self.spec.layers
    }

    /// Positions a sequence can have.
    pub fn context(&self) -> usize {
        self.spec.context
    }

    /// Lets sequences have so many positions instead. What frequencies are scaled by stays what the files say.
    pub fn set_context(&mut self, positions: usize) {
        self.spec.context = positions;
    }

    /// Cached keys of equal tokens are equal for prompts of this number in common; 0 for most prompts of most models.
    pub fn key_class(&self, prompt: usize) -> usize {
        self.rotation.class(prompt)
    }

    /// Every linear layer an adapter can change.
    pub fn sites(&self) -> &[SiteShape] {
        &self.sites
    }

    /// Numbers in all weights, a tied head counted once.
    pub fn parameters(&self) -> u64 {
        self.taken.parameters
    }

    /// Memory that the weights hold.
    pub fn weight_bytes(&self) -> u64 {
        self.taken.bytes
    }

    /// What frozen weights are held as, and what multiplies them; a tied head counts as the embedding it is.
    pub fn weight_groups(&self) -> &[WeightGroup] {
        &self.taken.groups
    }

    /// Whether every matrix has 32 bits a weight.
    pub fn has_32_bits(&self) -> bool {
        self.taken.single
    }

    /// The parameters that learn, by their paths; none for a base.
    pub fn learning_parameters(&self) -> &[(String, Parameter)] {
        &self.parameters
    }

    pub fn new_cache(&self, blocks: usize, block_size: usize) -> Result<Cache> {
        if block_size == 0 || u32::try_from(blocks).is_err() {
            bail!("a cache of {blocks} blocks of {block_size} positions");
        }
        Ok(Cache::new(&self.spec, self.stored, blocks, block_size))
    }

    /// Bytes of one cache block over all layers.
    pub fn block_bytes(&self, block_size: usize) -> u64 {
        let Spec {
            kv_heads,
            head_dim,
            layers,
            ..
        } = self.spec;
        (layers * Pages::block_bytes(self.stored, block_size, kv_heads, head_dim)) as u64
    }

    /// Serving: one ragged forward that writes keys and values; logits [logit_rows, vocab].
    pub fn serve(&self, batch: &Batch, cache: &mut Cache, adapters: &dyn Adapt) -> Result<Array> {
        let hidden = self.rows(batch, cache, adapters)?;
        self.logits_of(&hidden, &batch.logit_rows, adapters)
    }

    /// As [`serve`](Self::serve), with the hidden states after the last norm [state_rows, hidden] of some rows beside the
    /// logits.
    pub fn serve_with_states(
        &self,
        batch: &Batch,
        state_rows: &[usize],
        cache: &mut Cache,
        adapters: &dyn Adapt,
    ) -> Result<[Array; 2]> {
        if let Some(row) = state_rows.iter().find(|row| **row >= batch.tokens.len()) {
            bail!(
                "the state of row {row} in a batch of {}",
                batch.tokens.len()
            );
        }
        let hidden = self.rows(batch, cache, adapters)?;
        let of_rows = adapters.of_rows(state_rows);
        let adapt: &dyn Adapt = of_rows.as_ref().map_or(adapters, |routed| routed);
        let wanted = hidden.select_rows(state_rows)?.into();
        let states = self.norm.forward(&wanted, Run::host(), adapt)?;
        let logits = self.logits_of(&hidden, &batch.logit_rows, adapters)?;
        Ok([logits, states.into_array()])
    }

    /// Hidden states of every row before the last norm; keys and values are in the cache afterwards.
    fn rows(&self, batch: &Batch, cache: &mut Cache, adapters: &dyn Adapt) -> Result<Value> {
        let run = Run::host();
        let positions = batch.positions(self.spec.context)?;
        let slots = batch.slots(cache.block_size())?;
        let queries = batch.sequences.iter().map(Sequence::query).collect();
        let mut step = Step {
            run,
            tokens: &batch.tokens,
            angles: self.rotation.angles(&positions, || batch.lengths()),
            adapt: adapters,
            mode: Mode::Paged {
                cache,
                queries,
                slots,
            },
        };
        let embedded = self.embedding.forward(&batch.tokens, run, adapters)?;
        let blocks = self.blocks.iter();
        { blocks }.try_fold(embedded, |x, block| block.forward(&x, &mut step))
    }

    fn logits_of(&self, hidden: &Value, rows: &[usize], adapters: &dyn Adapt) -> Result<Array> {
        let run = Run::host();
        let wanted = hidden.select_rows(rows)?.into();
        let of_rows = adapters.of_rows(rows);
        let adapters = of_rows.as_ref().map_or(adapters, |routed| routed);
        let normed = self.norm.forward(&wanted, run, adapters)?;
        Ok(self.logits(run, &normed, adapters)?.into_array())
    }

    /// Learning: hidden states [T, hidden] after the last norm, recorded through whatever learns in adapters and weights.
    pub fn learn<'a>(
        &'a self,
        run: Run<'_, 'a>,
        pack: &Pack,
        adapters: &'a dyn Adapt,
    ) -> Result<Value> {
        let positions = pack.positions(self.spec.context)?;
        let angles = self.rotation.angles(&positions, || pack.lengths());
        let ranges: Arc<[_]> = pack.ranges.as_slice().into();
        let tokens: Arc<[u32]> = pack.tokens.as_slice().into();
        let embedded = self.embedding.forward(&tokens, run, adapters)?;
        let hidden = self.blocks.iter().try_fold(embedded, |x, block| {
            let (angles, ranges): (Angles, _) = (angles.clone(), ranges.clone());
            let tokens = tokens.clone();
            run.block(&x, move |run, x| {
                let mut step = Step {
                    run,
                    tokens: &tokens,
                    angles: angles.clone(),
                    adapt: adapters,
                    mode: Mode::Packed(ranges.clone()),
                };
                block.forward(x, &mut step)
            })
        })?;
        self.norm.forward(&hidden, run, adapters)
    }

    /// Cross entropy (natural log) of each row of `hidden` [R, hidden], which are rows of what [`learn`](Self::learn)
    /// gives: [R, 1], recorded through them and through a head that learns.
    pub fn token_losses(
        &self,
        run: Run<'_, '_>,
        hidden: &Value,
        targets: &[u32],
        adapters: &dyn Adapt,
    ) -> Result<Value> {
        match &self.head {
            Weight::Frozen(head) => adapters.token_losses(run, hidden, targets, head),
            Weight::Learning(head) => {
                let targets = targets.into();
                run.op(LearningHead { targets }, &[hidden, &run.parameter(head)])
            }
        }
    }

    /// Log-probabilities [R, vocab] of hidden rows.
    pub fn log_probs(&self, hidden: &Array, adapters: &dyn Adapt) -> Result<Array> {
        let logits = self.logits(Run::host(), &hidden.clone().into(), adapters)?;
        Ok(log_softmax(logits.into_array()))
    }

    fn logits(&self, run: Run<'_, '_>, hidden: &Value, adapters: &dyn Adapt) -> Result<Value> {
        match self.head.frozen_layer(None) {
            Some(head) => adapters.head(run, hidden, &head),
            None => self.head.project(run, hidden, None),
        }
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model of {} parameters", self.parameters())
    }
}

impl BaseWeights for Model {
    fn shape(&self) -> BaseShape {
        self.spec.shape()
    }

    fn matrix(&self, site: Site) -> Option<Arc<Matrix>> {
        self.blocks.get(site.layer)?.matrix(site)
    }

    fn tensors(&self) -> Vec<(String, BaseTensor)> {
        let frozen = |path: &str, weight: &Weight| match weight {
            Weight::Frozen(matrix) => Some((path.to_owned(), BaseTensor::Matrix(matrix.clone()))),
            Weight::Learning(_) => None,
        };
        let embedding = frozen("model.embed_tokens.weight", self.embedding.weight());
        let head = match self.spec.tied {
            true => None,
            false => frozen("lm_head.weight", &self.head),
        };
        let blocks = self.blocks.iter().flat_map(Block::tensors);
        let last = self.norm.tensor().into_iter().chain(head);
        embedding.into_iter().chain(blocks).chain(last).collect()
    }
}

#[cfg(test)]
mod tests;
