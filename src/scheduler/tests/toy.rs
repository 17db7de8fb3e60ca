//! A toy model whose scores are a hash of the whole context and the adapter, read back through the cache: any mix-up of
//! blocks, positions or adapters changes what it says. And a bench to drive an engine with it.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::super::admit::{Admitted, Begun, Draft, Limits, Terms};
use super::super::engine::{Engine, Shape, Shortcuts, Speculation};
use super::super::forward::Forward;
use super::super::gate::{Gate, Most};
use super::super::observe::{Observe, Unobserved};
use crate::adapter::{Routed, peft, testing};
use crate::device::Turns;
use crate::device::{Array, Result, bail};
use crate::domain::{Event, FinishReason, Generation, Reason, Sampling, TokenInfo, Usage};
use crate::model::{Batch, Sequence};
use crate::registry::Lease;
use crate::text::{Specials, Tokenizer};

pub const VOCAB: usize = 41;
pub const END: u32 = 40;
/// First tokens of a prompt that make the model fail in different ways.
pub const ERROR: u32 = 37;
pub const PANIC: u32 = 38;
pub const NAN: u32 = 39;

/// `a` to `z`, a space, and the two bytes of `é`; the rest are digits. Id 40 is the end token.
pub fn tokenizer() -> Tokenizer {
    let mut vocab = serde_json::Map::new();
    let spellings = ('a'..='z')
        .chain(['Ġ', 'Ã', '©'])
        .chain('0'..='9')
        .chain(['!']);
    for (spelling, id) in spellings.zip(0..) {
        vocab.insert(spelling.to_string(), serde_json::Value::from(id));
    }
    assert_eq!(vocab.len(), VOCAB - 1);
    let json = serde_json::json!({
        "version": "1.0",
        "added_tokens": [{
            "id": END, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        }],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    });
    let mut specials = Specials::default();
    specials.named.insert("eos_token".into(), "<end>".into());
    Tokenizer::from_json(json.to_string().as_bytes(), specials).unwrap()
}

pub struct Toy;

/// What the toy keeps of one position.
type Slot = Option<(u32, Option<Generation>)>;

pub struct Slots {
    slots: Vec<Slot>,
    block_size: usize,
}

impl Slots {
    fn at(&self, sequence: &Sequence, position: usize) -> usize {
        sequence.table[position / self.block_size] as usize * self.block_size
            + position % self.block_size
    }
}

impl Forward for Toy {
    type Cache = Slots;

    fn digest(&self) -> [u8; 32] {
        [0; 32]
    }

    fn new_cache(&self, blocks: usize, block_size: usize) -> Result<Slots> {
        Ok(Slots {
            slots: vec![None; blocks * block_size],
            block_size,
        })
    }

    fn serve(&self, batch: &Batch, cache: &mut Slots, adapters: &Routed) -> Result<Array> {
        let of_row = adapter_of_rows(batch, adapters);
        let mut written = HashSet::new();
        for sequence in &batch.sequences {
            for row in sequence.range.clone() {
                let at = cache.at(sequence, sequence.start + row - sequence.range.start);
                assert!(written.insert(at), "two rows of a step write one slot");
                cache.slots[at] = Some((batch.tokens[row], of_row[row]));
            }
        }
        let mut logits = Vec::new();
        for &row in &batch.logit_rows {
            let sequence = batch
                .sequences
                .iter()
                .find(|s| s.range.contains(&row))
                .expect("a row of a sequence");
            let position = sequence.start + row - sequence.range.start;
            let context: Vec<Slot> = (0..=position)
                .map(|p| cache.slots[cache.at(sequence, p)])
                .collect();
            match context[0] {
                Some((ERROR, _)) => bail!("the toy was told to fail"),
                Some((PANIC, _)) => panic!("the toy was told to panic"),
                Some((NAN, _)) => logits.extend([f32::NAN; VOCAB]),
                _ => logits.extend(scores(&context, of_row[row])),
            }
        }
        Array::new(logits, (batch.logit_rows.len(), VOCAB))
    }

    /// The states of a toy are its scores.
    fn serve_with_states(
        &self,
        batch: &Batch,
        state_rows: &[usize],
        cache: &mut Slots,
        adapters: &Routed,
    ) -> Result<[Array; 2]> {
        let asked = Batch {
            logit_rows: state_rows.to_vec(),
            ..batch.clone()
        };
        let logits = self.serve(batch, cache, adapters)?;
        Ok([logits, self.serve(&asked, cache, adapters)?])
    }
}

