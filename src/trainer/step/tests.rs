//! What a step must not do silently: lose a gradient, or give one to what is frozen.

mod halves;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::adapter::peft;
use crate::adapter::{Fit, Precision, Routed, Unadapted, virtual_tokens};
use crate::domain::{Bias, Method, Named, Patterns, Stages, Targets, Wishes};
use crate::kernels::op::Run;
use crate::kernels::quant::Format;
use crate::model::{Base, KvKind, Origin, Pack, Quant};
use crate::trainer::methods;
use crate::trainer::recipe::resolve;

fn base(quant: Quant) -> Base {
    named("llama", quant)
}

fn named(model: &str, quant: Quant) -> Base {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/models");
    let folder = models.join(model);
    Base::open(&Origin::Folder(folder), Some(quant), KvKind::Auto).unwrap()
}

fn fit(base: &Base, precision: Precision) -> Fit<'_> {
    base.fit(64, precision)
}

/// One of each method, as fresh jobs begin with them, and those with more to learn with all of it.
fn fresh(base: &Base) -> Vec<(Method, Box<dyn Trainable>)> {
    let methods = Method::NAMES.iter().filter_map(|name| Method::named(name));
    let methods = methods.map(|method| (method, false));
    methods
        .chain([Method::Prefix, Method::Lora, Method::Dora].map(|method| (method, true)))
        .map(|(method, everything)| {
            let is_projected = everything && method == Method::Prefix;
            let mut wishes = Wishes {
                method: Some(method),
                seed: Some(1),
                prefix_projection: is_projected.then_some(true),
                prefix_hidden: is_projected.then_some(7),
                ..Wishes::default()
            };
            match method {
                Method::Lora | Method::Dora if everything => {
                    let targets = "q_proj,down_proj,embed_tokens,lm_head";
                    wishes.targets = Some(Targets::from_text(targets));
                    wishes.bias = Some(Bias::All);
                    wishes.rank_pattern = Some(Patterns::from_text(r#"{"lm_head": 3}"#));
                }
                Method::Modules => {
                    let modules = "attention,norms,embeddings,down_proj";
                    wishes.train_modules = Some(Targets::from_text(modules));
                }
                Method::Staged => {
                    let stages =
                        r#"[{"layers":"0-1","steps":1},{"modules":"embeddings","steps":1}]"#;
                    wishes.stages = Some(Stages::parse(stages).unwrap());
                }
                _ => {}
            }
            let recipe = resolve(&wishes, None, 64).unwrap();
            let kind = methods::kind(method).unwrap();
            let settled = kind
                .settle(&recipe, None, methods::Fitting::of(base))
                .unwrap();
            let start = settled.start(&base.model).unwrap();
            let values: usize = start.values().iter().map(Vec::len).sum();
            assert_eq!(values as u64, settled.count(), "{method:?}");
            (method, start)
        })
        .collect()
}

/// The same with every number moved: where B is zero, as in a fresh LoRA, A has no gradient.
fn moved(base: &Base) -> Vec<(Method, Box<dyn Trainable>)> {
    let all = fresh(base);
    for (_, trainable) in &all {
        let mut values = trainable.values();
        let numbers = values.iter_mut().flatten().enumerate();
        numbers.for_each(|(i, value)| *value += (i % 7) as f32 * 0.01 - 0.03);
        trainable.set(&values);
    }
    all
}

/// Two records, each after virtual tokens where the adapter has some.
fn pack(adapters: &dyn Adapt) -> (Pack, Vec<u32>) {
    let own = adapters.virtual_tokens();
    let tokens: Vec<u32> = (0..24).map(|i| 3 + i * 5 % 200).collect();
    let [first, second] = [&tokens[..10], &tokens[10..]];
    let both = [first, second].map(|record| virtual_tokens(own).chain(record.iter().copied()));
    let middle = own + first.len();
    let tokens: Vec<u32> = both.into_iter().flatten().collect();
    let targets = (0..tokens.len() as u32).map(|i| 4 + i * 5 % 200).collect();
    (
        Pack {
            ranges: vec![0..middle, middle..tokens.len()],
            tokens,
            lengths: vec![],
        },
        targets,
    )
}

#[test]
fn every_trainable_tensor_gets_a_gradient_and_nothing_else_does() {
    for (model, quant) in [
        ("llama", Quant::To(Format::F32)),
        ("llama", Quant::To(Format::Q8_0)),
        // With biases.
        ("qwen2", Quant::To(Format::F32)),
    ] {
        let base = named(model, quant);
        for (method, trainable) in moved(&base) {
            for recomputes in [false, true] {
                let mut gradients = gradients(&base, &*trainable, recomputes);
                let parameters = trainable.parameters().into_iter();
                let active = parameters.zip(trainable.active());
                for ((name, parameter), _) in active.filter(|(_, active)| *active) {
                    let gradient = gradients
                        .remove(&parameter.id())
                        .unwrap_or_else(|| panic!("{method:?}: {name} has no gradient"));
                    let values = gradient.values();
                    assert!(
                        values.iter().all(|g| g.is_finite()) && values.iter().any(|g| *g != 0.0),
                        "{method:?}: {name}: {quant:?}"
                    );
                }
                assert!(gradients.is_empty(), "{method:?}: {quant:?}");
            }
        }
    }
}

fn gradients(
    base: &Base,
    trainable: &dyn Trainable,
    recomputes: bool,
) -> HashMap<ParameterId, Array> {
    gradients_in(base, trainable, None, recomputes)
}

fn gradients_in(
    base: &Base,
    trainable: &dyn Trainable,
    half: Option<Half>,
    recomputes: bool,
) -> HashMap<ParameterId, Array> {
    let learning = trainable.learning(None);
    let (pack, targets) = pack(&*learning);
    let tape = match recomputes {
        true => Tape::recomputing(&Device::Host),
        false => Tape::new(&Device::Host),
    };
    let tape = tape.rounding(half);
    let run = tape.run();
    let hidden = base.model.learn(run, &pack, &*learning).unwrap();
    let losses = base
        .model
        .token_losses(run, &hidden, &targets, &*learning)
        .unwrap();
    let seed = Array::new(vec![1.0; losses.len()], losses.dims()).unwrap();
    let mut gradients = HashMap::new();
    tape.backward(&losses, seed, &mut gradients).unwrap();
    gradients
}

#[test]
fn a_gradient_is_the_slope_of_the_loss() {
    for model in ["llama", "qwen2"] {
        slopes_of(&named(model, Quant::To(Format::F32)));
    }
}

fn slopes_of(base: &Base) {
    for (method, trainable) in moved(base) {
        let (pack, targets) = pack(&*trainable.learning(None));
        let gradients = gradients(base, &*trainable, false);
        let loss = || -> f64 {
            let (run, learning) = (Run::host(), trainable.learning(None));
            let hidden = base.model.learn(run, &pack, &*learning).unwrap();
            let losses = base
                .model
                .token_losses(run, &hidden, &targets, &*learning)
                .unwrap();
            losses.values().iter().copied().map(f64::from).sum()
        };
        // Along all gradients at once, the loss changes by their length.
        let squares = gradients.values().flat_map(|gradient| gradient.values());
        let length = squares.map(|g| f64::from(g * g)).sum::<f64>().sqrt();
        let start = trainable.values();
        let mut slope = 0.0;
        for sign in [1.0, -1.0] {
            let mut values = start.clone();
            for ((_, parameter), values) in trainable.parameters().into_iter().zip(&mut values) {
                // What does not learn in this stage has none.
                let Some(along) = gradients.get(&parameter.id()) else {
                    continue;
                };
                let along = along.values();
                let pairs = values.iter_mut().zip(along);
                pairs.for_each(|(v, g)| *v += sign * 1e-3 * g / length as f32);
            }
            trainable.set(&values);
            slope += f64::from(sign) * loss();
        }
        trainable.set(&start);
        let slope = slope / 2e-3;
        assert!(
            (slope - length).abs() < 0.02 * length,
            "{method:?}: {slope} along a gradient of {length}"
        );
    }
}

#[test]
fn a_fresh_adapter_changes_nothing() {
    let base = base(Quant::To(Format::F32));
    let (pack, _) = pack(&Unadapted);
    let learn = |adapters: &dyn Adapt| {
        let hidden = base.model.learn(Run::host(), &pack, adapters).unwrap();
        hidden.into_array()
    };
    let plain = learn(&Unadapted);
    // Virtual tokens are there from the beginning.
    let fresh = fresh(&base).into_iter();
    let neutral = |trainable: &dyn Trainable| trainable.learning(None).virtual_tokens() == 0;
    for (method, trainable) in fresh.filter(|(_, trainable)| neutral(&**trainable)) {
        let served = trainable.served(&fit(&base, Precision::Bf16)).unwrap();
        let served = learn(&served.unwrap());
        let learned = learn(&*trainable.learning(None));
        let far = farthest(&learned, &plain);
        if method == Method::Bottleneck {
            // Begins with small weights, so that all of them have gradients.
            assert!(far > 0.0 && far < 0.05 && farthest(&served, &learned) < 1e-3);
            continue;
        }
        assert_eq!(served, plain, "{method:?}");
        // Weights that learn are multiplied in another order than those at rest.
        assert!(far < 1e-5, "{method:?}: {far}");
    }
}

fn farthest(a: &Array, b: &Array) -> f32 {
    let pairs = a.values().iter().zip(b.values());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn what_is_learned_is_what_is_served() {
    for (quant, precision) in [
        (Format::F32, Precision::Exact),
        (Format::Q8_0, Precision::Bf16),
        (Format::Q8_0, Precision::Exact),
    ] {
        let base = base(Quant::To(quant));
        for (method, trainable) in moved(&base) {
            let (pack, _) = pack(&*trainable.learning(None));
            let learn = |adapters: &dyn Adapt| {
                let hidden = base.model.learn(Run::host(), &pack, adapters).unwrap();
                hidden.into_array()
            };
            let plain = learn(&Unadapted);
            let learned = learn(&*trainable.learning(None));
            let scored = learn(&trainable.served(&fit(&base, precision)).unwrap().unwrap());
            let files = trainable.files("base").unwrap();
            let served = Arc::new(peft::read(&files, &fit(&base, precision)).unwrap());
            let kind = match method {
                Method::Modules | Method::Staged | Method::Full => "dense",
                other => other.name(),
            };
            assert_eq!(served.kind(), kind);
            let served = learn(&Routed {
                segments: vec![(0..pack.tokens.len(), served)],
            });
            assert_eq!(scored, served, "{method:?} {quant:?} {precision:?}");
            assert_ne!(scored, plain, "{method:?} {quant:?} {precision:?}");
            // Rounding of factors and of activations lies between the two.
            let bound = match precision {
                // Whole weights are rounded as the base's are.
                _ if kind == "dense" && quant != Format::F32 => 0.5,
                Precision::Exact => 1e-3,
                Precision::Bf16 => 0.1,
            };
            let (off, moved) = (farthest(&learned, &served), farthest(&plain, &served));
            assert!(
                off < bound && off < 0.2 * moved,
                "{method:?} {quant:?} {precision:?}: {off} of {moved}"
            );
        }
    }
}
