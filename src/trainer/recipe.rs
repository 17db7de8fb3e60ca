//! From what a caller wishes to what will be done: defaults, solved ratios, the parent's shape, checked ranges.

use serde::{Deserialize, Serialize};

use crate::domain::{Method, Reason, Recipe, Schedule, Targets};

/// What a job may ask for. A field left `None` takes the parent's value where it is inherited, else the default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wishes {
    pub method: Option<String>,
    pub rank: Option<usize>,
    pub alpha: Option<f64>,
    pub use_rslora: Option<bool>,
    pub dropout: Option<f64>,
    pub targets: Option<Targets>,
    pub epochs: Option<f64>,
    pub steps: Option<u64>,
    pub batch_size: Option<usize>,
    pub micro_batch: Option<usize>,
    pub accumulate: Option<usize>,
    pub learning_rate: Option<f64>,
    pub schedule: Option<Schedule>,
    pub warmup: Option<f64>,
    pub max_seq: Option<usize>,
    pub seed: Option<u64>,
    pub eval_split: Option<f64>,
    pub eval_every: Option<u64>,
    pub save_every: Option<u64>,
    pub weight_decay: Option<f64>,
    pub adam_beta1: Option<f64>,
    pub adam_beta2: Option<f64>,
    pub adam_epsilon: Option<f64>,
    pub max_grad_norm: Option<f64>,
    pub from: Option<String>,
    pub shuffle: Option<bool>,
    pub pack: Option<bool>,
}

/// The shape of the adapter a job continues from; it cannot be changed by the continuation.
#[derive(Debug, Clone, PartialEq)]
pub struct Inherited {
    pub rank: usize,
    pub alpha: f64,
    pub use_rslora: bool,
    pub targets: Targets,
}

/// Above this rank an update is as large as the layers it changes.
pub const MAX_RANK: usize = 512;
/// Rows in one optimizer step at most.
const MAX_BATCH: usize = 65_536;
const MAX_EPOCHS: f64 = 10_000.0;
const MAX_STEPS: u64 = 100_000_000;
const MAX_SEQ: usize = 1 << 20;

pub const DEFAULT_LEARNING_RATE: f64 = 2e-4;
const DEFAULT_RANK: usize = 16;
const DEFAULT_EPOCHS: f64 = 3.0;
const DEFAULT_BATCH: usize = 8;
const DEFAULT_MAX_SEQ: usize = 2048;

/// Turns wishes into the settings of one job.
///
/// `max_seq` left open becomes 2048, or `context` where the model reads less.
///
/// # Errors
/// `BadField` naming the field, under its public name.
pub fn resolve(
    wishes: &Wishes,
    parent: Option<&Inherited>,
    context: usize,
) -> Result<Recipe, Reason> {
    let method = method(wishes.method.as_deref())?;
    let shape = shape(wishes, parent)?;
    let (batch_size, micro_batch) = batches(wishes)?;
    let (epochs, steps) = length(wishes)?;
    let max_seq = wishes.max_seq.unwrap_or(DEFAULT_MAX_SEQ.min(context));
    check_count("max_seq", max_seq, 2, MAX_SEQ)?;
    if max_seq > context {
        return Err(Reason::field(
            "max_seq",
            format!("{max_seq} is more than the {context} tokens the model can read"),
        ));
    }
    let warmup = wishes.warmup.unwrap_or(0.0);
    check_at_least("warmup", warmup, 0.0)?;
    whole_if_count("warmup", warmup)?;
    let eval_split = wishes.eval_split.unwrap_or(0.0);
    check_at_least("eval_split", eval_split, 0.0)?;
    whole_if_count("eval_split", eval_split)?;
    Ok(Recipe {
        method,
        rank: shape.rank,
        alpha: shape.alpha,
        use_rslora: shape.use_rslora,
        dropout: below_one("dropout", wishes.dropout.unwrap_or(0.0))?,
        targets: shape.targets,
        epochs,
        steps,
        batch_size,
        micro_batch,
        learning_rate: at_most(
            "learning_rate",
            check_at_least(
                "learning_rate",
                wishes.learning_rate.unwrap_or(DEFAULT_LEARNING_RATE),
                0.0,
            )?,
            100.0,
        )?,
        schedule: wishes.schedule.unwrap_or(Schedule::Linear),
        warmup,
        max_seq,
        seed: wishes.seed.unwrap_or(42),
        eval_split,
        eval_every: at_least_one("eval_every", wishes.eval_every)?,
        save_every: at_least_one("save_every", wishes.save_every)?,
        weight_decay: check_at_least("weight_decay", wishes.weight_decay.unwrap_or(0.0), 0.0)?,
        adam_beta1: below_one("adam_beta1", wishes.adam_beta1.unwrap_or(0.9))?,
        adam_beta2: below_one("adam_beta2", wishes.adam_beta2.unwrap_or(0.999))?,
        adam_epsilon: epsilon(wishes.adam_epsilon.unwrap_or(1e-8))?,
        max_grad_norm: check_at_least("max_grad_norm", wishes.max_grad_norm.unwrap_or(1.0), 0.0)?,
        from: wishes.from.clone(),
        shuffle: wishes.shuffle.unwrap_or(true),
        pack: wishes.pack.unwrap_or(true),
    })
}

