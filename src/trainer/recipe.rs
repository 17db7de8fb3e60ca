//! From what a caller wishes to what will be done. Ranges and defaults are those of the settings' table; here is what
//! holds between settings, the parent's shape, and what the model can read.

use crate::domain::{Reason, Recipe};

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
    check_batches(wishes)?;
    if wishes.epochs.is_some() && wishes.steps.is_some() {
        let why = "give either `epochs` or `steps`, not both";
        return Err(Reason::field("steps", why));
    }
    let recipe = wishes.clone().complete(context);
    // What was made of the wishes keeps to the same ranges.
    Wishes::from(recipe.clone()).check()?;
    if recipe.max_seq > context {
        let wished = recipe.max_seq;
        let why = format!("{wished} is more than the {context} tokens the model can read");
        return Err(Reason::field("max_seq", why));
    }
    // The optimizer divides by it in f32 wherever a weight has had no gradient yet, as A has before B has moved.
    if recipe.adam_epsilon as f32 == 0.0 {
        let why = format!("{} is not a number above 0", recipe.adam_epsilon);
        return Err(Reason::field("adam_epsilon", why));
    }
    Ok(recipe)
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
