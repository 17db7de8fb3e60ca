//! Arguments about machines, files and reports: nothing that is learned depends on them.

use crate::domain::recipes::deepspeed::{layers_of, spread};
use crate::domain::recipes::table::Fate::{Cases, Here, Made, Sets};
use crate::domain::recipes::table::Kind::{Any, Flag, Whole};
use crate::domain::recipes::table::{At, Outcome, Row};

pub(super) const MACHINE: &[Row] = &[
    Row::new(
        &["fp16"],
        Flag,
        Cases(&[(&["true"], Sets("precision", "f16"))]),
    )
    .nothing(&["false"]),
    Row::new(
        &["bf16"],
        Flag,
        Cases(&[(&["true"], Sets("precision", "bf16"))]),
    )
    .nothing(&["false"]),
    Row::new(
        &["fp16_opt_level", "half_precision_backend", "fp16_backend"],
        Any,
        Here("numbers are rounded in this program's own way, as `precision` says"),
    ),
    Row::new(
        &["fp16_full_eval", "bf16_full_eval"],
        Flag,
        Here("evaluations compute in f32, as answers do"),
    )
    .nothing(&["false"]),
    Row::new(
        &["tf32"],
        Flag,
        Here("sums are f32; nothing is rounded to tf32"),
    )
    .nothing(&["false"]),
    Row::new(
        &[
            "no_cuda",
            "use_cpu",
            "use_mps_device",
            "use_ipex",
            "jit_mode_eval",
            "xpu_backend",
            "torch_compile",
            "torch_compile_backend",
            "torch_compile_mode",
            "torchdynamo",
            "torch_empty_cache_steps",
            "use_liger_kernel",
            "liger_kernel_config",
            "use_cache",
            "full_determinism",
        ],
        Any,
        Here("the daemon computes where its base is; a seed gives the same bits again"),
    )
    .nothing(&["false"]),
    Row::new(
        &[
            "local_rank",
            "ddp_backend",
            "ddp_timeout",
            "ddp_find_unused_parameters",
            "ddp_bucket_cap_mb",
            "ddp_broadcast_buffers",
            "ddp_static_graph",
            "average_tokens_across_devices",
            "accelerator_config",
            "dispatch_batches",
            "split_batches",
            "sharded_ddp",
            "tpu_num_cores",
            "tpu_metrics_debug",
            "mp_parameters",
            "ray_scope",
            "log_on_each_node",
            "save_on_each_node",
        ],
        Any,
        Here("one device sends nothing to others"),
    ),
    Row::new(
        &[
            "fsdp",
            "fsdp_config",
            "fsdp_min_num_params",
            "fsdp_transformer_layer_cls_to_wrap",
        ],
        Any,
        Here("the base is held once, quantized; nothing to shard on one device"),
    )
    .nothing(&["", "[]", "{}", "false", "0"]),
    Row::new(
        &["parallelism_config"],
        Any,
        Made("a size above 1 **refused**: needs several devices", sizes),
    )
    .nothing(&["{}"]),
    Row::new(
        &["tp_size"],
        Whole,
        Made("above 1 **refused**: needs several devices", layers_of),
    )
    .nothing(&["0", "1"]),
    Row::new(
        &[
            "dataloader_num_workers",
            "dataloader_pin_memory",
            "dataloader_persistent_workers",
            "dataloader_prefetch_factor",
            "dataloader_multiprocessing_context",
            "dataloader_in_order",
            "length_column_name",
            "remove_unused_columns",
            "label_names",
            "past_index",
            "sortish_sampler",
        ],
        Any,
        Here("rows are read and ordered as this program does"),
    ),
    Row::new(
        &[
            "per_device_eval_batch_size",
            "per_gpu_train_batch_size",
            "per_gpu_eval_batch_size",
            "eval_accumulation_steps",
            "prediction_loss_only",
            "include_inputs_for_metrics",
            "include_for_metrics",
            "eval_do_concat_batches",
            "eval_use_gather_object",
            "batch_eval_metrics",
            "use_legacy_prediction_loop",
            "predict_with_generate",
            "generation_max_length",
            "generation_num_beams",
            "generation_config",
        ],
        Any,
        Here("held-out rows are scored one way, by loss and exact tokens"),
    ),
    Row::new(
        &["auto_find_batch_size"],
        Flag,
        Here("`micro_batch` counts as it is said"),
    )
    .nothing(&["false"]),
];

pub(super) const WRITING: &[Row] = &[
    Row::new(
        &[
            "output_dir",
            "overwrite_output_dir",
            "do_train",
            "do_eval",
            "do_predict",
        ],
        Any,
        Here("what is learned is served under the job's name"),
    ),
    Row::new(
        &[
            "save_total_limit",
            "save_safetensors",
            "save_only_model",
            "restore_callback_states_from_checkpoint",
            "enable_jit_checkpoint",
        ],
        Any,
        Here("checkpoints are this program's own, in its data directory"),
    ),
    Row::new(
        &[
            "log_level",
            "log_level_replica",
            "logging_dir",
            "logging_strategy",
            "logging_first_step",
            "logging_steps",
            "logging_nan_inf_filter",
            "report_to",
            "run_name",
            "project",
            "trackio_space_id",
            "trackio_bucket_id",
            "trackio_static_space_id",
            "disable_tqdm",
            "debug",
            "skip_memory_metrics",
            "include_tokens_per_second",
            "include_num_input_tokens_seen",
        ],
        Any,
        Here("each step is an event of the job; nothing is sent elsewhere"),
    ),
    Row::new(
        &[
            "push_to_hub",
            "push_to_hub_model_id",
            "push_to_hub_organization",
            "push_to_hub_token",
            "hub_model_id",
            "hub_strategy",
            "hub_token",
            "hub_private_repo",
            "hub_always_push",
            "hub_revision",
        ],
        Any,
        Here("nothing is uploaded; `adapterd adapter export` writes the folder"),
    )
    .nothing(&["false"]),
];

/// Degrees of each way to spread a job.
fn sizes(at: &At<'_>) -> Result<Outcome, String> {
    let sizes = at.value.as_object().into_iter().flatten();
    let sizes = sizes.filter(|(key, _)| key.ends_with("_size"));
    match sizes
        .filter_map(|(_, size)| size.as_u64())
        .find(|size| *size > 1)
    {
        Some(size) => Err(spread("it spreads the job", size)),
        None => Ok(Outcome::here("one device does everything")),
    }
}
