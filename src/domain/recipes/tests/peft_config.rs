use serde_json::json;

use super::*;
use crate::domain::{Bias, NonLinearity, Patterns, Placement, PromptInit, Targets};

const NAME: &str = "peft_config";

fn wishes(file: Value) -> Wishes {
    alone(NAME, file).wishes
}

#[test]
fn a_lora_configuration_says_method_and_shape() {
    let file = json!({
        "peft_type": "LORA", "r": 8, "lora_alpha": 32, "lora_dropout": 0.05, "bias": "lora_only", "use_rslora": true,
        "target_modules": ["q_proj", "v_proj"], "rank_pattern": {"q_proj": 4}, "alpha_pattern": {}, "task_type": "CAUSAL_LM",
    });
    let said = wishes(file);
    let wanted = Wishes {
        method: Some(Method::Lora),
        rank: Some(8),
        alpha: Some(32.0),
        dropout: Some(0.05),
        bias: Some(Bias::LoraOnly),
        use_rslora: Some(true),
        targets: Some(Targets::List(vec!["q_proj".into(), "v_proj".into()])),
        rank_pattern: Some(Patterns::of_ranks(&[("q_proj".into(), 4)])),
        ..Wishes::default()
    };
    assert_eq!(said, wanted);
    let arguments = wishes(json!({"r": 8, "lora_alpha": 16, "use_dora": true}));
    assert_eq!(
        (arguments.method, arguments.rank),
        (Some(Method::Dora), Some(8))
    );
    let dora = wishes(json!({"peft_type": "LORA", "use_dora": true}));
    assert_eq!(dora.method, Some(Method::Dora));
}

#[test]
fn names_in_some_layers_are_a_pattern() {
    let file = |within: Value| {
        json!({"peft_type": "LORA", "target_modules": ["q_proj", "mlp.up_proj"], "layers_to_transform": [0, 11],
               "layers_pattern": within})
    };
    let Some(Targets::Pattern(pattern)) = wishes(file(json!(null))).targets else {
        panic!("not a pattern");
    };
    let regex = fancy_regex::Regex::new(&format!(r"\A(?:{pattern})\z")).unwrap();
    for (path, is_chosen) in [
        ("model.layers.0.self_attn.q_proj", true),
        ("model.layers.11.mlp.up_proj", true),
        ("model.layers.1.self_attn.q_proj", false),
        ("model.layers.0.self_attn.k_proj", false),
        ("model.layers.0.mlp_up_proj", false),
        ("lm_head", false),
    ] {
        assert_eq!(regex.is_match(path).unwrap(), is_chosen, "{path}");
    }
    let Some(Targets::Pattern(pattern)) = wishes(file(json!("layers"))).targets else {
        panic!("not a pattern");
    };
    assert!(pattern.contains("(?:layers)"), "{pattern}");
}

#[test]
fn every_kind_that_is_trained_is_read() {
    let prefix = wishes(json!({
        "peft_type": "PREFIX_TUNING", "num_virtual_tokens": 30, "prefix_projection": true, "encoder_hidden_size": 128,
    }));
    assert_eq!(
        (prefix.method, prefix.virtual_tokens, prefix.prefix_hidden),
        (Some(Method::Prefix), Some(30), Some(128))
    );
    let prompt = wishes(json!({
        "peft_type": "PROMPT_TUNING", "num_virtual_tokens": 8, "prompt_tuning_init": "TEXT",
        "prompt_tuning_init_text": "Answer:", "tokenizer_name_or_path": "x",
    }));
    assert_eq!(
        (
            prompt.method,
            prompt.prompt_init,
            prompt.prompt_text.as_deref()
        ),
        (
            Some(Method::Prompt),
            Some(PromptInit::Text),
            Some("Answer:")
        )
    );
    let ia3 = wishes(json!({
        "peft_type": "IA3", "target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj"],
    }));
    assert_eq!(ia3.method, Some(Method::Ia3));
    let dense = wishes(json!({
        "peft_type": "DENSE", "method": "modules",
        "tensors": ["model.layers.0.mlp.up_proj.weight", "model.norm.weight"],
    }));
    let modules = ["model.layers.0.mlp.up_proj", "model.norm"].map(str::to_owned);
    assert_eq!(
        (dense.method, dense.train_modules),
        (Some(Method::Modules), Some(Targets::List(modules.to_vec())))
    );
}

