//! The smaller objects of the configuration: recomputing, and what is spread or saved.

use super::EVENTS;
use crate::domain::recipes::table::Fate::{Cases, Here, Made, Refused};
use crate::domain::recipes::table::Kind::{Any, Flag, Text, Whole};
use crate::domain::recipes::table::{At, Outcome, Row, whole};

pub(super) const ACTIVATION_CHECKPOINTING: &[Row] = &[
    Row::new(
        &[
            "partition_activations",
            "contiguous_memory_optimization",
            "synchronize_checkpoint_boundary",
        ],
        Any,
        Here(
            "nothing to partition on one device; what is recomputed is what `gradient_checkpointing` says",
        ),
    ),
    Row::new(
        &["cpu_checkpointing"],
        Flag,
        Here(
            "activations lie in the host's memory; what is recomputed is what `gradient_checkpointing` says",
        ),
    ),
    Row::new(
        &["number_checkpoints"],
        Any,
        Here("each block is recomputed where `gradient_checkpointing` is on"),
    ),
    Row::new(&["profile"], Flag, Here(EVENTS)),
];

pub(super) const TENSOR_PARALLEL: &[Row] = &[
    Row::new(
        &["autotp_size", "tp_size"],
        Whole,
        Made("above 1 **refused**: needs several devices", layers_of),
    )
    .nothing(&["0", "1"]),
    Row::new(
        &["tp"],
        Any,
        Made(
            "a `tp_size` above 1 **refused**: needs several devices",
            inner_layers,
        ),
    ),
    Row::new(
        &[
            "enabled",
            "tp_grain_size",
            "tensor_parallel",
            "injection_policy_tuple",
            "keep_module_on_host",
            "replace_with_kernel_inject",
            "preset_model",
            "partition_config",
            "tp_overlap_comm",
        ],
        Any,
        Here("one device holds all of each layer"),
    ),
];

pub(super) const CHECKPOINT: &[Row] = &[
    Row::new(
        &[
            "tag_validation",
            "use_node_local_storage",
            "parallel_write",
            "writer",
            "checkpoint_serialization",
        ],
        Any,
        Here("checkpoints are this program's own, in its data directory"),
    ),
    Row::new(
        &["load_universal"],
        Flag,
        Refused("checkpoints of other programs are not read; `from` goes on from an adapter"),
    )
    .nothing(&["false"]),
];

pub(super) const DATA_TYPES: &[Row] = &[Row::new(
    &["grad_accum_dtype"],
    Text,
    Cases(&[(
        &["fp32", "fp16", "bf16"],
        Here("gradients are summed in f32"),
    )]),
)];

pub(in crate::domain::recipes) fn layers_of(at: &At<'_>) -> Result<Outcome, String> {
    let size = whole(at.value).unwrap_or_default();
    Err(super::spread("it splits each layer", size))
}

fn inner_layers(at: &At<'_>) -> Result<Outcome, String> {
    match at.value.get("tp_size").and_then(whole) {
        Some(size) if size > 1 => Err(super::spread("it splits each layer", size)),
        _ => Ok(Outcome::here("one device holds all of each layer")),
    }
}
