//! DeepSpeed's configuration. It spreads one job over devices; here is one device, which holds the base once, quantized.

mod blocks;
mod learning;
mod precision;
mod zero;

use serde_json::Value;

pub(super) use blocks::layers_of;

use super::table::Fate::{Differs, Filled, Here, Made, RefusedOn, Setting};
use super::table::Kind::{Any, Flag, Number, Whole};
use super::table::{At, Block, Format, Outcome, Row, whole};

pub(super) const FORMAT: Format = Format {
    name: "deepspeed",
    title: "DeepSpeed's configuration",
    about: "DeepSpeed's configuration: what it says of batches, optimizer, schedule, clipping, precision and offloading counts, and each of its keys is told",
    blocks: &[
        Block {
            at: &[""],
            rows: ROOT,
        },
        Block {
            at: &["optimizer"],
            rows: learning::OPTIMIZER,
        },
        Block {
            at: &["optimizer.params"],
            rows: learning::OPTIMIZER_PARAMS,
        },
        Block {
            at: &["scheduler"],
            rows: learning::SCHEDULER,
        },
        Block {
            at: &["scheduler.params"],
            rows: learning::SCHEDULER_PARAMS,
        },
        Block {
            at: &["fp16"],
            rows: precision::FP16,
        },
        Block {
            at: &["bf16", "bfloat16"],
            rows: precision::BF16,
        },
        Block {
            at: &["amp"],
            rows: precision::AMP,
        },
        Block {
            at: &["torch_autocast"],
            rows: precision::AUTOCAST,
        },
        Block {
            at: &["zero_optimization"],
            rows: zero::ZERO,
        },
        Block {
            at: &["zero_optimization.offload_optimizer"],
            rows: zero::OFFLOAD_OPTIMIZER,
        },
        Block {
            at: &["zero_optimization.offload_param"],
            rows: zero::OFFLOAD_PARAM,
        },
        Block {
            at: &["activation_checkpointing"],
            rows: blocks::ACTIVATION_CHECKPOINTING,
        },
        Block {
            at: &["tensor_parallel"],
            rows: blocks::TENSOR_PARALLEL,
        },
        Block {
            at: &["checkpoint"],
            rows: blocks::CHECKPOINT,
        },
        Block {
            at: &["data_types"],
            rows: blocks::DATA_TYPES,
        },
    ],
};

/// What to do where `devices` are needed.
pub(super) fn several(devices: &str) -> String {
    format!(
        "to run it on {devices} devices: `deepspeed --num_gpus {devices}` with transformers and PEFT, then \
         `adapterd adapter register FOLDER --name NAME` serves what it made"
    )
}

/// A key that spreads the model itself over devices.
pub(super) fn spread(what: &str, devices: u64) -> String {
    format!(
        "{what} over {devices} devices, and here is one: take it out to train on this one; {}",
        several(&devices.to_string())
    )
}

const SEVERAL: &str = "it needs several devices, and here is one: take it out to train on this one; to run it there: \
                       `deepspeed --num_gpus N` with transformers and PEFT, then `adapterd adapter register FOLDER --name NAME` \
                       serves what it made";
const NOTHING_SENT: &str = "one device sends nothing to others";
const EVENTS: &str = "each step is an event of the job, with loss, rate, norm and tokens a second; nothing else is written";
const OTHER_NET: &str = "it changes what is learned and is not built; take it out";

