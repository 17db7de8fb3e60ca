//! transformers' `TrainingArguments` as JSON, and what TRL's `SFTConfig` and `DPOConfig` add.
//!
//! A file that `to_json_string` wrote has every argument, most at their defaults. Those count as said, but for values that
//! only say "nothing": null, a switch that is off, `max_steps` -1, `"no"`.

mod around;
mod trl;

use serde_json::Value;

use super::deepspeed;
use super::table::Fate::{Cases, Differs, File, Here, Made, Refused, Sets, Setting};
use super::table::Kind::{Any, Flag, Number, Text, Whole};
use super::table::{At, Block, Format, Outcome, Row, whole};

pub(super) const FORMAT: Format = Format {
    name: "training_args",
    title: "transformers' TrainingArguments",
    about: "transformers' TrainingArguments as JSON, or TRL's SFTConfig or DPOConfig: what it says of batches, length, optimizer, schedule, precision and evaluation counts, and each of its keys is told",
    blocks: &[
        Block {
            at: &[""],
            rows: LEARNING,
        },
        Block {
            at: &[""],
            rows: trl::SFT,
        },
        Block {
            at: &[""],
            rows: trl::DPO,
        },
        Block {
            at: &[""],
            rows: around::MACHINE,
        },
        Block {
            at: &[""],
            rows: around::WRITING,
        },
    ],
};

