//! What is asked of kinds with virtual tokens.

use safetensors::tensor::Dtype;
use serde_json::json;

use super::{Arrays, LAYERS, accepted, refusal, tensor_names, with_key, with_tensors};
use crate::adapter::peft::{
    ENCODER_FILE, ENCODER_NAMES, Files, PROMPT_EMBEDDINGS, PrefixResume, PromptResume, WEIGHTS_FILE,
};
use crate::adapter::testing::{VIRTUAL, prefix_specimen, prompt_specimen};

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
