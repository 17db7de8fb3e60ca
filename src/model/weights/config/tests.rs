use serde_json::json;

use super::*;
use crate::model::spec::Biases;

/// A config in today's layout; `change` edits it.
fn today(arch: &str, change: impl FnOnce(&mut Map<String, Value>)) -> Result<Spec, WeightError> {
    let class = match arch {
        "llama" => "LlamaForCausalLM",
        "mistral" => "MistralForCausalLM",
        "qwen2" => "Qwen2ForCausalLM",
        _ => "Qwen3ForCausalLM",
    };
    let Value::Object(mut map) = json!({
        "architectures": [class], "model_type": arch, "dtype": "float32", "transformers_version": "5.2.0",
        "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": [2, 3], "pad_token_id": null,
        "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 100,
        "initializer_range": 0.02, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "use_cache": true,
        "tie_word_embeddings": false, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    }) else {
        unreachable!()
    };
    change(&mut map);
    parse(&Value::Object(map).to_string())
}

fn set(key: &'static str, value: Value) -> impl FnOnce(&mut Map<String, Value>) {
    move |map| {
        map.insert(key.to_owned(), value);
    }
}

fn refused(result: Result<Spec, WeightError>, key: &str) -> String {
    let error = result.expect_err(key);
    assert!(error.what.ends_with(key), "`{error}` does not name `{key}`");
    error.to_string()
}

