use crate::kernels::quant::Format;
use serde_json::json;

use super::super::testing::{self, Weights};
use super::*;

fn llama() -> (serde_json::Value, Weights) {
    let config = testing::config("llama", json!({}));
    let weights = testing::weights(&testing::spec(&config), 7);
    (config, weights)
}

fn refused(dir: &Path) -> WeightError {
    Folder::open(dir, Quant::To(Format::F32))
        .err()
        .expect("the folder must be refused")
}

fn values(folder: &mut Folder, name: &str) -> Vec<f32> {
    folder.matrix(name).unwrap().rows(0..1).unwrap()
}

#[test]
fn every_family_loads_with_the_tensors_its_spec_calls_for() {
    for arch in ["llama", "mistral", "qwen2", "qwen3"] {
        let config = testing::config(arch, json!({}));
        let weights = testing::weights(&testing::spec(&config), 3);
        let dir = testing::folder(&config, &weights);
        let mut folder = Folder::open(dir.path(), Quant::To(Format::F32)).unwrap();
        for (name, (shape, expected)) in &weights {
            if shape.len() == 2 {
                assert_eq!(
                    folder.matrix(name).unwrap().rows(0..shape[0]).unwrap(),
                    *expected,
                    "{arch} {name}"
                );
            } else {
                assert_eq!(folder.vector(name).unwrap(), *expected, "{arch} {name}");
            }
        }
        assert_eq!(
            folder.has("model.layers.0.self_attn.q_proj.bias"),
            arch == "qwen2"
        );
        assert_eq!(
            folder.has("model.layers.0.self_attn.q_norm.weight"),
            arch == "qwen3"
        );
    }
}

