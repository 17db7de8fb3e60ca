//! Whether what a job made is served, and how. Decided once, before anything of it is published, by the scores of held-out
//! rows as they would be served.

use super::data::Sample;
use super::evaluate::{Score, evaluate};
use super::fault::Fault;
use super::plan::Plan;
use super::run::{Finished, RunSpec};
use super::worker::Worker;
use crate::adapter::Uniform;
use crate::domain::rollout::Publish;
use crate::domain::{AdapterChoice, AdapterName, Gate, Keep, Reason, Recipe};
use crate::registry::Registry;
use crate::store::Way;

/// What a job asks for where nothing speaks against it.
///
/// # Errors
/// `BadField` for what is no way to publish.
pub fn wished(recipe: &Recipe) -> Result<Publish, Reason> {
    let publish = recipe.publish.parse();
    publish.map_err(|why: String| Reason::field("publish", why))
}

/// What may keep the job's generation from being served as it asks, told when the job is made.
///
/// # Errors
/// `BadField` for what is no way to publish, and for a canary of a name that serves nothing.
pub fn in_the_way(
    recipe: &Recipe,
    name: &AdapterName,
    registry: &Registry,
) -> Result<Option<String>, Reason> {
    let Publish::Canary(_) = wished(recipe)? else {
        return Ok(None);
    };
    if !registry.knows(name) {
        let why =
            format!("a canary needs a name that serves something already, and `{name}` does not");
        return Err(Reason::field("publish", why));
    }
    let routed = registry.routed(name);
    let has_canary = routed.is_some_and(|entry| entry.route.canary.is_some());
    Ok(has_canary.then(|| {
        format!(
            "publish: `{name}` has a canary now; unless that is promoted or given up before this job ends, what it makes is kept and not served"
        )
    }))
}

