use serde_json::{Value, json};

use super::*;
use crate::adapter::testing::sites;

/// The keys PEFT writes for a plain adapter, with some of them replaced.
fn parse(changes: Value) -> Result<LoraSettings, AdapterFault> {
    let mut keys = json!({
        "task_type": "CAUSAL_LM", "peft_type": "LORA", "auto_mapping": null, "peft_version": "0.21.2",
        "base_model_name_or_path": null, "revision": null, "inference_mode": true, "r": 8,
        "target_modules": ["q_proj", "v_proj"], "exclude_modules": null, "lora_alpha": 16, "lora_dropout": 0.05,
        "fan_in_fan_out": false, "bias": "none", "use_rslora": false, "modules_to_save": null,
        "init_lora_weights": true, "layers_to_transform": null, "layers_pattern": null, "rank_pattern": {},
        "alpha_pattern": {}, "megatron_config": null, "megatron_core": "megatron.core",
        "trainable_token_indices": null, "loftq_config": {}, "eva_config": null, "corda_config": null,
        "lora_ga_config": null, "use_dora": false, "velora_config": null, "alora_invocation_tokens": null,
        "use_qalora": false, "qalora_group_size": 16, "monteclora_config": null, "layer_replication": null,
        "lora_bias": false, "target_parameters": null, "use_bdlora": null, "arrow_config": null,
        "kasa_config": null, "ensure_weight_tying": false
    });
    for (key, value) in changes.as_object().unwrap() {
        keys[key] = value.clone();
    }
    LoraSettings::parse(
        &ConfigFile::parse("adapter_config.json", keys.to_string().as_bytes()).unwrap(),
    )
}

fn refused_field(key: &str, value: Value) -> String {
    parse(json!({ key: value })).expect_err(key).field
}

#[test]
fn a_plain_configuration_scales_by_alpha_over_rank() {
    let settings = parse(json!({})).unwrap();
    let found = settings.sites(&sites(2)).unwrap();
    assert_eq!(found.len(), 4);
    assert!(found.iter().all(|site| site.rank == 8 && site.scale == 2.0));
    assert_eq!(settings.dropout, 0.05);
}

#[test]
fn a_rank_stabilised_one_scales_by_alpha_over_the_root_of_each_sites_own_rank() {
    let changes = json!({
        "use_rslora": true,
        "rank_pattern": {"layers.1.self_attn.q_proj": 4},
        "alpha_pattern": {"^model.layers.0.self_attn.v_proj": 32, "v_proj": 1.5},
    });
    let found = parse(changes).unwrap().sites(&sites(2)).unwrap();
    let of = |path: &str| {
        found
            .iter()
            .find(|site| site.shape.site.path().ends_with(path))
            .unwrap()
    };
    assert_eq!(of("0.self_attn.q_proj").scale, 16.0 / 8f64.sqrt());
    assert_eq!(
        (
            of("1.self_attn.q_proj").rank,
            of("1.self_attn.q_proj").scale
        ),
        (4, 8.0)
    );
    assert_eq!(of("0.self_attn.v_proj").scale, 32.0 / 8f64.sqrt());
    assert_eq!(of("1.self_attn.v_proj").scale, 1.5 / 8f64.sqrt());
}

#[test]
fn one_layer_number_is_as_good_as_a_list() {
    for layers in [json!(1), json!([1])] {
        let found = parse(json!({"layers_to_transform": layers}))
            .unwrap()
            .sites(&sites(2))
            .unwrap();
        assert!(found.iter().all(|site| site.shape.site.layer == 1) && found.len() == 2);
    }
    let everywhere = parse(json!({"layers_to_transform": []})).unwrap();
    assert_eq!(everywhere.sites(&sites(2)).unwrap().len(), 4);
}

#[test]
fn whatever_would_change_the_result_and_is_not_supported_is_refused_by_name() {
    for (key, value) in [
        ("modules_to_save", json!("lm_head")),
        ("modules_to_save", json!([""])),
        ("bias", json!("some")),
        ("bias", json!(true)),
        ("lora_bias", json!("yes")),
        ("fan_in_fan_out", json!(true)),
        ("trainable_token_indices", json!([1, -2])),
        ("trainable_token_indices", json!([1, 2, 1])),
        ("trainable_token_indices", json!("all")),
        ("target_parameters", json!(["mlp.experts.gate_up_proj"])),
        ("layer_replication", json!([[0, 1], [0, 1]])),
        ("alora_invocation_tokens", json!([7])),
        ("use_qalora", json!(true)),
        ("use_bdlora", json!({"nblocks": 2})),
        ("arrow_config", json!({"top_k": 3})),
        ("kasa_config", json!({"a": 1})),
        ("monteclora_config", json!({"num_samples": 4})),
        ("velora_config", json!({"scale": 1})),
        ("megatron_config", json!({"a": 1})),
        ("init_lora_weights", json!("pissa_niter_4")),
        ("init_lora_weights", json!("OLoRA")),
        ("init_lora_weights", json!("loftq")),
        ("task_type", json!("SEQ_2_SEQ_LM")),
        ("task_type", json!(1)),
        ("something_new", json!("on")),
    ] {
        assert_eq!(refused_field(key, value), key);
    }
}

