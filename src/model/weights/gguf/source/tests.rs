use std::collections::BTreeMap;

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;

use super::super::super::testing;
use super::super::{Contents, write};
use super::*;
use crate::device::Array;
use crate::kernels::quant::Format;
use crate::model::spec::Scaling;

/// Bytes of a `tokenizer.json` of 256 bytes, one merge and an end token: 258 entries.
fn tokenizer(pre_tokenizer: serde_json::Value) -> Tokenizer {
    let table = crate::text::vocabulary::spelled_bytes();
    let mut vocab: serde_json::Map<_, _> = table
        .iter()
        .map(|(byte, c)| (c.to_string(), json!(byte)))
        .collect();
    vocab.insert("Ġa".into(), json!(256));
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [{"id": 257, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
        "pre_tokenizer": pre_tokenizer,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": ["Ġ a"]},
    });
    let mut specials = crate::text::Specials::default();
    specials.named.insert("eos_token".into(), "<end>".into());
    Tokenizer::from_json(json.to_string().as_bytes(), specials).unwrap()
}

fn level() -> serde_json::Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})
}

struct Made {
    dir: tempfile::TempDir,
    spec: Spec,
    weights: testing::Weights,
    tokenizer: Tokenizer,
}

impl Made {
    fn new(arch: &str, changes: serde_json::Value, format: Format, pre: serde_json::Value) -> Self {
        let mut all = json!({"vocab_size": 260});
        for (key, value) in changes.as_object().unwrap() {
            all[key] = value.clone();
        }
        let spec = testing::spec(&testing::config(arch, all));
        let weights = testing::weights(&spec, 17);
        let tensors: BTreeMap<String, Array> = weights
            .iter()
            .map(|(name, (shape, values))| (name.clone(), array(shape, values)))
            .collect();
        let tokenizer = tokenizer(pre);
        let template = ChatTemplate::new(
            "{{ messages[0].content }}{{ eos_token }}",
            None,
            Some("<end>"),
        )
        .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let contents = Contents {
            name: "made",
            spec: &spec,
            tensors: &tensors,
            tokenizer: &tokenizer,
            template: &template,
            format,
        };
        write(&dir.path().join("m.gguf"), &contents).unwrap();
        Self {
            dir,
            spec,
            weights,
            tokenizer,
        }
    }

    fn llama() -> Self {
        Self::new("llama", json!({}), Format::F32, level())
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("m.gguf")
    }

    fn open(&self) -> Gguf {
        Gguf::open(&self.path(), Quant::AsStored).unwrap()
    }
}

fn array(shape: &[usize], values: &[f32]) -> Array {
    let width = shape.last().copied().unwrap_or(1);
    Array::new(values.to_vec(), (values.len() / width, width)).unwrap()
}

fn deviation(source: &mut Gguf, weights: &testing::Weights) -> f32 {
    let mut worst = 0f32;
    for (name, (shape, expected)) in weights {
        let found = match shape.len() {
            2 => source.matrix(name).unwrap().rows(0..shape[0]).unwrap(),
            _ => source.vector(name).unwrap(),
        };
        worst = found
            .iter()
            .zip(expected)
            .map(|(a, b)| (a - b).abs())
            .fold(worst, f32::max);
    }
    worst
}