/// How the job's generation is to reach its name; `None`: interrupted before that was known.
pub fn decide(
    worker: &Worker<'_>,
    spec: &RunSpec<'_>,
    plan: &Plan,
    (name, finished): (&AdapterName, &Finished),
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Option<Way>, Fault> {
    let (recipe, progress) = (&plan.recipe, &finished.progress);
    let other = match recipe.gate {
        Gate::None => None,
        Gate::Heldout => progress.base,
        Gate::Current => {
            let Some(lease) = served(worker, name)? else {
                return Ok(Some(judge(recipe, progress.held_out, None)?));
            };
            let adapter = lease.adapter().clone();
            // In forwards as large as the job's own were.
            let form = match progress.form {
                Some(form) => form.applied(recipe),
                None => recipe.clone(),
            };
            let adapters = Uniform { adapter };
            let held_out = Sample {
                of: &plan.held_out,
                every: 1,
            };
            let score = evaluate(
                spec.learner,
                &form,
                (&adapters, spec.reference),
                held_out,
                go_on,
            )?;
            let Some(score) = score else { return Ok(None) };
            Some(score)
        }
    };
    judge(recipe, progress.held_out, other).map(Some)
}

/// What the name serves now, on this base; `None` where that is nothing.
fn served(
    worker: &Worker<'_>,
    name: &AdapterName,
) -> Result<Option<crate::registry::Lease>, Fault> {
    let choice = AdapterChoice::Named {
        name: name.clone(),
        pin: None,
    };
    let registry = &worker.shared.registry;
    worker.retry(async || match registry.lease(&choice).await {
        // Nothing, or what is of another base and so answers nobody.
        Err(Reason::NoSuchAdapter(_) | Reason::AdapterInvalid { .. }) => Ok(None),
        leased => leased,
    })
}

/// `other`: of what the gate compares with; `None` where there is nothing.
fn judge(recipe: &Recipe, own: Option<Score>, other: Option<Score>) -> Result<Way, Fault> {
    let passes = Way::As(wished(recipe)?);
    let withheld = |why: String| Ok(Way::Withheld(why));
    let (what, most) = match (recipe.gate, other) {
        (Gate::None, _) | (Gate::Current, None) => return Ok(passes),
        (Gate::Heldout, None) => return withheld("the base has no held-out loss".into()),
        (Gate::Heldout, Some(base)) => ("the base's", base.loss),
        (Gate::Current, Some(served)) => ("that of what is served", served.loss),
    };
    let Some(own) = own.map(|score| score.loss).filter(|loss| loss.is_finite()) else {
        return withheld("its held-out loss is not known".into());
    };
    // Where the other one's is not finite, any loss is better.
    if !most.is_finite() {
        return Ok(passes);
    }
    let margin = recipe.gate_margin;
    let holds = match recipe.gate {
        Gate::Current => own <= most + margin,
        _ => own < most,
    };
    match holds {
        true => Ok(passes),
        false if recipe.gate == Gate::Current => withheld(format!(
            "its held-out loss {own:.4} is above {what}, {most:.4}, by more than gate_margin {margin}"
        )),
        false => withheld(format!(
            "its held-out loss {own:.4} is not below {what}, {most:.4}"
        )),
    }
}

/// The setting that asks for held-out rows, where one does.
///
/// # Errors
/// `BadField` for what is no way to publish.
pub fn compares_held_out(recipe: &Recipe) -> Result<Option<&'static str>, Reason> {
    // Without the loss that it is about such a canary would never take over.
    let is_judged = match wished(recipe)? {
        Publish::Canary(ask) => ask
            .policy
            .is_some_and(|policy| policy.max_heldout_loss_ratio.is_some()),
        Publish::Now | Publish::Manual => false,
    };
    let asks = [
        (recipe.gate != Gate::None, "gate"),
        (recipe.early_stopping.is_some(), "early_stopping"),
        (recipe.keep == Keep::Best, "keep"),
        (is_judged, "publish"),
    ];
    let first = asks.into_iter().find(|(asks, _)| *asks);
    Ok(first.map(|(_, field)| field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trainer::recipe::Wishes;
    use crate::trainer::testing::recipe;

    fn score(loss: f64) -> Option<Score> {
        let accuracy = 0.5;
        Some(Score { loss, accuracy })
    }

    fn gated(gate: Gate, margin: f64) -> Recipe {
        recipe(Wishes {
            gate: Some(gate),
            gate_margin: (gate == Gate::Current).then_some(margin),
            publish: Some("canary:10".into()),
            ..Wishes::default()
        })
    }

    fn passes(gate: Gate, margin: f64, own: Option<Score>, other: Option<Score>) -> bool {
        match judge(&gated(gate, margin), own, other).unwrap() {
            Way::As(publish) => {
                assert_eq!(publish.to_string(), "canary:10");
                true
            }
            Way::Withheld(why) => {
                assert!(why.contains("held-out loss"), "{why}");
                false
            }
        }
    }

    #[test]
    fn a_gate_lets_through_what_is_better_than_the_base_or_hardly_worse_than_what_is_served() {
        let nan = score(f64::NAN);
        for (gate, margin, own, other, expected) in [
            (Gate::None, 0.0, score(9.0), score(1.0), true),
            (Gate::None, 0.0, None, None, true),
            (Gate::Heldout, 0.0, score(0.9), score(1.0), true),
            (Gate::Heldout, 0.0, score(1.0), score(1.0), false),
            (Gate::Heldout, 0.0, None, score(1.0), false),
            (Gate::Heldout, 0.0, score(1.0), None, false),
            (Gate::Heldout, 0.0, nan, score(1.0), false),
            (Gate::Heldout, 0.0, score(1.0), nan, true),
            (Gate::Current, 0.0, score(1.0), score(1.0), true),
            (Gate::Current, 0.0, score(1.01), score(1.0), false),
            (Gate::Current, 0.1, score(1.09), score(1.0), true),
            (Gate::Current, 0.1, score(1.11), score(1.0), false),
            (Gate::Current, 0.0, score(5.0), None, true),
        ] {
            assert_eq!(
                passes(gate, margin, own, other),
                expected,
                "{gate:?} {own:?} {other:?}"
            );
        }
    }
}
