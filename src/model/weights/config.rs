//! `config.json` of a Hugging Face folder → [`Spec`].
//!
//! Every key is accounted for: understood, known not to change a result, switched off, or refused by name. A key nobody
//! here has heard of is refused when it is set, since a decoder that ignores part of its description answers wrongly
//! without an error. Today's layout (`rope_parameters`, `dtype`, `layer_types`) and the older one (`rope_theta`,
//! `rope_scaling` with `type` or `rope_type`, `torch_dtype`) describe the same spec.

use serde_json::{Map, Value};

use super::WeightError;
use super::fields::Fields;
use crate::model::arch::{CATALOGUE, Family};
use crate::model::spec::{Rope, Scaling, Spec};

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
pub(in crate::model) const LARGEST: usize = 1 << 28;
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
    let defaults = &arch.defaults;
    let kv_heads = match defaults
        .kv_heads
        .filter(|_| !fields.present("num_key_value_heads"))
    {
        Some(default) => default,
        None => fields.size_or("num_key_value_heads", heads, LARGEST)?,
    };
    let head_dim = match defaults.head_dim.filter(|_| !fields.present("head_dim")) {
        Some(default) => default,
        None => fields.size_or("head_dim", hidden / heads, LARGEST)?,
    };
    let context = fields.size_or("max_position_embeddings", defaults.context, LARGEST)?;
    let rope = super::rope::from_config(&mut fields, context)?;
    let switched = (arch.switches)(&mut fields)?;
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
        windows: (arch.windows)(&mut fields, layers)?,
        bias: switched.or(arch.biases),
        head_norm: arch.head_norm,
        tied: fields.flag_or("tie_word_embeddings", false)?,
        context,
    };
    refuse_the_rest(&fields)?;
    check(&spec).map_err(|(key, why)| WeightError::new(format!("config.json: {key}"), why))?;
    Ok(spec)
}

fn arch(fields: &mut Fields<'_>) -> Result<&'static Family, WeightError> {
    let classes = fields.strings("architectures")?.unwrap_or_default();
    let by_class = match classes.as_slice() {
        [] => None,
        names => Some(named(fields, "architectures", names, |family| {
            family.class
        })?),
    };
    let by_type = match fields.text("model_type")? {
        None => None,
        Some(name) => Some(named(fields, "model_type", &[name.to_owned()], |family| {
            family.name
        })?),
    };
    match (by_type, by_class) {
        (Some(a), Some(b)) if a != b => Err(fields.wrong(
            "model_type",
            format!("`{}` contradicts architectures `{}`", a.name, b.class),
        )),
        (Some(arch), _) | (None, Some(arch)) => Ok(arch),
        (None, None) => Err(fields.wrong(
            "model_type",
            format!("is missing; known: {}", known(|family| family.name)),
        )),
    }
}

/// The family whose `name` is one of `names`.
fn named(
    fields: &Fields<'_>,
    key: &str,
    names: &[String],
    name: fn(&Family) -> &'static str,
) -> Result<&'static Family, WeightError> {
    let found = CATALOGUE
        .into_iter()
        .find(|family| names.iter().any(|n| n == name(family)));
    found.ok_or_else(|| {
        let (names, known) = (names.join(", "), known(name));
        fields.wrong(key, format!("`{names}` is not supported; known: {known}"))
    })
}

fn known(name: fn(&Family) -> &'static str) -> String {
    CATALOGUE.map(name).join(", ")
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
