//! Bit for bit: whatever a request shares its steps, its blocks and its chunks with, and whether its tokens were
//! guessed, it gets exactly the numbers it gets alone. With a real decoder, packed as bases are by default.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use super::super::engine::{Shape, Shortcuts, Speculation};
use super::super::observe::{Observe, Unobserved};
use super::asks::{Ask, asks, kindred, sampling};
use super::real::Real;
use super::toy::*;
use crate::adapter::{BaseWeights, Fit, SiteShape, peft, testing};
use crate::domain::{Sampling, Targets};
use crate::kernels::quant::Format;
use crate::model::arch::LLAMA;
use crate::model::spec::{Biases, Rope, Scaling, Spec};
use crate::model::testing::{Values, random_start};
use crate::model::{KvKind, Model};
use crate::registry::Lease;

/// With keys and values kept as they are by default, and in 8 bits; and with rotations that depend on lengths.
pub static MODELS: LazyLock<[Real; 4]> = LazyLock::new(|| {
    let spec = Spec {
        arch: &LLAMA,
        hidden: 64,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        intermediate: 96,
        vocab: VOCAB,
        norm_eps: 1e-5,
        rope: Rope {
            theta: 10_000.0,
            scaling: Scaling::None,
        },
        windows: vec![None, Some(24)],
        bias: Biases::default(),
        head_norm: false,
        tied: false,
        context: 256,
    };
    let learning = Model::learning(&spec, &mut random_start(0.3, 0)).unwrap();
    let mut source = Values::of(&learning, Format::Q8_0);
    // Most prompts are shorter than this, and most answers end beyond it.
    let original_context = 26;
    let dynamic = Scaling::Dynamic {
        factor: 4.0,
        original_context,
    };
    let longrope = Scaling::LongRope {
        original_context,
        short: vec![1.0, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6],
        long: vec![1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0],
        attention_factor: 1.1,
    };
    [
        (Scaling::None, KvKind::Auto),
        (Scaling::None, KvKind::Q8),
        (dynamic, KvKind::Auto),
        (longrope, KvKind::Auto),
    ]
    .map(|(scaling, kv)| {
        source.spec.rope.scaling = scaling;
        Real(Arc::new(Model::from_source(&mut source, kv).unwrap()))
    })
});

/// Adapters of different ranks on every linear layer, a prefix and a prompt.
pub fn adapter(number: u64) -> Lease {
    let model = &*MODELS[0].0;
    let sites: &[SiteShape] = model.sites();
    let files = match number {
        3 => testing::prefix_for(model.shape(), number),
        4 => testing::prompt_for(model.shape(), number),
        _ => {
            let mut settings = testing::settings(Targets::Pattern("all-linear".into()));
            settings.rank = 3 + 5 * number as usize;
            let lora = peft::Lora {
                settings: &settings,
                base_name: "tiny",
                weights: &testing::weights(&settings, sites, number),
                magnitudes: &BTreeMap::new(),
            };
            lora.files().unwrap()
        }
    };
    let fit = Fit {
        weights: model,
        ..testing::fit(sites)
    };
    let adapter = peft::read(&files, &fit).unwrap();
    Lease::apart(format!("adapter-{number}").parse().unwrap(), adapter)
}

#[derive(Default)]
struct Counts {
    found: AtomicUsize,
    accepted: AtomicUsize,
    rejected: AtomicUsize,
}

impl Observe for Counts {
    fn reused(&self, _: usize, found: usize) {
        self.found.fetch_add(found, Ordering::Relaxed);
    }

    fn speculated(&self, drafted: usize, accepted: usize) {
        self.accepted.fetch_add(accepted, Ordering::Relaxed);
        self.rejected
            .fetch_add(drafted - accepted, Ordering::Relaxed);
    }
}

/// What each gets in a batch; and the fewest blocks that were free.
fn together(
    model: &Real,
    asks: &[Ask],
    shape: Shape,
    shortcuts: Shortcuts,
    observe: Arc<dyn Observe>,
) -> (Vec<Transcript>, usize) {
    let mut bench = Bench::with(model.clone(), shape, shortcuts, observe);
    let mut readers: Vec<_> = asks.iter().map(|_| None).collect();
    let mut fewest = usize::MAX;
    let mut turn = 0;
    while turn < 20 || !bench.engine.is_idle() {
        for (ask, reader) in asks.iter().zip(&mut readers) {
            if ask.arrives == turn {
                *reader = Some(bench.ask(ask.draft_with(adapter)));
            }
        }
        bench.engine.turn();
        fewest = fewest.min(bench.engine.pool().free());
        turn += 1;
    }
    bench.check_returned();
    let told = readers.iter_mut().flatten().map(|r| read(r).afresh());
    (told.collect(), fewest)
}