const LEARNING: &[Row] = &[
    Row::new(
        &["per_device_train_batch_size"],
        Whole,
        Setting("micro_batch"),
    ),
    Row::new(
        &["gradient_accumulation_steps"],
        Whole,
        Setting("accumulate"),
    ),
    Row::new(
        &["num_train_epochs"],
        Number,
        Made("`epochs`, without `max_steps`", epochs),
    ),
    Row::new(&["max_steps"], Whole, Setting("steps")).nothing(&["-1", "0"]),
    Row::new(&["learning_rate"], Number, Setting("lr")),
    Row::new(
        &["lr_scheduler_type"],
        Text,
        Cases(&[
            (&["linear"], Sets("schedule", "linear")),
            (&["cosine"], Sets("schedule", "cosine")),
            (
                &["constant", "constant_with_warmup"],
                Sets("schedule", "constant"),
            ),
            (
                &[
                    "cosine_with_restarts",
                    "polynomial",
                    "inverse_sqrt",
                    "reduce_lr_on_plateau",
                    "cosine_with_min_lr",
                    "cosine_warmup_with_min_lr",
                    "warmup_stable_decay",
                    "greedy",
                ],
                Refused("is not built; `linear`, `cosine` and `constant_with_warmup` are"),
            ),
        ]),
    ),
    Row::new(
        &["lr_scheduler_kwargs"],
        Any,
        Refused("schedules take nothing here; take it out"),
    )
    .nothing(&["{}", ""]),
    Row::new(&["warmup_steps"], Number, Made("`warmup`", warmup_steps)).nothing(&["0"]),
    Row::new(
        &["warmup_ratio"],
        Number,
        Made("`warmup`, without `warmup_steps`", warmup_ratio),
    )
    .nothing(&["0"]),
    Row::new(
        &["optim"],
        Text,
        Cases(&[
            (
                &[
                    "adamw_torch",
                    "adamw_torch_fused",
                    "adamw_hf",
                    "adamw_torch_xla",
                    "adamw_torch_npu_fused",
                    "adamw_apex_fused",
                    "adamw_anyprecision",
                    "paged_adamw_32bit",
                    "paged_adamw",
                ],
                Sets("optimizer", "adamw"),
            ),
            (
                &[
                    "adamw_bnb_8bit",
                    "adamw_8bit",
                    "adamw_torch_8bit",
                    "paged_adamw_8bit",
                ],
                Sets("optimizer", "adamw8bit"),
            ),
            (
                &[
                    "adamw_torch_4bit",
                    "sgd",
                    "adafactor",
                    "adagrad",
                    "rmsprop",
                    "rmsprop_bnb",
                    "rmsprop_bnb_8bit",
                    "rmsprop_bnb_32bit",
                    "lion_32bit",
                    "lion_8bit",
                    "paged_lion_32bit",
                    "paged_lion_8bit",
                    "ademamix",
                    "ademamix_8bit",
                    "paged_ademamix_32bit",
                    "paged_ademamix_8bit",
                    "galore_adamw",
                    "galore_adamw_8bit",
                    "galore_adafactor",
                    "galore_adamw_layerwise",
                    "galore_adamw_8bit_layerwise",
                    "galore_adafactor_layerwise",
                    "lomo",
                    "adalomo",
                    "grokadamw",
                    "schedule_free_radam",
                    "schedule_free_adamw",
                    "schedule_free_sgd",
                    "apollo_adamw",
                    "apollo_adamw_layerwise",
                    "stable_adamw",
                ],
                Refused(
                    "is not built; `adamw_torch` and `adamw_8bit` are, with a rate that suits them",
                ),
            ),
        ]),
    ),
    Row::new(
        &["optim_args", "optim_target_modules"],
        Any,
        Refused("AdamW takes nothing more here; take it out"),
    )
    .nothing(&["", "[]"]),
    Row::new(&["adafactor"], Flag, Refused("is not built; AdamW is")).nothing(&["false"]),
    Row::new(&["weight_decay"], Number, Setting("weight_decay")),
    Row::new(&["adam_beta1"], Number, Setting("adam_beta1")),
    Row::new(&["adam_beta2"], Number, Setting("adam_beta2")),
    Row::new(&["adam_epsilon"], Number, Setting("adam_epsilon")),
    Row::new(&["max_grad_norm"], Number, Setting("max_grad_norm")),
    Row::new(
        &["label_smoothing_factor"],
        Number,
        Refused("answers are learned as they are; take it out"),
    )
    .nothing(&["0"]),
    Row::new(&["neftune_noise_alpha"], Number, Setting("neftune_alpha")),
    Row::new(&["seed"], Whole, Setting("seed")),
    Row::new(
        &["data_seed"],
        Whole,
        Made("as `seed`; another **refused**", data_seed),
    ),
    Row::new(
        &["gradient_checkpointing", "activation_checkpointing"],
        Flag,
        Cases(&[(&["true"], Sets("gradient_checkpointing", "on"))]),
    )
    .nothing(&["false"]),
    Row::new(
        &[
            "gradient_checkpointing_kwargs",
            "activation_checkpointing_kwargs",
        ],
        Any,
        Here("each block is recomputed in one way"),
    ),
    Row::new(
        &["group_by_length"],
        Flag,
        Differs("rows are shuffled whatever their length; packed ones have no padding"),
    )
    .nothing(&["false"]),
    Row::new(
        &["train_sampling_strategy"],
        Text,
        Cases(&[
            (&["sequential"], Sets("no_shuffle", "true")),
            (
                &["group_by_length"],
                Differs("rows are shuffled whatever their length; packed ones have no padding"),
            ),
        ]),
    )
    .nothing(&["random"]),
    Row::new(
        &["dataloader_drop_last"],
        Flag,
        Differs("the last step of an epoch learns from the rows that are left"),
    )
    .nothing(&["false"]),
    Row::new(
        &["ignore_data_skip"],
        Flag,
        Differs("a job that is resumed goes on with the next rows"),
    )
    .nothing(&["false"]),
    Row::new(
        &["eval_strategy", "evaluation_strategy"],
        Text,
        Made(
            "`eval_every` with `steps`; `epoch` **differs**: at the end only",
            evaluate,
        ),
    )
    .nothing(&["no"]),
    Row::new(
        &["eval_steps"],
        Number,
        Made(
            "`eval_every`, with an `eval_strategy` of `steps`",
            eval_steps,
        ),
    ),
    Row::new(
        &["eval_delay"],
        Number,
        Differs("the first evaluation is not put off"),
    )
    .nothing(&["0"]),
    Row::new(
        &["eval_on_start"],
        Flag,
        Here("held-out rows are scored before the first step in any case"),
    ),
    Row::new(
        &["load_best_model_at_end"],
        Flag,
        Cases(&[(&["true"], Sets("keep", "best"))]),
    )
    .nothing(&["false"]),
    Row::new(
        &["metric_for_best_model"],
        Text,
        Cases(&[(
            &["loss", "eval_loss"],
            Here("held-out loss says which is best"),
        )]),
    ),
    Row::new(
        &["greater_is_better"],
        Flag,
        Refused("held-out loss says which is best: less is better"),
    )
    .nothing(&["false"]),
    Row::new(
        &["save_strategy"],
        Text,
        Cases(&[
            (&["steps"], Here("`save_steps` says after how many")),
            (
                &["no", "epoch"],
                Here("every 15 seconds, so that little is lost"),
            ),
            (&["best"], Sets("keep", "best")),
        ]),
    ),
    Row::new(
        &["save_steps"],
        Number,
        Made(
            "`save_every`, with a `save_strategy` of `steps`",
            save_steps,
        ),
    ),
    Row::new(
        &["resume_from_checkpoint"],
        Any,
        Refused("checkpoints of other programs are not read; `from` goes on from an adapter"),
    )
    .nothing(&["false"]),
    Row::new(&["deepspeed"], Any, File(&deepspeed::FORMAT)).nothing(&["", "{}"]),
];

