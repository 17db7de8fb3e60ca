use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::adapter::peft::{self, Files};
use crate::adapter::{Adapt, Adapter, BaseTensor, BaseWeights, Precision, Unadapted, Uniform};
use crate::kernels::op::Run;
use crate::model::{Base, KvKind, Origin, Pack};

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(path)
}

fn files(folder: &str) -> Files {
    let read = |name: &str| {
        let bytes = std::fs::read(golden(folder).join(name)).unwrap();
        (name.to_owned(), bytes.into())
    };
    [peft::CONFIG_FILE, peft::WEIGHTS_FILE].map(read).into()
}

fn read(base: &Base, files: &Files) -> Adapter {
    peft::read(files, &base.fit(64, Precision::Exact)).unwrap()
}

fn open(origin: &Origin) -> Base {
    Base::open(origin, Some(Quant::AsStored), KvKind::F32).unwrap()
}

/// Log-probabilities after each of some tokens.
fn answers(base: &Base, adapter: Option<Arc<Adapter>>) -> Vec<f32> {
    let tokens: Vec<u32> = (5..45).collect();
    let pack = Pack {
        ranges: std::iter::once(0..tokens.len()).collect(),
        lengths: Vec::new(),
        tokens,
    };
    let uniform = adapter.map(|adapter| Uniform { adapter });
    let adapters: &dyn Adapt = match &uniform {
        Some(uniform) => uniform,
        None => &Unadapted,
    };
    let hidden = base.model.learn(Run::host(), &pack, adapters).unwrap();
    let all = base.model.log_probs(&hidden, adapters).unwrap();
    all.values().to_vec()
}