/// What it gets alone, whole prompt at once, every token a step. The softmax runs over blocks, so their size is
/// part of what an engine computes.
fn alone(model: &Real, ask: &Ask, block_size: usize) -> Transcript {
    let shape = Shape {
        block_size,
        ..AMPLE
    };
    Bench::with(model.clone(), shape, PLAIN, Arc::new(Unobserved)).answer(ask.draft_with(adapter))
}

fn ask() -> impl Strategy<Value = Ask> {
    // Every number is reported, and none of the answers ends early.
    let telling = sampling(30, &[]).prop_map(|sampling| Sampling {
        logprobs: Some(2),
        ignore_eos: true,
        min_tokens: 0,
        ..sampling
    });
    asks(kindred(), telling)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn numbers_are_the_same_alone_and_in_any_company(
        asks in prop::collection::vec(ask(), 1..9),
        (rows, more_tokens, block_size, more_blocks) in (1usize..9, 0usize..24, 1usize..9, 0usize..12),
        prefix_cache: bool,
        speculates: bool,
        model in 0usize..4,
    ) {
        let shape = Shape {
            rows,
            step_tokens: rows + more_tokens,
            scored: 5,
            // The longest request just fits.
            blocks: 79usize.div_ceil(block_size) + more_blocks,
            block_size,
        };
        let speculation = if speculates { Speculation::Always } else { Speculation::Off };
        let shortcuts = Shortcuts { prefix_cache, speculation };
        let model = &MODELS[model];
        let (told, _) = together(model, &asks, shape, shortcuts, Arc::new(Unobserved));
        for (ask, told) in asks.iter().zip(told) {
            prop_assert_eq!(told, alone(model, ask, block_size));
        }
    }
}

#[test]
fn hits_guesses_and_preemption_change_no_bit() {
    let asks: Vec<Ask> = (0..12u32)
        .map(|number| Ask {
            prompt: (0..20 + number).map(|at| at * 7 % 30).collect(),
            sampling: Sampling {
                logprobs: Some(2),
                ..greedy(40)
            },
            n: 1,
            scored: number == 5,
            adapter: u64::from(number % 6).checked_sub(1),
            arrives: number as usize / 2 * 3,
        })
        .collect();
    let shape = Shape {
        rows: 4,
        step_tokens: 24,
        scored: 8,
        blocks: 28,
        block_size: 4,
    };
    let shortcuts = Shortcuts {
        prefix_cache: true,
        speculation: Speculation::Always,
    };
    for model in &*MODELS {
        let counts = Arc::new(Counts::default());
        let (told, fewest) = together(model, &asks, shape, shortcuts, counts.clone());
        for (ask, told) in asks.iter().zip(told) {
            assert_eq!(told, alone(model, ask, shape.block_size));
        }
        let count = |counted: &AtomicUsize| counted.load(Ordering::Relaxed);
        assert_eq!(fewest, 0, "blocks ran out, so answers were preempted");
        assert!(count(&counts.found) > 0, "prefixes were found");
        assert!(count(&counts.accepted) > 0, "guesses were right");
        assert!(count(&counts.rejected) > 0, "and wrong");
    }
}

#[test]
fn prompts_beyond_the_original_context_share_only_what_was_turned_alike() {
    let [_, _, dynamic, longrope] = &*MODELS;
    let prompt = |length: u32| (0..length).map(|at| at * 7 % 30).collect::<Vec<u32>>();
    let found = |model: &Real, first: u32, second: u32| {
        let mut bench = Bench::of(model.clone(), AMPLE);
        bench.answer(draft(&prompt(first), greedy(1)));
        let told = bench.answer(draft(&prompt(second), greedy(1)));
        told.usage.unwrap().cached
    };
    for model in [dynamic, longrope] {
        assert_eq!(found(model, 20, 26), 16, "both within it");
        assert_eq!(found(model, 26, 40), 0, "one within it");
        assert_eq!(found(model, 40, 40), 32, "of one length");
    }
    assert_eq!(found(dynamic, 40, 41), 0, "turned by their lengths");
    assert_eq!(found(longrope, 40, 41), 40, "turned by being long");
}