#[test]
fn adapterhubs_placements_are_ours() {
    let of = |mh: bool, parallel: bool, before: bool| {
        wishes(json!({"config": {
            "mh_adapter": mh, "output_adapter": true, "is_parallel": parallel, "original_ln_before": before,
            "reduction_factor": 8, "non_linearity": "swish", "scaling": 2.0,
        }}))
    };
    for (said, placement) in [
        (of(true, false, false), Placement::Double),
        (of(false, false, true), Placement::Sequential),
        (of(false, true, false), Placement::Parallel),
    ] {
        assert_eq!(
            (
                said.method,
                said.placement,
                said.reduction_factor,
                said.non_linearity,
                said.bottleneck_scale
            ),
            (
                Some(Method::Bottleneck),
                Some(placement),
                Some(8.0),
                Some(NonLinearity::Silu),
                Some(2.0)
            )
        );
    }
    let bare =
        wishes(json!({"mh_adapter": false, "output_adapter": true, "original_ln_before": true}));
    assert_eq!(bare.placement, Some(Placement::Sequential));
}

/// Folders that are served, of which some hold what is not trained.
#[test]
fn configurations_of_served_folders_are_read_or_refused_by_name() {
    let not_trained = [
        ("llama-bottleneck-other", "config.dropout"),
        ("llama-bottleneck-sequential", "config.reduction_factor"),
        ("llama-excluding", "exclude_modules"),
        ("llama-ia3-ffn", "feedforward_modules"),
        ("llama-ia3-modules", "modules_to_save"),
        ("llama-modules", "modules_to_save"),
        ("llama-tokens", "trainable_token_indices"),
        ("qwen2-bias-modules", "modules_to_save"),
        ("qwen2-bottleneck-parallel", "config.mh_adapter"),
        ("qwen2-ia3", "feedforward_modules"),
        ("qwen2-lora-bias", "lora_bias"),
        ("qwen3-modules", "modules_to_save"),
        ("qwen3-modules-tied", "modules_to_save"),
        ("qwen3-tokens", "trainable_token_indices"),
        ("qwen3-tokens-apart", "trainable_token_indices"),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/adapters");
    let mut read = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Ok(text) = fs::read_to_string(path.join("adapter_config.json")) else {
            continue;
        };
        let title = path.file_name().unwrap().to_string_lossy().into_owned();
        let joined = join(NAME, Recipes::parse(&text).unwrap(), Wishes::default());
        match not_trained.iter().find(|(name, _)| *name == title) {
            None => {
                let joined = joined.unwrap_or_else(|reason| panic!("{title}: {reason}"));
                assert!(joined.wishes.method.is_some(), "{title}");
                read += 1;
            }
            Some((_, key)) => match joined {
                Err(Reason::BadField { field, .. }) => {
                    assert_eq!(field, format!("{NAME}.{key}"), "{title}");
                }
                other => panic!("{title}: {other:?}"),
            },
        }
    }
    assert!(read > 20, "{read}");
}

#[test]
fn what_is_not_trained_is_refused_by_name() {
    for (file, at, told) in [
        (json!({"peft_type": "ADALORA"}), "peft_type", "ADALORA"),
        (json!({"task_type": "SEQ_CLS"}), "task_type", "CAUSAL_LM"),
        (json!({"r": 0}), "r", "between 1 and 512"),
        (
            json!({"r": 8, "init_lora_weights": "pissa"}),
            "init_lora_weights",
            "beginning",
        ),
        (
            json!({"layers_to_transform": [1]}),
            "layers_to_transform",
            "target_modules",
        ),
        (
            json!({"target_modules": "all-linear", "layers_to_transform": 1}),
            "target_modules",
            "text",
        ),
        (
            json!({"rank_pattern": {"q_proj": 0}}),
            "rank_pattern",
            "q_proj",
        ),
        (json!({"bias": "some"}), "bias", "some"),
        (
            json!({"lora_aplha": 8}),
            "lora_aplha",
            "did you mean `lora_alpha`?",
        ),
        (
            json!({"config": {"mh_adapter": true, "output_adapter": false}}),
            "config.mh_adapter",
            "par_bn",
        ),
        (
            json!({"config": {"scaling": "learned"}}),
            "config.scaling",
            "learned",
        ),
        (
            json!({"learning_rate": 1e-4}),
            "learning_rate",
            "goes under `training_args`",
        ),
    ] {
        let (field, why) = refused(NAME, file, Wishes::default());
        assert_eq!(field, format!("{NAME}.{at}"));
        assert!(why.contains(told), "{why}");
    }
    let flags = Wishes {
        rank: Some(16),
        ..Wishes::default()
    };
    let (field, why) = refused(NAME, json!({"r": 8}), flags);
    assert_eq!(
        (field.as_str(), why.contains("`rank` = 16")),
        ("peft_config.r", true)
    );
}
