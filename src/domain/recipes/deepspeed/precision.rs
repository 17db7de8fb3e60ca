//! Numbers of 16 bits, and the scale of the loss that f16 needs.

use serde_json::Value;

use super::EVENTS;
use crate::domain::LossScale;
use crate::domain::recipes::table::Fate::{Cases, Filled, Here, Made, Sets};
use crate::domain::recipes::table::Kind::{Any, Flag, Number, Text, Whole};
use crate::domain::recipes::table::{At, Outcome, Row};

const WEIGHTS: &str = "weights that learn, and their gradients, are f32";
const OFF: &str = "counts where `enabled` is on";

pub(super) const FP16: &[Row] = &[
    Row::new(
        &["enabled"],
        Flag,
        Cases(&[(&["true"], Sets("precision", "f16"))]),
    )
    .nothing(&["false"])
    .auto(Filled(&["precision"])),
    Row::new(
        &["loss_scale"],
        Number,
        Made(
            "`loss_scale`, where 0 is dynamic; with `precision` f16",
            scale,
        ),
    ),
    Row::new(
        &["initial_scale_power"],
        Whole,
        Made(
            "16, as dynamic scaling begins here; another **differs**",
            start,
        ),
    ),
    Row::new(
        &["loss_scale_window"],
        Whole,
        Made("2000, as here; another **differs**", window),
    ),
    Row::new(
        &["hysteresis"],
        Whole,
        Made(
            "1: halved at the first overflow, as here; more **differs**",
            hysteresis,
        ),
    ),
    Row::new(
        &["consecutive_hysteresis"],
        Flag,
        Here("counts with a `hysteresis` above 1, which is not built"),
    ),
    Row::new(
        &["min_loss_scale"],
        Number,
        Made("1, as here; another **differs**", least),
    ),
    Row::new(
        &["auto_cast"],
        Flag,
        Here("what a model reads here are tokens, which are not rounded"),
    ),
    Row::new(&["fp16_master_weights_and_grads"], Flag, Here(WEIGHTS)),
    Row::new(
        &["fused_mode"],
        Flag,
        Here("the optimizer is this program's own"),
    ),
];

pub(super) const BF16: &[Row] = &[
    Row::new(
        &["enabled"],
        Flag,
        Cases(&[(&["true"], Sets("precision", "bf16"))]),
    )
    .nothing(&["false"])
    .auto(Filled(&["precision"])),
    Row::new(
        &[
            "auto_cast",
            "immediate_grad_update",
            "check_grad_overflow",
            "bf16_master_weights_and_grads",
            "bf16_master_weights_and_gradients",
        ],
        Any,
        Here(WEIGHTS),
    ),
    Row::new(
        &["bf16_optimizer_states"],
        Any,
        Here("moments are held as `optimizer` says"),
    ),
    Row::new(
        &[
            "loss_scale",
            "initial_scale_power",
            "loss_scale_window",
            "hysteresis",
            "consecutive_hysteresis",
            "min_loss_scale",
        ],
        Any,
        Here("bf16 needs no scale of the loss"),
    ),
];

/// NVIDIA's apex.
pub(super) const AMP: &[Row] = &[
    Row::new(
        &["enabled"],
        Flag,
        Made("`precision` = f16; f32 with an `opt_level` of O0", amp),
    )
    .nothing(&["false"])
    .auto(Filled(&["precision"])),
    Row::new(
        &["opt_level"],
        Text,
        Made(
            "`O0` with `enabled`: `precision` = f32; `O3` **differs**: what learns is f32",
            level,
        ),
    )
    .auto(Here("O1, as transformers has it")),
    Row::new(
        &["loss_scale"],
        Any,
        Made("`loss_scale`, with `precision` f16", amp_scale),
    ),
    Row::new(
        &["min_loss_scale"],
        Number,
        Made("1, as here; another **differs**", least),
    ),
    Row::new(
        &["max_loss_scale"],
        Number,
        Made("16777216, as here; another **differs**", most),
    ),
    Row::new(
        &[
            "cast_model_type",
            "keep_batchnorm_fp32",
            "patch_torch_functions",
        ],
        Any,
        Here("every operation rounds its results as `precision` says"),
    ),
    Row::new(&["master_weights"], Any, Here(WEIGHTS)),
    Row::new(&["verbosity"], Any, Here(EVENTS)),
];