#[test]
fn what_is_written_is_read_back_for_every_family() {
    for (arch, changes) in [
        ("llama", json!({})),
        (
            "llama",
            json!({"attention_bias": true, "mlp_bias": true, "tie_word_embeddings": true}),
        ),
        (
            "llama",
            json!({"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 500_000.0}}),
        ),
        ("mistral", json!({})),
        ("qwen2", json!({})),
        ("qwen3", json!({"tie_word_embeddings": true})),
    ] {
        let made = Made::new(arch, changes, Format::F32, level());
        let mut read = made.open();
        let expected = Spec {
            arch: read.spec().arch,
            ..made.spec.clone()
        };
        assert_eq!(*read.spec(), expected, "{arch}");
        assert_eq!(deviation(&mut read, &made.weights), 0.0, "{arch}");
    }
}

#[test]
fn rows_that_turn_together_lie_side_by_side_in_a_llama_file() {
    let made = Made::llama();
    let mut read = made.open();
    assert_eq!(deviation(&mut read, &made.weights), 0.0);
    // As other readers see it: element 1 of the file is element half of the head.
    let info = &read.file.tensors["blk.0.attn_q.weight"];
    let row = |i: usize| &read.pieces[0][info.bytes.start + i * 256..][..256];
    let expected = &made.weights["model.layers.0.self_attn.q_proj.weight"].1;
    let bytes: Vec<u8> = expected[8 * 64..9 * 64]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    assert_eq!(row(1), bytes);
}

#[test]
fn a_quantized_file_keeps_its_own_types_unless_told_otherwise() {
    let made = Made::new("llama", json!({}), Format::Q8_0, level());
    let mut read = made.open();
    assert!(deviation(&mut read, &made.weights) < 0.01);
    let name = "model.layers.0.mlp.up_proj.weight";
    assert_eq!(read.matrix(name).unwrap().format(), Some(Format::Q8_0));
    let mut read = Gguf::open(&made.path(), Quant::To(Format::F32)).unwrap();
    assert_eq!(read.matrix(name).unwrap().format(), Some(Format::F32));
}

#[test]
fn divisors_of_frequencies_are_kept() {
    let mut made = Made::llama();
    made.spec.rope.scaling = Scaling::Divisors(vec![1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 8.0, 8.0]);
    let tensors = made
        .weights
        .iter()
        .map(|(n, (s, v))| (n.clone(), array(s, v)))
        .collect();
    let template = ChatTemplate::new("", None, None).unwrap();
    let contents = Contents {
        name: "made",
        spec: &made.spec,
        tensors: &tensors,
        tokenizer: &made.tokenizer,
        template: &template,
        format: Format::F32,
    };
    write(&made.path(), &contents).unwrap();
    assert_eq!(made.open().spec().rope, made.spec.rope);
}

#[test]
fn tokenizer_and_template_come_back_with_and_without_a_known_splitting_scheme() {
    let own = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "\\p{N}{1,2}|\\s"}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]});
    for (pre, whole) in [(level(), false), (own, true)] {
        let made = Made::new("llama", json!({}), Format::Q8_0, pre);
        let read = made.open();
        assert_eq!(
            read.file
                .metadata
                .contains_key("tokenizer.huggingface.json"),
            whole
        );
        let tokenizer = read.tokenizer().unwrap();
        for text in ["", "a a", "it's 1234 é\n\n  x<end> a"] {
            assert_eq!(
                tokenizer.encode(text, true).unwrap(),
                made.tokenizer.encode(text, true).unwrap(),
                "{text:?}"
            );
        }
        assert_eq!(tokenizer.eos(), [257]);
        assert!(tokenizer.is_special(257));
        let message = crate::domain::Message::new(crate::domain::Role::User, "hi");
        assert_eq!(
            read.template().unwrap().render(&[message], true).unwrap(),
            "hi<end>"
        );
    }
}

#[test]
fn a_file_cut_short_anywhere_is_refused_without_panic_or_large_allocation() {
    let made = Made::llama();
    let bytes = std::fs::read(made.path()).unwrap();
    let path = made.dir.path().join("cut.gguf");
    let header = made
        .open()
        .file
        .tensors
        .values()
        .map(|t| t.bytes.start)
        .min()
        .unwrap();
    // Every place in the header up to a point, then samples: the whole would take long.
    let ends = (1..600)
        .chain((600..header).step_by(97))
        .chain([header, bytes.len() - 1]);
    for end in ends {
        assert!(Container::parse(&bytes[..end]).is_err(), "cut at {end}");
    }
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert!(Gguf::open(&path, Quant::AsStored).is_err());
    std::fs::write(&path, b"").unwrap();
    assert!(Gguf::open(&path, Quant::AsStored).is_err());
    std::fs::write(&path, b"PK\x03\x04").unwrap();
    assert!(
        Gguf::open(&path, Quant::AsStored)
            .err()
            .unwrap()
            .why
            .contains("pickle")
    );
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 98\n";
    std::fs::write(&path, pointer).unwrap();
    let error = Gguf::open(&path, Quant::AsStored).err().unwrap();
    assert_eq!(error.what, "cut.gguf");
    assert!(error.why.contains("git lfs pull"), "{error}");
}

#[test]
fn a_header_with_any_byte_changed_is_read_or_refused() {
    let made = Made::llama();
    let whole = std::fs::read(made.path()).unwrap();
    let header = made
        .open()
        .file
        .tensors
        .values()
        .map(|t| t.bytes.start)
        .min()
        .unwrap();
    let mut rng = StdRng::seed_from_u64(23);
    for _ in 0..3_000 {
        let mut bytes = whole.clone();
        for _ in 0..rng.random_range(1..4) {
            bytes[rng.random_range(0..header)] = rng.random();
        }
        if let Ok(file) = Container::parse(&bytes) {
            // What can still be read must be sound all the way up.
            let _ = header::spec(&file, None);
            let _ = vocabulary::template(&file.metadata);
        }
    }
}