fn method(name: Option<&str>) -> Result<Method, Reason> {
    match name {
        None | Some("lora") => Ok(Method::Lora),
        Some(other) => Err(Reason::field(
            "method",
            format!("`{other}` is not a method this server trains; it trains `lora`"),
        )),
    }
}

fn shape(wishes: &Wishes, parent: Option<&Inherited>) -> Result<Inherited, Reason> {
    let shape = match parent {
        None => {
            let rank = wishes.rank.unwrap_or(DEFAULT_RANK);
            Inherited {
                rank,
                alpha: wishes.alpha.unwrap_or(2.0 * rank as f64),
                use_rslora: wishes.use_rslora.unwrap_or(false),
                targets: wishes
                    .targets
                    .clone()
                    .unwrap_or_else(|| Targets::Pattern("all-linear".into())),
            }
        }
        Some(parent) => {
            same("rank", wishes.rank, parent.rank)?;
            same("alpha", wishes.alpha, parent.alpha)?;
            same("use_rslora", wishes.use_rslora, parent.use_rslora)?;
            parent.clone()
        }
    };
    check_count("rank", shape.rank, 1, MAX_RANK)?;
    if !(shape.alpha.is_finite() && shape.alpha > 0.0) {
        return Err(Reason::field(
            "alpha",
            format!("{} is not a number above 0", shape.alpha),
        ));
    }
    if matches!(&shape.targets, Targets::List(names) if names.is_empty()) {
        return Err(Reason::field("targets", "names no module"));
    }
    Ok(shape)
}

fn same<T: PartialEq + std::fmt::Display>(
    field: &str,
    wished: Option<T>,
    inherited: T,
) -> Result<(), Reason> {
    match wished {
        Some(wished) if wished != inherited => Err(Reason::field(
            field,
            format!(
                "{wished} contradicts `from`: the adapter it continues has {inherited}; leave it out to inherit"
            ),
        )),
        _ => Ok(()),
    }
}

