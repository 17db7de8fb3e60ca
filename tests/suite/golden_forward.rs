//! The forward pass against what transformers answers for small models of every family.

use std::path::{Path, PathBuf};

use adapterd::adapter::Unadapted;
use adapterd::device::Array;
use adapterd::kernels::op::Run;
use adapterd::kernels::quant::Format;
use adapterd::model::weights::{Folder, Gguf, Quant, Source};
use adapterd::model::{Batch, Cache, KvKind, Model, Pack, Sequence};
use candle_core::{Device, Tensor};

const BLOCK: usize = 16;
/// Blocks of one sequence: enough for a prompt and its 64 greedy tokens.
const BLOCKS: usize = 32;

pub fn golden(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(part)
}

pub struct Prompt {
    pub ids: Vec<u32>,
    pub log_probs: Vec<Vec<f32>>,
    pub greedy: Vec<u32>,
    /// Distance from each greedy token to the second best.
    pub gaps: Vec<f32>,
}

fn numbers<T: serde::de::DeserializeOwned>(value: &serde_json::Value) -> Vec<T> {
    serde_json::from_value(value.clone()).expect("numbers")
}

/// What `expected/{name}.json` and its tensors say.
pub fn expected(name: &str) -> Vec<Prompt> {
    let text = std::fs::read_to_string(golden(&format!("expected/{name}.json")))
        .expect("expected answers");
    let answers: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let tensors = candle_core::safetensors::load(
        golden(&format!("expected/{name}.safetensors")),
        &Device::Cpu,
    );
    let tensors = tensors.expect("expected tensors");
    let prompts = answers["prompts"].as_array().expect("prompts");
    let matrix = |tensor: &Tensor| tensor.to_vec2().expect("a matrix of f32");
    let prompt = |prompt: &serde_json::Value| Prompt {
        ids: numbers(&prompt["ids"]),
        log_probs: matrix(&tensors[prompt["logprobs"].as_str().expect("a tensor's name")]),
        greedy: numbers(&prompt["greedy"]["ids"]),
        gaps: numbers(&prompt["greedy"]["gaps"]),
    };
    prompts.iter().map(prompt).collect()
}

pub fn rows(array: &Array) -> Vec<Vec<f32>> {
    let rows = array.values().chunks_exact(array.width());
    rows.map(<[f32]>::to_vec).collect()
}

pub fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - top).exp()).sum();
    logits
        .iter()
        .map(|l| (f64::from(l - top) - sum.ln()) as f32)
        .collect()
}

pub fn argmax(row: &[f32]) -> u32 {
    let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.expect("a row of logits").0 as u32
}

/// Largest and mean distance over all positions and tokens.
pub fn distance(found: &[Vec<f32>], wanted: &[Vec<f32>]) -> (f32, f32) {
    assert_eq!(found.len(), wanted.len());
    let (mut largest, mut sum, mut count) = (0f32, 0f64, 0usize);
    for (found, wanted) in found.iter().flatten().zip(wanted.iter().flatten()) {
        let off = (found - wanted).abs();
        largest = largest.max(off);
        sum += f64::from(off);
        count += 1;
    }
    (largest, (sum / count as f64) as f32)
}

/// One sequence, served a piece at a time.
struct Stream<'a> {
    model: &'a Model,
    cache: Cache,
    done: usize,
    prompt: usize,
}

impl<'a> Stream<'a> {
    fn new(model: &'a Model) -> Self {
        let cache = model.new_cache(BLOCKS, BLOCK).expect("a cache");
        Self {
            model,
            cache,
            done: 0,
            prompt: 0,
        }
    }

    /// Of a prompt of so many tokens, and what comes after.
    fn of_prompt(model: &'a Model, tokens: usize) -> Self {
        Self {
            prompt: tokens,
            ..Self::new(model)
        }
    }

