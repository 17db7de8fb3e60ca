//! `config.json` of a Hugging Face folder → [`Spec`].
//!
//! Every key is accounted for: understood, known not to change a result, switched off, or refused by name (`keys`).
//! Today's layout (`rope_parameters`, `dtype`, `layer_types`) and the older one (`rope_theta`,
//! `rope_scaling` with `type` or `rope_type`, `torch_dtype`) describe the same spec.

use serde_json::{Map, Value};

use super::WeightError;
use super::fields::Fields;
use super::keys::{Leftover, leftover};
use crate::model::arch::{CATALOGUE, Family};
use crate::model::spec::{Rope, Scaling, Spec};

/// The largest number accepted for any size, so that arithmetic on sizes cannot overflow.
pub(in crate::model) const LARGEST: usize = 1 << 28;
/// The largest number of layers accepted.
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
    let stated = fields.size_or("max_position_embeddings", defaults.context, LARGEST)?;
    let (rope, context) = super::rope::from_config(&mut fields, stated)?;
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
    settle_the_rest(&fields, &spec)?;
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

/// Ignores what changes no result, with one line in the log, and fails on anything else that is set.
fn settle_the_rest(fields: &Fields<'_>, spec: &Spec) -> Result<(), WeightError> {
    let mut ignored = Vec::new();
    for (key, value) in fields.unread() {
        if restates_windows(key, value, fields, spec) {
            continue;
        }
        match leftover(key, value) {
            Leftover::Unset | Leftover::Harmless { known: true } => {}
            Leftover::Harmless { known: false } => ignored.push(key),
            Leftover::Refused => return Err(fields.wrong(key, refusal(key, value))),
        }
    }
    if !ignored.is_empty() {
        tracing::info!(
            keys = ignored.join(", "),
            "config.json: ignored, since they change no result"
        );
    }
    Ok(())
}

fn refusal(key: &str, value: &Value) -> String {
    match key {
        "quantization_config" => {
            let method = value["quant_method"]
                .as_str()
                .unwrap_or("an unknown method");
            format!(
                "{method} is not supported; take the weights before quantization, or a GGUF file"
            )
        }
        "auto_map" => {
            "names code for the model, which is not run; remove it if the model computes as its \
            model_type does"
                .to_owned()
        }
        _ => {
            "may change the result and is not supported; remove it if it does not matter".to_owned()
        }
    }
}

/// Keys of families with windows for some layers, in a family without them, that say what holds there anyway.
fn restates_windows(key: &str, value: &Value, fields: &Fields<'_>, spec: &Spec) -> bool {
    match key {
        // Written by a conversion from a family that has the switch.
        "sliding_window" => fields.is_off("use_sliding_window"),
        "layer_types" => value.as_array().is_some_and(|kinds| {
            let kind = |window: &Option<usize>| match window {
                Some(_) => "sliding_attention",
                None => "full_attention",
            };
            kinds.iter().eq(spec.windows.iter().map(kind))
        }),
        _ => false,
    }
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
        Rope {
            scaling: Scaling::LongRope { short, long, .. },
            ..
        } if short.len() != spec.head_dim / 2 || long.len() != spec.head_dim / 2 => {
            let (short, long, pairs) = (short.len(), long.len(), spec.head_dim / 2);
            Err((
                "rope_parameters",
                format!("have {short} short and {long} long factors for {pairs} pairs"),
            ))
        }
        rope if [0, spec.context]
            .map(|length| rope.frequencies_of(spec.head_dim, length))
            .concat()
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
