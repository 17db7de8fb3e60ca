use serde_json::json;

use super::*;
use crate::domain::Schedule;

#[test]
fn a_deepspeed_file_says_settings() {
    let file = |title: &str| one_published("deepspeed", title);
    let joined = alone("deepspeed", file("deepspeed-page"));
    let wishes = &joined.wishes;
    assert_eq!(
        (wishes.batch_size, wishes.micro_batch, wishes.accumulate),
        (Some(16), Some(4), Some(4))
    );
    assert_eq!(
        (wishes.learning_rate, wishes.adam_beta1, wishes.adam_beta2),
        (Some(0.001), Some(0.8), Some(0.999))
    );
    assert_eq!(
        (wishes.schedule, wishes.warmup),
        (Some(Schedule::Linear), Some(100.0))
    );
    assert_eq!(
        (wishes.steps, wishes.weight_decay),
        (Some(1000), Some(3e-7))
    );
    let stage = becomes(
        &alone("deepspeed", file("transformers-zero3")),
        "deepspeed.zero_optimization.stage",
    )
    .to_owned();
    assert_eq!(
        stage,
        "the base is held once, quantized; nothing to shard on one device"
    );
    let basic = alone("deepspeed", file("deepspeed-basic")).wishes;
    assert_eq!(
        (basic.batch_size, basic.learning_rate),
        (Some(8), Some(0.00015))
    );
}

#[test]
fn auto_is_what_flags_or_defaults_say() {
    let file = json!({
        "train_batch_size": "auto", "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": 4, "gradient_clipping": "auto",
        "optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": "auto"}},
        "scheduler": {"type": "WarmupLR", "params": {"warmup_min_lr": "auto", "warmup_max_lr": 0.01}},
    });
    let flags = Wishes {
        micro_batch: Some(2),
        max_grad_norm: Some(0.5),
        ..Wishes::default()
    };
    let joined = join("deepspeed", file, flags).unwrap();
    let told = |key: &str| becomes(&joined, &format!("deepspeed.{key}"));
    assert_eq!(told("train_batch_size"), "`batch_size` = 8, the default");
    assert_eq!(told("train_micro_batch_size_per_gpu"), "`micro_batch` = 2");
    assert_eq!(told("gradient_clipping"), "`max_grad_norm` = 0.5");
    assert_eq!(
        told("optimizer.params.lr"),
        "`lr` = 0.01, as `deepspeed.scheduler.params.warmup_max_lr` says"
    );
    assert_eq!(
        told("optimizer.params.betas"),
        "`adam_beta1` = 0.9, the default; `adam_beta2` = 0.999, the default"
    );
    assert_eq!(told("scheduler.params.warmup_min_lr"), "0");
}

#[test]
fn places_that_contradict_each_other_are_both_named() {
    let lr = |lr: f64| json!({"optimizer": {"type": "AdamW", "params": {"lr": lr}}});
    let flags = |lr: f64| Wishes {
        learning_rate: Some(lr),
        ..Wishes::default()
    };
    assert!(join("deepspeed", lr(3e-5), flags(3e-5)).is_ok());
    let (field, why) = refused("deepspeed", lr(3e-5), flags(2e-4));
    assert_eq!(field, "deepspeed.optimizer.params.lr");
    assert_eq!(why, "3e-5 contradicts `lr` = 0.0002; leave one of them out");
    let both = json!({
        "optimizer": {"params": {"lr": 0.001}}, "scheduler": {"params": {"warmup_max_lr": 0.002}},
    });
    let (field, why) = refused("deepspeed", both, Wishes::default());
    assert_eq!(field, "deepspeed.scheduler.params.warmup_max_lr");
    assert!(
        why.contains("`deepspeed.optimizer.params.lr` = 0.001"),
        "{why}"
    );
    let flags = Wishes {
        schedule: Some(Schedule::Cosine),
        epochs: Some(2.0),
        ..Wishes::default()
    };
    let scheduler =
        |params: Value| json!({"scheduler": {"type": "WarmupDecayLR", "params": params}});
    let (field, why) = refused("deepspeed", scheduler(json!({})), flags.clone());
    assert_eq!(field, "deepspeed.scheduler.type");
    assert_eq!(
        why,
        "WarmupDecayLR, which is `schedule` = linear here, contradicts `schedule` = cosine; leave one of them out"
    );
    let flags = Wishes {
        schedule: None,
        ..flags
    };
    let (field, why) = refused(
        "deepspeed",
        scheduler(json!({"total_num_steps": 10})),
        flags,
    );
    assert_eq!(field, "deepspeed.scheduler.params.total_num_steps");
    assert!(why.contains("`epochs` = 2"), "{why}");
}

