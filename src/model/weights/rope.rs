//! Rotary positions as `config.json` writes them: today's `rope_parameters`, or `rope_theta` beside `rope_scaling`.

use serde_json::{Map, Value};

use super::WeightError;
use super::config::LARGEST;
use super::fields::Fields;
use crate::model::spec::{Rope, Scaling};

/// The rotation, and the positions it makes the model good for. `stated` is the model's `max_position_embeddings`.
pub(super) fn from_config(
    fields: &mut Fields<'_>,
    stated: usize,
) -> Result<(Rope, usize), WeightError> {
    let theta_beside = fields.number("rope_theta")?;
    let original_beside = fields.size_or_none("original_max_position_embeddings", LARGEST)?;
    let today = fields.object("rope_parameters")?;
    let older = fields.object("rope_scaling")?;
    let (name, map) = match (today, older) {
        (Some(a), Some(b)) if a != b && !b.is_empty() && !a.is_empty() => {
            return Err(fields.wrong("rope_scaling", "contradicts rope_parameters"));
        }
        (Some(map), _) if !map.is_empty() => ("rope_parameters", map),
        (_, Some(map)) if !map.is_empty() => ("rope_scaling", map),
        _ => {
            let rope = Rope {
                theta: theta_beside.unwrap_or(10_000.0),
                scaling: Scaling::None,
            };
            return Ok((rope, stated));
        }
    };
    let mut rope = Fields::new(map, format!("config.json: {name}."));
    let theta = match (rope.number("rope_theta")?, theta_beside) {
        (Some(inside), Some(beside)) if inside != beside => {
            return Err(rope.wrong(
                "rope_theta",
                format!("{inside} contradicts {beside} beside it"),
            ));
        }
        (inside, beside) => inside.or(beside).unwrap_or(10_000.0),
    };
    let (scaling, context) = scaling(&mut rope, map, original_beside, stated)?;
    Ok((Rope { theta, scaling }, context))
}

/// Positions of a model whose files state so many: those that its scaling makes of the original ones, where these are
/// more. Some files state the length after scaling, others the one before.
pub(super) fn stretched(stated: usize, original: usize, factor: f64) -> usize {
    let longer = (original as f64 * factor).min(LARGEST as f64);
    stated.max(longer as usize)
}

fn scaling(
    rope: &mut Fields<'_>,
    map: &Map<String, Value>,
    original_beside: Option<usize>,
    stated: usize,
) -> Result<(Scaling, usize), WeightError> {
    let older_name = rope.text("type")?;
    let kind = rope
        .text("rope_type")?
        .or(older_name)
        .unwrap_or_else(|| "default".to_owned());
    if rope.number_or("partial_rotary_factor", 1.0)? != 1.0 {
        return Err(rope.wrong(
            "partial_rotary_factor",
            "only rotation of the whole head (1.0) is supported",
        ));
    }
    // Whether the weights were trained with the scaling; it is the same scaling.
    rope.flag_or("finetuned", false)?;
    let found = match kind.as_str() {
        // Some files leave the original context in, or a factor that multiplies nothing.
        "default" => {
            rope.size_or_none("original_max_position_embeddings", LARGEST)?;
            if rope.number_or("factor", 1.0)? != 1.0 {
                return Err(rope.wrong("factor", "has no meaning for rope type `default`"));
            }
            (Scaling::None, stated)
        }
        "linear" => {
            let factor = factor(rope)?;
            let original = original(rope, original_beside, stated)?;
            let context = stretched(stated, original, factor);
            (Scaling::Linear { factor }, context)
        }
        // Lengths are measured by what is stated, whatever is called the original, as transformers has it.
        "dynamic" => {
            rope.size_or_none("original_max_position_embeddings", LARGEST)?;
            let factor = factor(rope)?;
            let scaling = Scaling::Dynamic {
                factor,
                original_context: stated,
            };
            (scaling, stretched(stated, stated, factor))
        }
        "llama3" => {
            let scaling = Scaling::Llama3 {
                factor: factor(rope)?,
                low_freq_factor: positive(rope, "low_freq_factor")?,
                high_freq_factor: positive(rope, "high_freq_factor")?,
                original_context: original(rope, original_beside, stated)?,
            };
            (scaling, stated)
        }
        "yarn" => {
            let original = original(rope, original_beside, stated)?;
            let (scaling, factor) = yarn(rope, original, stated)?;
            (scaling, stretched(stated, original, factor))
        }
        "longrope" | "su" => (longrope(rope, original_beside, stated)?, stated),
        other => {
            let key = if map.contains_key("rope_type") {
                "rope_type"
            } else {
                "type"
            };
            return Err(rope.wrong(
                key,
                format!(
                    "`{other}` is not supported; known: default, linear, dynamic, llama3, yarn, longrope"
                ),
            ));
        }
    };
    match rope.unread().find(|(_, value)| !value.is_null()) {
        Some((key, _)) => Err(rope.wrong(key, format!("is not known for rope type `{kind}`"))),
        None => Ok(found),
    }
}