fn positive(at: &At<'_>, key: &str) -> bool {
    at.other(key)
        .and_then(Value::as_f64)
        .is_some_and(|number| number > 0.0)
}

fn epochs(at: &At<'_>) -> Result<Outcome, String> {
    Ok(match positive(at, "max_steps") {
        true => Outcome::here("`max_steps` counts instead"),
        false => Outcome::sets("epochs", at.value.clone()),
    })
}

const NO_WARMUP: &str = "`constant` has no warm-up; `constant_with_warmup` has";

fn warmup_steps(at: &At<'_>) -> Result<Outcome, String> {
    Ok(match at.text("lr_scheduler_type") {
        Some("constant") => Outcome::here(NO_WARMUP),
        _ => Outcome::sets("warmup", at.number()),
    })
}

fn warmup_ratio(at: &At<'_>) -> Result<Outcome, String> {
    match at.text("lr_scheduler_type") {
        Some("constant") => Ok(Outcome::here(NO_WARMUP)),
        _ if positive(at, "warmup_steps") => Ok(Outcome::here("`warmup_steps` counts instead")),
        _ if at.number() >= 1.0 => Err("must be a share below 1".to_owned()),
        _ => Ok(Outcome::sets("warmup", at.number())),
    }
}

fn data_seed(at: &At<'_>) -> Result<Outcome, String> {
    match at.other("seed").and_then(whole) {
        Some(seed) if Some(seed) != whole(at.value) => Err(format!(
            "differs from `seed` = {seed}: one seed is for weights, order and noise; leave it out"
        )),
        Some(_) => Ok(Outcome::here("as `seed`")),
        None => Ok(Outcome::sets("seed", at.value.clone())),
    }
}

/// A number of steps from 1 on.
fn interval(value: &Value) -> Result<u64, String> {
    match whole(value) {
        Some(steps) if steps > 0 => Ok(steps),
        _ => Err("must be a number of steps: a share of the job's is not built".to_owned()),
    }
}

fn evaluate(at: &At<'_>) -> Result<Outcome, String> {
    match at.value.as_str() {
        Some("steps") if at.other("eval_steps").is_some() => {
            Ok(Outcome::here("`eval_steps` says after how many"))
        }
        // As transformers has it where nothing is said.
        Some("steps") => {
            let steps = at.other("logging_steps").map_or(Ok(500), interval)?;
            Ok(Outcome::sets("eval_every", steps))
        }
        Some("epoch") => Ok(Outcome::default().differs(
            "held-out rows are scored at the end; `eval_every` says after how many steps besides",
        )),
        _ => Err("is none of `no`, `steps`, `epoch`".to_owned()),
    }
}

fn eval_steps(at: &At<'_>) -> Result<Outcome, String> {
    let strategy = at.text("eval_strategy").or(at.text("evaluation_strategy"));
    match strategy {
        Some("steps") => Ok(Outcome::sets("eval_every", interval(at.value)?)),
        _ => Ok(Outcome::here("counts with an `eval_strategy` of steps")),
    }
}

fn save_steps(at: &At<'_>) -> Result<Outcome, String> {
    match at.text("save_strategy") {
        None | Some("steps") => Ok(Outcome::sets("save_every", interval(at.value)?)),
        _ => Ok(Outcome::here("counts with a `save_strategy` of steps")),
    }
}