#[test]
fn missing_extra_and_misshapen_tensors_are_named() {
    let made = Made::llama();
    let open = |edit: &dyn Fn(&mut Container)| {
        let mut read = made.open();
        edit(&mut read.file);
        read.check().err().map(|e| e.what)
    };
    assert_eq!(open(&|_| ()), None);
    assert_eq!(
        open(&|f| drop(f.tensors.remove("blk.1.ffn_up.weight"))).unwrap(),
        "blk.1.ffn_up.weight"
    );
    let misshapen =
        open(&|f| f.tensors.get_mut("blk.1.attn_k.weight").unwrap().shape = vec![64, 32]);
    assert_eq!(misshapen.unwrap(), "blk.1.attn_k.weight");
    let extra = open(&|f| {
        let info = f.tensors["output_norm.weight"].clone();
        f.tensors.insert("blk.0.ffn_gate_inp.weight".into(), info);
    });
    assert_eq!(extra.unwrap(), "blk.0.ffn_gate_inp.weight");
}

#[test]
fn metadata_that_may_change_the_result_is_refused_by_name() {
    use super::super::file::Value;
    let made = Made::llama();
    let spec = |key: &str, value: Option<Value>| {
        let mut file = made.open().file;
        match value {
            Some(value) => drop(file.metadata.insert(key.to_owned(), value)),
            None => drop(file.metadata.remove(key)),
        }
        header::spec(&file, None)
    };
    let int = |n| Some(Value::Int(n));
    for (key, value) in [
        ("general.architecture", Some(Value::Text("gemma2".into()))),
        ("general.architecture", None),
        ("llama.block_count", None),
        ("llama.block_count", int(-3)),
        ("llama.embedding_length", int(1 << 100)),
        ("llama.expert_count", int(8)),
        ("llama.attention.causal", Some(Value::Bool(false))),
        ("llama.attention.value_length", int(8)),
        ("llama.rope.dimension_count", int(8)),
        (
            "llama.attention.head_count_kv",
            Some(Value::Ints(vec![2, 4])),
        ),
        (
            "llama.rope.scaling.type",
            Some(Value::Text("longrope".into())),
        ),
        ("llama.attention.layer_norm_rms_epsilon", None),
        ("llama.logit_scale", Some(Value::Float(2.0))),
    ] {
        let error = spec(key, value).expect_err(key);
        assert!(error.what.ends_with(key), "`{error}` does not name `{key}`");
    }
    assert_eq!(
        spec(
            "llama.attention.head_count_kv",
            Some(Value::Ints(vec![2, 2]))
        )
        .unwrap()
        .kv_heads,
        2
    );
    assert_eq!(
        spec("llama.expert_count", int(0)).unwrap(),
        *made.open().spec()
    );
    assert_eq!(
        spec("llama.attention.sliding_window", int(16))
            .unwrap()
            .windows,
        vec![Some(16); 2]
    );
}

#[test]
fn scaling_widens_the_context_of_a_file_as_it_does_that_of_its_folder() {
    use super::super::file::Value;
    let made = Made::llama();
    let file = Container::parse(&std::fs::read(made.path()).unwrap()).unwrap();
    let context = |keys: &[(&str, Value)]| {
        let mut metadata = file.metadata.clone();
        metadata.insert("llama.context_length".into(), Value::Int(128));
        for (key, value) in keys {
            metadata.insert(format!("llama.rope.scaling.{key}"), value.clone());
        }
        let changed = Container {
            metadata,
            values: file.values.clone(),
            tensors: file.tensors.clone(),
            alignment: file.alignment,
        };
        header::spec(&changed, None).unwrap().context
    };
    let kind = |name: &str| ("type", Value::Text(name.into()));
    let factor = |n: f64| ("factor", Value::Float(n));
    let original = |n: i128| ("original_context_length", Value::Int(n));
    assert_eq!(context(&[]), 128);
    assert_eq!(context(&[kind("none"), factor(4.0)]), 128);
    assert_eq!(context(&[kind("linear"), factor(4.0)]), 512);
    assert_eq!(context(&[kind("linear"), factor(4.0), original(32)]), 128);
    assert_eq!(context(&[kind("yarn"), factor(4.0), original(128)]), 512);
    assert_eq!(context(&[kind("yarn"), factor(4.0), original(32)]), 128);
    assert_eq!(context(&[kind("yarn"), factor(2.0)]), 256);
}