#[test]
fn shards_hold_what_one_file_holds() {
    let (config, weights) = llama();
    let whole = testing::folder(&config, &weights);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let mut map = serde_json::Map::new();
    for (i, name) in [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    .into_iter()
    .enumerate()
    {
        let part: Weights = weights
            .clone()
            .into_iter()
            .enumerate()
            .filter(|(n, _)| n % 2 == i)
            .map(|(_, w)| w)
            .collect();
        map.extend(part.keys().map(|k| (k.clone(), json!(name))));
        testing::write(&dir.path().join(name), &part, Dtype::F32);
    }
    let index = json!({"metadata": {"total_size": 1}, "weight_map": map});
    std::fs::write(dir.path().join(INDEX), index.to_string()).unwrap();
    let (mut a, mut b) = (
        Folder::open(whole.path(), Quant::To(Format::F32)).unwrap(),
        Folder::open(dir.path(), Quant::To(Format::F32)).unwrap(),
    );
    for name in [
        names::EMBEDDING,
        "model.layers.1.mlp.down_proj.weight",
        names::HEAD,
    ] {
        assert_eq!(values(&mut a, name), values(&mut b, name));
    }

    std::fs::remove_file(dir.path().join("model-00002-of-00002.safetensors")).unwrap();
    assert!(
        refused(dir.path())
            .what
            .ends_with("model-00002-of-00002.safetensors")
    );
    std::fs::write(
        dir.path().join(INDEX),
        json!({"weight_map": {"a": "../outside.safetensors"}}).to_string(),
    )
    .unwrap();
    assert_eq!(refused(dir.path()).what, INDEX);
}

#[test]
fn half_precision_files_keep_their_type_or_take_the_one_asked_for() {
    let (config, weights) = llama();
    for dtype in [Dtype::F16, Dtype::BF16] {
        let dir = testing::folder(&config, &weights);
        testing::write(&dir.path().join(SINGLE), &weights, dtype);
        let name = "model.layers.0.mlp.up_proj.weight";
        let expected: Vec<f32> = weights[name].1[..64]
            .iter()
            .map(|v| match dtype {
                Dtype::F16 => half::f16::from_f32(*v).to_f32(),
                _ => half::bf16::from_f32(*v).to_f32(),
            })
            .collect();
        for quant in [Quant::AsStored, Quant::To(Format::F32)] {
            let mut folder = Folder::open(dir.path(), quant).unwrap();
            assert_eq!(values(&mut folder, name), expected, "{dtype:?} {quant:?}");
        }
    }
}

#[test]
fn what_is_missing_extra_or_misshapen_is_named() {
    let (config, weights) = llama();
    let name = "model.layers.1.self_attn.k_proj.weight";
    let change = |edit: &dyn Fn(&mut Weights)| {
        let mut changed = weights.clone();
        edit(&mut changed);
        testing::folder(&config, &changed)
    };
    let dir = change(&|w| drop(w.remove(name)));
    assert_eq!(refused(dir.path()).what, name);
    let dir = change(&|w| w.get_mut(name).unwrap().0 = vec![64, 32]);
    assert_eq!(refused(dir.path()).what, name);
    let dir = change(&|w| {
        drop(w.insert(
            "model.layers.0.mlp.down_proj.bias".into(),
            (vec![64], vec![0.0; 64]),
        ))
    });
    assert_eq!(
        refused(dir.path()).what,
        "model.layers.0.mlp.down_proj.bias"
    );
    let dir = change(&|w| {
        drop(w.insert(
            "model.layers.0.self_attn.rotary_emb.inv_freq".into(),
            (vec![8], vec![0.0; 8]),
        ))
    });
    assert!(
        Folder::open(dir.path(), Quant::To(Format::F32)).is_ok(),
        "a buffer that is computed anew does no harm"
    );
    let dir = change(&|w| w.get_mut(name).unwrap().1[5] = f32::NAN);
    let error = Folder::open(dir.path(), Quant::To(Format::Q8_0))
        .unwrap()
        .matrix(name)
        .err()
        .unwrap();
    assert_eq!(error.what, name);
    let norm = "model.layers.0.input_layernorm.weight";
    let dir = change(&|w| w.get_mut(norm).unwrap().1[5] = f32::INFINITY);
    let error = Folder::open(dir.path(), Quant::To(Format::Q8_0))
        .unwrap()
        .vector(norm)
        .err()
        .unwrap();
    assert_eq!(error.what, norm);
}

#[test]
fn pickles_and_broken_files_are_refused_by_name() {
    let (config, weights) = llama();
    let dir = testing::folder(&config, &weights);
    let path = dir.path().join(SINGLE);
    let whole = std::fs::read(&path).unwrap();
    for bytes in [
        &b"PK\x03\x04archive/data.pkl"[..],
        &b"\x80\x02}q\x00(X\x01\x00\x00"[..],
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = refused(dir.path());
        assert_eq!(error.what, SINGLE);
        assert!(error.why.contains("pickle"));
    }
    for end in [0, 4, 8, 100, whole.len() - 1] {
        std::fs::write(&path, &whole[..end]).unwrap();
        assert!(refused(dir.path()).what.ends_with(SINGLE));
    }
    std::fs::remove_file(&path).unwrap();
    assert!(refused(dir.path()).why.contains(SINGLE));
    std::fs::write(dir.path().join("pytorch_model.bin"), b"PK\x03\x04").unwrap();
    assert_eq!(refused(dir.path()).what, "pytorch_model.bin");
}

#[test]
fn a_header_as_long_as_a_pickles_first_byte_is_no_pickle() {
    let (config, weights) = llama();
    let dir = testing::folder(&config, &weights);
    let path = dir.path().join(SINGLE);
    let whole = std::fs::read(&path).unwrap();
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    // Blanks at the end of a header are allowed; add as many as make its length end in 0x80.
    let longer = (header + 0x100) / 0x100 * 0x100 + 0x80;
    let mut padded = (longer as u64).to_le_bytes().to_vec();
    padded.extend(&whole[8..8 + header]);
    padded.resize(8 + longer, b' ');
    padded.extend(&whole[8 + header..]);
    std::fs::write(&path, padded).unwrap();
    assert!(Folder::open(dir.path(), Quant::To(Format::F32)).is_ok());
}

#[test]
fn a_tied_head_is_stored_once_under_either_name_or_twice() {
    let config = testing::config("qwen2", json!({"tie_word_embeddings": true}));
    let weights = testing::weights(&testing::spec(&config), 5);
    let embedding = weights[names::EMBEDDING].clone();
    let dir = testing::folder(&config, &weights);
    let folder = Folder::open(dir.path(), Quant::To(Format::F32)).unwrap();
    assert!(folder.spec().tied && !folder.has(names::HEAD));

    let mut twice = weights.clone();
    twice.insert(names::HEAD.into(), embedding.clone());
    let dir = testing::folder(&config, &twice);
    assert!(
        Folder::open(dir.path(), Quant::To(Format::F32))
            .unwrap()
            .spec()
            .tied
    );

    twice.get_mut(names::HEAD).unwrap().1[0] += 1.0;
    let dir = testing::folder(&config, &twice);
    let folder = Folder::open(dir.path(), Quant::To(Format::F32)).unwrap();
    assert!(
        !folder.spec().tied && folder.has(names::HEAD),
        "two different matrices are two"
    );

    let mut renamed = weights;
    let moved = renamed.remove(names::EMBEDDING).unwrap();
    renamed.insert(names::HEAD.into(), moved);
    let dir = testing::folder(&config, &renamed);
    assert!(
        Folder::open(dir.path(), Quant::To(Format::F32))
            .unwrap()
            .has(names::EMBEDDING)
    );
}

#[test]
fn the_digest_follows_the_content() {
    let (config, mut weights) = llama();
    let a = Folder::open(
        testing::folder(&config, &weights).path(),
        Quant::To(Format::F32),
    )
    .unwrap()
    .digest();
    let b = Folder::open(
        testing::folder(&config, &weights).path(),
        Quant::To(Format::Q8_0),
    )
    .unwrap()
    .digest();
    assert_eq!(a, b, "the format it is opened with does not matter");
    weights.get_mut(names::HEAD).unwrap().1[0] += 1.0;
    assert_ne!(
        a,
        Folder::open(
            testing::folder(&config, &weights).path(),
            Quant::To(Format::F32)
        )
        .unwrap()
        .digest()
    );
}

#[test]
fn a_git_lfs_pointer_is_named_for_what_it_is_in_place_of_any_file() {
    const POINTER: &str =
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 988097824\n";
    let (config, weights) = llama();
    for name in ["config.json", SINGLE] {
        let dir = testing::folder(&config, &weights);
        std::fs::write(dir.path().join(name), POINTER).unwrap();
        let error = refused(dir.path());
        assert_eq!(error.what, name);
        assert!(error.why.contains("git lfs pull"), "{error}");
    }
    // Of shards, the one that is a pointer; and an index that is one.
    let dir = testing::folder(&config, &weights);
    std::fs::rename(dir.path().join(SINGLE), dir.path().join("1.safetensors")).unwrap();
    std::fs::write(dir.path().join("2.safetensors"), POINTER).unwrap();
    let index = r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#;
    for (index, what) in [(index, "2.safetensors"), (POINTER, INDEX)] {
        std::fs::write(dir.path().join(INDEX), index).unwrap();
        let error = refused(dir.path());
        assert_eq!(error.what, what);
        assert!(error.why.contains("git lfs pull"), "{error}");
    }
}