fn adapter_of_rows(batch: &Batch, adapters: &Routed) -> Vec<Option<Generation>> {
    let mut of_row = vec![None; batch.tokens.len()];
    let mut seen = HashSet::new();
    let mut end = 0;
    for (rows, adapter) in &adapters.segments {
        assert!(
            rows.start >= end && rows.end <= of_row.len(),
            "segments ascend within the batch"
        );
        assert!(
            seen.insert(adapter.generation()),
            "an adapter has one range"
        );
        of_row[rows.clone()].fill(Some(adapter.generation()));
        end = rows.end;
    }
    of_row
}

fn scores(context: &[Slot], adapter: Option<Generation>) -> impl Iterator<Item = f32> {
    let mut hash = DefaultHasher::new();
    for slot in context {
        let (token, by) = slot.expect("every position of the context was computed");
        assert_eq!(
            by, adapter,
            "keys and values are of the answer's own adapter"
        );
        token.hash(&mut hash);
    }
    adapter.map(|g| *g.bytes()).hash(&mut hash);
    (0..VOCAB).map(move |id| {
        let mut hash = hash.clone();
        id.hash(&mut hash);
        (hash.finish() >> 40) as f32 / (1 << 24) as f32 * 6.0
    })
}

/// Everything a reader got, checked for order.
#[derive(Debug, Default, PartialEq)]
pub struct Transcript {
    pub prompt: Option<Vec<TokenInfo>>,
    pub answers: Vec<Told>,
    pub usage: Option<Usage>,
    pub failed: Option<Reason>,
    pub vector: Option<Vec<f32>>,
}

#[derive(Debug, Default, PartialEq)]
pub struct Told {
    pub text: String,
    pub tokens: Vec<TokenInfo>,
    pub finish: Option<FinishReason>,
}

impl Told {
    pub fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|token| token.id).collect()
    }
}

impl Transcript {
    pub fn add(&mut self, event: Event) {
        assert!(
            self.usage.is_none() && self.failed.is_none(),
            "nothing follows the end: {event:?}"
        );
        match event {
            Event::Prompt { tokens } => {
                assert!(
                    self.prompt.is_none() && self.answers.is_empty(),
                    "the prompt comes first, once"
                );
                self.prompt = Some(tokens);
            }
            Event::Delta {
                choice,
                text,
                tokens,
            } => {
                let told = self.of(choice);
                assert!(told.finish.is_none(), "no text follows the finish");
                told.text.push_str(&text);
                told.tokens.extend(tokens);
            }
            Event::Finish { choice, reason } => {
                assert!(
                    self.of(choice).finish.replace(reason).is_none(),
                    "an answer ends once"
                );
            }
            Event::Embedding { vector } => {
                assert!(
                    self.vector.replace(vector).is_none(),
                    "a vector is told once"
                );
            }
            Event::Call { .. } => panic!("the scheduler reads no calls"),
            Event::Done { usage } => self.usage = Some(usage),
            Event::Failed(reason) => self.failed = Some(reason),
        }
    }

    /// As if nothing had been found in the cache.
    pub fn afresh(mut self) -> Self {
        if let Some(usage) = &mut self.usage {
            assert!(usage.cached < usage.prompt, "the last token is computed");
            usage.cached = 0;
        }
        self
    }

    fn of(&mut self, choice: u32) -> &mut Told {
        let size = self.answers.len().max(choice as usize + 1);
        self.answers.resize_with(size, Told::default);
        &mut self.answers[choice as usize]
    }
}

/// An engine driven by hand.
pub struct Bench<F: Forward = Toy> {
    pub engine: Engine<F>,
    pub gate: Gate,
    pub limits: Limits,
}

pub const AMPLE: Shape = Shape {
    rows: 16,
    step_tokens: 512,
    scored: 512,
    blocks: 512,
    block_size: 8,
};

/// One token of each answer a step.
pub const PLAIN: Shortcuts = Shortcuts {
    prefix_cache: true,
    speculation: Speculation::Off,
};

pub fn limits(shape: Shape) -> Limits {
    Limits {
        context: 256,
        vocab: VOCAB,
        max_n: 8,
        kv_tokens: shape.blocks * shape.block_size,
    }
}

