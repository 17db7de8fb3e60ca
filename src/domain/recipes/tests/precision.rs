//! Precision, the scale of the loss, and how the optimizer holds its moments.

use serde_json::json;

use super::*;
use crate::domain::{LossScale, Offload, Optimizer, Precision};

fn of(precision: Precision) -> Wishes {
    Wishes {
        precision: Some(precision),
        ..Wishes::default()
    }
}

fn differing(joined: &Joined) -> Vec<&str> {
    let differing = { joined.mappings.iter() }.filter(|mapping| mapping.effect == Effect::Differs);
    differing.map(|mapping| mapping.key.as_str()).collect()
}

#[test]
fn published_deepspeed_files_say_precision_and_offloading() {
    let page = alone("deepspeed", one_published("deepspeed", "deepspeed-page"));
    let wishes = &page.wishes;
    assert_eq!(
        (wishes.precision, wishes.loss_scale, wishes.optimizer),
        (
            Some(Precision::F16),
            Some(LossScale::Dynamic),
            Some(Optimizer::AdamW)
        )
    );
    assert_eq!(
        differing(&page),
        [
            "deepspeed.fp16.loss_scale_window",
            "deepspeed.fp16.hysteresis"
        ]
    );
    assert_eq!(
        becomes(&page, "deepspeed.fp16.loss_scale_window"),
        "a dynamic scale doubles after 2000 good steps in a row"
    );
    let nvme = one_published("deepspeed", "transformers-nvme");
    assert_eq!(
        alone("deepspeed", nvme).wishes.offload_optimizer,
        Some(Offload::Disk)
    );
    let axolotl = one_published("deepspeed", "axolotl-zero3-cpuoffload");
    let wishes = alone("deepspeed", axolotl).wishes;
    assert_eq!(
        (wishes.precision, wishes.offload_optimizer),
        (Some(Precision::Bf16), Some(Offload::Host))
    );
}

#[test]
fn a_precision_of_auto_is_what_others_say_and_a_scale_counts_with_f16_alone() {
    let file = |scale: f64| {
        json!({
            "fp16": {"enabled": "auto", "loss_scale": scale, "loss_scale_window": 1000}, "bf16": {"enabled": "auto"},
            "zero_optimization": {"offload_optimizer": {"device": "auto"}},
        })
    };
    let joined = alone("deepspeed", file(128.0));
    assert_eq!(joined.wishes, Wishes::default());
    let told = |key: &str| becomes(&joined, &format!("deepspeed.{key}"));
    assert_eq!(told("fp16.enabled"), "`precision` = f32, the default");
    assert_eq!(told("fp16.loss_scale"), "counts with `precision` f16");
    assert_eq!(
        told("fp16.loss_scale_window"),
        "counts where the scale is dynamic"
    );
    assert_eq!(
        told("zero_optimization.offload_optimizer.device"),
        "`offload_optimizer` = none, the default"
    );
    let joined = join("deepspeed", file(0.0), of(Precision::Bf16)).unwrap();
    assert_eq!(joined.wishes, of(Precision::Bf16));
    assert!(differing(&joined).is_empty());
    for (said, scale) in [(128.0, LossScale::Fixed(128.0)), (0.0, LossScale::Dynamic)] {
        let joined = join("deepspeed", file(said), of(Precision::F16)).unwrap();
        assert_eq!(joined.wishes.loss_scale, Some(scale));
        assert_eq!(differing(&joined).is_empty(), said > 0.0);
    }
    let mut recipes = Recipes::default();
    recipes.put("deepspeed", file(64.0)).unwrap();
    recipes.put("training_args", json!({"fp16": true})).unwrap();
    let joined = recipes.join(Wishes::default()).unwrap();
    assert_eq!(
        becomes(&joined, "deepspeed.bf16.enabled"),
        "`precision` = f16, as `training_args.fp16` says"
    );
    assert_eq!(joined.wishes.loss_scale, Some(LossScale::Fixed(64.0)));
}

#[test]
fn a_scale_without_f16_sets_nothing() {
    for file in [
        json!({"fp16": {"enabled": false, "loss_scale": 128, "hysteresis": 2}}),
        json!({"fp16": {"loss_scale": 0}}),
        json!({"amp": {"enabled": false, "loss_scale": "dynamic", "opt_level": "O3"}}),
        json!({"torch_autocast": {"enabled": false, "dtype": "bfloat16"}}),
    ] {
        let joined = join("deepspeed", file.clone(), of(Precision::F16)).unwrap();
        assert_eq!(joined.wishes, of(Precision::F16), "{file}");
        assert!(differing(&joined).is_empty(), "{file}");
    }
}

