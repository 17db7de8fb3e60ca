//! Training runs against PEFT or AdapterHub's library, and torch's AdamW (`tests/golden/training`), from the same first
//! weights.

mod dense;
mod low_rank;
mod preference;
mod recipes;
mod virtual_tokens;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Tensor;
use serde::Deserialize;

use super::fault::Fault;
use super::plan::{Data, Parent, Plan, settle};
use super::publish;
use super::recipe::Wishes;
use super::run::{Ending, RunSpec, StepReport, Watch, run as train};
use super::step::Stepped;
use super::testing::bare;
use crate::adapter::{Adapt, Adapter, Fit, Precision, Unadapted, Uniform, peft, virtual_tokens};
use crate::device::Array;
use crate::domain::Schedule;
use crate::kernels::op;
use crate::kernels::quant::Format;
use crate::model::{Base, KvKind, Origin, Pack, Quant};

#[derive(Deserialize)]
struct Expected {
    prompt: Prompt,
    runs: BTreeMap<String, Run>,
}

#[derive(Deserialize)]
struct Prompt {
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Run {
    schedule: Schedule,
    warmup_steps: u64,
    steps: u64,
    batch_size: usize,
    learning_rate: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    weight_decay: f64,
    max_grad_norm: f64,
    losses: Vec<f64>,
    grad_norms: Vec<f64>,
    learning_rates: Vec<f64>,
}

impl Run {
    fn wishes(&self) -> Wishes {
        Wishes {
            schedule: Some(self.schedule),
            warmup: Some(self.warmup_steps as f64),
            steps: Some(self.steps),
            batch_size: Some(self.batch_size),
            learning_rate: Some(self.learning_rate),
            adam_beta1: Some(self.beta1),
            adam_beta2: Some(self.beta2),
            adam_epsilon: Some(self.epsilon),
            weight_decay: Some(self.weight_decay),
            max_grad_norm: Some(self.max_grad_norm),
            shuffle: Some(false),
            from: Some("initial".into()),
            ..Wishes::default()
        }
    }
}

impl Run {
    /// The step after `at` steps with the reference's.
    fn compare(&self, name: &str, at: usize, stepped: &Stepped) {
        let (loss, norm) = (self.losses[at], self.grad_norms[at]);
        assert!(
            near(stepped.loss, loss, 1e-4),
            "{name}, step {}: loss {} is not {loss}",
            at + 1,
            stepped.loss
        );
        assert!(
            near(stepped.grad_norm, norm, 1e-3),
            "{name}, step {}: norm {} is not {norm}",
            at + 1,
            stepped.grad_norm
        );
        assert!(
            near(stepped.learning_rate, self.learning_rates[at], 1e-12),
            "{name}, step {}",
            at + 1
        );
    }
}

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(path)
}

