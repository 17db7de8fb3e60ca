//! The whole engine on a golden model: the base and every golden adapter in one mixed batch, against what transformers
//! and PEFT answer, and against the same requests alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use adapterd::adapter::Precision;
use adapterd::device::Turns;
use adapterd::domain::{AdapterChoice, Event, Sampling, TokenInfo};
use adapterd::kernels::quant::Format;
use adapterd::model::{Base, KvKind, Origin, weights::Quant};
use adapterd::registry::{self, BaseIdentity, Config as RegistryConfig, Registry};
use adapterd::scheduler::{
    Admitted, Begun, Config, Draft, Scheduler, Shortcuts, Terms, Unobserved,
};
use adapterd::store::Database;
use candle_core::{Device, Tensor};
use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;

const ADAPTERS: [&str; 8] = [
    "llama-all-linear",
    "llama-excluding",
    "llama-layers",
    "llama-patterns",
    "llama-plain",
    "llama-regex",
    "llama-rslora",
    "llama-rslora-patterns",
];

fn golden(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(part)
}

/// A base, its adapters and an engine, in a directory of their own.
struct House {
    base: Arc<Base>,
    registry: Registry,
    _dir: TempDir,
}

impl House {
    async fn open() -> Self {
        let origin = Origin::Folder(golden("models/llama"));
        let base = Base::open(&origin, Some(Quant::To(Format::F32)), KvKind::F32).expect("a base");
        let dir = TempDir::new().expect("a directory");
        let database = Database::open(&dir.path().join("state.db"))
            .await
            .expect("a database");
        let identity = BaseIdentity {
            name: base.name.clone(),
            digest: base.digest,
            sites: base.model.sites().to_vec(),
            weights: Arc::new(adapterd::adapter::NoWeights),
        };
        let root = dir.path().join("incoming");
        std::fs::create_dir_all(&root).expect("a root");
        let config = RegistryConfig {
            dir: dir.path().to_owned(),
            root,
            resident_bytes: 1 << 30,
            max_rank: 256,
            precision: Precision::Exact,
            max_file_bytes: 1 << 30,
            keep_versions: 8,
            room_wait: Duration::ZERO,
            turns: Turns::default(),
        };
        let registry = Registry::open(database, identity, config, Arc::new(registry::Unobserved))
            .await
            .expect("a registry");
        for adapter in ADAPTERS {
            let folder = golden(&format!("adapters/{adapter}"));
            let mut files = BTreeMap::new();
            for name in ["adapter_config.json", "adapter_model.safetensors"] {
                files.insert(
                    name.to_owned(),
                    std::fs::read(folder.join(name)).expect("a file").into(),
                );
            }
            registry
                .publish(&adapter.parse().expect("a name"), files, None, "upload")
                .await
                .expect("an adapter");
        }
        Self {
            base: Arc::new(base),
            registry,
            _dir: dir,
        }
    }

    /// Room for a few answers at a time and small chunks, so that prompts come in pieces.
    fn engine(&self) -> Scheduler {
        let config = Config {
            rows: 6,
            step_tokens: 24,
            kv_bytes: self.base.model.block_bytes(16) * 40,
            block_size: 16,
            queue: 256,
            max_n: 4,
            shortcuts: Shortcuts::default(),
        };
        Scheduler::start(
            self.base.clone(),
            Turns::default(),
            config,
            Arc::new(Unobserved),
        )
        .expect("an engine")
    }

    async fn ask(&self, engine: &Scheduler, adapter: Option<&str>, ids: &[u32]) -> Receiver<Event> {
        let choice = match adapter {
            None => AdapterChoice::Base,
            Some(name) => AdapterChoice::Named {
                name: name.parse().expect("a name"),
                pin: None,
            },
        };
        let draft = Draft {
            guides: Vec::new(),
            prompt: ids.to_vec(),
            sampling: Sampling {
                temperature: 0.0,
                ignore_eos: true,
                max_tokens: Some(64),
                logprobs: Some(2),
                ..Sampling::default()
            },
            n: 1,
            prompt_logprobs: true,
            lease: self.registry.lease(&choice).await.expect("a lease"),
            cache_salt: String::new(),
            terms: Terms::default(),
            pooling: None,
            begun: Begun::default(),
        };
        let admitted = Admitted::check(draft, &engine.limits()).expect("a request");
        engine.submit(admitted).expect("a place in the queue")
    }
}

#[derive(Debug, Default)]
struct Answer {
    prompt: Vec<TokenInfo>,
    tokens: Vec<TokenInfo>,
}