fn largest(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    let pairs = one.iter().zip(other);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Whole weights that are those of the base.
fn last_norm(base: &Base) -> Files {
    let own = { base.tensors().into_iter() }.filter_map(|(path, tensor)| {
        let place = Place::parse(&path).filter(|_| path == names::FINAL_NORM)?;
        match tensor {
            BaseTensor::Vector(values) => Some((place, values)),
            BaseTensor::Matrix(_) => None,
        }
    });
    peft::dense_files("base", "modules", &own.collect::<BTreeMap<_, _>>()).unwrap()
}

struct Made {
    /// Held for its drop.
    _dir: tempfile::TempDir,
    origin: Origin,
    written: Written,
}

fn merged(
    base: &Base,
    from: &Origin,
    adapter: &Adapter,
    format: Option<Format>,
    (into_gguf, most): (bool, u64),
) -> Result<Made, WeightError> {
    let stored = from.stored().unwrap();
    let merge = Merge {
        stored: &stored,
        fold: Fold::new(adapter).unwrap(),
        format,
        name: "merged",
        tokenizer: &base.tokenizer,
        template: &base.template,
    };
    let dir = tempfile::tempdir().unwrap();
    let (origin, written) = match into_gguf {
        true => {
            let path = dir.path().join("model.gguf");
            (Origin::Gguf(path.clone()), merge.into_gguf(&path)?)
        }
        false => {
            let path = dir.path().join("model");
            std::fs::create_dir(&path).unwrap();
            (
                Origin::Folder(path.clone()),
                merge.into_folder(&path, most)?,
            )
        }
    };
    Ok(Made {
        _dir: dir,
        origin,
        written,
    })
}

const WHOLE: u64 = 1 << 30;

#[test]
fn a_merged_base_answers_as_the_base_with_its_adapter_in_every_form() {
    for (model, adapters) in [
        (
            Origin::Folder(golden("models/llama")),
            &[
                "llama-all-linear",
                "llama-patterns",
                "llama-dora",
                "llama-ia3",
                "llama-ia3-ffn",
                "llama-ia3-modules",
                "llama-outer",
                "llama-dora-outer",
                "llama-modules",
                "llama-tokens",
            ][..],
        ),
        (
            Origin::Folder(golden("models/qwen2")),
            &[
                "qwen2-plain",
                "qwen2-dora",
                "qwen2-ia3",
                "qwen2-bias-all",
                "qwen2-bias-lora-only",
                "qwen2-dora-bias",
                "qwen2-bias-modules",
            ],
        ),
        (
            Origin::Gguf(golden("gguf/llama-f32.gguf")),
            &["llama-dora", "llama-ia3", "llama-outer"],
        ),
        // Its head is its embedding.
        (
            Origin::Folder(golden("models/qwen3")),
            &[
                "qwen3-outer",
                "qwen3-outer-tied",
                "qwen3-modules",
                "qwen3-modules-tied",
                "qwen3-tokens",
                "qwen3-tokens-apart",
            ],
        ),
    ] {
        let base = open(&model);
        for name in adapters {
            let adapter = Arc::new(read(&base, &files(&format!("adapters/{name}"))));
            let wanted = answers(&base, Some(adapter.clone()));
            assert!(largest(&wanted, &answers(&base, None)) > 0.1, "{name}");
            for into_gguf in [true, false] {
                let made = merged(&base, &model, &adapter, None, (into_gguf, WHOLE)).unwrap();
                let again = open(&made.origin);
                let off = largest(&wanted, &answers(&again, None));
                assert!(off < 2e-3, "{name} of {model:?}, {into_gguf}: {off}");
                assert!(made.written.changed > 0 && made.written.changed < made.written.tensors);
                let text = "Ada Lovelace\n 12 times, naïve";
                let ids = |base: &Base| base.tokenizer.encode(text, true).unwrap();
                assert_eq!(ids(&again), ids(&base), "{name}");
                assert_eq!(again.template.source(), base.template.source());
                assert_eq!(again.tokenizer.eos(), base.tokenizer.eos());
            }
        }
    }
}

#[test]
fn what_no_adapter_changes_is_written_as_it_was() {
    let from = Origin::Gguf(golden("gguf/llama-q8_0.gguf"));
    let base = open(&from);
    let adapter = read(&base, &last_norm(&base));
    let made = merged(&base, &from, &adapter, None, (true, WHOLE)).unwrap();
    let Origin::Gguf(path) = &made.origin else {
        panic!("a file")
    };
    assert_eq!(made.written.changed, 1);
    let before = Gguf::open(&golden("gguf/llama-q8_0.gguf"), Quant::AsStored).unwrap();
    let after = Gguf::open(path, Quant::AsStored).unwrap();
    assert_eq!(before.metadata_bytes(), after.metadata_bytes());
    assert_eq!(before.table(), after.table());
}

#[test]
fn formats_are_those_asked_for_and_shards_have_a_size() {
    let from = Origin::Folder(golden("models/llama"));
    let base = open(&from);
    let adapter = Arc::new(read(&base, &files("adapters/llama-plain")));
    let wanted = answers(&base, Some(adapter.clone()));
    for (format, into_gguf, most) in [
        (Format::F16, false, 0.02),
        (Format::Bf16, false, 0.2),
        (Format::F16, true, 0.02),
        (Format::Q8_0, true, 0.2),
    ] {
        let made = merged(&base, &from, &adapter, Some(format), (into_gguf, 40_000)).unwrap();
        let again = open(&made.origin);
        let off = largest(&wanted, &answers(&again, None));
        assert!(off < most, "{format}: {off}");
        if let Origin::Folder(dir) = &made.origin {
            let shards = std::fs::read_dir(dir).unwrap().filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                name.to_string_lossy().ends_with(".safetensors")
            });
            assert!(shards.count() > 2);
            assert!(dir.join("model.safetensors.index.json").exists());
        }
    }
}

