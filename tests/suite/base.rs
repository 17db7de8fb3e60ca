//! Bases opened from where they lie.

use std::path::{Path, PathBuf};

use adapterd::domain::{Message, Role};
use adapterd::kernels::quant::Format;
use adapterd::model::{Base, KvKind, Origin, Quant};

fn golden(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(part)
}

fn open(origin: Origin, quant: Option<Quant>) -> Base {
    Base::open(&origin, quant, KvKind::Auto).expect("a base")
}

#[test]
fn a_folder_and_a_file_of_one_model_speak_alike() {
    let folder = open(Origin::Folder(golden("models/llama")), None);
    let file = open(Origin::Gguf(golden("gguf/llama-q8_0.gguf")), None);
    assert_eq!(
        (folder.name.as_str(), file.name.as_str()),
        ("llama", "llama-q8_0")
    );
    assert_eq!(folder.model.vocab(), file.model.vocab());
    assert_eq!(folder.model.sites(), file.model.sites());
    let chat = [Message::new(Role::User, "Copy the name: Zoë")];
    let (a, b) = (
        folder.template.render(&chat, true).unwrap(),
        file.template.render(&chat, true).unwrap(),
    );
    assert_eq!(a, b);
    assert_eq!(
        folder.tokenizer.encode(&a, false).unwrap(),
        file.tokenizer.encode(&b, false).unwrap()
    );
    assert!(!folder.tokenizer.eos().is_empty() && !file.tokenizer.eos().is_empty());
}

#[test]
fn a_digest_names_the_stored_weights_not_the_format_they_are_held_in() {
    let digest = |quant| open(Origin::Folder(golden("models/qwen2")), quant).digest;
    assert_eq!(digest(None), digest(Some(Quant::To(Format::F32))));
    assert_ne!(
        digest(None),
        open(Origin::Folder(golden("models/qwen3")), None).digest
    );
}

#[test]
fn a_folder_is_quantized_unless_told_to_keep_what_is_stored() {
    let bytes = |quant| {
        open(Origin::Folder(golden("models/mistral")), quant)
            .model
            .weight_bytes()
    };
    assert!(bytes(None) < bytes(Some(Quant::To(Format::Bf16))));
    assert!(bytes(Some(Quant::To(Format::Bf16))) < bytes(Some(Quant::To(Format::F32))));
}

#[test]
fn the_embedded_base_has_the_tokenizer_its_adapters_were_trained_with() {
    let base = open(Origin::Embedded, None);
    let digest: String = base
        .tokenizer
        .digest()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    for name in ["legal", "medical"] {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("adapters/{name}/adapterd.json"));
        let record = std::fs::read_to_string(path).expect("a record");
        let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
        assert_eq!(record["tokenizer_digest"], digest.as_str(), "{name}");
    }
}

#[test]
fn a_context_is_lowered_and_raised_and_otherwise_as_the_model_says() {
    let context = |max_len| {
        let base = open(Origin::Folder(golden("models/llama")), None);
        base.with_max_len(max_len).model.context()
    };
    assert_eq!([0, 100, 512, 2048].map(context), [512, 100, 512, 2048]);
}