/// arXiv 2402.13753; the attention factor defaults to `√(1 + ln(factor) / ln(original))`, and the factor to what is stated
/// by the original.
fn longrope(
    rope: &mut Fields<'_>,
    original_beside: Option<usize>,
    stated: usize,
) -> Result<Scaling, WeightError> {
    let original_context = original(rope, original_beside, stated)?;
    let factor = match rope.number("factor")? {
        None => stated as f64 / original_context as f64,
        Some(_) => factor(rope)?,
    };
    let mut divisors = |key: &str| -> Result<Vec<f32>, WeightError> {
        match rope.numbers(key)? {
            Some(list) if list.iter().all(|n| *n > 0.0 && n.is_finite()) => {
                Ok(list.into_iter().map(|n| n as f32).collect())
            }
            Some(_) => Err(rope.wrong(key, "has a number that is not above 0")),
            None => Err(rope.wrong(key, "is not a list of numbers")),
        }
    };
    let (short, long) = (divisors("short_factor")?, divisors("long_factor")?);
    let attention_factor = match rope.number("attention_factor")? {
        Some(_) => positive(rope, "attention_factor")?,
        None if factor <= 1.0 || original_context <= 1 => 1.0,
        None => (1.0 + factor.ln() / (original_context as f64).ln()).sqrt(),
    };
    Ok(Scaling::LongRope {
        original_context,
        short,
        long,
        attention_factor,
    })
}

/// The scaling and its factor, which defaults to what is stated by the original context.
/// arXiv 2309.00071; the attention factor defaults to `0.1 ln(factor) + 1`, or the ratio of two such terms when both
/// `mscale` and `mscale_all_dim` are given.
fn yarn(
    rope: &mut Fields<'_>,
    original_context: usize,
    stated: usize,
) -> Result<(Scaling, f64), WeightError> {
    let factor = match rope.number("factor")? {
        None => stated as f64 / original_context as f64,
        Some(_) => factor(rope)?,
    };
    let term = |scale: f64| {
        if factor <= 1.0 {
            1.0
        } else {
            0.1 * scale * factor.ln() + 1.0
        }
    };
    let given = rope.number("attention_factor")?;
    let nonzero = |n: Option<f64>| n.filter(|n| *n != 0.0);
    let (mscale, all_dim) = (
        nonzero(rope.number("mscale")?),
        nonzero(rope.number("mscale_all_dim")?),
    );
    let attention_factor = match (given, mscale, all_dim) {
        (Some(given), ..) => given,
        (None, Some(over), Some(under)) => term(over) / term(under),
        (None, ..) => term(1.0),
    };
    let scaling = Scaling::Yarn {
        factor,
        beta_fast: nonzero(rope.number("beta_fast")?).unwrap_or(32.0),
        beta_slow: nonzero(rope.number("beta_slow")?).unwrap_or(1.0),
        original_context,
        attention_factor,
        truncate: rope.flag_or("truncate", true)?,
    };
    Ok((scaling, factor))
}

fn factor(rope: &mut Fields<'_>) -> Result<f64, WeightError> {
    positive(rope, "factor")
}

fn positive(rope: &mut Fields<'_>, key: &str) -> Result<f64, WeightError> {
    match rope.number(key)? {
        Some(n) if n > 0.0 => Ok(n),
        Some(n) => Err(rope.wrong(key, format!("{n} is not above 0"))),
        None => Err(rope.wrong(key, "is missing")),
    }
}

/// A number beside the rope object goes before the one inside it, as transformers has it.
fn original(
    rope: &mut Fields<'_>,
    beside: Option<usize>,
    stated: usize,
) -> Result<usize, WeightError> {
    let inside = rope.size_or_none("original_max_position_embeddings", LARGEST)?;
    Ok(beside.or(inside).unwrap_or(stated))
}