impl Bench {
    pub fn new(shape: Shape) -> Self {
        Self::of(Toy, shape)
    }
}

impl<F: Forward> Bench<F> {
    pub fn of(forward: F, shape: Shape) -> Self {
        Self::observed(forward, shape, Arc::new(Unobserved))
    }

    pub fn observed(forward: F, shape: Shape, observe: Arc<dyn Observe>) -> Self {
        Self::with(forward, shape, PLAIN, observe)
    }

    pub fn with(forward: F, shape: Shape, shortcuts: Shortcuts, observe: Arc<dyn Observe>) -> Self {
        let turns = Turns::default();
        let engine = Engine::new(forward, tokenizer(), shape, shortcuts, turns, observe).unwrap();
        Self {
            engine,
            gate: Gate::new(Most {
                requests: 1000,
                blocks: usize::MAX,
            }),
            limits: limits(shape),
        }
    }

    pub fn ask(&mut self, draft: Draft) -> mpsc::Receiver<Event> {
        self.ask_with(draft, 4096)
    }

    pub fn ask_with(&mut self, draft: Draft, buffer: usize) -> mpsc::Receiver<Event> {
        let (events, reader) = mpsc::channel(buffer);
        let admitted = Admitted::check(draft, &self.limits).unwrap();
        let seat = self.gate.enter(admitted.terms.tenant, 1).unwrap();
        self.engine.accept(admitted, events, seat);
        reader
    }

    /// Steps until nothing is left, and checks that everything came back.
    pub fn finish(&mut self) {
        for _ in 0..20_000 {
            if self.engine.is_idle() {
                return self.check_returned();
            }
            self.engine.turn();
        }
        panic!("the engine does not come to an end");
    }

    pub fn check_returned(&self) {
        assert_eq!(
            self.engine.pool().free(),
            self.engine.pool().total(),
            "every block is free again"
        );
        assert_eq!((self.gate.inside(), self.gate.waiting()), (0, 0));
    }

    pub fn answer(&mut self, draft: Draft) -> Transcript {
        let mut reader = self.ask(draft);
        self.finish();
        read(&mut reader)
    }
}

pub fn read(reader: &mut mpsc::Receiver<Event>) -> Transcript {
    let mut transcript = Transcript::default();
    while let Ok(event) = reader.try_recv() {
        transcript.add(event);
    }
    transcript
}

pub fn draft(prompt: &[u32], sampling: Sampling) -> Draft {
    Draft {
        prompt: prompt.to_vec(),
        sampling,
        n: 1,
        prompt_logprobs: false,
        lease: None,
        cache_salt: String::new(),
        terms: Terms::default(),
        pooling: None,
        begun: Begun::default(),
        guides: Vec::new(),
    }
}

/// Numbers of adapters that [`lease`] knows; those from `WITH_VIRTUAL` on put virtual tokens before every prompt.
pub const ADAPTERS: u64 = 5;
pub const WITH_VIRTUAL: u64 = 3;

/// One of a few adapters; the same number is the same generation.
pub fn lease(number: u64) -> Lease {
    let files = match number {
        3 => testing::prefix_specimen(number),
        4 => testing::prompt_specimen(number),
        _ => testing::specimen(1, number),
    };
    let adapter = peft::read(&files, &testing::fit(&testing::sites(1))).unwrap();
    Lease::apart(format!("adapter-{number}").parse().unwrap(), adapter)
}

/// Greedy, to the last token whatever it is.
pub fn greedy(max_tokens: usize) -> Sampling {
    Sampling {
        temperature: 0.0,
        max_tokens: Some(max_tokens),
        ignore_eos: true,
        ..Sampling::default()
    }
}

/// The toy's own greedy continuation, straight from its scores.
pub fn continuation(prompt: &[u32], count: usize) -> Vec<u32> {
    let mut context: Vec<Slot> = prompt.iter().map(|&id| Some((id, None))).collect();
    for _ in 0..count {
        let scores: Vec<f32> = scores(&context, None).collect();
        let best = (0..VOCAB)
            .rev()
            .max_by(|&a, &b| scores[a].total_cmp(&scores[b]))
            .unwrap();
        context.push(Some((best as u32, None)));
    }
    context[prompt.len()..]
        .iter()
        .map(|slot| slot.unwrap().0)
        .collect()
}
