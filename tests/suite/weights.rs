//! Files of one model in different kinds: the same tensors, tokens and sizes come out.

use std::path::{Path, PathBuf};

use adapterd::kernels::quant::Format;
use adapterd::model::arch::{LLAMA, MISTRAL};
use adapterd::model::spec::Scaling;
use adapterd::model::weights::{Folder, Gguf, Quant, Source};
use adapterd::text::Tokenizer;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn gguf(name: &str) -> Gguf {
    Gguf::open(&golden().join(format!("gguf/{name}.gguf")), Quant::AsStored).unwrap()
}

fn folder(name: &str) -> Folder {
    Folder::open(&golden().join("models").join(name), Quant::To(Format::F32)).unwrap()
}

const TWINS: [(&str, &str, f32); 8] = [
    ("llama-f32", "llama", 0.0),
    ("llama-q8_0", "llama", 2e-2),
    ("llama-llama3-bf16", "llama-llama3", 0.0),
    ("llama-yarn-q8_0", "llama-yarn", 2e-2),
    ("mistral-q8_0", "mistral", 2e-2),
    ("qwen2-f16", "qwen2", 2e-3),
    ("qwen2-q8_0", "qwen2", 2e-2),
    ("qwen3-q8_0", "qwen3", 2e-2),
];

#[test]
fn a_gguf_file_holds_the_tensors_of_its_folder_in_the_same_order() {
    for (file, model, bound) in TWINS {
        let (mut a, mut b) = (gguf(file), folder(model));
        let matrix = |layer: usize, module: &str| format!("model.layers.{layer}.{module}.weight");
        for name in [
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "mlp.down_proj",
        ]
        .map(|m| matrix(0, m))
        {
            let (x, y) = (a.matrix(&name).unwrap(), b.matrix(&name).unwrap());
            assert_eq!(x.dims(), y.dims());
            let (x, y) = (
                x.rows(0..x.dims().0).unwrap(),
                y.rows(0..y.dims().0).unwrap(),
            );
            let worst = x
                .iter()
                .zip(&y)
                .map(|(x, y)| (x - y).abs())
                .fold(0.0, f32::max);
            assert!(worst <= bound, "{file} {name}: {worst}");
        }
        for name in [
            "model.norm.weight",
            "model.layers.0.self_attn.q_proj.bias",
            "model.layers.0.self_attn.k_norm.weight",
        ] {
            assert_eq!(a.has(name), b.has(name), "{file} {name}");
            if a.has(name) {
                let (x, y): (Vec<f32>, Vec<f32>) =
                    (a.vector(name).unwrap(), b.vector(name).unwrap());
                assert_eq!(x, y, "{file} {name}");
            }
        }
    }
}

#[test]
fn a_gguf_header_describes_the_spec_of_its_folder() {
    for (file, model, _) in TWINS {
        let (a, b) = (gguf(file), folder(model));
        let (mut found, mut expected) = (a.spec().clone(), b.spec().clone());
        let (x, y) = (
            found.rope.frequencies(found.head_dim),
            expected.rope.frequencies(expected.head_dim),
        );
        assert!(
            x.iter().zip(&y).all(|(x, y)| (x - y).abs() <= y * 1e-5),
            "{file}: {x:?} {y:?}"
        );
        assert!(
            (found.rope.attention_factor() - expected.rope.attention_factor()).abs() < 1e-6,
            "{file}"
        );
        found.rope.scaling = Scaling::None;
        expected.rope.scaling = Scaling::None;
        if expected.arch == &MISTRAL {
            // Such a file is one of Llama's, without its window.
            expected.arch = &LLAMA;
            expected.windows = found.windows.clone();
        }
        assert_eq!(found, expected, "{file}");
    }
}

#[test]
fn a_gguf_vocabulary_tokenizes_as_the_tokenizer_it_came_from() {
    for (file, model, _) in TWINS {
        let mut tokenizer = gguf(file).tokenizer().unwrap();
        let original = Tokenizer::from_folder(&golden().join("models").join(model)).unwrap();
        assert_eq!(tokenizer.bos(), original.bos(), "{file}");
        for id in original.eos() {
            assert!(tokenizer.eos().contains(id), "{file}");
        }
        for text in [
            "Hello, world! It's 12345 o'clock.",
            " two  spaces\n\n and\ttabs ",
            "naïve café – 漢字 🙂",
            "<|im_start|>user\nhi<|im_end|>\n<s>x</s><|eot_id|>",
        ] {
            for special in [false, true] {
                let (x, y) = (
                    tokenizer.encode(text, special).unwrap(),
                    original.encode(text, special).unwrap(),
                );
                assert_eq!(x, y, "{file}: {text:?}");
                assert_eq!(
                    tokenizer.decode(&x, true).unwrap(),
                    original.decode(&y, true).unwrap(),
                    "{file}"
                );
            }
        }
        tokenizer = tokenizer.within(1);
        assert!(tokenizer.encode("Hello", false).is_err());
    }
}

#[test]
fn k_quants_load_in_their_own_types() {
    let mut file = gguf("kquants");
    let formats = [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.down_proj",
    ]
    .map(|module| {
        file.matrix(&format!("model.layers.0.{module}.weight"))
            .unwrap()
            .format()
            .unwrap()
            .to_string()
    });
    assert_eq!(formats, ["q4_k", "q5_k", "q6_k", "q3_k", "q5_0"]);
}

#[test]
fn configs_of_old_and_new_transformers_describe_one_model() {
    let (old, new) = (folder("llama-linear-old"), folder("llama-linear"));
    assert_eq!(old.spec(), new.spec());
}