    /// Log-probabilities after each of these tokens.
    fn push(&mut self, tokens: &[u32]) -> Vec<Vec<f32>> {
        // Blocks in an order of their own, as a busy cache deals them out.
        let table = (0..BLOCKS as u32)
            .map(|block| (block * 7 + 3) % BLOCKS as u32)
            .collect();
        let range = 0..tokens.len();
        let batch = Batch {
            tokens: tokens.to_vec(),
            logit_rows: range.clone().collect(),
            sequences: vec![Sequence {
                range,
                start: self.done,
                prompt: self.prompt,
                table,
            }],
        };
        self.done += tokens.len();
        let logits = self
            .model
            .serve(&batch, &mut self.cache, &Unadapted)
            .expect("a step");
        rows(&logits).iter().map(|row| log_softmax(row)).collect()
    }
}

fn learned(model: &Model, ids: &[u32]) -> Vec<Vec<f32>> {
    let pack = Pack {
        tokens: ids.to_vec(),
        ranges: vec![0..ids.len()],
        lengths: vec![],
    };
    let hidden = model
        .learn(Run::host(), &pack, &Unadapted)
        .expect("a forward");
    rows(
        &model
            .log_probs(&hidden, &Unadapted)
            .expect("log-probabilities"),
    )
}

/// Holds a model to f32 answers: log-probabilities of serving and of learning, and the greedy continuation.
fn assert_answers(name: &str, model: &Model, prompts: &[Prompt]) {
    for (at, prompt) in prompts.iter().enumerate() {
        let (off, _) = distance(&learned(model, &prompt.ids), &prompt.log_probs);
        assert!(off <= 1e-3, "{name}, prompt {at}: learning is off by {off}");

        let mut stream = Stream::of_prompt(model, prompt.ids.len());
        let (first, rest) = prompt.ids.split_at(prompt.ids.len() / 2);
        let mut served = Vec::new();
        for piece in [first, rest].into_iter().filter(|piece| !piece.is_empty()) {
            served.extend(stream.push(piece));
        }
        let (off, _) = distance(&served, &prompt.log_probs);
        assert!(off <= 1e-3, "{name}, prompt {at}: serving is off by {off}");

        let mut next = argmax(served.last().expect("a prompt"));
        for (step, (wanted, gap)) in prompt.greedy.iter().zip(&prompt.gaps).enumerate() {
            if next != *wanted {
                assert!(
                    *gap < 1e-4,
                    "{name}, prompt {at}: token {step} is {next}, not {wanted}; gap {gap}"
                );
                break;
            }
            next = argmax(&stream.push(&[next])[0]);
        }
    }
}

pub fn folder(name: &str, quant: Quant, kv: KvKind) -> Model {
    let mut folder = Folder::open(&golden(&format!("models/{name}")), quant).expect(name);
    model(&mut folder, kv)
}

fn model(source: &mut dyn Source, kv: KvKind) -> Model {
    Model::from_source(source, kv).expect("a model")
}

const FOLDERS: [&str; 10] = [
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "qwen2-window",
    "llama-llama3",
    "llama-linear",
    "llama-yarn",
    "llama-dynamic",
    "llama-linear-old",
];

#[test]
fn every_family_answers_as_transformers_does() {
    for name in FOLDERS {
        let answers = name.strip_suffix("-old").unwrap_or(name);
        let model = folder(name, Quant::To(Format::F32), KvKind::Auto);
        assert_answers(name, &model, &expected(&format!("models/{answers}")));
    }
}

#[test]
fn weights_rounded_to_eight_bits_stay_close() {
    for name in ["llama", "mistral", "qwen2", "qwen3"] {
        let model = folder(name, Quant::To(Format::Q8_0), KvKind::Auto);
        for prompt in expected(&format!("models/{name}")) {
            let (_, mean) = distance(&learned(&model, &prompt.ids), &prompt.log_probs);
            assert!(mean <= 0.05, "{name}: learning is off by {mean} on average");
            let (_, mean) = distance(&Stream::new(&model).push(&prompt.ids), &prompt.log_probs);
            assert!(mean <= 0.05, "{name}: serving is off by {mean} on average");
        }
    }
}