pub(super) const AUTOCAST: &[Row] = &[
    Row::new(
        &["enabled"],
        Flag,
        Made("as `dtype` says, without which it is **refused**", autocast),
    )
    .nothing(&["false"]),
    Row::new(&["dtype"], Text, Made("`precision`, with `enabled`", dtype)),
    Row::new(&["lower_precision_safe_modules"], Any, Here(WEIGHTS)),
];

fn is_on(at: &At<'_>) -> bool {
    at.is("enabled") || at.text("enabled") == Some("auto")
}

fn scale(at: &At<'_>) -> Result<Outcome, String> {
    Ok(match (is_on(at), at.number() == 0.0) {
        (false, _) => Outcome::here(OFF),
        (true, true) => Outcome::sets("loss_scale", LossScale::DYNAMIC).only_f16(),
        (true, false) => Outcome::sets("loss_scale", at.value.clone()).only_f16(),
    })
}

fn amp_scale(at: &At<'_>) -> Result<Outcome, String> {
    Ok(match is_on(at) {
        false => Outcome::here(OFF),
        true => Outcome::sets("loss_scale", at.value.clone()).only_f16(),
    })
}

/// A number of dynamic scaling, which no setting changes: whether it is the one here, and what that one does.
fn dynamic(at: &At<'_>, is_ours: bool, ours: String) -> Outcome {
    let scale = at.other("loss_scale").and_then(Value::as_f64);
    match (is_on(at), scale.unwrap_or_default() == 0.0) {
        (false, _) => Outcome::here(OFF),
        (true, false) => Outcome::here("counts where the scale is dynamic"),
        (true, true) if is_ours => Outcome::here(ours),
        (true, true) => Outcome::default().differs(ours).only_f16(),
    }
}

fn start(at: &At<'_>) -> Result<Outcome, String> {
    let ours = format!("a dynamic scale begins at {}", LossScale::START);
    Ok(dynamic(at, at.number().exp2() == LossScale::START, ours))
}

fn window(at: &At<'_>) -> Result<Outcome, String> {
    let patience = LossScale::PATIENCE;
    let ours = format!("a dynamic scale doubles after {patience} good steps in a row");
    Ok(dynamic(at, at.number() == patience as f64, ours))
}

fn hysteresis(at: &At<'_>) -> Result<Outcome, String> {
    let ours = "a dynamic scale halves at the first overflow".to_owned();
    Ok(dynamic(at, at.number() <= 1.0, ours))
}

fn least(at: &At<'_>) -> Result<Outcome, String> {
    let ours = format!("a dynamic scale does not fall below {}", LossScale::LEAST);
    Ok(dynamic(at, at.number() == LossScale::LEAST, ours))
}

fn most(at: &At<'_>) -> Result<Outcome, String> {
    let ours = format!("a dynamic scale does not rise above {}", LossScale::MOST);
    Ok(dynamic(at, at.number() == LossScale::MOST, ours))
}

fn amp(at: &At<'_>) -> Result<Outcome, String> {
    let precision = match at.text("opt_level") {
        Some("O0") => "f32",
        _ => "f16",
    };
    Ok(Outcome::sets("precision", precision))
}

fn level(at: &At<'_>) -> Result<Outcome, String> {
    match at.value.as_str() {
        Some("O0" | "O1" | "O2" | "O3") if !is_on(at) => Ok(Outcome::here(OFF)),
        Some("O0" | "O1" | "O2") => Ok(Outcome::here("counts in what `enabled` becomes")),
        Some("O3") => Ok(Outcome::default().differs(WEIGHTS).only_f16()),
        _ => Err("is none of `O0`, `O1`, `O2`, `O3`".to_owned()),
    }
}

fn autocast(at: &At<'_>) -> Result<Outcome, String> {
    match at.other("dtype") {
        Some(_) => Ok(Outcome::here("as `dtype` says")),
        None => Err("has no `dtype` beside it: say bfloat16, float16 or float32".to_owned()),
    }
}

fn dtype(at: &At<'_>) -> Result<Outcome, String> {
    let name = at.value.as_str().unwrap_or_default();
    let precision = match name.strip_prefix("torch.").unwrap_or(name) {
        "bfloat16" | "bf16" => "bf16",
        "float16" | "fp16" | "half" => "f16",
        "float32" | "fp32" | "float" => "f32",
        _ => return Err("is none of `bfloat16`, `float16`, `float32`".to_owned()),
    };
    Ok(match is_on(at) {
        false => Outcome::here(OFF),
        true => Outcome::sets("precision", precision),
    })
}
