use serde_json::json;

use super::*;
use crate::domain::{Checkpointing, Keep, Objective, Optimizer, Precision, Schedule};

const NAME: &str = "training_args";

#[test]
fn arguments_at_their_defaults_say_what_they_say() {
    let wishes = alone(NAME, one_published(NAME, "transformers-defaults")).wishes;
    let said: Vec<(&str, String)> = { wishes.said_publicly() }
        .map(|(setting, shown)| (setting.name, shown))
        .collect();
    let wanted = [
        ("seed", "42"),
        ("epochs", "3"),
        ("micro_batch", "8"),
        ("accumulate", "1"),
        ("lr", "5e-5"),
        ("schedule", "linear"),
        ("weight_decay", "0"),
        ("adam_beta1", "0.9"),
        ("adam_beta2", "0.999"),
        ("adam_epsilon", "1e-8"),
        ("max_grad_norm", "1"),
        ("optimizer", "adamw"),
        ("save_every", "500"),
    ];
    let wanted = wanted.map(|(name, shown)| (name, shown.to_owned()));
    assert_eq!(said, wanted);
}

#[test]
fn arguments_say_settings() {
    let wishes = alone(
        NAME,
        json!({
            "per_device_train_batch_size": 2, "gradient_accumulation_steps": 8, "num_train_epochs": 3.0,
            "max_steps": 200, "learning_rate": 1e-4, "lr_scheduler_type": "cosine", "warmup_ratio": 0.03,
            "warmup_steps": 0, "weight_decay": 0.01, "adam_beta2": 0.95, "max_grad_norm": 0.3, "seed": 7,
            "data_seed": 7, "fp16": true, "gradient_checkpointing": true, "eval_strategy": "steps",
            "eval_steps": 50, "save_strategy": "no", "save_steps": 500, "load_best_model_at_end": true,
            "optim": "paged_adamw_8bit", "label_smoothing_factor": 0.0, "report_to": ["wandb"],
            "neftune_noise_alpha": 5, "output_dir": "out",
        }),
    )
    .wishes;
    assert_eq!(
        (
            wishes.micro_batch,
            wishes.accumulate,
            wishes.steps,
            wishes.epochs
        ),
        (Some(2), Some(8), Some(200), None)
    );
    assert_eq!(
        (wishes.learning_rate, wishes.schedule, wishes.warmup),
        (Some(1e-4), Some(Schedule::Cosine), Some(0.03))
    );
    assert_eq!(
        (wishes.weight_decay, wishes.adam_beta2, wishes.max_grad_norm),
        (Some(0.01), Some(0.95), Some(0.3))
    );
    assert_eq!(
        (
            wishes.seed,
            wishes.eval_every,
            wishes.save_every,
            wishes.keep
        ),
        (Some(7), Some(50), None, Some(Keep::Best))
    );
    assert_eq!(
        (wishes.recompute, wishes.neftune_alpha),
        (Some(Checkpointing::On), Some(5.0))
    );
    assert_eq!(
        (wishes.precision, wishes.optimizer),
        (Some(Precision::F16), Some(Optimizer::AdamW8bit))
    );
}

#[test]
fn what_trl_adds_is_read() {
    let sft = alone(
        NAME,
        json!({"max_length": 256, "packing": false, "assistant_only_loss": false, "eos_token": "<EOS_TOKEN>"}),
    );
    assert_eq!(
        (sft.wishes.max_seq, sft.wishes.pack),
        (Some(256), Some(false))
    );
    let differing = { sft.mappings.iter() }.filter(|mapping| mapping.effect == Effect::Differs);
    let keys: Vec<&str> = differing.map(|mapping| mapping.key.as_str()).collect();
    assert_eq!(keys, ["training_args.assistant_only_loss"]);
    let dpo = alone(
        NAME,
        json!({"beta": 0.2, "loss_type": ["sigmoid"], "reference_free": false}),
    )
    .wishes;
    assert_eq!(
        (dpo.dpo_beta, dpo.objective),
        (Some(0.2), Some(Objective::Dpo))
    );
}

#[test]
fn evaluations_follow_their_strategy() {
    let every = |file: Value| alone(NAME, file).wishes.eval_every;
    assert_eq!(every(json!({"eval_strategy": "steps"})), Some(500));
    assert_eq!(
        every(json!({"eval_strategy": "steps", "logging_steps": 10})),
        Some(10)
    );
    assert_eq!(
        every(json!({"eval_strategy": "no", "eval_steps": 50})),
        None
    );
    assert_eq!(
        every(json!({"evaluation_strategy": "steps", "eval_steps": 50.0})),
        Some(50)
    );
    let epoch = alone(NAME, json!({"eval_strategy": "epoch"}));
    assert_eq!(epoch.mappings[0].effect, Effect::Differs);
}