const ROOT: &[Row] = &[
    Row::new(&["train_batch_size"], Whole, Setting("batch_size")).auto(Filled(&["batch_size"])),
    Row::new(
        &["train_micro_batch_size_per_gpu"],
        Whole,
        Setting("micro_batch"),
    )
    .auto(Filled(&["micro_batch"])),
    Row::new(
        &["gradient_accumulation_steps"],
        Whole,
        Setting("accumulate"),
    )
    .auto(Filled(&["accumulate"])),
    Row::new(&["gradient_clipping"], Number, Setting("max_grad_norm"))
        .auto(Filled(&["max_grad_norm"])),
    Row::new(
        &[
            "zero_allow_untested_optimizer",
            "zero_force_ds_cpu_optimizer",
        ],
        Flag,
        Here("the optimizer is this program's own"),
    ),
    Row::new(
        &[
            "communication_data_type",
            "seq_parallel_comm_data_type",
            "seq_parallel_communication_data_type",
            "prescale_gradients",
            "gradient_predivide_factor",
            "sparse_gradients",
            "fp32_allreduce",
            "disable_allgather",
            "allgather_size",
            "data_parallel_size",
            "use_data_before_expert_parallelism",
        ],
        Any,
        Here(NOTHING_SENT),
    ),
    Row::new(
        &[
            "steps_per_print",
            "wall_clock_breakdown",
            "memory_breakdown",
            "dump_state",
            "timers",
        ],
        Any,
        Here(EVENTS),
    ),
    Row::new(
        &[
            "flops_profiler",
            "tensorboard",
            "wandb",
            "comet",
            "csv_monitor",
            "monitor_config",
            "comms_logger",
            "comms_config",
        ],
        Any,
        Here(EVENTS),
    ),
    Row::new(
        &["aio", "nebula", "datastates_ckpt"],
        Any,
        Here("files are read and written as this program does"),
    ),
    Row::new(
        &[
            "compile",
            "torch_compile",
            "graph_harvesting",
            "use_node_local_storage",
        ],
        Any,
        Here("kernels are compiled already"),
    ),
    Row::new(
        &["dataloader_drop_last"],
        Flag,
        Differs("the last step of an epoch learns from the rows that are left"),
    )
    .nothing(&["false"]),
    Row::new(&["vocabulary_size"], Any, Here("is the base's")),
    Row::new(
        &["fp8"],
        Any,
        Made(
            "**differs** where it is on: 8 bits are not built; numbers are as `precision` says",
            fp8,
        ),
    )
    .nothing(&["false"]),
    Row::new(
        &["sequence_parallel_size"],
        Whole,
        Made("above 1 **refused**: needs several devices", sequence),
    )
    .nothing(&["0", "1"]),
    Row::new(
        &["pipeline", "sequence_parallel", "elasticity"],
        Any,
        Made(
            "more than one stage or device **refused**: needs several devices",
            parallel,
        ),
    ),
    Row::new(
        &["autotuning"],
        Any,
        RefusedOn("it searches settings by trial runs; give those that it found"),
    ),
    Row::new(
        &["hybrid_engine"],
        Any,
        RefusedOn("it trains by generating; take it out"),
    ),
    Row::new(
        &[
            "sparse_attention",
            "curriculum_learning",
            "data_efficiency",
            "progressive_layer_drop",
            "compression_training",
            "eigenvalue",
            "quantize_training",
            "weight_quantization",
            "gradient_noise_scale",
        ],
        Any,
        RefusedOn(OTHER_NET),
    ),
];

fn fp8(at: &At<'_>) -> Result<Outcome, String> {
    Ok(match at.value.get("enabled") {
        Some(Value::Bool(false)) => Outcome::here("is off, as here"),
        _ => Outcome::default().differs("8 bits are not built; numbers are as `precision` says"),
    })
}

fn sequence(at: &At<'_>) -> Result<Outcome, String> {
    Err(spread(
        "it spreads sequences",
        whole(at.value).unwrap_or_default(),
    ))
}

/// An object of which a number above 1 says how many devices there are, unless it is off.
fn parallel(at: &At<'_>) -> Result<Outcome, String> {
    let held = || Outcome::here("one device holds everything");
    let Some(object) = at.value.as_object() else {
        return match at.value {
            Value::Bool(false) => Ok(held()),
            _ => Err(SEVERAL.to_owned()),
        };
    };
    if object.get("enabled") == Some(&Value::Bool(false)) {
        return Ok(held());
    }
    let sizes = [
        "stages",
        "size",
        "degree",
        "num_stages",
        "pipe_parallel_size",
    ];
    let size = sizes
        .iter()
        .filter_map(|key| object.get(*key))
        .find_map(whole);
    match (size, object.get("enabled")) {
        (Some(size), _) if size > 1 => Err(spread("it spreads the model", size)),
        (None, Some(_)) => Err(SEVERAL.to_owned()),
        _ => Ok(held()),
    }
}
