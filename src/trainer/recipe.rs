//! From what a caller wishes to what will be done. Ranges and defaults are those of the settings' table; here is what
//! holds between settings, the parent's shape, and what the model can read.

use super::gate;
use crate::domain::{Gate, Keep, Named, Objective, Precision, PromptInit, Reason, Recipe};

pub use crate::domain::Wishes;

/// Turns wishes into the settings of one job, for a model that reads `context` tokens. `shape` is what the adapter a job
/// continues fixes; the wishes may repeat it.
///
/// # Errors
/// `BadField` naming the field, as the recipe has it.
pub fn resolve(wishes: &Wishes, shape: Option<&Wishes>, context: usize) -> Result<Recipe, Reason> {
    let wishes = match shape {
        Some(shape) => &wishes.inherit(shape)?,
        None => wishes,
    };
    wishes.check()?;
    let recipe = agree(wishes, context)?;
    check_virtual(&recipe, context)?;
    // What was made of the wishes keeps to the same ranges.
    Wishes::from(recipe.clone()).check()?;
    let taken = recipe.virtual_positions();
    if recipe.max_seq > context - taken {
        let wished = recipe.max_seq;
        let mut why = format!("{wished} is more than the {context} tokens the model can read");
        if taken > 0 {
            why += &format!(", of which virtual tokens take {taken}");
        }
        return Err(Reason::field("max_seq", why));
    }
    Ok(recipe)
}

/// Whether a retraining can be done with these settings, whatever its name serves, the model reads and the rows are: what
/// only the first one would tell otherwise.
///
/// # Errors
/// `BadField` naming the field.
pub fn check_retraining(wishes: &Wishes) -> Result<(), Reason> {
    wishes.check_inheriting()?;
    let recipe = agree(wishes, usize::MAX)?;
    match gate::compares_held_out(&recipe)? {
        Some(field) if recipe.eval_split == 0.0 => {
            let why = "compares held-out rows, and a retraining has only those that `eval_split` holds out: \
                       say it too, as 0.1 for a tenth of the rows";
            Err(Reason::field(field, why))
        }
        _ => Ok(()),
    }
}

/// What holds between settings, each of which is allowed, for every model and whatever a job continues.
fn agree(wishes: &Wishes, context: usize) -> Result<Recipe, Reason> {
    check_batches(wishes)?;
    if wishes.epochs.is_some() && wishes.steps.is_some() {
        let why = "give either `epochs` or `steps`, not both";
        return Err(Reason::field("steps", why));
    }
    let recipe = wishes.clone().complete(context);
    if wishes.dpo_beta.is_some() && recipe.objective != Objective::Dpo {
        let why = "is not used by objective `sft`; say `objective: dpo` too";
        return Err(Reason::field("dpo_beta", why));
    }
    if wishes.loss_scale.is_some() && recipe.precision != Precision::F16 {
        let precision = recipe.precision.name();
        let why = format!("is not used by precision `{precision}`; say `precision: f16` too");
        return Err(Reason::field("loss_scale", why));
    }
    if wishes.gate_margin.is_some() && recipe.gate != Gate::Current {
        let gate = recipe.gate.name();
        let why = format!("is not used by gate `{gate}`; say `gate: current` too");
        return Err(Reason::field("gate_margin", why));
    }
    gate::wished(&recipe)?;
    if recipe
        .balance
        .as_ref()
        .is_some_and(|field| field.trim().is_empty())
    {
        return Err(Reason::field("balance", "names no key of the rows"));
    }
    if recipe.eval_every.is_none() {
        let why = "compares evaluations; say `eval_every` too";
        if recipe.early_stopping.is_some() {
            return Err(Reason::field("early_stopping", why));
        }
        if recipe.keep == Keep::Best {
            return Err(Reason::field("keep", why));
        }
    }
    if let (None, Some(steps)) = (&recipe.stages, recipe.steps)
        && recipe.warmup > steps as f64
    {
        let why = format!("warms up for longer than the job's {steps} steps");
        return Err(Reason::field("warmup", why));
    }
    // The optimizer divides by it in f32 wherever a weight has had no gradient yet, as A has before B has moved.
    if recipe.adam_epsilon as f32 == 0.0 {
        let why = format!("{} is not a number above 0", recipe.adam_epsilon);
        return Err(Reason::field("adam_epsilon", why));
    }
    Ok(recipe)
}

/// What virtual tokens begin as, and whether they leave room for a text.
fn check_virtual(recipe: &Recipe, context: usize) -> Result<(), Reason> {
    let refuse = |field, why: &str| Err(Reason::field(field, why));
    if recipe.virtual_positions() + 2 > context {
        let why = format!("leave no room for a text: the model reads {context} tokens");
        return refuse("virtual_tokens", &why);
    }
    if recipe.prefix_hidden.is_some() && !recipe.prefix_projection {
        return refuse(
            "prefix_hidden",
            "is of a projection; say `prefix_projection` too",
        );
    }
    match (recipe.prompt_init, &recipe.prompt_text) {
        (PromptInit::Text, None) => refuse(
            "prompt_text",
            "must say the text that `prompt_init` speaks of",
        ),
        (PromptInit::Random, Some(_)) => {
            refuse("prompt_text", "is not used where `prompt_init` is random")
        }
        _ => Ok(()),
    }
}

/// Rows in a step, rows in a forward, and their ratio must agree; any two give the third.
fn check_batches(wishes: &Wishes) -> Result<(), Reason> {
    let refuse = |field, why| Err(Reason::field(field, why));
    match (wishes.batch_size, wishes.micro_batch, wishes.accumulate) {
        (Some(batch), None, Some(times)) if batch % times != 0 => refuse(
            "accumulate",
            format!("{times} does not divide batch_size {batch}"),
        ),
        (Some(batch), Some(micro), _) if batch % micro != 0 => refuse(
            "micro_batch",
            format!("{micro} does not divide batch_size {batch}"),
        ),
        (Some(batch), Some(micro), Some(times)) if micro * times != batch => refuse(
            "accumulate",
            format!("{times} times micro_batch {micro} is not batch_size {batch}"),
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
