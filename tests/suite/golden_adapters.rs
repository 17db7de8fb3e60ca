//! Adapters in the forward pass: against what PEFT answers, and many of them in one batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use adapterd::adapter::peft::{self, Lora, LoraSettings, Selection};
use adapterd::adapter::{Adapter, Fit, Precision, Routed, virtual_tokens};
use adapterd::device::Array;
use adapterd::domain::Targets;
use adapterd::kernels::quant::Format;
use adapterd::model::weights::{Gguf, Quant};
use adapterd::model::{Batch, Cache, KvKind, Model, Sequence};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::adapters::files;
use super::golden_forward::{argmax, distance, expected, folder, golden, log_softmax, rows};

const BLOCK: usize = 16;
/// Blocks of one sequence.
const BLOCKS: usize = 8;

fn read(files: &peft::Files, model: &Model) -> Arc<Adapter> {
    let fit = Fit {
        sites: model.sites(),
        base_digest: [0; 32],
        weights: model,
        max_rank: 64,
        precision: Precision::Exact,
    };
    Arc::new(peft::read(files, &fit).expect("an adapter of this model"))
}

/// Sequences that share steps, each with its own adapter or none.
struct Crowd<'a> {
    model: &'a Model,
    cache: Cache,
    adapters: Vec<Option<Arc<Adapter>>>,
    done: Vec<usize>,
}

impl<'a> Crowd<'a> {
    fn new(model: &'a Model, adapters: Vec<Option<Arc<Adapter>>>) -> Self {
        let cache = model
            .new_cache(BLOCKS * adapters.len(), BLOCK)
            .expect("a cache");
        Self {
            model,
            cache,
            done: vec![0; adapters.len()],
            adapters,
        }
    }

    /// One step with these new tokens of each sequence: log-probabilities after each token, by sequence.
    fn push(&mut self, pieces: &[&[u32]]) -> Vec<Vec<Vec<f32>>> {
        let (mut batch, mut routed) = (Batch::default(), Routed::base());
        for (at, piece) in pieces.iter().enumerate() {
            let range = batch.tokens.len()..batch.tokens.len() + piece.len();
            batch.tokens.extend_from_slice(piece);
            batch.logit_rows.extend(range.clone());
            if let Some(adapter) = &self.adapters[at] {
                routed.segments.push((range.clone(), adapter.clone()));
            }
            let table = (0..BLOCKS)
                .map(|block| (block * pieces.len() + at) as u32)
                .collect();
            batch.sequences.push(Sequence {
                range,
                start: self.done[at],
                prompt: 0,
                table,
            });
            self.done[at] += piece.len();
        }
        let logits = self
            .model
            .serve(&batch, &mut self.cache, &routed)
            .expect("a step");
        let mut rows = rows(&logits).into_iter().map(|row| log_softmax(&row));
        pieces
            .iter()
            .map(|piece| rows.by_ref().take(piece.len()).collect())
            .collect()
    }
}

fn assert_answers(name: &str, model: &Model, adapter: &str) {
    let prompt = expected(&format!("adapters/{adapter}")).remove(0);
    let read = read(&files(adapter), model);
    let before: Vec<u32> = virtual_tokens(read.virtual_tokens()).collect();
    let mut alone = Crowd::new(model, vec![Some(read)]);
    alone.push(&[&before]);
    let (first, rest) = prompt.ids.split_at(prompt.ids.len() / 2);
    let mut served = alone.push(&[first]).remove(0);
    served.extend(alone.push(&[rest]).remove(0));
    let (off, _) = distance(&served, &prompt.log_probs);
    assert!(off <= 1e-3, "{adapter} on {name}: off by {off}");
    let mut next = argmax(served.last().expect("a prompt"));
    for (step, (wanted, gap)) in prompt.greedy.iter().zip(&prompt.gaps).enumerate() {
        if next != *wanted {
            assert!(
                *gap < 1e-4,
                "{adapter} on {name}: token {step} is {next}, not {wanted}; gap {gap}"
            );
            break;
        }
        next = argmax(&alone.push(&[&[next]]).remove(0)[0]);
    }
}

