use serde_json::json;

use super::*;

#[test]
fn what_other_software_left_is_ignored_by_its_name_or_how_that_begins_or_ends() {
    for (key, value) in [
        ("_flash_attn_2_enabled", json!(true)),
        ("_attn_implementation_internal", json!("sdpa")),
        ("_commit_hash", json!("0a1b")),
        ("tokenizer_model_max_length", json!(4096)),
        ("tokenizer_padding_side", json!("right")),
        ("model_max_length", json!(4096)),
        ("pad_token", json!("<unk>")),
        ("neftune_noise_alpha", json!(5.0)),
        ("hidden_dropout", json!(0.1)),
        ("resid_pdrop", json!(0.1)),
        ("hidden_dropout_prob", json!(0.1)),
        ("router_aux_loss_coef", json!(0.001)),
        ("unsloth_training_args", json!({"r": 16})),
        ("freeze_mm_mlp_adapter", json!(true)),
        ("mm_vision_tower", json!("openai/clip-vit-large-patch14")),
        ("vision_config", json!({"hidden_size": 1024})),
        ("image_aspect_ratio", json!("pad")),
        ("image_token_index", json!(32000)),
        ("lora_r", json!(8)),
        ("train_batch_size", json!(4)),
        ("dataset_name", json!("alpaca")),
        ("use_cache_quantization", json!(true)),
        ("use_flash_attn", json!(true)),
        ("max_window_layers", json!(28)),
        ("attention_head_type", json!("gqa")),
        ("padding_side", json!("left")),
        (
            "auto_map",
            json!({"AutoTokenizer": ["tok.Tok", null], "AutoConfig": "conf.Conf"}),
        ),
        (
            "quantization_config",
            json!({"quant_method": "bitsandbytes", "load_in_4bit": false, "load_in_8bit": false}),
        ),
    ] {
        assert_eq!(
            leftover(key, &value),
            Leftover::Harmless { known: false },
            "{key}"
        );
    }
    for (key, value) in [
        ("use_cache", json!(true)),
        ("torch_dtype", json!("bfloat16")),
    ] {
        assert_eq!(
            leftover(key, &value),
            Leftover::Harmless { known: true },
            "{key}"
        );
    }
}

#[test]
fn what_a_decoder_may_read_is_refused_unless_it_changes_nothing() {
    for (key, set, neutral) in [
        ("attention_multiplier", json!(0.0078), json!(null)),
        ("residual_multiplier", json!(0.22), json!(1.0)),
        ("logits_scaling", json!(8.0), json!(1)),
        ("logits_soft_cap", json!(30.0), json!(0.0)),
        ("final_logit_softcapping", json!(30.0), json!(null)),
        ("rope_interleaved", json!(true), json!(false)),
        ("partial_rotary_factor", json!(0.5), json!(1)),
        ("is_causal", json!(false), json!(true)),
        ("num_experts_per_token", json!(2), json!(0)),
        ("_sliding_window_pattern", json!(6), json!(null)),
        ("_rope_scale", json!(2), json!(false)),
        ("train_rope_theta", json!(5e5), json!(null)),
        ("use_qk_norm", json!(true), json!(false)),
        ("alibi", json!(true), json!(false)),
        ("no_rope_layers", json!([1, 0]), json!([])),
        ("hidden_activation", json!("gelu"), json!("silu")),
        (
            "quantization_config",
            json!({"quant_method": "gptq", "bits": 4}),
            json!({}),
        ),
        (
            "quantization_config",
            json!({"quant_method": "bitsandbytes", "load_in_4bit": true}),
            json!(null),
        ),
        (
            "auto_map",
            json!({"AutoModelForCausalLM": "modeling.Custom"}),
            json!({}),
        ),
        ("never_heard_of", json!(0), json!("")),
    ] {
        assert_eq!(leftover(key, &set), Leftover::Refused, "{key}");
        assert_eq!(leftover(key, &neutral), Leftover::Unset, "{key}");
    }
}
