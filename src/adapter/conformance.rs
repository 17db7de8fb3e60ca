//! What every kind of adapter must do, checked for each row of the catalogue.

mod rows;
mod virtual_tokens;

use std::collections::{BTreeMap, HashMap};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use crate::adapter::catalogue::CATALOGUE;
use crate::adapter::peft::{CONFIG_FILE, Files, PROVENANCE_FILE, WEIGHTS_FILES, read};
use crate::adapter::testing::{
    BASE_DIGEST, bottleneck_specimen, dense_specimen, dora_specimen, fit, ia3_specimen,
    outer_specimen, prefix_specimen, prompt_specimen, saved_specimen, sites, specimen,
};
use crate::adapter::{Adapter, AdapterFault, packed};
use crate::domain::Placement;

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
