//! `optimizer` and `scheduler`.

use serde_json::Value;

use crate::domain::recipes::table::Fate::{
    Cases, Differs, Filled, Here, Made, Refused, Sets, Setting,
};
use crate::domain::recipes::table::Kind::{Any, Flag, List, Number, Text, Whole};
use crate::domain::recipes::table::{At, Outcome, Row};

pub(super) const OPTIMIZER: &[Row] = &[
    Row::new(
        &["type"],
        Text,
        Cases(&[
            (&["AdamW", "Adam"], Sets("optimizer", "adamw")),
            (
                &["AdamW8bit", "Adam8bit", "PagedAdamW8bit"],
                Sets("optimizer", "adamw8bit"),
            ),
            (
                &[
                    "OneBitAdam",
                    "ZeroOneAdam",
                    "OneBitLamb",
                    "Lamb",
                    "Lion",
                    "Muon",
                    "SGD",
                    "Adagrad",
                    "MuAdam",
                    "MuAdamW",
                    "MuSGD",
                ],
                Refused("is not built; `AdamW` and `AdamW8bit` are, with a rate that suits them"),
            ),
        ]),
    ),
    Row::new(
        &["legacy_fusion"],
        Flag,
        Here("the optimizer is this program's own"),
    ),
];

pub(super) const OPTIMIZER_PARAMS: &[Row] = &[
    Row::new(&["lr"], Number, Setting("lr")).auto(Filled(&["lr"])),
    Row::new(&["betas"], List, Made("`adam_beta1`, `adam_beta2`", betas))
        .auto(Filled(&["adam_beta1", "adam_beta2"])),
    Row::new(&["eps"], Number, Setting("adam_epsilon")).auto(Filled(&["adam_epsilon"])),
    Row::new(&["weight_decay"], Number, Setting("weight_decay")).auto(Filled(&["weight_decay"])),
    Row::new(
        &["adam_w_mode"],
        Flag,
        Made(
            "`true` is what happens; `false` beside a weight decay **refused**: AdamW decays weights beside the gradient",
            decay,
        ),
    ),
    Row::new(
        &[
            "torch_adam",
            "fused",
            "foreach",
            "capturable",
            "set_grad_none",
            "fp32_optimizer_states",
        ],
        Any,
        Here("the optimizer is this program's own; its moments are as `optimizer` says"),
    ),
    Row::new(
        &["bias_correction"],
        Flag,
        Cases(&[
            (&["true"], Here("moments are corrected")),
            (
                &["false"],
                Refused("moments are corrected here; take it out"),
            ),
        ]),
    ),
    Row::new(&["amsgrad"], Flag, Refused("is not built; take it out")).nothing(&["false"]),
    Row::new(
        &["max_grad_norm"],
        Number,
        Refused("say `gradient_clipping` instead, as DeepSpeed wants it"),
    )
    .nothing(&["0"]),
];

pub(super) const SCHEDULER: &[Row] = &[Row::new(
    &["type"],
    Text,
    Cases(&[
        (&["WarmupLR"], Sets("schedule", "constant")),
        (&["WarmupDecayLR"], Sets("schedule", "linear")),
        (&["WarmupCosineLR"], Sets("schedule", "cosine")),
        (
            &["LRRangeTest", "OneCycle"],
            Refused("is not built; `WarmupLR`, `WarmupDecayLR` and `WarmupCosineLR` are"),
        ),
    ]),
)];

pub(super) const SCHEDULER_PARAMS: &[Row] = &[
    Row::new(&["warmup_max_lr"], Number, Setting("lr")).auto(Filled(&["lr"])),
    Row::new(
        &["warmup_min_lr", "warmup_min_ratio"],
        Number,
        Refused("the rate rises from 0 here"),
    )
    .nothing(&["0"])
    .auto(Here("0")),
    Row::new(
        &["warmup_num_steps"],
        Whole,
        Made("`warmup`, in a line", warmup),
    )
    .nothing(&["0"])
    .auto(Filled(&["warmup"])),
    Row::new(
        &["warmup_type"],
        Text,
        Cases(&[
            (&["linear"], Here("the rate rises in a line")),
            (
                &["log"],
                Differs("the rate rises in a line, not with the logarithm of the step"),
            ),
        ]),
    ),
    Row::new(&["total_num_steps"], Whole, Setting("steps")).auto(Here("as many as the job has")),
    Row::new(
        &["cos_min_ratio"],
        Number,
        Made("the rate falls to 0; above 0.0001 **refused**", floor),
    ),
    Row::new(
        &["last_batch_iteration"],
        Any,
        Refused("a job begins at its first step; `adapterd job resume` goes on with one"),
    )
    .nothing(&["-1"]),
];

fn betas(at: &At<'_>) -> Result<Outcome, String> {
    let numbers: Option<Vec<f64>> = at
        .value
        .as_array()
        .and_then(|list| list.iter().map(Value::as_f64).collect());
    let Some([first, second]) = numbers.as_deref() else {
        return Err("must be a list of two numbers".to_owned());
    };
    Ok(Outcome::sets("adam_beta1", *first).and("adam_beta2", *second))
}

fn decay(at: &At<'_>) -> Result<Outcome, String> {
    if at.value == true {
        return Ok(Outcome::here("weights decay beside the gradient"));
    }
    match at.other("weight_decay").map(Value::as_f64) {
        Some(Some(0.0)) => Ok(Outcome::here("without a weight decay both are the same")),
        Some(Some(_)) => Err("decay within the gradient (Adam's L2) is not built; AdamW's is: say true, or a `weight_decay` of 0".to_owned()),
        _ => Ok(Outcome::default().differs("a weight decay acts beside the gradient, as AdamW's")),
    }
}

/// DeepSpeed's own warm-up rises with the logarithm where nothing is said.
fn warmup(at: &At<'_>) -> Result<Outcome, String> {
    let set = Outcome::sets("warmup", at.number());
    Ok(match at.text("warmup_type") {
        None if at.number() > 1.0 => set.differs(
            "the rate rises in a line; DeepSpeed's rises with the logarithm of the step unless `warmup_type` is linear",
        ),
        _ => set,
    })
}

fn floor(at: &At<'_>) -> Result<Outcome, String> {
    match at.number() {
        ratio if (0.0..=1e-4).contains(&ratio) => Ok(Outcome::here("the rate falls to 0")),
        ratio => Err(format!("{ratio}: the rate falls to 0 here; take it out")),
    }
}
