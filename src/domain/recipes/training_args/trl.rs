//! What TRL's `SFTConfig` and `DPOConfig` add to the arguments.

use serde_json::Value;

use crate::domain::recipes::table::Fate::{Cases, Differs, Here, Made, Refused, Setting};
use crate::domain::recipes::table::Kind::{Any, Flag, Number, Text, TextOrList, Whole};
use crate::domain::recipes::table::{At, Outcome, Row};

const ROWS_SAY: &str = "rows are read by their own keys, as docs/training-data.md says";
const LONGER: &str = "longer rows are refused when the job is created; none is cut";
const OTHER_LOSS: &str = "it changes what is learned and is not built; take it out";
const REFERENCE: &str = "the reference is what the job begins with";

pub(super) const SFT: &[Row] = &[
    Row::new(&["max_length", "max_seq_length"], Whole, Setting("max_seq")),
    Row::new(
        &["packing"],
        Flag,
        Made("`no_pack`, the other way round", packing),
    ),
    Row::new(
        &["packing_strategy"],
        Text,
        Cases(&[
            (
                &["bfd", "ffd", "bfd_split"],
                Here("whole rows are packed together"),
            ),
            (
                &["wrapped"],
                Differs("whole rows are packed together; none is cut"),
            ),
        ]),
    ),
    Row::new(
        &[
            "padding_free",
            "pad_to_multiple_of",
            "eval_packing",
            "pad_token",
        ],
        Any,
        Here("packed rows have no padding"),
    ),
    Row::new(&["truncation_mode"], Text, Here(LONGER)),
    Row::new(
        &["shuffle_dataset"],
        Flag,
        Here("rows are shuffled unless `no_shuffle` says otherwise"),
    ),
    Row::new(
        &["completion_only_loss"],
        Flag,
        Cases(&[
            (&["true"], Here("only answers are learned from")),
            (
                &["false"],
                Refused("only answers are learned from here; take it out"),
            ),
        ]),
    ),
    Row::new(
        &["assistant_only_loss"],
        Flag,
        Cases(&[
            (&["true"], Here("only answers are learned from")),
            (&["false"], Differs("only answers are learned from")),
        ]),
    ),
    Row::new(
        &["loss_type"],
        TextOrList,
        Cases(&[
            (&["nll", "chunked_nll"], Here("the likelihood of answers")),
            (&["sigmoid", "[\"sigmoid\"]"], Here("the loss of DPO")),
            (&["dft"], Refused(OTHER_LOSS)),
        ]),
    ),
    Row::new(
        &["chat_template_path"],
        Text,
        Refused("the base's own template is used; take it out"),
    ),
    Row::new(
        &["eos_token"],
        Text,
        Refused("answers end as the base's template ends them; take it out"),
    )
    .nothing(&["<EOS_TOKEN>"]),
    Row::new(
        &[
            "dataset_text_field",
            "dataset_kwargs",
            "dataset_num_proc",
            "dataset_batch_size",
            "num_of_sequences",
            "chars_per_token",
        ],
        Any,
        Here(ROWS_SAY),
    ),
    Row::new(
        &["model_init_kwargs", "activation_offloading"],
        Any,
        Here("the base is the daemon's, as it holds it"),
    ),
];

pub(super) const DPO: &[Row] = &[
    Row::new(
        &["beta"],
        Number,
        Made("`dpo_beta`, and `objective` = dpo", beta),
    ),
    Row::new(&["label_smoothing"], Number, Refused(OTHER_LOSS)).nothing(&["0"]),
    Row::new(
        &["reference_free", "sync_ref_model", "use_weighting"],
        Flag,
        Refused(OTHER_LOSS),
    )
    .nothing(&["false"]),
    Row::new(
        &["rpo_alpha", "ld_alpha", "loss_weights"],
        Any,
        Refused(OTHER_LOSS),
    )
    .nothing(&["[]"]),
    Row::new(
        &["f_divergence_type"],
        Text,
        Cases(&[
            (
                &["reverse_kl", "FDivergenceType.REVERSE_KL"],
                Here("the loss of DPO"),
            ),
            (
                &["js_divergence", "alpha_divergence", "forward_kl"],
                Refused(OTHER_LOSS),
            ),
        ]),
    ),
    Row::new(
        &[
            "f_alpha_divergence_coef",
            "discopop_tau",
            "ref_model_mixup_alpha",
            "ref_model_sync_steps",
        ],
        Any,
        Here("counts with another loss or reference"),
    ),
    Row::new(
        &[
            "precompute_ref_log_probs",
            "precompute_ref_batch_size",
            "force_use_ref_model",
            "model_adapter_name",
            "ref_adapter_name",
            "ref_model_init_kwargs",
            "base_model_attribute_name",
        ],
        Any,
        Here(REFERENCE),
    ),
    Row::new(
        &[
            "max_prompt_length",
            "max_completion_length",
            "max_target_length",
        ],
        Any,
        Here(LONGER),
    ),
    Row::new(
        &["disable_dropout"],
        Flag,
        Here("nothing is dropped unless `dropout` says so"),
    ),
    Row::new(
        &[
            "label_pad_token_id",
            "padding_value",
            "is_encoder_decoder",
            "use_logits_to_keep",
            "generate_during_eval",
        ],
        Any,
        Here("is this program's own"),
    ),
    Row::new(
        &["tools"],
        Any,
        Differs("tools come with the rows that use them"),
    )
    .nothing(&["[]"]),
];

fn packing(at: &At<'_>) -> Result<Outcome, String> {
    Ok(Outcome::sets("no_pack", at.value != &Value::Bool(true)))
}

fn beta(at: &At<'_>) -> Result<Outcome, String> {
    Ok(Outcome::sets("dpo_beta", at.value.clone()).and("objective", "dpo"))
}