#[test]
fn scalings_survive_the_other_form_or_are_refused_by_name() {
    for (name, fits) in [
        ("llama-llama3", true),
        ("llama-linear", true),
        ("llama-yarn", true),
        ("llama-dynamic", false),
        ("qwen3", true),
        ("qwen2-window", false),
    ] {
        let from = Origin::Folder(golden(&format!("models/{name}")));
        let base = open(&from);
        let adapter = read(&base, &last_norm(&base));
        let made = merged(&base, &from, &adapter, None, (true, WHOLE));
        let made = match (made, fits) {
            (Ok(made), true) => made,
            (Err(refused), false) => {
                assert!(refused.why.contains("--format hf"), "{name}: {refused}");
                continue;
            }
            (made, _) => panic!("{name}: {:?}", made.err()),
        };
        let file = open(&made.origin);
        assert!(
            largest(&answers(&base, None), &answers(&file, None)) < 2e-3,
            "{name}"
        );
        // And back.
        let back = merged(&file, &made.origin, &adapter, None, (false, WHOLE)).unwrap();
        let off = largest(&answers(&base, None), &answers(&open(&back.origin), None));
        assert!(off < 2e-3, "{name}: {off}");
    }
}

#[test]
fn a_file_becomes_a_folder_that_answers_and_reads_the_same() {
    for name in [
        "llama-f32",
        "llama-llama3-bf16",
        "qwen2-f16",
        "mistral-q8_0",
        "qwen3-q8_0",
    ] {
        let from = Origin::Gguf(golden(&format!("gguf/{name}.gguf")));
        let base = open(&from);
        let adapter = read(&base, &last_norm(&base));
        let made = merged(&base, &from, &adapter, None, (false, WHOLE)).unwrap();
        let folder = open(&made.origin);
        // Multiplied alike: kernels of eight-bit weights round what they meet too.
        let [before, after] = [&from, &made.origin].map(|origin| {
            let exact = Some(Quant::To(Format::F32));
            answers(&Base::open(origin, exact, KvKind::F32).unwrap(), None)
        });
        let off = largest(&before, &after);
        assert!(off < 2e-2, "{name}: {off}");
        for text in ["Ada Lovelace\n 12 times, naïve", " a  b", "<s>x</s>"] {
            let ids = |base: &Base| base.tokenizer.encode(text, true).unwrap();
            assert_eq!(ids(&folder), ids(&base), "{name}: {text}");
        }
        assert_eq!(folder.tokenizer.digest(), base.tokenizer.digest());
    }
}

#[test]
fn a_head_that_was_the_embedding_becomes_its_own_only_where_they_differ() {
    let folder = Origin::Folder(golden("models/qwen3"));
    let tied = open(&folder);
    let plain = merged(
        &tied,
        &folder,
        &read(&tied, &last_norm(&tied)),
        None,
        (true, WHOLE),
    )
    .unwrap();
    for from in [&folder, &plain.origin] {
        let base = open(from);
        for (name, unties) in [
            ("qwen3-outer", true),
            ("qwen3-modules", true),
            ("qwen3-modules-tied", false),
            ("qwen3-tokens", false),
            ("qwen3-tokens-apart", true),
        ] {
            let adapter = Arc::new(read(&base, &files(&format!("adapters/{name}"))));
            assert_eq!(Fold::new(&adapter).unwrap().unties(), unties, "{name}");
            let wanted = answers(&base, Some(adapter.clone()));
            for into_gguf in [true, false] {
                let made = merged(&base, from, &adapter, None, (into_gguf, WHOLE)).unwrap();
                let again = open(&made.origin);
                assert_eq!(again.shape().tied, !unties, "{name} {into_gguf}");
                let off = largest(&wanted, &answers(&again, None));
                assert!(off < 2e-3, "{name}, {into_gguf}: {off}");
            }
        }
    }
}

#[test]
fn biases_of_updates_are_refused() {
    let base = open(&Origin::Folder(golden("models/qwen2")));
    let adapter = read(&base, &files("adapters/qwen2-lora-bias"));
    let refused = Fold::new(&adapter).expect_err("has biases of updates");
    assert_eq!(refused.field, "kind");
    assert!(refused.why.contains("have biases"), "{refused}");
}
