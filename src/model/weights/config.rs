//! `config.json` of a Hugging Face folder → [`Spec`].
//!
//! Every key is accounted for: understood, known not to change a result, switched off, or refused by name. A key nobody
//! here has heard of is refused when it is set, since a decoder that ignores part of its description answers wrongly
//! without an error. Today's layout (`rope_parameters`, `dtype`, `layer_types`) and the older one (`rope_theta`,
//! `rope_scaling` with `type` or `rope_type`, `torch_dtype`) describe the same spec.

use serde_json::{Map, Value};

use super::WeightError;
use super::fields::Fields;
use crate::model::spec::{Arch, Biases, Rope, Scaling, Spec};

/// Keys that say nothing about the result: bookkeeping, training-time settings, token ids (the tokenizer's affair),
/// and defaults of text generation, which requests set for themselves.
const HARMLESS: &[&str] = &[
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

/// Keys whose "off" position is not null, false or empty: any other value than this changes the result.
fn must_be(key: &str) -> Option<Value> {
    match key {
        "is_causal" => Some(Value::from(true)),
        "partial_rotary_factor" => Some(Value::from(1.0)),
        _ => None,
    }
}

/// The largest number believed for any size, so that arithmetic on sizes cannot overflow.
pub(super) const LARGEST: usize = 1 << 28;
/// The largest number of layers believed.
pub(super) const MOST_LAYERS: usize = 4096;

/// Reads the text of a `config.json`.
pub fn parse(text: &str) -> Result<Spec, WeightError> {
    let value: Value =
        serde_json::from_str(text).map_err(|e| WeightError::new("config.json", e.to_string()))?;
    let Value::Object(map) = value else {
        return Err(WeightError::new("config.json", "is not a JSON object"));
    };
    spec(&map)
}

fn spec(map: &Map<String, Value>) -> Result<Spec, WeightError> {
    let mut fields = Fields::new(map, "config.json: ");
    let arch = arch(&mut fields)?;
    activation(&mut fields)?;

    let hidden = fields.size("hidden_size", LARGEST)?;
    let layers = fields.size("num_hidden_layers", MOST_LAYERS)?;
    let heads = fields.size("num_attention_heads", LARGEST)?;
    let kv_heads = match (fields.present("num_key_value_heads"), arch) {
        (false, Arch::Mistral) => 8,
        (false, Arch::Qwen2 | Arch::Qwen3) => 32,
        _ => fields.size_or("num_key_value_heads", heads, LARGEST)?,
    };
    let head_dim = match (fields.present("head_dim"), arch) {
        (false, Arch::Qwen3) => 128,
        _ => fields.size_or("head_dim", hidden / heads, LARGEST)?,
    };
    let context_default = match arch {
        Arch::Llama => 2048,
        Arch::Mistral => 131_072,
        Arch::Qwen2 | Arch::Qwen3 => 32_768,
    };
    let context = fields.size_or("max_position_embeddings", context_default, LARGEST)?;
    let rope = super::rope::from_config(&mut fields, context)?;
    let bias = biases(&mut fields, arch)?;
    let spec = Spec {
        arch,
        hidden,
        layers,
        heads,
        kv_heads,
        head_dim,
        intermediate: fields.size("intermediate_size", LARGEST)?,
        vocab: fields.size("vocab_size", LARGEST)?,
        norm_eps: fields.number_or("rms_norm_eps", 1e-6)?,
        rope,
        windows: windows(&mut fields, arch, layers)?,
        bias,
        head_norm: arch == Arch::Qwen3,
        tied: fields.flag_or("tie_word_embeddings", false)?,
        context,
    };
    refuse_the_rest(&fields)?;
    check(&spec).map_err(|(key, why)| WeightError::new(format!("config.json: {key}"), why))?;
    Ok(spec)
}

fn arch(fields: &mut Fields<'_>) -> Result<Arch, WeightError> {
    let known = || Arch::ALL.map(|a| a.as_str()).join(", ");
    let class = |a: Arch| match a {
        Arch::Llama => "LlamaForCausalLM",
        Arch::Mistral => "MistralForCausalLM",
        Arch::Qwen2 => "Qwen2ForCausalLM",
        Arch::Qwen3 => "Qwen3ForCausalLM",
    };
    let classes = fields.strings("architectures")?;
    let by_class = match classes.as_deref() {
        None | Some([]) => None,
        Some(names) => match Arch::ALL
            .into_iter()
            .find(|a| names.iter().any(|n| n == class(*a)))
        {
            Some(arch) => Some(arch),
            None => {
                let named = names.join(", ");
                let wanted = Arch::ALL.map(class).join(", ");
                return Err(fields.wrong(
                    "architectures",
                    format!("`{named}` is not supported; known: {wanted}"),
                ));
            }
        },
    };
    let by_type = match fields.text("model_type")? {
        None => None,
        Some(name) => match Arch::ALL.into_iter().find(|a| a.as_str() == name) {
            Some(arch) => Some(arch),
            None => {
                return Err(fields.wrong(
                    "model_type",
                    format!("`{name}` is not supported; known: {}", known()),
                ));
            }
        },
    };
    match (by_type, by_class) {
        (Some(a), Some(b)) if a != b => Err(fields.wrong(
            "model_type",
            format!("`{a}` contradicts architectures `{}`", class(b)),
        )),
        (Some(arch), _) | (None, Some(arch)) => Ok(arch),
        (None, None) => Err(fields.wrong("model_type", format!("is missing; known: {}", known()))),
    }
}

fn activation(fields: &mut Fields<'_>) -> Result<(), WeightError> {
    match fields.text("hidden_act")?.as_deref() {
        None | Some("silu" | "swish") => Ok(()),
        Some(other) => Err(fields.wrong(
            "hidden_act",
            format!("`{other}` is not supported; known: silu"),
        )),
    }
}

/// Llama and Qwen3 switch the biases of all four attention products together; Qwen2 always has them on q, k and v.
fn biases(fields: &mut Fields<'_>, arch: Arch) -> Result<Biases, WeightError> {
    Ok(match arch {
        Arch::Llama => {
            let attention = fields.flag_or("attention_bias", false)?;
            Biases {
                qkv: attention,
                o: attention,
                mlp: fields.flag_or("mlp_bias", false)?,
            }
        }
        Arch::Mistral => Biases::default(),
        Arch::Qwen2 => Biases {
            qkv: true,
            o: false,
            mlp: false,
        },
        Arch::Qwen3 => {
            let attention = fields.flag_or("attention_bias", false)?;
            Biases {
                qkv: attention,
                o: attention,
                mlp: false,
            }
        }
    })
}

fn windows(
    fields: &mut Fields<'_>,
    arch: Arch,
    layers: usize,
) -> Result<Vec<Option<usize>>, WeightError> {
    let full = vec![None; layers];
    match arch {
        Arch::Llama => Ok(full),
        Arch::Mistral => {
            let default = (!fields.present("sliding_window")).then_some(4096);
            let window = fields.size_or_none("sliding_window", LARGEST)?.or(default);
            Ok(vec![window; layers])
        }
        Arch::Qwen2 | Arch::Qwen3 => {
            let on = fields.flag_or("use_sliding_window", false)?;
            let default = (!fields.present("sliding_window")).then_some(4096);
            let window = fields
                .size_or_none("sliding_window", LARGEST)?
                .or(default)
                .filter(|_| on);
            let first = fields.count_or("max_window_layers", 28)?;
            let Some(kinds) = fields.strings("layer_types")? else {
                return Ok((0..layers).map(|i| window.filter(|_| i >= first)).collect());
            };
            if kinds.len() != layers {
                let why = format!("has {} entries for {layers} layers", kinds.len());
                return Err(fields.wrong("layer_types", why));
            }
            kinds
                .iter()
                .map(|kind| match (kind.as_str(), window) {
                    ("full_attention", _) => Ok(None),
                    ("sliding_attention", Some(window)) => Ok(Some(window)),
                    ("sliding_attention", None) => Err(fields.wrong(
                        "layer_types",
                        "has sliding_attention but no sliding_window is in use",
                    )),
                    (other, _) => {
                        Err(fields.wrong("layer_types", format!("`{other}` is not supported")))
                    }
                })
                .collect()
        }
    }
}

fn refuse_the_rest(fields: &Fields<'_>) -> Result<(), WeightError> {
    for (key, value) in fields.unread() {
        if HARMLESS.contains(&key) {
            continue;
        }
        let off = match must_be(key) {
            Some(Value::Number(one)) => value.is_null() || value.as_f64() == one.as_f64(),
            Some(only) => value.is_null() || *value == only,
            None => match value {
                Value::Null | Value::Bool(false) => true,
                Value::Array(items) => items.is_empty(),
                Value::Object(items) => items.is_empty(),
                Value::String(text) => text.is_empty(),
                Value::Bool(true) | Value::Number(_) => false,
            },
        };
        if !off {
            let why = "may change the result and is not supported; remove it if it does not matter";
            return Err(fields.wrong(key, why));
        }
    }
    Ok(())
}

/// What must hold between the numbers of any spec, whatever file it came from: (key, why).
pub(super) fn check(spec: &Spec) -> Result<(), (&'static str, String)> {
    if !spec.heads.is_multiple_of(spec.kv_heads) {
        let why = format!(
            "{} does not divide {} attention heads",
            spec.kv_heads, spec.heads
        );
        return Err(("num_key_value_heads", why));
    }
    if !spec.head_dim.is_multiple_of(2) {
        return Err((
            "head_dim",
            format!("{} is odd; rotary positions turn pairs", spec.head_dim),
        ));
    }
    if !(spec.norm_eps.is_finite() && spec.norm_eps >= 0.0) {
        return Err((
            "rms_norm_eps",
            format!("{} is not a small number", spec.norm_eps),
        ));
    }
    if !(spec.rope.theta.is_finite() && spec.rope.theta > 1.0) {
        return Err((
            "rope_theta",
            format!("{} is not a number above 1", spec.rope.theta),
        ));
    }
    match &spec.rope {
        Rope {
            scaling: Scaling::Divisors(by),
            ..
        } if by.len() != spec.head_dim / 2 => Err((
            "rope_freqs",
            format!("has {} numbers for {} pairs", by.len(), spec.head_dim / 2),
        )),
        rope if rope
            .frequencies(spec.head_dim)
            .iter()
            .any(|f| !f.is_finite()) =>
        {
            Err((
                "rope_parameters",
                "yield frequencies that are not finite".to_owned(),
            ))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
