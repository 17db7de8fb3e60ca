//! GGUF metadata → [`Spec`]. As with `config.json`, a key that is set and not understood is refused by name.

use serde_json::{Map, Value as Json};

use super::super::WeightError;
use super::super::config::{LARGEST, MOST_LAYERS, check};
use super::super::fields::Fields;
use super::super::keys::{Leftover, leftover};
use super::super::rope::stretched;
use super::file::{Container, Value};
use crate::model::arch::CATALOGUE;
use crate::model::spec::{Biases, Rope, Scaling, Spec};

pub(in crate::model::weights) const DIVISORS: &str = "rope_freqs.weight";

/// `divisors` are the values of `rope_freqs.weight`, if the file has it.
pub(super) fn spec(file: &Container, divisors: Option<Vec<f32>>) -> Result<Spec, WeightError> {
    let name = match file.metadata.get("general.architecture") {
        Some(Value::Text(name)) => name.as_str(),
        _ => {
            return Err(WeightError::new(
                "GGUF metadata general.architecture",
                "is missing",
            ));
        }
    };
    let Some(arch) = CATALOGUE
        .into_iter()
        .find(|family| family.gguf.name == name)
    else {
        let mut known = CATALOGUE.map(|family| family.gguf.name).to_vec();
        known.dedup();
        return Err(WeightError::new(
            "GGUF metadata general.architecture",
            format!("`{name}` is not supported; known: {}", known.join(", ")),
        ));
    };
    let map = keys_of(file, name);
    let mut fields = Fields::new(&map, format!("GGUF metadata {name}."));
    let hidden = fields.size("embedding_length", LARGEST)?;
    let layers = fields.size("block_count", MOST_LAYERS)?;
    let heads = same(&mut fields, "attention.head_count", layers)?
        .ok_or_else(|| fields.wrong("attention.head_count", "is missing"))?;
    let kv_heads = same(&mut fields, "attention.head_count_kv", layers)?.unwrap_or(heads);
    let head_dim = fields.size_or("attention.key_length", hidden / heads, LARGEST)?;
    for key in ["attention.value_length", "rope.dimension_count"] {
        let other = fields.size_or(key, head_dim, LARGEST)?;
        if other != head_dim {
            return Err(fields.wrong(
                key,
                format!("{other} differs from the head size {head_dim}"),
            ));
        }
    }
    let embedding = file.tensors.get("token_embd.weight").map(|t| t.shape[0]);
    let vocab = match (embedding, fields.size_or_none("vocab_size", LARGEST)?) {
        (Some(rows), _) | (None, Some(rows)) => rows,
        (None, None) => return Err(WeightError::new("token_embd.weight", "is missing")),
    };
    let stated = fields.size("context_length", LARGEST)?;
    let intermediate = same(&mut fields, "feed_forward_length", layers)?
        .ok_or_else(|| fields.wrong("feed_forward_length", "is missing"))?;
    let window = fields.count("attention.sliding_window")?.filter(|n| *n > 0);
    if window.is_some() && !arch.gguf.one_window {
        return Err(fields.wrong(
            "attention.sliding_window",
            "does not say which layers it applies to",
        ));
    }
    let norm_eps = fields
        .number("attention.layer_norm_rms_epsilon")?
        .ok_or_else(|| fields.wrong("attention.layer_norm_rms_epsilon", "is missing"))?;
    let (rope, context) = rope(&mut fields, stated, divisors)?;
    settle_the_rest(&fields)?;
    let has = |tensor: &str| file.tensors.contains_key(&format!("blk.0.{tensor}"));
    let spec = Spec {
        arch,
        hidden,
        layers,
        heads,
        kv_heads,
        head_dim,
        intermediate,
        vocab,
        norm_eps,
        rope,
        windows: vec![window; layers],
        bias: arch.biases.or(Biases {
            qkv: has("attn_q.bias"),
            o: has("attn_output.bias"),
            mlp: has("ffn_down.bias"),
        }),
        head_norm: arch.head_norm,
        tied: !file.tensors.contains_key("output.weight"),
        context,
    };
    check(&spec)
        .map_err(|(key, why)| WeightError::new(format!("GGUF metadata {name}: {key}"), why))?;
    Ok(spec)
}

