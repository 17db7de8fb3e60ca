//! The decoder: embedding, blocks, norm and head, with one forward for serving and for learning.

use candle_core::{Result, Tensor, Var};

use super::groups::WeightGroup;
use super::layers::{Block, Embedding, Norm, Weight};
use super::rotation::Rotation;
use super::spec::Spec;
use super::step::{Mode, Step};
use super::supply::{At, Frozen, Initial, Learning, Supply, Taken, seeded};
use super::weights::{Source, WeightError};
use super::{Batch, Cache, KvKind, Pack, Sequence};
use crate::adapter::{Adapt, SiteShape};
use crate::kernels::attention::{Pages, Stored};
use crate::kernels::loss;
use crate::kernels::select_rows;

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
    variables: Vec<(String, Var)>,
}

impl Model {
    /// A base whose weights never change.
    pub fn from_source(
        source: &mut dyn Source,
        kv: KvKind,
    ) -> std::result::Result<Self, WeightError> {
        let mut model = Self::build(&mut Frozen(source))?;
        model.stored = match kv {
            KvKind::F32 => Stored::F32,
            KvKind::F16 => Stored::F16,
            KvKind::Q8 => Stored::Q8,
            KvKind::Auto if model.taken.single => Stored::F32,
            KvKind::Auto => Stored::F16,
        };
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
            variables: Vec::new(),
        };
        let mut model = Self::build(&mut supply)?;
        model.variables = supply.variables;
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
        let norm = Norm::new(&mut at, "model.norm.weight", spec.hidden)?;
        let head = match spec.tied {
            true => embedding.weight().clone(),
            false => at.matrix("lm_head.weight", outside)?,
        };
        let taken = at.taken;
        Ok(Self {
            rotation: Rotation::of(&spec.rope, spec.head_dim),
            sites: blocks.iter().flat_map(Block::sites).collect(),
            stored: Stored::F32,
            variables: Vec::new(),
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
    pub fn variables(&self) -> &[(String, Var)] {
        &self.variables
    }

    pub fn new_cache(&self, blocks: usize, block_size: usize) -> Result<Cache> {
        if block_size == 0 || u32::try_from(blocks).is_err() {
            candle_core::bail!("a cache of {blocks} blocks of {block_size} positions");
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

    /// Serving: one ragged forward that writes keys and values; f32 logits [logit_rows, vocab], untracked.
    pub fn serve(&self, batch: &Batch, cache: &mut Cache, adapters: &dyn Adapt) -> Result<Tensor> {
        let positions = batch.positions(self.spec.context)?;
        let slots = batch.slots(cache.block_size())?;
        let queries = batch.sequences.iter().map(Sequence::query).collect();
        let mode = Mode::Paged {
            cache,
            queries,
            slots,
        };
        let mut step = Step {
            angles: self.rotation.angles(&positions, || batch.lengths()),
            adapt: adapters,
            mode,
        };
        let hidden = self.through_blocks(&batch.tokens, &mut step)?;
        let wanted = select_rows(&hidden, &batch.logit_rows)?;
        self.head
            .project(&self.norm.forward(&wanted, &step)?, None, false)
    }

    /// Learning: hidden states [T, hidden] after the last norm, tracked to whatever learns in adapters and weights.
    pub fn learn(&self, pack: &Pack, adapters: &dyn Adapt) -> Result<Tensor> {
        let positions = pack.positions(self.spec.context)?;
        let mode = Mode::Packed(&pack.ranges);
        let mut step = Step {
            angles: self.rotation.angles(&positions, || pack.lengths()),
            adapt: adapters,
            mode,
        };
        let hidden = self.through_blocks(&pack.tokens, &mut step)?;
        self.norm.forward(&hidden, &step)
    }

    /// Cross entropy of each row (natural log), [R] f32, tracked to `hidden` [R, hidden] (as [`learn`](Self::learn) gives
    /// them, the rows that have a target) and to a head that learns.
    pub fn token_losses(&self, hidden: &Tensor, targets: &[u32]) -> Result<Tensor> {
        loss::token_losses(hidden, self.head.head(), targets)
    }

    /// Log-probabilities [R, vocab] of hidden rows, untracked.
    pub fn log_probs(&self, hidden: &Tensor) -> Result<Tensor> {
        loss::log_softmax(&self.head.project(&hidden.detach(), None, false)?)
    }

    fn through_blocks(&self, tokens: &[u32], step: &mut Step<'_>) -> Result<Tensor> {
        let embedded = self.embedding.forward(tokens, step)?;
        self.blocks
            .iter()
            .try_fold(embedded, |x, block| block.forward(&x, step))
    }
}

#[cfg(test)]
mod tests;