const OF_LLAMA: [&str; 22] = [
    "llama-plain",
    "llama-all-linear",
    "llama-regex",
    "llama-layers",
    "llama-excluding",
    "llama-rslora",
    "llama-patterns",
    "llama-rslora-patterns",
    "llama-dora",
    "llama-dora-rslora-patterns",
    "llama-ia3",
    "llama-ia3-ffn",
    "llama-outer",
    "llama-dora-outer",
    "llama-modules",
    "llama-tokens",
    "llama-prefix",
    "llama-prompt",
    "llama-bottleneck-double",
    "llama-bottleneck-sequential",
    "llama-bottleneck-parallel",
    "llama-bottleneck-other",
];

const OF_QWEN3: [&str; 6] = [
    "qwen3-outer",
    "qwen3-outer-tied",
    "qwen3-modules",
    "qwen3-modules-tied",
    "qwen3-tokens",
    "qwen3-tokens-apart",
];

/// What adapters do around the layers of blocks is done to their own rows alone.
#[test]
fn adapters_of_embeddings_heads_and_whole_modules_answer_in_a_crowd_bit_for_bit_as_alone() {
    for (base, mut names) in [("llama", OF_LLAMA.to_vec()), ("qwen3", OF_QWEN3.to_vec())] {
        let model = folder(base, Quant::To(Format::F32), KvKind::Auto);
        names.push("");
        let read = |name: &&str| (!name.is_empty()).then(|| read(&files(name), &model));
        let adapters: Vec<_> = names.iter().map(read).collect();
        let prompts: Vec<Vec<u32>> = (0..names.len())
            .map(|at| {
                let own = adapters[at].as_ref();
                let own = own.map_or(0, |adapter: &Arc<Adapter>| adapter.virtual_tokens());
                let asked = (0..6 + at).map(|i| ((at * 37 + i * 11) % 110) as u32);
                virtual_tokens(own).chain(asked).collect()
            })
            .collect();
        let steps = |at: usize| {
            let (first, rest) = prompts[at].split_at(2 + at / 3);
            [first, rest, &[70][..], &[101]]
        };
        let mut crowd = Crowd::new(&model, adapters.clone());
        let mut together = vec![Vec::new(); names.len()];
        for step in 0..4 {
            let pieces: Vec<&[u32]> = (0..names.len()).map(|at| steps(at)[step]).collect();
            for (all, found) in together.iter_mut().zip(crowd.push(&pieces)) {
                all.extend(found);
            }
        }
        for (at, adapter) in adapters.into_iter().enumerate() {
            let mut alone = Crowd::new(&model, vec![adapter]);
            let alone: Vec<_> = steps(at)
                .into_iter()
                .flat_map(|piece| alone.push(&[piece]).remove(0))
                .collect();
            assert!(together[at] == alone, "{} on {base}", names[at]);
        }
    }
}

#[test]
fn every_adapter_answers_as_the_library_that_saved_it() {
    let llama = folder("llama", Quant::To(Format::F32), KvKind::Auto);
    for adapter in OF_LLAMA {
        assert_answers("llama", &llama, adapter);
    }
    // With biases.
    let qwen2 = folder("qwen2", Quant::To(Format::F32), KvKind::Auto);
    for adapter in [
        "qwen2-plain",
        "qwen2-dora",
        "qwen2-ia3",
        "qwen2-bias-all",
        "qwen2-bias-lora-only",
        "qwen2-lora-bias",
        "qwen2-dora-bias",
        "qwen2-prefix",
        "qwen2-prompt-text",
        "qwen2-bottleneck-sequential",
        "qwen2-bottleneck-parallel",
    ] {
        assert_answers("qwen2", &qwen2, adapter);
    }
    // With a head that is the embedding; and with keys that are normalised, those of a prefix excepted.
    let qwen3 = folder("qwen3", Quant::To(Format::F32), KvKind::Auto);
    for adapter in OF_QWEN3.into_iter().chain(["qwen3-prefix"]) {
        assert_answers("qwen3", &qwen3, adapter);
    }
    // With a window that virtual tokens leave.
    let mistral = folder("mistral", Quant::To(Format::F32), KvKind::Auto);
    for adapter in ["mistral-prefix", "mistral-prompt"] {
        assert_answers("mistral", &mistral, adapter);
    }
}