/// What a folder under `training/` says; the empty one is LoRA's.
fn expected(of: &str) -> Expected {
    let path = golden("training").join(of).join("expected.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Folders under `training/`, each with its base.
const RUNS: [(&str, &str); 18] = [
    ("", "llama"),
    ("dora", "llama"),
    ("qwen2-dora", "qwen2"),
    ("ia3", "llama"),
    ("qwen2-ia3", "qwen2"),
    ("bottleneck", "llama"),
    ("qwen2-bottleneck", "qwen2"),
    ("virtual/prefix", "llama"),
    ("virtual/prefix-projection", "llama"),
    ("virtual/qwen2-prefix", "qwen2"),
    ("virtual/prompt", "llama"),
    ("virtual/prompt-text", "qwen2"),
    ("patterns", "llama"),
    ("outer", "llama"),
    ("dora-outer", "llama"),
    ("qwen2-bias", "qwen2"),
    ("qwen2-bias-lora-only", "qwen2"),
    ("qwen2-dora-bias", "qwen2"),
];

fn base(name: &str) -> Base {
    Base::open(
        &Origin::Folder(golden("models").join(name)),
        Some(Quant::To(Format::F32)),
        KvKind::Auto,
    )
    .unwrap()
}

fn fit(base: &Base) -> Fit<'_> {
    base.fit(64, Precision::Exact)
}

fn adapter(base: &Base, files: &peft::Files) -> Adapter {
    peft::read(files, &fit(base)).unwrap()
}

fn folder(path: &str) -> peft::Files {
    let read = |name: &str| std::fs::read(golden(path).join(name));
    let config = read(peft::CONFIG_FILE).unwrap();
    let others = peft::WEIGHTS_FILES.into_iter().chain([peft::ENCODER_FILE]);
    let others = others.filter_map(|name| Some((name.to_owned(), read(name).ok()?.into())));
    let config = (peft::CONFIG_FILE.to_owned(), config.into());
    std::iter::once(config).chain(others).collect()
}

#[derive(Default)]
struct Steps(Vec<StepReport>);

impl Watch for Steps {
    fn stepped(&mut self, report: &StepReport) -> Result<(), Fault> {
        self.0.push(*report);
        Ok(())
    }
}

/// The files of the trained adapter, and every step.
fn go(of: &str, base: &Base, wishes: &Wishes) -> (peft::Files, Vec<StepReport>) {
    let parent = Parent {
        adapter: Arc::new(adapter(base, &folder(&format!("training/{of}/initial")))),
        generation: None,
    };
    let recipe = settle(wishes, Some(&parent.adapter), base).unwrap();
    train_from(base, recipe, Some(parent))
}

fn train_from(
    base: &Base,
    recipe: crate::domain::Recipe,
    parent: Option<Parent>,
) -> (peft::Files, Vec<StepReport>) {
    train_on("rows.jsonl", base, recipe, parent)
}

fn train_on(
    rows: &str,
    base: &Base,
    recipe: crate::domain::Recipe,
    parent: Option<Parent>,
) -> (peft::Files, Vec<StepReport>) {
    let rows = golden("training").join(rows);
    let data = Data::of(&rows);
    let plan = Plan::new(base, recipe, parent, data, crate::store::now()).unwrap();
    let begun = plan.parent.as_ref().map(|parent| Uniform {
        adapter: parent.adapter.clone(),
    });
    let spec = RunSpec {
        held_out: &plan.held_out,
        reference: match &begun {
            Some(parent) => parent,
            None => &Unadapted,
        },
        ..bare(&base.model, &plan.recipe, &plan.train, fit(base))
    };
    let mut steps = Steps::default();
    match train(&spec, plan.method.start(&base.model).unwrap(), &mut steps).unwrap() {
        Ending::Finished(finished) => {
            let files = publish::files(&plan, &base.name, &finished).unwrap();
            (files, steps.0)
        }
        Ending::Interrupted => panic!("nothing interrupts it"),
    }
}

fn near(found: f64, wanted: f64, share: f64) -> bool {
    (found - wanted).abs() <= share * wanted.abs()
}

#[test]
fn every_step_of_every_run_is_that_of_its_library_and_torch() {
    for (of, base) in RUNS {
        every_step(of, &self::base(base));
    }
}

fn every_step(of: &str, base: &Base) {
    for (name, run) in expected(of).runs {
        let wishes = Wishes {
            pack: Some(false),
            ..run.wishes()
        };
        let (_, steps) = go(of, base, &wishes);
        assert_eq!(steps.len(), run.losses.len());
        for (at, report) in steps.iter().enumerate() {
            run.compare(&format!("{of} {name}"), at, &report.stepped);
        }
    }
}

#[test]
fn packing_and_accumulation_leave_the_losses_where_they_are() {
    let base = base("llama");
    let run = &expected("").runs["cosine"];
    for (pack, micro_batch) in [(true, 1), (true, 4), (false, 1), (false, 2)] {
        let wishes = Wishes {
            pack: Some(pack),
            micro_batch: Some(micro_batch),
            ..run.wishes()
        };
        for (report, loss) in go("", &base, &wishes).1.iter().zip(&run.losses) {
            assert!(
                near(report.stepped.loss, *loss, 1e-4),
                "pack {pack}, micro-batch {micro_batch}"
            );
        }
    }
}

#[test]
fn the_trained_adapter_answers_as_the_one_its_library_trained() {
    for (of, base) in RUNS {
        answers_alike(of, &self::base(base));
    }
}

fn answers_alike(of: &str, base: &Base) {
    let expected = expected(of);
    let file = golden("training").join(of).join("expected.safetensors");
    let file = std::fs::read(file).unwrap();
    let wanted = candle_core::safetensors::load_buffer(&file, &candle_core::Device::Cpu).unwrap();
    let ids = &expected.prompt.ids;
    for (name, run) in &expected.runs {
        let wishes = Wishes {
            pack: Some(false),
            ..run.wishes()
        };
        let (trained, _) = go(of, base, &wishes);
        let trained = Uniform {
            adapter: Arc::new(adapter(base, &trained)),
        };
        let found = answers(base, ids, &trained);
        let far = farthest(&found, &wanted[&format!("logprobs.{name}")]);
        assert!(far < 1e-3, "{of} {name}: log-probabilities are {far} away");
    }
}

/// Log-probabilities at every token.
fn answers(base: &Base, ids: &[u32], adapters: &dyn Adapt) -> Array {
    let own = adapters.virtual_tokens();
    let tokens: Vec<u32> = virtual_tokens(own).chain(ids.iter().copied()).collect();
    let (all, asked): (_, Vec<usize>) = (0..tokens.len(), (own..tokens.len()).collect());
    let pack = Pack {
        tokens,
        ranges: vec![all],
        lengths: vec![],
    };
    let hidden = base.model.learn(op::Run::host(), &pack, adapters).unwrap();
    let hidden = hidden.select_rows(&asked).unwrap();
    base.model.log_probs(&hidden, adapters).unwrap()
}

fn farthest(a: &Array, b: &Tensor) -> f32 {
    let b = b.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let pairs = a.values().iter().zip(b);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