#[test]
fn a_config_of_today_and_one_of_old_describe_the_same_spec() {
    let scaling = json!({"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
    let new = today("llama", |map| {
        let mut rope = scaling.clone();
        rope["rope_type"] = json!("llama3");
        rope["rope_theta"] = json!(500_000.0);
        map.insert("rope_parameters".into(), rope);
    })
    .unwrap();
    for name in ["type", "rope_type"] {
        let old = today("llama", |map| {
            map.remove("rope_parameters");
            map.remove("dtype");
            map.insert("torch_dtype".into(), json!("float32"));
            map.insert("rope_theta".into(), json!(500_000.0));
            let mut rope = scaling.clone();
            rope[name] = json!("llama3");
            map.insert("rope_scaling".into(), rope);
        })
        .unwrap();
        assert_eq!(old, new);
    }
    assert_eq!(new.rope.theta, 500_000.0);
    assert!(matches!(
        new.rope.scaling,
        Scaling::Llama3 {
            original_context: 8192,
            ..
        }
    ));
}

#[test]
fn each_family_has_its_biases_norms_and_windows() {
    let llama = today("llama", set("attention_bias", json!(true))).unwrap();
    assert_eq!(
        llama.bias,
        Biases {
            qkv: true,
            o: true,
            mlp: false
        }
    );
    assert!(!llama.head_norm);

    let mistral = today("mistral", |_| ()).unwrap();
    assert_eq!(
        mistral.windows,
        vec![Some(4096); 3],
        "an absent window has the family's default"
    );
    let mistral = today("mistral", set("sliding_window", Value::Null)).unwrap();
    assert_eq!(mistral.windows, vec![None; 3]);

    let qwen2 = today("qwen2", |_| ()).unwrap();
    assert_eq!(
        qwen2.bias,
        Biases {
            qkv: true,
            o: false,
            mlp: false
        }
    );
    assert_eq!(qwen2.windows, vec![None; 3]);

    let qwen3 = today("qwen3", |map| drop(map.remove("head_dim"))).unwrap();
    assert_eq!(qwen3.head_dim, 128, "not hidden / heads");
    assert!(qwen3.head_norm);
    assert_eq!(qwen3.bias, Biases::default());
}

#[test]
fn qwen_layers_from_max_window_layers_on_slide_only_if_switched_on() {
    let window = |map: &mut Map<String, Value>| {
        map.insert("sliding_window".into(), json!(32));
        map.insert("max_window_layers".into(), json!(1));
    };
    assert_eq!(today("qwen2", window).unwrap().windows, vec![None; 3]);
    let on = |map: &mut Map<String, Value>| {
        window(map);
        map.insert("use_sliding_window".into(), json!(true));
    };
    assert_eq!(
        today("qwen2", on).unwrap().windows,
        vec![None, Some(32), Some(32)]
    );
    let listed = today("qwen3", |map| {
        on(map);
        map.insert(
            "layer_types".into(),
            json!(["sliding_attention", "full_attention", "full_attention"]),
        );
    });
    assert_eq!(listed.unwrap().windows, vec![Some(32), None, None]);
    let without = today(
        "qwen3",
        set(
            "layer_types",
            json!(["sliding_attention", "full_attention", "full_attention"]),
        ),
    );
    refused(without, "layer_types");
    refused(
        today("qwen3", set("layer_types", json!(["full_attention"]))),
        "layer_types",
    );
}

#[test]
fn yarn_derives_its_attention_factor_as_the_reference_does() {
    let spec = today(
        "qwen2",
        set("rope_parameters", json!({"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 128})),
    )
    .unwrap();
    assert!((f64::from(spec.rope.attention_factor()) - 1.138_629_436_111_989).abs() < 1e-6);
    let scaled = json!({"type": "yarn", "factor": 8.0, "mscale": 0.7, "mscale_all_dim": 1.2, "original_max_position_embeddings": 64});
    let spec = today("qwen2", |map| {
        map.remove("rope_parameters");
        map.insert("rope_scaling".into(), scaled);
    })
    .unwrap();
    assert!((f64::from(spec.rope.attention_factor()) - 0.916_791_250_545_610_7).abs() < 1e-6);
}

#[test]
fn anything_that_may_change_the_result_is_refused_by_name() {
    for (key, value) in [
        ("quantization_config", json!({"quant_method": "gptq"})),
        ("hidden_act", json!("gelu")),
        ("partial_rotary_factor", json!(0.5)),
        ("attn_logit_softcapping", json!(50.0)),
        ("final_logit_softcapping", json!(30.0)),
        ("num_local_experts", json!(8)),
        ("num_experts_per_tok", json!(2)),
        ("logit_scale", json!(0.25)),
        ("residual_multiplier", json!(0.22)),
        ("is_causal", json!(false)),
        (
            "auto_map",
            json!({"AutoModelForCausalLM": "modeling.Custom"}),
        ),
        ("rope_interleaved", json!(true)),
        ("never_heard_of", json!(3)),
        ("sliding_window", json!(128)),
        ("tie_word_embeddings", json!("yes")),
        ("rms_norm_eps", json!("small")),
        ("num_key_value_heads", json!(3)),
        ("head_dim", json!(15)),
        ("hidden_size", json!(0)),
        ("hidden_size", json!(1e300)),
        ("num_hidden_layers", json!(-1)),
        ("num_hidden_layers", json!(1_000_000_000)),
        ("model_type", json!("gemma2")),
        ("model_type", json!("qwen2")),
        ("architectures", json!(["LlamaForSequenceClassification"])),
        (
            "rope_scaling",
            json!({"rope_type": "linear", "factor": 2.0}),
        ),
        ("rope_theta", json!(123.0)),
    ] {
        refused(today("llama", set(key, value)), key);
    }
    for (inside, value) in [
        ("rope_type", json!({"rope_type": "axial", "factor": 2.0})),
        (
            "short_factor",
            json!({"rope_type": "longrope", "factor": 2.0}),
        ),
        (
            "long_factor",
            json!({"rope_type": "longrope", "short_factor": [1, 1], "long_factor": [1, 0]}),
        ),
        ("factor", json!({"rope_type": "default", "factor": 2.0})),
        ("factor", json!({"rope_type": "linear"})),
        ("factor", json!({"rope_type": "linear", "factor": 0.0})),
        (
            "mrope_section",
            json!({"rope_type": "default", "mrope_section": [1, 2]}),
        ),
        (
            "full_attention",
            json!({"full_attention": {"rope_type": "default"}}),
        ),
        (
            "partial_rotary_factor",
            json!({"rope_type": "default", "partial_rotary_factor": 0.25}),
        ),
    ] {
        refused(today("llama", set("rope_parameters", value)), inside);
    }
    refused(
        today("llama", |map| drop(map.remove("vocab_size"))),
        "vocab_size",
    );
    refused(parse("[1]"), "config.json");
    refused(parse("{"), "config.json");
}

#[test]
fn published_folders_of_the_families_are_understood() {
    // The keys of well-known folders, with sizes as published.
    let llama2 = json!({
        "_name_or_path": "meta-llama/Llama-2-7b-hf", "architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2,
        "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 11008,
        "max_position_embeddings": 4096, "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32,
        "num_key_value_heads": 32, "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_scaling": null,
        "tie_word_embeddings": false, "torch_dtype": "float16", "transformers_version": "4.31.0.dev0", "use_cache": true, "vocab_size": 32000
    });
    let llama32 = json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 128000,
        "eos_token_id": [128001, 128008, 128009], "head_dim": 64, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
        "intermediate_size": 8192, "max_position_embeddings": 131072, "mlp_bias": false, "model_type": "llama", "num_attention_heads": 32,
        "num_hidden_layers": 16, "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-5,
        "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"},
        "rope_theta": 500000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "transformers_version": "4.45.0.dev0", "use_cache": true, "vocab_size": 128256
    });
    let smollm2 = json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
        "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041666666666666664, "intermediate_size": 1536, "is_llama_config": true,
        "max_position_embeddings": 8192, "mlp_bias": false, "model_type": "llama", "num_attention_heads": 9, "num_hidden_layers": 30,
        "num_key_value_heads": 3, "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_interleaved": false, "rope_scaling": null,
        "rope_theta": 100000, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "transformers_version": "4.42.3",
        "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}}, "use_cache": true, "vocab_size": 49152
    });
    let mistral = json!({
        "architectures": ["MistralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
        "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 32768, "model_type": "mistral",
        "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-5, "rope_theta": 1000000.0,
        "sliding_window": null, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.42.0.dev0", "use_cache": true, "vocab_size": 32768
    });
    let qwen25 = json!({
        "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151645, "hidden_act": "silu",
        "hidden_size": 896, "initializer_range": 0.02, "intermediate_size": 4864, "max_position_embeddings": 32768, "max_window_layers": 21,
        "model_type": "qwen2", "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2, "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "transformers_version": "4.43.1",
        "use_cache": true, "use_mrope": false, "use_sliding_window": false, "vocab_size": 151936
    });
    let qwen3 = json!({
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151645,
        "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024, "initializer_range": 0.02, "intermediate_size": 3072,
        "max_position_embeddings": 40960, "max_window_layers": 28, "model_type": "qwen3", "num_attention_heads": 16, "num_hidden_layers": 28,
        "num_key_value_heads": 8, "rms_norm_eps": 1e-6, "rope_scaling": null, "rope_theta": 1000000, "sliding_window": null,
        "tie_word_embeddings": true, "torch_dtype": "bfloat16", "transformers_version": "4.51.0", "use_cache": true, "use_sliding_window": false, "vocab_size": 151936
    });
    for config in [llama2, llama32, smollm2, mistral, qwen25, qwen3] {
        let spec = parse(&config.to_string()).unwrap();
        assert_eq!(spec.hidden as u64, config["hidden_size"].as_u64().unwrap());
        assert!(spec.windows.iter().all(Option::is_none));
    }
}

/// The context of a config for 128 positions with this scaling, under either name of its object.
fn context(scaling: Value, change: impl Fn(&mut Map<String, Value>)) -> usize {
    let of = |name: &'static str| {
        today("qwen2", |map| {
            map.remove("rope_parameters");
            map.insert("max_position_embeddings".into(), json!(128));
            map.insert(name.into(), scaling.clone());
            change(map);
        })
        .unwrap()
        .context
    };
    let found = of("rope_parameters");
    assert_eq!(found, of("rope_scaling"));
    found
}