#[test]
fn a_warm_up_is_steps_before_a_share_and_none_for_constant() {
    let warmup = |file: Value| alone(NAME, file).wishes.warmup;
    assert_eq!(
        warmup(json!({"warmup_steps": 20, "warmup_ratio": 0.1})),
        Some(20.0)
    );
    assert_eq!(warmup(json!({"warmup_steps": 0.1})), Some(0.1));
    assert_eq!(
        warmup(json!({"warmup_steps": 20, "lr_scheduler_type": "constant"})),
        None
    );
    assert_eq!(
        warmup(json!({"warmup_steps": 20, "lr_scheduler_type": "constant_with_warmup"})),
        Some(20.0)
    );
}

#[test]
fn a_deepspeed_configuration_within_is_read_and_a_path_is_not() {
    let inner = json!({"gradient_clipping": "auto", "zero_optimization": {"stage": 3}});
    let both = json!({"max_grad_norm": 0.3, "deepspeed": inner});
    let joined = alone(NAME, both);
    assert_eq!(
        becomes(&joined, "training_args.deepspeed.gradient_clipping"),
        "`max_grad_norm` = 0.3, as `training_args.max_grad_norm` says"
    );
    becomes(&joined, "training_args.deepspeed.zero_optimization.stage");
    let (field, why) = refused(NAME, json!({"deepspeed": "ds.json"}), Wishes::default());
    assert_eq!(field, "training_args.deepspeed");
    assert!(why.contains("pass it as `deepspeed`"), "{why}");
}

#[test]
fn files_that_contradict_each_other_are_both_named() {
    let mut recipes = Recipes::default();
    recipes.put(NAME, json!({"learning_rate": 5e-5})).unwrap();
    let deepspeed =
        json!({"optimizer": {"params": {"lr": 3e-5}}, "zero_optimization": {"stage": 2}});
    recipes.put("deepspeed", deepspeed).unwrap();
    let Err(Reason::BadField { field, why }) = recipes.join(Wishes::default()) else {
        panic!("they contradict each other");
    };
    assert_eq!(field, "training_args.learning_rate");
    assert!(why.contains("`deepspeed.optimizer.params.lr`"), "{why}");
    let flags = Wishes {
        steps: Some(5),
        ..Wishes::default()
    };
    let (field, why) = refused(
        NAME,
        json!({"num_train_epochs": 3.0, "max_steps": -1}),
        flags,
    );
    assert_eq!(field, "training_args.num_train_epochs");
    assert!(why.contains("`steps` = 5"), "{why}");
    let flags = Wishes {
        batch_size: Some(16),
        ..Wishes::default()
    };
    let sizes = json!({"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1});
    let (field, why) = refused(NAME, sizes, flags);
    assert_eq!(field, "training_args.per_device_train_batch_size");
    assert!(why.contains("`batch_size` = 16"), "{why}");
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    for (file, at, told) in [
        (json!({"optim": "adafactor"}), "optim", "adamw_torch"),
        (json!({"optim": "unheard_of"}), "optim", "none of"),
        (
            json!({"lr_scheduler_type": "polynomial"}),
            "lr_scheduler_type",
            "linear",
        ),
        (
            json!({"label_smoothing_factor": 0.1}),
            "label_smoothing_factor",
            "0.1",
        ),
        (
            json!({"lr_scheduler_kwargs": {"num_cycles": 2}}),
            "lr_scheduler_kwargs",
            "nothing",
        ),
        (
            json!({"seed": 1, "data_seed": 2}),
            "data_seed",
            "`seed` = 1",
        ),
        (
            json!({"eval_strategy": "steps", "eval_steps": 0.1}),
            "eval_steps",
            "share",
        ),
        (
            json!({"greater_is_better": true}),
            "greater_is_better",
            "less is better",
        ),
        (
            json!({"metric_for_best_model": "f1"}),
            "metric_for_best_model",
            "none of",
        ),
        (
            json!({"resume_from_checkpoint": "checkpoint-5"}),
            "resume_from_checkpoint",
            "from",
        ),
        (json!({"tp_size": 4}), "tp_size", "deepspeed --num_gpus 4"),
        (
            json!({"parallelism_config": {"tp_size": 2}}),
            "parallelism_config",
            "2 devices",
        ),
        (
            json!({"completion_only_loss": false}),
            "completion_only_loss",
            "answers",
        ),
        (json!({"loss_type": "ipo"}), "loss_type", "none of"),
        (json!({"rpo_alpha": 1.0}), "rpo_alpha", "not built"),
        (
            json!({"learning_rte": 1.0}),
            "learning_rte",
            "did you mean `learning_rate`?",
        ),
        (
            json!({"zero_optimization": {}}),
            "zero_optimization",
            "goes under `deepspeed`",
        ),
        (json!({"max_steps": -2}), "max_steps", "whole number"),
    ] {
        let (field, why) = refused(NAME, file, Wishes::default());
        assert_eq!(field, format!("{NAME}.{at}"));
        assert!(why.contains(told), "{why}");
    }
}