#[test]
fn int8_stays_close_with_its_outliers_whole() {
    for name in ["llama", "mistral", "qwen2", "qwen3"] {
        let model = folder(name, Quant::Int8 { threshold: 6.0 }, KvKind::F32);
        for prompt in expected(&format!("models/{name}")) {
            let found = Stream::new(&model).push(&prompt.ids);
            let (_, mean) = distance(&found, &prompt.log_probs);
            assert!(mean <= 0.05, "{name}: off by {mean} on average");
        }
    }
}

#[test]
fn keys_and_values_in_fewer_bits_stay_close() {
    for name in ["llama", "mistral", "qwen2", "qwen3"] {
        for (kv, bound) in [(KvKind::F16, 2e-3), (KvKind::Q8, 2e-2)] {
            let model = folder(name, Quant::To(Format::F32), kv);
            for prompt in expected(&format!("models/{name}")) {
                let found = Stream::new(&model).push(&prompt.ids);
                let (_, mean) = distance(&found, &prompt.log_probs);
                assert!(mean <= bound, "{name}, {kv:?}: off by {mean} on average");
            }
        }
    }
}

const FILES: [&str; 9] = [
    "llama-f32",
    "llama-q8_0",
    "llama-llama3-bf16",
    "llama-yarn-q8_0",
    "mistral-q8_0",
    "qwen2-f16",
    "qwen2-q8_0",
    "qwen3-q8_0",
    "kquants",
];

#[test]
fn gguf_files_answer_as_transformers_does_with_their_weights() {
    for name in FILES {
        let path = golden(&format!("gguf/{name}.gguf"));
        let answers = expected(&format!("gguf/{name}"));
        let mut plain = Gguf::open(&path, Quant::To(Format::F32)).expect(name);
        assert_answers(name, &model(&mut plain, KvKind::Auto), &answers);

        let mut own = Gguf::open(&path, Quant::AsStored).expect(name);
        let own = model(&mut own, KvKind::F32);
        for prompt in &answers {
            let (_, mean) = distance(&learned(&own, &prompt.ids), &prompt.log_probs);
            assert!(mean <= 0.05, "{name}: learning is off by {mean} on average");
            let (_, mean) = distance(&Stream::new(&own).push(&prompt.ids), &prompt.log_probs);
            assert!(mean <= 0.05, "{name}: serving is off by {mean} on average");
        }
    }
}

/// `models/llama-beyond` with this scaling, whose prompts are longer than it was made for.
fn beyond(scaling: &str) -> Model {
    let folder = golden("models/llama-beyond");
    let read = |path: &Path| std::fs::read_to_string(path).expect("a golden file");
    let scalings: serde_json::Value =
        serde_json::from_str(&read(&folder.join("scalings.json"))).expect("JSON");
    let mut config: serde_json::Value =
        serde_json::from_str(&read(&folder.join("config.json"))).expect("JSON");
    for (key, value) in scalings[scaling].as_object().expect("keys") {
        config[key] = value.clone();
    }
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("config.json"), config.to_string()).expect("config.json");
    std::fs::copy(
        folder.join("model.safetensors"),
        dir.path().join("model.safetensors"),
    )
    .expect("the weights");
    let mut folder = Folder::open(dir.path(), Quant::To(Format::F32)).expect(scaling);
    model(&mut folder, KvKind::F32)
}

#[test]
fn prompts_beyond_the_original_context_are_answered_as_transformers_does() {
    for scaling in ["dynamic", "longrope", "linear", "yarn"] {
        let prompts = expected(&format!("models/llama-beyond-{scaling}"));
        let model = beyond(scaling);
        let longest = prompts.iter().map(|p| p.ids.len() + p.greedy.len()).max();
        assert!(longest.is_some_and(|tokens| tokens <= model.context()));
        assert_answers(scaling, &model, &prompts);
    }
}