/// The numbers that the page names are those of the trainer.
#[test]
fn dynamic_scaling_as_it_is_here_does_not_differ() {
    for file in [
        json!({"fp16": {
            "enabled": true, "initial_scale_power": 16, "loss_scale_window": 2000, "hysteresis": 1, "min_loss_scale": 1,
        }}),
        json!({"amp": {"enabled": true, "loss_scale": "dynamic", "min_loss_scale": 1, "max_loss_scale": 16_777_216}}),
    ] {
        let joined = alone("deepspeed", file);
        assert!(differing(&joined).is_empty(), "{:?}", joined.mappings);
        assert_eq!(joined.wishes.precision, Some(Precision::F16));
    }
}

#[test]
fn other_ways_to_say_a_precision_are_read() {
    for (name, file, precision) in [
        (
            "deepspeed",
            json!({"amp": {"enabled": true, "opt_level": "O1"}}),
            Precision::F16,
        ),
        (
            "deepspeed",
            json!({"amp": {"enabled": true, "opt_level": "O0", "loss_scale": 1.0}}),
            Precision::F32,
        ),
        (
            "deepspeed",
            json!({"torch_autocast": {"enabled": true, "dtype": "torch.bfloat16"}}),
            Precision::Bf16,
        ),
        ("training_args", json!({"bf16": true}), Precision::Bf16),
    ] {
        assert_eq!(alone(name, file.clone()).wishes, of(precision), "{file}");
    }
    let fp8 = alone("deepspeed", json!({"fp8": {"enabled": true}}));
    assert_eq!(differing(&fp8), ["deepspeed.fp8"]);
    let (field, why) = refused(
        "deepspeed",
        json!({"torch_autocast": {"enabled": true}}),
        Wishes::default(),
    );
    assert_eq!(field, "deepspeed.torch_autocast.enabled");
    assert!(why.contains("`dtype`"), "{why}");
}

#[test]
fn eight_bits_are_asked_for_by_the_names_that_others_have() {
    for (name, file, optimizer) in [
        (
            "deepspeed",
            json!({"optimizer": {"type": "AdamW8bit"}}),
            Optimizer::AdamW8bit,
        ),
        (
            "deepspeed",
            json!({"optimizer": {"type": "adam"}}),
            Optimizer::AdamW,
        ),
        (
            "training_args",
            json!({"optim": "adamw_bnb_8bit"}),
            Optimizer::AdamW8bit,
        ),
        (
            "training_args",
            json!({"optim": "paged_adamw_32bit"}),
            Optimizer::AdamW,
        ),
    ] {
        assert_eq!(
            alone(name, file.clone()).wishes.optimizer,
            Some(optimizer),
            "{file}"
        );
    }
}

#[test]
fn flags_that_say_otherwise_contradict() {
    let flags = Wishes {
        loss_scale: Some(LossScale::Fixed(8.0)),
        optimizer: Some(Optimizer::AdamW8bit),
        offload_optimizer: Some(Offload::Disk),
        ..of(Precision::F16)
    };
    for (name, file, at, told) in [
        (
            "deepspeed",
            json!({"bf16": {"enabled": true}}),
            "bf16.enabled",
            "true, which is `precision` = bf16 here, contradicts `precision` = f16",
        ),
        (
            "deepspeed",
            json!({"fp16": {"enabled": true, "loss_scale": 0}}),
            "fp16.loss_scale",
            "0, which is `loss_scale` = dynamic here, contradicts `loss_scale` = 8",
        ),
        (
            "deepspeed",
            json!({"optimizer": {"type": "AdamW"}}),
            "optimizer.type",
            "`optimizer` = adamw8bit",
        ),
        (
            "deepspeed",
            json!({"zero_optimization": {"cpu_offload": true}}),
            "zero_optimization.cpu_offload",
            "`offload_optimizer` = disk",
        ),
        (
            "training_args",
            json!({"bf16": true}),
            "bf16",
            "`precision` = f16",
        ),
        (
            "training_args",
            json!({"optim": "adamw_torch"}),
            "optim",
            "`optimizer` = adamw8bit",
        ),
    ] {
        let (field, why) = refused(name, file, flags.clone());
        assert_eq!(field, format!("{name}.{at}"));
        assert!(why.contains(told), "{why}");
    }
    let both = json!({"fp16": true, "bf16": true});
    let (field, why) = refused("training_args", both, Wishes::default());
    assert_eq!(field, "training_args.bf16");
    assert!(why.contains("`training_args.fp16`"), "{why}");
}
