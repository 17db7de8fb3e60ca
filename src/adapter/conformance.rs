//! What every kind of adapter must do, checked for each row of the catalogue.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::catalogue::CATALOGUE;
use super::peft::{
    CONFIG_FILE, ENCODER_FILE, ENCODER_NAMES, Files, PROMPT_EMBEDDINGS, PROVENANCE_FILE,
    PrefixResume, PromptResume, WEIGHTS_FILE, WEIGHTS_FILES, read,
};
use super::testing::{
    BASE_DIGEST, VIRTUAL, Weights, bottleneck_specimen, dense_specimen, dora_specimen, fit,
    ia3_specimen, outer_specimen, prefix_specimen, prompt_specimen, saved_specimen, sites,
    specimen,
};
use super::{
    Adapt, Adapter, AdapterFault, BaseNorm, BaseWeights, NormAt, Outer, Part, Routed, Sublayer,
    Uniform, packed,
};
use crate::device::Array;
use crate::domain::Placement;
use crate::kernels::op::{Run, Value as Passed};
use crate::kernels::quant::{Format, Layer, Matrix};

const LAYERS: usize = 2;

/// Good folders of each kind, the plain one first.
fn specimens() -> Vec<(&'static str, Files)> {
    vec![
        ("lora", specimen(LAYERS, 5)),
        ("dora", dora_specimen(LAYERS, 7)),
        ("ia3", ia3_specimen(LAYERS, 6)),
        (
            "bottleneck",
            bottleneck_specimen(LAYERS, Placement::Double, 8),
        ),
        ("dense", dense_specimen()),
        ("prefix", prefix_specimen(8)),
        ("prompt", prompt_specimen(9)),
        ("lora", outer_specimen(LAYERS, 8, false)),
        ("dora", outer_specimen(LAYERS, 9, true)),
        ("lora", saved_specimen(LAYERS, 10)),
    ]
}

/// The name its weights have.
fn weights_file(files: &Files) -> &'static str {
    let mut names = WEIGHTS_FILES.into_iter();
    names.find(|name| files.contains_key(*name)).unwrap()
}

fn refusal(files: &Files) -> AdapterFault {
    read(files, &fit(&sites(LAYERS)))
        .map(|_| ())
        .expect_err("the folder should be refused")
}

fn accepted(files: &Files) -> Adapter {
    read(files, &fit(&sites(LAYERS))).unwrap()
}

fn with_key(files: &Files, key: &str, value: Value) -> Files {
    let mut config: Value = serde_json::from_slice(&files[CONFIG_FILE]).unwrap();
    config[key] = value;
    let mut files = files.clone();
    let config = serde_json::to_vec(&config).unwrap();
    files.insert(CONFIG_FILE.to_owned(), config.into());
    files
}

type Arrays = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn with_tensors(files: &Files, change: impl FnOnce(&mut Arrays)) -> Files {
    let read = SafeTensors::deserialize(&files[weights_file(files)]).unwrap();
    let mut arrays: Arrays = read
        .iter()
        .map(|(name, view)| {
            (
                name.to_owned(),
                (view.dtype(), view.shape().to_vec(), view.data().to_vec()),
            )
        })
        .collect();
    change(&mut arrays);
    let views = arrays.iter().map(|(name, (dtype, shape, data))| {
        (
            name.as_str(),
            TensorView::new(*dtype, shape.clone(), data).unwrap(),
        )
    });
    let bytes = safetensors::serialize(views, None::<HashMap<String, String>>).unwrap();
    let mut files = files.clone();
    files.insert(weights_file(&files).to_owned(), bytes.into());
    files
}