/// Rows in a step and rows in a forward, from any two of the three numbers (or fewer).
fn batches(wishes: &Wishes) -> Result<(usize, usize), Reason> {
    for (field, value) in [
        ("batch_size", wishes.batch_size),
        ("micro_batch", wishes.micro_batch),
        ("accumulate", wishes.accumulate),
    ] {
        if let Some(value) = value {
            check_count(field, value, 1, MAX_BATCH)?;
        }
    }
    // Within the limits above no product overflows.
    let (batch, micro) = match (wishes.batch_size, wishes.micro_batch, wishes.accumulate) {
        (None, micro, accumulate) => {
            let micro = micro.unwrap_or(DEFAULT_BATCH);
            (micro * accumulate.unwrap_or(1), micro)
        }
        (Some(batch), None, accumulate) => {
            let accumulate = accumulate.unwrap_or(1);
            if batch % accumulate != 0 {
                return Err(Reason::field(
                    "accumulate",
                    format!("{accumulate} does not divide batch_size {batch}"),
                ));
            }
            (batch, batch / accumulate)
        }
        (Some(batch), Some(micro), accumulate) => {
            if batch % micro != 0 {
                return Err(Reason::field(
                    "micro_batch",
                    format!("{micro} does not divide batch_size {batch}"),
                ));
            }
            if let Some(accumulate) = accumulate.filter(|times| micro * times != batch) {
                return Err(Reason::field(
                    "accumulate",
                    format!("{accumulate} times micro_batch {micro} is not batch_size {batch}"),
                ));
            }
            (batch, micro)
        }
    };
    check_count("batch_size", batch, 1, MAX_BATCH)?;
    Ok((batch, micro))
}

fn length(wishes: &Wishes) -> Result<(Option<f64>, Option<u64>), Reason> {
    match (wishes.epochs, wishes.steps) {
        (Some(_), Some(_)) => Err(Reason::field(
            "steps",
            "give either `epochs` or `steps`, not both",
        )),
        (Some(epochs), None) if !(epochs.is_finite() && epochs > 0.0 && epochs <= MAX_EPOCHS) => {
            Err(Reason::field(
                "epochs",
                format!("{epochs} is not above 0 and at most {MAX_EPOCHS}"),
            ))
        }
        (None, Some(steps)) if !(1..=MAX_STEPS).contains(&steps) => Err(Reason::field(
            "steps",
            format!("{steps} is not between 1 and {MAX_STEPS}"),
        )),
        (None, None) => Ok((Some(DEFAULT_EPOCHS), None)),
        given => Ok(given),
    }
}

fn check_count(field: &str, value: usize, least: usize, most: usize) -> Result<(), Reason> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Reason::field(
        field,
        format!("{value} is not between {least} and {most}"),
    ))
}

fn check_at_least(field: &str, value: f64, least: f64) -> Result<f64, Reason> {
    if value.is_finite() && value >= least {
        return Ok(value);
    }
    Err(Reason::field(
        field,
        format!("{value} is not a number of at least {least}"),
    ))
}

fn at_most(field: &str, value: f64, most: f64) -> Result<f64, Reason> {
    if value <= most {
        Ok(value)
    } else {
        Err(Reason::field(field, format!("{value} is above {most}")))
    }
}

/// The optimizer divides by it in f32 wherever a weight has had no gradient yet, as A has before B has moved.
fn epsilon(value: f64) -> Result<f64, Reason> {
    if value.is_finite() && value as f32 > 0.0 {
        return Ok(value);
    }
    Err(Reason::field(
        "adam_epsilon",
        format!("{value} is not a number above 0"),
    ))
}

fn below_one(field: &str, value: f64) -> Result<f64, Reason> {
    if (0.0..1.0).contains(&value) {
        return Ok(value);
    }
    Err(Reason::field(
        field,
        format!("{value} is not at least 0 and below 1"),
    ))
}

fn at_least_one(field: &str, value: Option<u64>) -> Result<Option<u64>, Reason> {
    if value == Some(0) {
        return Err(Reason::field(
            field,
            "0 is not a number of steps; leave it out to switch it off",
        ));
    }
    Ok(value)
}

/// Such a field is a share below 1 and a count from 1 on.
fn whole_if_count(field: &str, value: f64) -> Result<(), Reason> {
    if value >= 1.0 && value.fract() != 0.0 {
        return Err(Reason::field(
            field,
            format!("{value} is neither a share below 1 nor a whole count"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