#[test]
fn senseless_values_are_refused_by_name() {
    for (key, value) in [
        ("r", json!(0)),
        ("r", json!(-4)),
        ("r", json!(2.5)),
        ("r", json!("8")),
        ("r", json!(true)),
        ("r", json!(null)),
        ("lora_alpha", json!(0)),
        ("lora_alpha", json!(-1)),
        ("lora_alpha", json!(1e300)),
        ("lora_alpha", json!("16")),
        ("lora_alpha", json!(null)),
        ("lora_dropout", json!("x")),
        ("lora_dropout", json!(1.5)),
        ("lora_dropout", json!(-0.1)),
        ("base_model_name_or_path", json!(7)),
        ("revision", json!(["main"])),
        ("peft_version", json!(0.21)),
        ("inference_mode", json!("yes")),
        ("ensure_weight_tying", json!(1)),
        ("use_rslora", json!("yes")),
        ("target_modules", json!(null)),
        ("target_modules", json!([])),
        ("target_modules", json!(7)),
        ("target_modules", json!(["q_proj", 1])),
        ("exclude_modules", json!(1)),
        ("layers_to_transform", json!(["0"])),
        ("layers_to_transform", json!(-1)),
        ("layers_pattern", json!("layers")),
        ("rank_pattern", json!([])),
    ] {
        assert_eq!(refused_field(key, value), key);
    }
    assert_eq!(
        refused_field("rank_pattern", json!({"q_proj": 0})),
        "rank_pattern.q_proj"
    );
    assert_eq!(
        refused_field("alpha_pattern", json!({"q_proj": -1})),
        "alpha_pattern.q_proj"
    );
    let layers_of_a_pattern = json!({"target_modules": "all-linear", "layers_to_transform": [0]});
    assert_eq!(
        parse(layers_of_a_pattern).unwrap_err().field,
        "layers_to_transform"
    );
}

#[test]
fn initialisations_that_leave_the_base_alone_are_fine() {
    for how in [
        json!(true),
        json!(false),
        json!("gaussian"),
        json!("eva"),
        json!("orthogonal"),
        json!("mica"),
    ] {
        assert!(parse(json!({"init_lora_weights": how})).is_ok());
    }
}

#[test]
fn a_tied_base_keeps_what_peft_keeps_tied() {
    let base = |tied| BaseShape {
        layers: 2,
        hidden: 16,
        key_width: 8,
        vocab: 32,
        tied,
        ..BaseShape::default()
    };
    let outer = |changes: Value, tied: bool| -> Vec<_> {
        let found = parse(changes).unwrap().outer(base(tied)).unwrap();
        found
            .iter()
            .map(|at| (at.outer, at.inputs, at.rank))
            .collect()
    };
    let (embedding, head) = ((Outer::Embedding, 32, 8), (Outer::Head, 16, 8));
    let targets = json!({"target_modules": ["q_proj", "embed_tokens"]});
    assert_eq!(outer(targets, true), [embedding]);
    let tied = json!({"target_modules": ["model.embed_tokens"], "ensure_weight_tying": true});
    assert_eq!(outer(tied.clone(), true), [embedding, head]);
    assert_eq!(outer(tied, false), [embedding]);
    let patterns = json!({"target_modules": ["lm_head"], "rank_pattern": {"lm_head": 3}});
    assert_eq!(outer(patterns, false), [(Outer::Head, 16, 3)]);
    let saved = json!({"target_modules": ["q_proj", "lm_head"], "modules_to_save": ["lm_head"]});
    assert!(outer(saved, false).is_empty());
}

#[test]
fn modules_that_are_saved_whole_are_found_by_ends_and_kept_from_adapters() {
    let saved = |names: Value| parse(json!({"modules_to_save": names})).unwrap().saved;
    let mlp = saved(json!(["0.mlp", "norm"]));
    for path in [
        "model.layers.0.mlp.up_proj",
        "model.layers.10.mlp.up_proj",
        "model.norm",
        "model.layers.1.input_layernorm",
    ] {
        assert!(mlp.replaces(path), "{path}");
    }
    assert!(!mlp.replaces("model.layers.1.mlp.up_proj"));
    // Adapters are kept from whole names only.
    assert!(mlp.holds("model.layers.0.mlp.up_proj") && !mlp.holds("model.layers.10.mlp.up_proj"));
    let changes = json!({"target_modules": "all-linear", "modules_to_save": ["mlp"]});
    assert_eq!(parse(changes).unwrap().sites(&sites(2)).unwrap().len(), 8);
}

#[test]
fn rows_of_tokens_follow_the_embedding_of_a_tied_base() {
    let rows = |changes: Value, tied| parse(changes).unwrap().saved.token_rows(tied);
    let list = json!({"trainable_token_indices": [4, 2]});
    let found = rows(list.clone(), true).unwrap();
    assert!(found.tied && found.embedding == Some(vec![4, 2]) && found.head.is_none());
    assert!(!rows(list, false).unwrap().tied);
    let apart = json!({"trainable_token_indices": {"embed_tokens": [4], "lm_head": [2]}});
    let found = rows(apart.clone(), true).unwrap();
    assert!(!found.tied && found.head == Some(vec![2]));
    let mut kept = apart;
    kept["ensure_weight_tying"] = json!(true);
    let same = json!({"trainable_token_indices": {"embed_tokens": [4], "lm_head": [4]}});
    assert!(rows(same, true).unwrap().tied);
    for wrong in [
        kept,
        json!({"trainable_token_indices": {"q_proj": [4]}}),
        json!({"trainable_token_indices": {"embed_tokens": [4], "model.embed_tokens": [5]}}),
        json!({"trainable_token_indices": [4], "modules_to_save": ["embed_tokens"]}),
    ] {
        assert_eq!(
            rows(wrong, true).unwrap_err().field,
            "trainable_token_indices"
        );
    }
}
