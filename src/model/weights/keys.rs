//! What becomes of a key of `config.json`, or of a GGUF header, that no reader here asked for.
//!
//! Other software leaves keys of its own in these files, so a list of names cannot be complete, and a decoder that
//! ignores part of its description answers wrongly without an error. So: what speaks of another part of a program (the
//! tokenizer, training, bookkeeping) is recognised by its name, or by how that begins or ends, and ignored. What a
//! forward pass could read has to have the value that changes nothing. Anything else has to be unset. Tensors need no
//! such guess: readers refuse every one that the spec does not call for.

use serde_json::Value;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leftover {
    /// Nothing: it is not set, or has the value that changes nothing.
    Unset,
    /// Nothing that a result depends on; `known` where every file of its kind has it.
    Harmless { known: bool },
    /// Something that is not done here.
    Refused,
}

/// Keys that say nothing about the result and come with most files: bookkeeping, training-time settings, token ids (the
/// tokenizer's affair), and defaults of text generation, which requests set for themselves.
const ORDINARY: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_from_model_config",
    "_name_or_path",
    "attention_dropout",
    "attn_implementation",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_llama_config",
    "label2id",
    "length_penalty",
    "max_length",
    "max_sequence_length",
    "min_length",
    "model_name",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
];

/// What a forward pass of some decoder reads, with the values that change nothing besides null, false and what is empty.
/// These go before the patterns below.
const READ: &[(&str, &[Neutral])] = {
    use Neutral::{Number, Text, True};
    &[
        ("_sliding_window_pattern", &[]),
        ("activation_function", &[Text("silu"), Text("swish")]),
        ("attention.causal", &[True]),
        ("attn_logit_softcapping", &[Number(0.0)]),
        ("clip_qkv", &[Number(0.0)]),
        ("embedding_multiplier", &[Number(1.0)]),
        ("embedding_scale", &[Number(1.0)]),
        ("expert_weights_scale", &[Number(1.0)]),
        ("final_logit_softcapping", &[Number(0.0)]),
        ("first_k_dense_replace", &[Number(0.0)]),
        ("hidden_activation", &[Text("silu"), Text("swish")]),
        ("is_causal", &[True]),
        ("logit_scale", &[Number(1.0)]),
        ("logits_scaling", &[Number(1.0)]),
        ("logits_soft_cap", &[Number(0.0)]),
        ("n_routed_experts", &[Number(0.0)]),
        ("n_shared_experts", &[Number(0.0)]),
        ("num_experts", &[Number(0.0)]),
        ("num_experts_per_tok", &[Number(0.0)]),
        ("num_experts_per_token", &[Number(0.0)]),
        ("num_local_experts", &[Number(0.0)]),
        ("num_nextn_predict_layers", &[Number(0.0)]),
        ("partial_rotary_factor", &[Number(1.0)]),
        ("residual_multiplier", &[Number(1.0)]),
        ("residual_scale", &[Number(1.0)]),
        ("rope_pct", &[Number(1.0)]),
        ("rope_percent", &[Number(1.0)]),
        ("rope_ratio", &[Number(1.0)]),
        ("rotary_pct", &[Number(1.0)]),
        ("rotary_percent", &[Number(1.0)]),
        ("scale_emb", &[Number(1.0)]),
    ]
};