fn tensor_names(files: &Files) -> Vec<String> {
    SafeTensors::deserialize(&files[weights_file(files)])
        .unwrap()
        .names()
        .into_iter()
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_kind_has_a_specimen_that_reads() {
    let specimens = specimens();
    for kind in CATALOGUE {
        let (_, files) = specimens
            .iter()
            .find(|(name, _)| *name == kind.name())
            .unwrap_or_else(|| panic!("no specimen of {}", kind.name()));
        let adapter = accepted(files);
        assert_eq!(adapter.kind(), kind.name());
        // Bottlenecks stand behind sublayers, virtual tokens before the first layer or beside all.
        let sites = match adapter.virtual_tokens() {
            0 if kind.name() != "bottleneck" => 7 * LAYERS,
            _ => 0,
        };
        assert!(adapter.bytes() > 0 && adapter.sites().count() == sites);
        assert_eq!(adapter.generation(), accepted(files).generation());
    }
}

#[test]
fn a_missing_tensor_is_refused_by_name() {
    for (_, files) in specimens() {
        for name in tensor_names(&files) {
            let fault = refusal(&with_tensors(&files, |arrays| drop(arrays.remove(&name))));
            assert_eq!(fault.field, name);
        }
    }
}

#[test]
fn a_tensor_too_many_is_refused_by_name() {
    for (_, files) in specimens() {
        for extra in [
            "base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight",
            "base_model.model.model.layers.9.self_attn.q_proj.lora_magnitude_vector",
            "base_model.model.model.embed_tokens.lora_embedding_A",
            "base_model.model.lm_head.weight",
            "noise",
        ] {
            let fault = refusal(&with_tensors(&files, |arrays| {
                arrays.insert(extra.to_owned(), (Dtype::F32, vec![1], vec![0; 4]));
            }));
            assert_eq!(fault.field, extra);
        }
    }
}

#[test]
fn a_wrong_shape_or_type_is_refused_by_name() {
    for (_, files) in specimens() {
        for name in tensor_names(&files) {
            let fault = refusal(&with_tensors(&files, |arrays| {
                let array = arrays.get_mut(&name).unwrap();
                array.1.reverse();
                array.1.push(1);
            }));
            assert_eq!(fault.field, name);
            let fault = refusal(&with_tensors(&files, |arrays| {
                arrays.get_mut(&name).unwrap().0 = Dtype::I32
            }));
            assert_eq!(fault.field, name);
        }
    }
}

#[test]
fn a_number_that_is_not_finite_is_refused_by_name() {
    for (_, files) in specimens() {
        for name in tensor_names(&files) {
            let fault = refusal(&with_tensors(&files, |arrays| {
                let data = &mut arrays.get_mut(&name).unwrap().2;
                let last = data.len() - 4;
                data[last..].copy_from_slice(&f32::NAN.to_le_bytes());
            }));
            assert_eq!(fault.field, name);
        }
    }
}

#[test]
fn weights_that_would_drown_the_base_are_refused_by_name() {
    for (kind, files) in specimens() {
        let scaled = |name: &str, factor: f32| {
            with_tensors(&files, |arrays| {
                let data = &mut arrays.get_mut(name).unwrap().2;
                for bytes in data.as_chunks_mut::<4>().0 {
                    *bytes = (f32::from_le_bytes(*bytes) * factor).to_le_bytes();
                }
            })
        };
        for name in tensor_names(&files) {
            for factor in [6e4, 1e30] {
                assert_eq!(refusal(&scaled(&name, factor)).field, name);
            }
            accepted(&scaled(&name, 50.0));
        }
        if ["lora", "dora"].contains(&kind) {
            let loud = with_key(&files, "lora_alpha", json!(1e9));
            assert_eq!(refusal(&loud).field, "lora_alpha");
        }
    }
}

#[test]
fn a_file_cut_anywhere_or_of_another_format_is_refused() {
    for (_, files) in specimens() {
        let file = weights_file(&files);
        let weights = &files[file];
        for cut in [0, 1, 7, 8, 20, weights.len() / 2, weights.len() - 1] {
            let mut files = files.clone();
            files.insert(file.to_owned(), weights.slice(..cut));
            assert_eq!(refusal(&files).field, file);
        }
        let mut pickled = files.clone();
        pickled.insert(file.to_owned(), b"\x80\x02}q\x00."[..].into());
        assert!(refusal(&pickled).why.contains("pickle"));
        for name in [CONFIG_FILE, file] {
            let mut pointer = files.clone();
            let text = &b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 98\n"[..];
            pointer.insert(name.to_owned(), text.into());
            let fault = refusal(&pointer);
            assert_eq!(fault.field, name);
            assert!(fault.why.contains("git lfs pull"), "{fault}");
        }
        pickled.remove(file);
        assert_eq!(refusal(&pickled).field, WEIGHTS_FILES[0]);
        for name in ["pytorch_adapter.bin", "adapter_model.bin"] {
            pickled.insert(name.to_owned(), b"PK"[..].into());
            assert_eq!(refusal(&pickled).field, name);
        }
    }
}

#[test]
fn keys_that_matter_and_are_not_supported_are_refused_by_name() {
    for (kind, files) in specimens() {
        if kind != "bottleneck" {
            let nameless = with_key(&files, "peft_type", json!(null));
            assert_eq!(refusal(&nameless).field, "peft_type");
        }
        for (key, value) in [
            ("peft_type", json!("LOHA")),
            ("peft_type", json!(3)),
            ("task_type", json!("SEQ_CLS")),
            ("some_future_switch", json!(true)),
            ("some_future_number", json!(1)),
        ] {
            assert_eq!(refusal(&with_key(&files, key, value)).field, key);
        }
        for (key, value) in [
            ("some_future_switch", json!(null)),
            ("another", json!(false)),
            ("peft_version", json!("99.0")),
        ] {
            accepted(&with_key(&files, key, value));
        }
    }
}

#[test]
fn an_adapter_of_another_base_is_refused() {
    for (kind, files) in specimens() {
        let with_digest = |digest: [u8; 32]| {
            let mut files = files.clone();
            let text = format!(
                r#"{{"base_digest": "{}"}}"#,
                blake3::Hash::from_bytes(digest).to_hex()
            );
            files.insert(PROVENANCE_FILE.to_owned(), text.into());
            files
        };
        accepted(&with_digest(BASE_DIGEST));
        assert_eq!(refusal(&with_digest([8; 32])).field, "base_digest");
        let with_origin = |text: &str| {
            let mut files = files.clone();
            files.insert(PROVENANCE_FILE.to_owned(), text.to_owned().into());
            files
        };
        for broken in ["[", "[]", "null", "\"\"", r#"{"base_digest": 7}"#] {
            assert_eq!(refusal(&with_origin(broken)).field, PROVENANCE_FILE);
        }
        accepted(&with_origin("{}"));
        // Some weights of a base say nothing of how many layers it has.
        assert_eq!(
            read(&files, &fit(&sites(LAYERS + 1))).is_ok(),
            ["dense", "prefix", "prompt"].contains(&kind),
            "another number of layers is another base"
        );
    }
}

#[test]
fn rows_of_a_mixed_batch_equal_the_same_rows_alone_and_base_rows_stay() {
    let of = |files: &Files| Arc::new(accepted(files));
    let mut adapters: Vec<Arc<Adapter>> = specimens().iter().map(|(_, files)| of(files)).collect();
    adapters.push(of(&specimen(LAYERS, 2)));
    for shape in sites(LAYERS) {
        let values = |dims: (usize, usize), step: f32| {
            let values = (0..dims.0 * dims.1).map(|i| (i as f32 * step).sin());
            Array::new(values.collect(), dims).unwrap()
        };
        let x = values((3 * adapters.len(), shape.inputs), 0.7);
        let weight = values((shape.outputs, shape.inputs), 0.3);
        let weight = Arc::new(Matrix::quantize(&weight, Format::F32).unwrap());
        let layer = Layer {
            weight: &weight,
            bias: None,
        };
        let through = |adapters: &Routed, x: Array| {
            let x = x.into();
            let run = Run::host();
            adapters.through(run, shape.site, &x, &layer).unwrap()
        };
        let ranges: Vec<_> = (0..adapters.len()).map(|at| 3 * at..3 * at + 2).collect();
        let together = Routed {
            segments: ranges
                .iter()
                .cloned()
                .zip(adapters.iter().cloned())
                .collect(),
        };
        let mixed = through(&together, x.clone());
        let before = through(&Routed::base(), x.clone());
        for row in 0..x.rows() {
            let of_row = |array: &Array| array.select_rows(&[row]).unwrap();
            let (mixed, before) = (of_row(&mixed), of_row(&before));
            let Some(owner) = ranges.iter().position(|range| range.contains(&row)) else {
                assert_eq!(mixed, before, "a base row");
                continue;
            };
            let alone = Routed {
                segments: vec![(0..1, adapters[owner].clone())],
            };
            assert_eq!(*through(&alone, of_row(&x)), mixed);
            let adapts = adapters[owner].sites().any(|site| site == shape.site);
            assert_eq!(mixed != before, adapts);
        }
    }
}

#[test]
fn what_is_added_behind_a_sublayer_is_the_same_alone_and_in_a_mixed_batch() {
    let of = |files: &Files| Arc::new(accepted(files));
    let mut adapters: Vec<Arc<Adapter>> = specimens().iter().map(|(_, files)| of(files)).collect();
    for placement in [
        Placement::Sequential,
        Placement::Parallel,
        Placement::Double,
    ] {
        adapters.push(of(&bottleneck_specimen(LAYERS, placement, 9)));
    }
    let values = |step: f32| {
        let values = (0..16 * 3 * adapters.len()).map(|i| (i as f32 * step).sin());
        Array::new(values.collect(), (3 * adapters.len(), 16)).unwrap()
    };
    let (x, y) = (values(0.7), values(0.3));
    for layer in 0..LAYERS {
        for part in [Part::Attention, Part::FeedForward] {
            let at = Sublayer { layer, part };
            let after = |adapters: &Routed, x: Array, y: Array| {
                let (x, y) = (Passed::from(x), Passed::from(y));
                let after = adapters.residual(Run::host(), at, &x, &y);
                after.unwrap().into_array()
            };
            let ranges: Vec<_> = (0..adapters.len()).map(|at| 3 * at..3 * at + 2).collect();
            let segments = ranges.iter().cloned().zip(adapters.iter().cloned());
            let together = Routed {
                segments: segments.collect(),
            };
            let mixed = after(&together, x.clone(), y.clone());
            let before = after(&Routed::base(), x.clone(), y.clone());
            for row in 0..x.rows() {
                let of_row = |array: &Array| array.select_rows(&[row]).unwrap();
                let owner = ranges.iter().position(|range| range.contains(&row));
                let Some(adapter) = owner.map(|owner| &adapters[owner]) else {
                    assert_eq!(of_row(&mixed), of_row(&before), "a base row");
                    continue;
                };
                let alone = Routed {
                    segments: vec![(0..1, adapter.clone())],
                };
                assert_eq!(after(&alone, of_row(&x), of_row(&y)), of_row(&mixed));
                let acts = adapter.change().and_then(|change| change.inserted(at));
                assert_eq!(of_row(&mixed) != of_row(&before), acts.is_some());
            }
        }
    }
}

#[test]
fn what_is_done_around_blocks_is_the_same_in_a_mixed_batch_as_alone() {
    let adapters = specimens();
    let adapters: Vec<_> = { adapters.iter() }
        .map(|(kind, files)| (*kind, Arc::new(accepted(files))))
        .collect();
    // Others act between layers, or on virtual tokens, which none of these rows is.
    let changed = |(kind, adapter): &(&str, Arc<Adapter>)| {
        adapter.change().is_some() && ["lora", "dora", "dense"].contains(kind)
    };
    assert!(adapters.iter().filter(|pair| changed(pair)).count() >= 4);
    let rows = 3 * adapters.len();
    let values = |width: usize, step: f32| {
        let values = (0..rows * width).map(|i| (i as f32 * step).sin());
        Array::new(values.collect(), (rows, width)).unwrap()
    };
    let (x, head) = (values(16, 0.7), Weights.outer(Outer::Head).unwrap());
    let tokens: Vec<u32> = (0..rows as u32).map(|at| at % 32).collect();
    let embedding = Weights.outer(Outer::Embedding).unwrap();
    let ones = Array::row(vec![1.0; 16]).into();
    let norm = BaseNorm {
        at: NormAt::Last,
        norm: crate::kernels::norm::RmsNorm { eps: 1e-5 },
        weight: &ones,
    };
    let all = |adapt: &dyn Adapt, x: &Array, tokens: &[u32]| {
        let (run, x) = (Run::host(), x.clone().into());
        let layer = Layer {
            weight: &head,
            bias: None,
        };
        let embedded = embedding.gather(tokens).unwrap().into();
        [
            adapt.embedded(run, tokens, embedded).unwrap(),
            adapt.norm(run, norm, &x).unwrap(),
            adapt.head(run, &x, &layer).unwrap(),
        ]
    };
    let together = Routed {
        segments: { adapters.iter().enumerate() }
            .map(|(at, (_, adapter))| (3 * at..3 * at + 2, adapter.clone()))
            .collect(),
    };
    let (mixed, before) = (
        all(&together, &x, &tokens),
        all(&Routed::base(), &x, &tokens),
    );
    for row in 0..rows {
        let of_row = |array: &Array| array.select_rows(&[row]).unwrap();
        let alone = match row % 3 {
            2 => Routed::base(),
            _ => Routed {
                segments: vec![(0..1, adapters[row / 3].1.clone())],
            },
        };
        let alone = all(&alone, &of_row(&x), &tokens[row..=row]);
        for (mixed, alone) in mixed.iter().zip(alone) {
            assert_eq!(of_row(mixed), *alone, "row {row}");
        }
    }
    for (at, pair) in adapters
        .iter()
        .enumerate()
        .filter(|(_, pair)| changed(pair))
    {
        let of = |values: &Array| values.select_rows(&[3 * at, 3 * at + 1]).unwrap();
        let moved = mixed
            .iter()
            .zip(&before)
            .filter(|(mixed, before)| of(mixed) != of(before));
        assert!(moved.count() >= 2, "{}", pair.0);
        // Losses go through the same head as logits do.
        let uniform = Uniform {
            adapter: pair.1.clone(),
        };
        let targets: Vec<u32> = (0..rows as u32).map(|at| at * 5 % 32).collect();
        let hidden = x.clone().into();
        let losses = uniform
            .token_losses(Run::host(), &hidden, &targets, &head)
            .unwrap();
        let layer = Layer {
            weight: &head,
            bias: None,
        };
        let logits = uniform.head(Run::host(), &hidden, &layer).unwrap();
        let log_probs = crate::kernels::loss::log_softmax(logits.into_array());
        for (row, (loss, target)) in losses.values().iter().zip(targets).enumerate() {
            let wanted = -log_probs.values()[row * 32 + target as usize];
            assert!(
                (loss - wanted).abs() < 1e-4,
                "{}: {loss} for {wanted}",
                pair.0
            );
        }
    }
}

#[test]
fn a_copy_as_it_lies_in_memory_reads_back_the_same() {
    for (kind, files) in specimens() {
        let (sites, stamp) = (sites(LAYERS), "s");
        let fit = fit(&sites);
        let adapter = accepted(&files);
        if adapter.change().is_some() {
            // Read from its folder every time.
            continue;
        }
        let mut copy = Vec::new();
        packed::write(&adapter, stamp, &fit, &mut copy).unwrap();
        let origin = packed::Origin {
            generation: adapter.generation(),
            stamp,
        };
        let again = packed::read(&mut &copy[..], copy.len() as u64, origin, &fit).unwrap();
        assert_eq!((again.kind(), again.bytes()), (kind, adapter.bytes()));
        assert!(again.sites().eq(adapter.sites()));
        for site in adapter.sites() {
            assert_eq!(again.scales(site), adapter.scales(site), "{kind}");
            let factors = |adapter: &Adapter| adapter.lora_site(site);
            assert_eq!(factors(&again), factors(&adapter), "{kind}");
        }
        for length in [copy.len() - 1, copy.len() / 2, 40] {
            let short = packed::read(&mut &copy[..length], length as u64, origin, &fit);
            assert!(short.is_err(), "{kind}: {length} bytes");
        }
    }
}

#[test]
fn virtual_tokens_that_do_not_fit_the_base_are_refused_by_key() {
    let both = [prefix_specimen(8), prompt_specimen(9)];
    for files in &both {
        for (key, value) in [
            ("num_virtual_tokens", json!(null)),
            ("num_virtual_tokens", json!(0)),
            ("num_virtual_tokens", json!(VIRTUAL + 1)),
            ("num_virtual_tokens", json!("3")),
            ("num_transformer_submodules", json!(2)),
            ("token_dim", json!(12)),
            ("token_dim", json!("16")),
            ("modules_to_save", json!(["lm_head"])),
            ("task_type", json!("SEQ_2_SEQ_LM")),
            ("peft_type", json!("P_TUNING")),
        ] {
            let refused = refusal(&with_key(files, key, value.clone()));
            assert_eq!(refused.field, key, "{value}");
        }
        for key in [
            "num_transformer_submodules",
            "token_dim",
            "num_attention_heads",
            "num_layers",
        ] {
            accepted(&with_key(files, key, json!(null)));
        }
    }
    let [prefix, prompt] = both;
    for (key, value) in [
        ("num_layers", json!(LAYERS + 1)),
        ("num_attention_heads", json!(4)),
        ("prefix_projection", json!("yes")),
        ("encoder_hidden_size", json!(-1)),
    ] {
        assert_eq!(refusal(&with_key(&prefix, key, value)).field, key);
    }
    for (key, value) in [
        ("prompt_tuning_init", json!("MAGIC")),
        ("prompt_tuning_init_text", json!(7)),
    ] {
        assert_eq!(refusal(&with_key(&prompt, key, value)).field, key);
    }
    accepted(&with_key(
        &prompt,
        "prompt_tuning_init",
        json!("SAMPLE_VOCAB"),
    ));
}

#[test]
fn what_made_a_prefix_is_kept_and_checked() {
    let files = prefix_specimen(8);
    let made = |files: &Files| {
        let adapter = accepted(files);
        let resume: &PrefixResume = adapter.resume().unwrap();
        assert_eq!(resume.embeddings.rows(), VIRTUAL);
        resume.encoder.clone()
    };
    let encoder = made(&files).unwrap();
    assert_eq!(encoder.first[0].dims(), (5, 8));
    assert_eq!(encoder.last[0].dims(), (2 * LAYERS * 8, 5));
    // Without it, and where the configuration speaks of none, the prefix is what there is.
    let mut alone = files.clone();
    alone.remove(ENCODER_FILE);
    assert!(made(&alone).is_none());
    assert!(made(&with_key(&files, "prefix_projection", json!(false))).is_none());
    let of = |files: &Files| accepted(files).generation();
    assert_ne!(of(&files), of(&alone), "it is part of what was trained");
    let swapped = |change: &dyn Fn(&mut Arrays)| {
        let mut inner = files.clone();
        inner.insert(WEIGHTS_FILE.to_owned(), files[ENCODER_FILE].clone());
        let changed = with_tensors(&inner, change)[WEIGHTS_FILE].clone();
        let mut files = files.clone();
        files.insert(ENCODER_FILE.to_owned(), changed);
        files
    };
    for name in ENCODER_NAMES {
        let named = format!("{ENCODER_FILE}/{name}");
        let missing = swapped(&|arrays| drop(arrays.remove(name)));
        assert_eq!(refusal(&missing).field, named);
        let reshaped = swapped(&|arrays| arrays.get_mut(name).unwrap().1.push(1));
        assert!(refusal(&reshaped).field.starts_with(ENCODER_FILE), "{name}");
    }
    let surplus = swapped(&|arrays| {
        arrays.insert("noise".to_owned(), (Dtype::F32, vec![1], vec![0; 4]));
    });
    assert_eq!(refusal(&surplus).field, format!("{ENCODER_FILE}/noise"));
    let mut broken = files.clone();
    broken.insert(ENCODER_FILE.to_owned(), b"PK\x03\x04 no tensors"[..].into());
    assert_eq!(refusal(&broken).field, ENCODER_FILE);
}

#[test]
fn the_text_a_prompt_began_with_is_kept() {
    let files = prompt_specimen(9);
    let adapter = accepted(&files);
    let resume: &PromptResume = adapter.resume().unwrap();
    assert_eq!(resume.text.as_deref(), Some("Answer briefly."));
    assert_eq!(tensor_names(&files), [PROMPT_EMBEDDINGS]);
    assert_eq!(adapter.virtual_tokens(), VIRTUAL);
}