#[test]
fn what_needs_several_devices_says_how_to_run_it_elsewhere() {
    for (file, at) in [
        (
            json!({"train_batch_size": 64, "train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 2}),
            "train_batch_size",
        ),
        (
            json!({"tensor_parallel": {"autotp_size": 4}}),
            "tensor_parallel.autotp_size",
        ),
        (
            json!({"sequence_parallel_size": 2}),
            "sequence_parallel_size",
        ),
        (
            json!({"sequence_parallel": {"enabled": true, "size": 4}}),
            "sequence_parallel",
        ),
        (json!({"pipeline": {"stages": 2}}), "pipeline"),
        (json!({"elasticity": {"enabled": true}}), "elasticity"),
        (
            json!({"zero_optimization": {"zero_hpz_partition_size": 8}}),
            "zero_optimization.zero_hpz_partition_size",
        ),
    ] {
        let (field, why) = refused("deepspeed", file, Wishes::default());
        assert_eq!(field, format!("deepspeed.{at}"));
        assert!(
            why.contains("deepspeed --num_gpus") && why.contains("adapter register"),
            "{why}"
        );
    }
    let spread = json!({"train_batch_size": 64, "train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 2});
    let (_, why) = refused("deepspeed", spread, Wishes::default());
    assert!(
        why.contains("8 devices") && why.contains("or say 16"),
        "{why}"
    );
    for held in [
        json!({"pipeline": {"stages": "auto"}}),
        json!({"tensor_parallel": {"autotp_size": 1}}),
    ] {
        alone("deepspeed", held);
    }
}

#[test]
fn what_would_change_results_and_is_not_built_is_refused_by_name() {
    for (file, at, told) in [
        (
            json!({"optimizer": {"type": "Lamb"}}),
            "optimizer.type",
            "AdamW",
        ),
        (
            json!({"optimizer": {"type": "Novel"}}),
            "optimizer.type",
            "none of `AdamW`",
        ),
        (
            json!({"optimizer": {"params": {"adam_w_mode": false, "weight_decay": 0.1}}}),
            "optimizer.params.adam_w_mode",
            "L2",
        ),
        (
            json!({"optimizer": {"params": {"betas": [0.9]}}}),
            "optimizer.params.betas",
            "two numbers",
        ),
        (
            json!({"optimizer": {"params": {"lr": "3e-5"}}}),
            "optimizer.params.lr",
            "a number",
        ),
        (
            json!({"optimizer": {"params": {"lr": -1}}}),
            "optimizer.params.lr",
            "between 0 and 100",
        ),
        (
            json!({"scheduler": {"type": "OneCycle"}}),
            "scheduler.type",
            "WarmupLR",
        ),
        (
            json!({"scheduler": {"params": {"warmup_min_lr": 1e-5}}}),
            "scheduler.params.warmup_min_lr",
            "rises from 0",
        ),
        (
            json!({"zero_optimization": {"stage": 4}}),
            "zero_optimization.stage",
            "`4` is none of `0`, `1`, `2`, `3`",
        ),
        (
            json!({"zero_optimization": true}),
            "zero_optimization",
            "object",
        ),
        (
            json!({"curriculum_learning": {"enabled": true}}),
            "curriculum_learning",
            "changes what is learned",
        ),
        (
            json!({"sparse_attention": {"mode": "fixed"}}),
            "sparse_attention",
            "changes what is learned",
        ),
        (
            json!({"train_batch_size": 0}),
            "train_batch_size",
            "0 is not between",
        ),
        (
            json!({"train_batch_size": 2.5}),
            "train_batch_size",
            "whole number",
        ),
    ] {
        let (field, why) = refused("deepspeed", file, Wishes::default());
        assert_eq!(field, format!("deepspeed.{at}"));
        assert!(why.contains(told), "{why}");
    }
}

#[test]
fn an_unknown_key_is_an_error_with_a_suggestion() {
    for (file, at, told) in [
        (
            json!({"gradient_acumulation_steps": 2}),
            "gradient_acumulation_steps",
            "did you mean `gradient_accumulation_steps`?",
        ),
        (
            json!({"zero_optimisation": {"stage": 2}}),
            "zero_optimisation",
            "did you mean `zero_optimization`?",
        ),
        (
            json!({"zero_optimization": {"overlap_com": true}}),
            "zero_optimization.overlap_com",
            "did you mean `zero_optimization.overlap_comm`?",
        ),
        (
            json!({"stage": 2}),
            "stage",
            "is a key of `zero_optimization`",
        ),
        (
            json!({"zero_optimization": {"fp16": {}}}),
            "zero_optimization.fp16",
            "own level",
        ),
        (
            json!({"quux": 1}),
            "quux",
            "no key of DeepSpeed's configuration",
        ),
    ] {
        let (field, why) = refused("deepspeed", file, Wishes::default());
        assert_eq!(field, format!("deepspeed.{at}"));
        assert!(why.contains(told), "{why}");
    }
}

#[test]
fn a_number_in_quotes_is_told_as_the_text_it_is() {
    let file = json!({"train_batch_size": "8"});
    let (field, why) = refused("deepspeed", file, Wishes::default());
    assert_eq!(field, "deepspeed.train_batch_size");
    assert_eq!(
        why,
        "must be a whole number of at least 0, not the text `8`"
    );
}

#[test]
fn a_warm_up_that_rises_otherwise_is_told_as_a_difference() {
    let told = |params: Value| {
        let file = json!({"scheduler": {"type": "WarmupLR", "params": params}});
        alone("deepspeed", file)
            .mappings
            .iter()
            .any(|mapping| mapping.effect == Effect::Differs)
    };
    assert!(told(json!({"warmup_num_steps": 10})));
    assert!(told(json!({"warmup_num_steps": 10, "warmup_type": "log"})));
    assert!(!told(
        json!({"warmup_num_steps": 10, "warmup_type": "linear"})
    ));
    assert!(!told(json!({"warmup_num_steps": 0})));
}