/// The keys under `arch.`, as JSON.
fn keys_of(file: &Container, arch: &str) -> Map<String, Json> {
    let short = |key: &str| Some(key.strip_prefix(arch)?.strip_prefix('.')?.to_owned());
    file.metadata
        .iter()
        .filter_map(|(key, value)| {
            let json = match value {
                Value::Int(n) => {
                    i64::try_from(*n).map_or_else(|_| Json::from(*n as f64), Json::from)
                }
                // Widening an f32 shows digits the file does not have; 1e-5 should read as 1e-5.
                Value::Float(f) => {
                    (*f as f32)
                        .to_string()
                        .parse::<f64>()
                        .map_or(Json::Null, |short| {
                            Json::from(if short as f32 == *f as f32 && f64::from(*f as f32) == *f {
                                short
                            } else {
                                *f
                            })
                        })
                }
                Value::Bool(b) => Json::from(*b),
                Value::Text(text) => Json::from(text.as_str()),
                Value::Ints(list) => Json::from(list.as_slice()),
                Value::Floats(list) => Json::from(list.as_slice()),
                Value::Bools(list) => Json::from(list.as_slice()),
                Value::Texts(list) => Json::from(list.as_slice()),
            };
            Some((short(key)?, json))
        })
        .collect()
}

/// A size that some files give for each layer: all have to be the same.
fn same(fields: &mut Fields<'_>, key: &str, layers: usize) -> Result<Option<usize>, WeightError> {
    let Some(list) = fields.numbers(key)? else {
        return fields.size_or_none(key, LARGEST);
    };
    let first = list.first().copied().unwrap_or(0.0);
    match list.len() == layers
        && list.iter().all(|n| *n == first)
        && first >= 1.0
        && first <= LARGEST as f64
    {
        true => Ok(Some(first as usize)),
        false => Err(fields.wrong(key, "differs between layers, which is not supported")),
    }
}

/// The rotation, and the positions it makes the model good for: as in the folder a file was converted from, whose lengths
/// and factor converters copy.
fn rope(
    fields: &mut Fields<'_>,
    stated: usize,
    divisors: Option<Vec<f32>>,
) -> Result<(Rope, usize), WeightError> {
    let theta = fields.number_or("rope.freq_base", 10_000.0)?;
    let kind = fields.text("rope.scaling.type")?;
    let older = fields.number("rope.scale_linear")?;
    let factor = fields
        .number("rope.scaling.factor")?
        .or(older)
        .filter(|f| *f != 0.0);
    let original = fields.size_or_none("rope.scaling.original_context_length", LARGEST)?;
    let attention = fields.number("rope.scaling.attn_factor")?;
    let (fast, slow) = (
        fields.number("rope.scaling.yarn_beta_fast")?,
        fields.number("rope.scaling.yarn_beta_slow")?,
    );
    if factor.is_some_and(|f| f <= 0.0) {
        return Err(fields.wrong("rope.scaling.factor", "is not above 0"));
    }
    let linear = || {
        factor
            .filter(|f| *f != 1.0)
            .map_or(Scaling::None, |factor| Scaling::Linear { factor })
    };
    let scaling = match kind.as_deref() {
        Some("none") => Scaling::None,
        None | Some("linear") => linear(),
        Some("yarn") => {
            let factor = factor.unwrap_or(1.0);
            // ggml multiplies its own factor by the one in the file.
            let own = if factor > 1.0 {
                0.1 * factor.ln() + 1.0
            } else {
                1.0
            };
            Scaling::Yarn {
                factor,
                beta_fast: fast.unwrap_or(32.0),
                beta_slow: slow.unwrap_or(1.0),
                original_context: original.unwrap_or(stated),
                attention_factor: own * attention.unwrap_or(1.0),
                truncate: true,
            }
        }
        Some(other) => {
            return Err(fields.wrong(
                "rope.scaling.type",
                format!("`{other}` is not supported; known: none, linear, yarn"),
            ));
        }
    };
    let scaling = match (scaling, divisors) {
        (scaling, None) => scaling,
        (Scaling::None, Some(by)) => Scaling::Divisors(by),
        (_, Some(_)) => {
            return Err(WeightError::new(
                DIVISORS,
                "stands beside another rotary scaling",
            ));
        }
    };
    let context = match scaling {
        Scaling::Linear { factor } | Scaling::Yarn { factor, .. } => {
            stretched(stated, original.unwrap_or(stated), factor)
        }
        _ => stated,
    };
    Ok((Rope { theta, scaling }, context))
}

/// Ignores what changes no result, with one line in the log, and fails on anything else that is set. Headers write 0 for
/// what a model does not have.
fn settle_the_rest(fields: &Fields<'_>) -> Result<(), WeightError> {
    let mut ignored = Vec::new();
    for (key, value) in fields.unread() {
        match leftover(key, value) {
            _ if value.as_f64() == Some(0.0) => {}
            Leftover::Unset | Leftover::Harmless { known: true } => {}
            Leftover::Harmless { known: false } => ignored.push(key),
            Leftover::Refused => {
                return Err(fields.wrong(key, "may change the result and is not supported"));
            }
        }
    }
    if !ignored.is_empty() {
        tracing::info!(
            keys = ignored.join(", "),
            "GGUF metadata: ignored, since they change no result"
        );
    }
    Ok(())
}