async fn all(mut events: Receiver<Event>) -> Answer {
    let mut answer = Answer::default();
    while let Some(event) = events.recv().await {
        match event {
            Event::Prompt { tokens } => answer.prompt = tokens,
            Event::Delta { tokens, .. } => answer.tokens.extend(tokens),
            Event::Finish { .. } | Event::Embedding { .. } | Event::Call { .. } => {}
            Event::Done { usage } => {
                assert_eq!(usage.generated, answer.tokens.len());
                return answer;
            }
            Event::Failed(reason) => panic!("{reason}"),
        }
    }
    panic!("the stream ended before the answer did")
}

/// One prompt with what the reference says of it.
struct Case {
    adapter: Option<&'static str>,
    ids: Vec<u32>,
    log_probs: Vec<Vec<f32>>,
    greedy: Vec<u32>,
    gaps: Vec<f32>,
}

fn cases(adapter: Option<&'static str>) -> Vec<Case> {
    let path = adapter.map_or("models/llama".into(), |name| format!("adapters/{name}"));
    let read = std::fs::read(golden(&format!("expected/{path}.json"))).expect("answers");
    let json: serde_json::Value = serde_json::from_slice(&read).expect("JSON");
    let tensors = candle_core::safetensors::load(
        golden(&format!("expected/{path}.safetensors")),
        &Device::Cpu,
    );
    let tensors = tensors.expect("tensors");
    let ids = |value: &serde_json::Value| serde_json::from_value(value.clone()).expect("ids");
    let matrix = |tensor: &Tensor| tensor.to_vec2().expect("a matrix");
    let case = |prompt: &serde_json::Value| Case {
        adapter,
        ids: ids(&prompt["ids"]),
        log_probs: matrix(&tensors[prompt["logprobs"].as_str().expect("a name")]),
        greedy: ids(&prompt["greedy"]["ids"]),
        gaps: serde_json::from_value(prompt["greedy"]["gaps"].clone()).expect("gaps"),
    };
    json["prompts"]
        .as_array()
        .expect("prompts")
        .iter()
        .map(case)
        .collect()
}

impl Case {
    fn check(&self, answer: &Answer) {
        let name = self.adapter.unwrap_or("base");
        assert_eq!(answer.prompt.len(), self.ids.len());
        for (at, token) in answer.prompt.iter().enumerate().skip(1) {
            let wanted = self.log_probs[at - 1][self.ids[at] as usize];
            let off = (token.logprob.expect("a score") - wanted).abs();
            assert!(off < 1e-3, "{name}, position {at}: off by {off}");
        }
        let said = answer.tokens.iter().map(|token| token.id);
        for ((found, wanted), gap) in said.zip(&self.greedy).zip(&self.gaps) {
            if *gap < 1e-4 {
                break;
            }
            assert_eq!(found, *wanted, "{name}");
        }
    }
}

fn assert_close(a: &[TokenInfo], b: &[TokenInfo], name: &str) {
    assert_eq!(a.len(), b.len(), "{name}");
    for (a, b) in a.iter().zip(b) {
        if a.id != b.id {
            let gap = a.top[0].logprob - a.top[1].logprob;
            assert!(gap < 1e-4, "{name}: {} or {}, {gap} apart", a.id, b.id);
            return;
        }
        let off = (a.logprob.unwrap_or(0.0) - b.logprob.unwrap_or(0.0)).abs();
        assert!(off < 1e-4, "{name}: off by {off}");
    }
}

#[tokio::test]
async fn base_and_adapters_in_one_batch_say_what_the_reference_says_and_what_they_say_alone() {
    let house = House::open().await;
    let engine = house.engine();
    let named = ADAPTERS.map(Some);
    let cases: Vec<Case> = [None].into_iter().chain(named).flat_map(cases).collect();
    let mut crowd = Vec::new();
    for case in &cases {
        crowd.push(house.ask(&engine, case.adapter, &case.ids).await);
    }
    assert!(engine.load().waiting + engine.load().running > 0);
    let mut answers = Vec::new();
    for (case, events) in cases.iter().zip(crowd) {
        let answer = all(events).await;
        case.check(&answer);
        answers.push(answer);
    }
    for (case, answer) in cases.iter().zip(&answers) {
        let alone = all(house.ask(&engine, case.adapter, &case.ids).await).await;
        let name = case.adapter.unwrap_or("base");
        assert_close(&alone.prompt, &answer.prompt, name);
        assert_close(&alone.tokens, &answer.tokens, name);
    }
    engine.drain(Duration::from_secs(10)).await;
    let load = engine.load();
    assert_eq!((load.waiting, load.running, load.kv_used), (0, 0, 0));
}