#[test]
fn adapters_fit_the_gguf_twin_whose_query_and_key_rows_are_stored_in_another_order() {
    let mut file =
        Gguf::open(&golden("gguf/llama-f32.gguf"), Quant::To(Format::F32)).expect("a GGUF file");
    let llama = Model::from_source(&mut file, KvKind::Auto).expect("a model");
    for adapter in OF_LLAMA {
        assert_answers("llama-f32.gguf", &llama, adapter);
    }
}

/// A random adapter of some rank; every other one touches only some of the layers.
fn random(model: &Model, rank: usize, seed: u64) -> Arc<Adapter> {
    let targets = match seed % 3 {
        0 => Targets::Pattern("all-linear".into()),
        1 => Targets::List(vec!["q_proj".into(), "v_proj".into()]),
        _ => Targets::Pattern(r".*\.1\.(self_attn\.o_proj|mlp\.(up|down)_proj)".into()),
    };
    let settings = LoraSettings::new(rank, 2.0 * rank as f64, Selection::of(targets));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut matrix = |rows: usize, columns: usize| {
        let values: Vec<f32> = (0..rows * columns)
            .map(|_| rng.random_range(-0.1..0.1))
            .collect();
        Array::new(values, (rows, columns)).expect("a matrix")
    };
    let sites = settings.sites(model.sites()).expect("sites");
    let weights: BTreeMap<_, _> = sites
        .iter()
        .map(|site| {
            let (a, b) = (
                matrix(rank, site.shape.inputs),
                matrix(site.shape.outputs, rank),
            );
            (site.shape.site, (a, b))
        })
        .collect();
    let lora = Lora {
        settings: &settings,
        base_name: "llama",
        weights: &weights,
        magnitudes: &BTreeMap::new(),
    };
    read(&lora.files().expect("files"), model)
}

#[test]
fn sixteen_adapters_of_ranks_4_to_64_and_the_base_answer_together_as_each_alone() {
    let model = folder("llama", Quant::To(Format::F32), KvKind::Auto);
    let mut adapters: Vec<_> = (1..=16)
        .map(|i| Some(random(&model, 4 * i, i as u64)))
        .collect();
    adapters.insert(5, None);
    let prompts: Vec<Vec<u32>> = (0..adapters.len())
        .map(|at| {
            (0..5 + at)
                .map(|i| ((at * 37 + i * 11) % 300) as u32)
                .collect()
        })
        .collect();
    // A chunk of each prompt, the rest of it, and a few tokens one by one: 17 sequences in every step.
    let steps = |at: usize| {
        let (first, rest) = prompts[at].split_at(2 + at / 2);
        [first, rest, &[7][..], &[8], &[9]]
    };
    let mut crowd = Crowd::new(&model, adapters.clone());
    let mut together: Vec<Vec<Vec<f32>>> = vec![Vec::new(); adapters.len()];
    for step in 0..5 {
        let pieces: Vec<&[u32]> = (0..adapters.len()).map(|at| steps(at)[step]).collect();
        for (all, found) in together.iter_mut().zip(crowd.push(&pieces)) {
            all.extend(found);
        }
    }
    for (at, adapter) in adapters.into_iter().enumerate() {
        let run = |adapter| {
            let mut alone = Crowd::new(&model, vec![adapter]);
            steps(at)
                .into_iter()
                .flat_map(|piece| alone.push(&[piece]).remove(0))
                .collect::<Vec<_>>()
        };
        let is_base = adapter.is_none();
        let alone = run(adapter);
        let (off, _) = distance(&together[at], &alone);
        assert!(off <= 1e-4, "sequence {at} is off by {off} in company");
        let (effect, _) = distance(&alone, &run(None));
        assert_eq!(
            is_base,
            effect == 0.0,
            "sequence {at}: an adapter changes the answer, the base does not"
        );
    }
}