/// A value that changes nothing, besides null, false and what is empty.
enum Neutral {
    /// And false does change something.
    True,
    Number(f64),
    Text(&'static str),
}

impl Neutral {
    fn is(&self, value: &Value) -> bool {
        match self {
            Self::True => value.as_bool() == Some(true),
            Self::Number(one) => value.as_f64() == Some(*one),
            Self::Text(text) => value.as_str() == Some(text),
        }
    }
}

/// Names of their own that say nothing about the result: lengths beside the one that counts, how a model was made or is
/// loaded, and grouping that the numbers of heads say already.
const HARMLESS: &[&str] = &[
    "additional_special_tokens",
    "attention.layer_norm_epsilon",
    "attention_head_type",
    "attn_impl",
    "base_model",
    "batch_size",
    "bf16",
    "bos_token",
    "chat_template",
    "cls_token",
    "description",
    "device_map",
    "dropout",
    "eos_token",
    "extra_special_tokens",
    "fp16",
    "fp32",
    "ignore_index",
    "init_device",
    "init_std",
    "keys_to_ignore_at_inference",
    "language",
    "layerdrop",
    "learning_rate",
    "license",
    "lr",
    "mask_token",
    "max_batch_size",
    "max_new_tokens",
    "max_seq_len",
    "max_seq_length",
    "max_window_layers",
    "min_new_tokens",
    "model_max_length",
    "model_parallel",
    "n_ctx",
    "n_positions",
    "num_train_epochs",
    "padding",
    "padding_side",
    "pipeline_tag",
    "pretrained_model_name_or_path",
    "rope.scaling.finetuned",
    "seed",
    "sep_token",
    "seq_length",
    "special_tokens_map",
    "tags",
    "tensor_data_layout",
    "tensor_parallel_size",
    "truncation",
    "truncation_side",
    "unk_token",
    "warmup_ratio",
    "warmup_steps",
    "weight_decay",
];

/// How names begin that belong to something else than the forward pass: what software keeps for itself, tokenizers,
/// training, data, the generation of text, the other senses of models whose text part this is.
const BEGINNINGS: &[&str] = &[
    "_",
    "adam_",
    "audio_",
    "dataset",
    "deepspeed",
    "dpo_",
    "eval_",
    "flash_attn",
    "freeze_",
    "fsdp",
    "generation_",
    "gradient_",
    "hub_",
    "image_",
    "initializer_",
    "kto_",
    "llamafactory",
    "logging_",
    "lora_",
    "lr_scheduler",
    "mergekit",
    "mm_",
    "neftune_",
    "onnx_",
    "optimizer",
    "orpo_",
    "pad_token",
    "peft_",
    "push_to_hub",
    "save_",
    "sft_",
    "speech_",
    "tokenizer_",
    "train_",
    "training_",
    "transformers",
    "trl_",
    "tune_",
    "unfreeze_",
    "unsloth_",
    "use_cache",
    "use_flash_attn",
    "use_flash_attention",
    "use_mm_",
    "use_sdpa",
    "video_",
    "vision_",
    "wandb",
];

/// How such names end.
const ENDS: &[&str] = &[
    "_checkpointing",
    "_commit_hash",
    "_dropout",
    "_dropout_p",
    "_dropout_prob",
    "_dropout_rate",
    "_implementation",
    "_init_std",
    "_learning_rate",
    "_loss_coef",
    "_loss_weight",
    "_lr",
    "_name_or_path",
    "_pdrop",
    "_token_id",
    "_token_ids",
    "_token_index",
    "_version",
];

/// In the middle of names that a forward pass may well read, however they begin or end.
const TELLING: &[&str] = &[
    "rope",
    "rotary",
    "window",
    "softcap",
    "soft_cap",
    "multiplier",
    "expert",
];

/// Decides about one key that was not read.
pub(super) fn leftover(key: &str, value: &Value) -> Leftover {
    if let Some((_, neutral)) = READ.iter().find(|(name, _)| *name == key) {
        let unset = match neutral {
            [Neutral::True] => value.is_null(),
            _ => is_unset(value),
        };
        return match unset || neutral.iter().any(|one| one.is(value)) {
            true => Leftover::Unset,
            false => Leftover::Refused,
        };
    }
    if is_unset(value) {
        return Leftover::Unset;
    }
    if ORDINARY.contains(&key) {
        return Leftover::Harmless { known: true };
    }
    let harmless = match key {
        "auto_map" => needs_no_code(value),
        "quantization_config" => quantizes_nothing(value),
        _ => HARMLESS.contains(&key) || speaks_of_something_else(key),
    };
    match harmless {
        true => Leftover::Harmless { known: false },
        false => Leftover::Refused,
    }
}

fn speaks_of_something_else(key: &str) -> bool {
    let begins = BEGINNINGS.iter().any(|begin| key.starts_with(begin));
    let ends = ENDS.iter().any(|end| key.ends_with(end));
    (begins || ends) && !TELLING.iter().any(|part| key.contains(part))
}

/// Code for the tokenizer or the config is neither run nor needed; code for the model may compute anything.
fn needs_no_code(auto_map: &Value) -> bool {
    let of_model =
        |(class, code): (&String, &Value)| class.starts_with("AutoModel") && !is_unset(code);
    auto_map
        .as_object()
        .is_some_and(|map| !map.iter().any(of_model))
}

/// bitsandbytes, which quantizes while it loads, switched off.
fn quantizes_nothing(config: &Value) -> bool {
    let off = |key: &str| config.get(key).is_none_or(is_unset);
    config["quant_method"] == "bitsandbytes" && off("load_in_4bit") && off("load_in_8bit")
}

/// Null, false and what is empty.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests;