#[test]
fn scaling_widens_the_context_where_the_config_states_the_one_before_it() {
    let as_is = |_: &mut Map<String, Value>| ();
    for (scaling, wanted) in [
        (json!({"type": "linear", "factor": 4.0}), 512),
        (json!({"rope_type": "linear", "factor": 2.5}), 320),
        (
            json!({"type": "linear", "factor": 4.0, "original_max_position_embeddings": 32}),
            128,
        ),
        (json!({"rope_type": "dynamic", "factor": 4.0}), 512),
        (
            json!({"type": "dynamic", "factor": 2, "original_max_position_embeddings": 128}),
            256,
        ),
        (
            json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}),
            512,
        ),
        (json!({"rope_type": "yarn", "factor": 4.0}), 512),
        (
            json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 100, "finetuned": true}),
            400,
        ),
        // Stated with the scaling: yarn from 32, Llama 3.1, LongRoPE.
        (
            json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}),
            128,
        ),
        (
            json!({"rope_type": "yarn", "original_max_position_embeddings": 32}),
            128,
        ),
        (
            json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 128}),
            128,
        ),
        (
            json!({"rope_type": "longrope", "factor": 4.0, "short_factor": [1, 1, 1, 1, 1, 1, 1, 1], "long_factor": [1, 1, 1, 1, 1, 1, 1, 2], "original_max_position_embeddings": 32}),
            128,
        ),
        (json!({"rope_type": "default"}), 128),
        (json!({"rope_type": "default", "factor": 1.0}), 128),
        // A factor below 1 takes nothing away.
        (json!({"rope_type": "linear", "factor": 0.5}), 128),
        // As much as can be counted.
        (json!({"rope_type": "linear", "factor": 1e30}), LARGEST),
    ] {
        assert_eq!(context(scaling.clone(), as_is), wanted, "{scaling}");
    }
    let beside = |map: &mut Map<String, Value>| {
        map.insert("original_max_position_embeddings".into(), json!(64));
    };
    let yarn = json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128});
    assert_eq!(context(yarn, beside), 256, "the one beside counts");
}

