//! `zero_optimization`: what is spread over devices, and where it lies.

use crate::domain::recipes::table::Fate::{Cases, Filled, Here, Made, RefusedOn, Sets};
use crate::domain::recipes::table::Kind::{Any, Flag, Text, Whole};
use crate::domain::recipes::table::{At, Outcome, Row, whole};

const NOT_SHARDED: &str = "nothing is sharded on one device, so nothing is gathered";
const IN_MEMORY: &str = "weights lie in the host's memory in any case";

pub(super) const ZERO: &[Row] = &[
    Row::new(
        &["stage"],
        Whole,
        Cases(&[
            (&["0"], Here("nothing is sharded, as here")),
            (
                &["1"],
                Here("the optimizer's state is held once; nothing to shard on one device"),
            ),
            (
                &["2"],
                Here(
                    "gradients and the optimizer's state are held once; nothing to shard on one device",
                ),
            ),
            (
                &["3"],
                Here("the base is held once, quantized; nothing to shard on one device"),
            ),
        ]),
    ),
    Row::new(
        &[
            "overlap_comm",
            "reduce_scatter",
            "reduce_bucket_size",
            "allgather_partitions",
            "allgather_bucket_size",
            "allgather_sequential",
            "use_multi_rank_bucket_allreduce",
            "zero_quantized_weights",
            "zero_quantized_gradients",
            "zeropp_loco_param",
        ],
        Any,
        Here(super::NOTHING_SENT),
    ),
    Row::new(
        &[
            "contiguous_gradients",
            "round_robin_gradients",
            "sub_group_size",
            "ignore_unused_parameters",
            "legacy_stage1",
            "memory_efficient_linear",
            "override_module_apply",
            "fast_init",
            "log_trace_cache_warnings",
            "enable_sanity_checks",
        ],
        Any,
        Here("how gradients lie in memory is this program's own"),
    ),
    Row::new(
        &[
            "stage3_max_live_parameters",
            "stage3_max_reuse_distance",
            "stage3_prefetch_bucket_size",
            "stage3_param_persistence_threshold",
            "stage3_model_persistence_threshold",
            "stage3_module_granularity_threshold",
            "stage3_use_all_reduce_for_fetch_params",
            "stage3_gather_16bit_weights_on_model_save",
            "stage3_gather_fp16_weights_on_model_save",
            "gather_16bit_weights_on_model_save",
            "gather_fp16_weights_on_model_save",
            "max_live_parameters",
            "max_reuse_distance",
            "prefetch_bucket_size",
            "param_persistence_threshold",
            "model_persistence_threshold",
            "module_granularity_threshold",
            "use_all_reduce_for_fetch_params",
            "leaf_module",
            "mics_hierarchical_params_gather",
        ],
        Any,
        Here(NOT_SHARDED),
    ),
    Row::new(
        &["zero_quantized_nontrainable_weights"],
        Flag,
        Here("frozen weights are quantized as the base is"),
    ),
    Row::new(
        &["zero_hpz_partition_size"],
        Whole,
        Made("above 1 **refused**: needs several devices", groups),
    )
    .nothing(&["0", "1"]),
    Row::new(
        &["mics_shard_size"],
        Any,
        Made("above 1 **refused**: needs several devices", groups),
    )
    .nothing(&["-1", "0", "1"]),
    Row::new(
        &[
            "load_from_fp32_weights",
            "elastic_checkpoint",
            "pipeline_loading_checkpoint",
            "save_muon_momentum_buffer_in_memory",
        ],
        Any,
        Here("checkpoints are this program's own"),
    ),
    Row::new(
        &["cpu_offload"],
        Flag,
        Cases(&[(&["true"], Sets("offload_optimizer", "host"))]),
    )
    .nothing(&["false"]),
    Row::new(&["cpu_offload_use_pin_memory"], Flag, Here(MOVED)).nothing(&["false"]),
    Row::new(
        &["cpu_offload_param", "cpu_offload_params"],
        Flag,
        Here(IN_MEMORY),
    )
    .nothing(&["false"]),
    Row::new(
        &["zenflow"],
        Any,
        RefusedOn("updates would come late, which changes results, and is not built; take it out"),
    ),
];

const MOVED: &str = "how state is moved is this program's own";

pub(super) const OFFLOAD_OPTIMIZER: &[Row] = &[
    Row::new(
        &["device"],
        Text,
        Cases(&[
            (&["none"], Sets("offload_optimizer", "none")),
            (&["cpu"], Sets("offload_optimizer", "host")),
            (&["nvme"], Sets("offload_optimizer", "disk")),
        ]),
    )
    .auto(Filled(&["offload_optimizer"])),
    Row::new(
        &["nvme_path"],
        Any,
        Here("the file lies in the job's folder, in the data directory"),
    ),
    Row::new(
        &[
            "pin_memory",
            "buffer_count",
            "buffer_size",
            "fast_init",
            "pipeline",
            "pipeline_read",
            "pipeline_write",
            "ratio",
            "super_offload",
            "cpuadam_cores_perc",
        ],
        Any,
        Here(MOVED),
    ),
];

pub(super) const OFFLOAD_PARAM: &[Row] = &[
    Row::new(
        &["device"],
        Text,
        Cases(&[
            (&["none"], Here("weights stay in memory")),
            (
                &["cpu", "nvme"],
                Here("the base is held once, quantized, in the host's memory"),
            ),
        ]),
    )
    .auto(Here(IN_MEMORY)),
    Row::new(
        &[
            "nvme_path",
            "pin_memory",
            "buffer_count",
            "buffer_size",
            "max_in_cpu",
        ],
        Any,
        Here("weights are not moved"),
    ),
];

fn groups(at: &At<'_>) -> Result<Outcome, String> {
    match whole(at.value) {
        Some(size) => Err(super::spread("it makes groups", size)),
        None => Err("must be a whole number".to_owned()),
    }
}
