//! Configurations of AdapterHub's library: bottlenecks.

use serde_json::{Value, json};

use crate::domain::recipes::table::Fate::{Cases, Here, Made, Refused, Sets};
use crate::domain::recipes::table::Kind::{Any, Flag, Number, Text};
use crate::domain::recipes::table::{At, Outcome, Row};

const OTHER_SHAPE: &str =
    "of AdapterHub's shapes double_seq_bn, seq_bn and par_bn are trained; take it out";

/// Beside the configuration itself.
pub(super) const OUTER: &[Row] = &[Row::new(
    &[
        "name",
        "config_id",
        "hidden_size",
        "model_type",
        "model_class",
        "model_name",
        "version",
        "type",
    ],
    Any,
    Here("the base is the daemon's"),
)];

pub(super) const BOTTLENECK: &[Row] = &[
    Row::new(
        &["mh_adapter", "output_adapter"],
        Flag,
        Made(
            "`method` = bottleneck, and `placement` with the next",
            placement,
        ),
    ),
    Row::new(
        &["is_parallel", "original_ln_before"],
        Flag,
        Here("in `placement`"),
    ),
    Row::new(
        &["reduction_factor"],
        Any,
        Made("`reduction_factor`; by layer **refused**", reduction),
    ),
    Row::new(
        &["non_linearity"],
        Text,
        Cases(&[
            (&["relu"], Sets("non_linearity", "relu")),
            (&["gelu"], Sets("non_linearity", "gelu")),
            (&["silu", "swish"], Sets("non_linearity", "silu")),
            (&["tanh"], Sets("non_linearity", "tanh")),
            (
                &["gelu_new", "gelu_orig", "gelu_python", "leakyrelu"],
                Refused("is not trained; `relu`, `gelu`, `silu` and `tanh` are"),
            ),
        ]),
    ),
    Row::new(
        &["scaling"],
        Any,
        Made("`bottleneck_scale`; learned ones **refused**", scaling),
    ),
    Row::new(
        &["original_ln_after", "residual_before_ln"],
        Any,
        Cases(&[
            (&["true"], Here("in `placement`")),
            (&["false", "post_add"], Refused(OTHER_SHAPE)),
        ]),
    ),
    Row::new(
        &[
            "cross_adapter",
            "adapter_residual_before_ln",
            "ln_before",
            "ln_after",
            "use_gating",
            "phm_layer",
            "inv_adapter",
            "invertible_adapter",
        ],
        Any,
        Refused(OTHER_SHAPE),
    )
    .nothing(&["false"]),
    Row::new(
        &["leave_out"],
        Any,
        Refused("bottlenecks are trained in every layer; take it out"),
    )
    .nothing(&["[]"]),
    Row::new(
        &["dropout", "stochastic_depth"],
        Number,
        Refused("bottlenecks are trained without; take it out"),
    )
    .nothing(&["0"]),
    Row::new(
        &["architecture"],
        Text,
        Refused("of this layout only bottlenecks are trained"),
    ),
    Row::new(
        &[
            "inv_adapter_reduction_factor",
            "init_weights_seed",
            "phm_dim",
            "phm_rank",
            "phm_bias",
            "phm_c_init",
            "phm_init_range",
            "learn_phm",
            "shared_phm_rule",
            "factorized_phm_rule",
            "factorized_phm_W",
            "hypercomplex_nonlinearity",
            "shared_W_phm",
            "shared_phm_W",
        ],
        Any,
        Here("counts with another shape"),
    ),
    Row::new(
        &["init_weights"],
        Text,
        Cases(&[
            (
                &["bert", "mam_adapter"],
                Here("weights begin as the placement wants it"),
            ),
            (
                &["zero", "houlsby"],
                Refused("another beginning is not built; take it out"),
            ),
        ]),
    ),
];

fn placement(at: &At<'_>) -> Result<Outcome, String> {
    let placement = match (
        at.is("mh_adapter"),
        at.is("output_adapter"),
        at.is("is_parallel"),
        at.is("original_ln_before"),
    ) {
        (true, true, false, false) => "double",
        (false, true, true, _) => "parallel",
        (false, true, false, true) => "sequential",
        _ => return Err(OTHER_SHAPE.to_owned()),
    };
    Ok(Outcome::sets("method", "bottleneck").and("placement", placement))
}

fn reduction(at: &At<'_>) -> Result<Outcome, String> {
    let factor = match at.value {
        Value::Object(layers) if layers.len() == 1 => layers.get("default"),
        value => Some(value),
    };
    match factor.and_then(Value::as_f64) {
        Some(factor) => Ok(Outcome::sets("reduction_factor", factor)),
        None => Err("must be one number: one for each layer is not trained".to_owned()),
    }
}

fn scaling(at: &At<'_>) -> Result<Outcome, String> {
    match at.value.as_f64() {
        Some(scale) => Ok(Outcome::sets("bottleneck_scale", json!(scale))),
        None => Err("must be a number: a learned scale is not trained".to_owned()),
    }
}