#[test]
fn longrope_is_read_under_either_name_with_the_attention_factor_of_the_reference() {
    for name in ["longrope", "su"] {
        let read = |more: Value| {
            let mut scaling = json!({"type": name, "short_factor": [1, 1.5, 1, 1, 1, 1, 1, 1], "long_factor": [2, 2, 2, 2, 2, 2, 2, 4]});
            for (key, value) in more.as_object().unwrap() {
                scaling[key] = value.clone();
            }
            today("llama", |map| {
                map.remove("rope_parameters");
                map.insert("max_position_embeddings".into(), json!(131_072));
                map.insert("original_max_position_embeddings".into(), json!(4096));
                map.insert("rope_scaling".into(), scaling);
            })
        };
        let rope = read(json!({})).unwrap().rope;
        // √(1 + ln 32 / ln 4096)
        assert!((rope.attention_factor() - 1.190_238_1).abs() < 1e-6);
        assert_eq!(rope.longest_alike(), Some(4096));
        let (short, long) = (rope.frequencies_of(16, 4096), rope.frequencies_of(16, 4097));
        assert_eq!((short[0], long[0]), (1.0, 0.5));
        assert_eq!(short, rope.frequencies(16));
        let given = read(json!({"attention_factor": 1.5})).unwrap().rope;
        assert_eq!(given.attention_factor(), 1.5);
        let wrong = read(json!({"long_factor": [1, 2, 3]})).unwrap_err();
        assert!(
            wrong.to_string().contains("3 long factors for 8 pairs"),
            "{wrong}"
        );
    }
}

#[test]
fn keys_that_other_software_left_do_not_stop_a_start() {
    let plain = today("llama", |_| ()).unwrap();
    for (key, value) in [
        ("_flash_attn_2_enabled", json!(true)),
        ("tokenizer_padding_side", json!("right")),
        ("model_max_length", json!(4096)),
        ("neftune_noise_alpha", json!(5.0)),
        ("mm_projector_type", json!("mlp2x_gelu")),
        ("max_window_layers", json!(21)),
        (
            "layer_types",
            json!(["full_attention", "full_attention", "full_attention"]),
        ),
        ("auto_map", json!({"AutoTokenizer": ["tok.Tok", null]})),
    ] {
        assert_eq!(today("llama", set(key, value)).unwrap(), plain, "{key}");
    }
    let converted = today("llama", |map| {
        map.insert("use_sliding_window".into(), json!(false));
        map.insert("sliding_window".into(), json!(32_768));
    });
    assert_eq!(converted.unwrap(), plain);
    refused(
        today(
            "llama",
            set(
                "layer_types",
                json!(["full_attention", "sliding_attention", "full_attention"]),
            ),
        ),
        "layer_types",
    );
    let quantized = today(
        "llama",
        set("quantization_config", json!({"quant_method": "awq"})),
    );
    assert!(refused(quantized, "quantization_config").contains("awq"));
}
