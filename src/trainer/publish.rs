//! The end of a job: the trained adapter as the folder that PEFT reads, with where it comes from, and its way to the
//! name that serves it.

use serde_json::{Value, json};

use super::data::Examples;
use super::fault::Fault;
use super::plan::Plan;
use super::run::Finished;
use super::shared::Shared;
use super::worker::Worker;
use crate::adapter::peft::{self, Files, PROVENANCE_FILE, Provenance};
use crate::domain::rollout::Publish;
use crate::domain::{Actor, AdapterName, Generation, JobId, Level, Reason};
use crate::registry::Registry;
use crate::store::{JobRow, NewEvent, Publishing, Way};

/// Publishes once, however often it is begun: what the name pointed to before, and what it is to point to, are
/// recorded first. Does nothing when the job no longer runs.
pub fn publish(
    worker: &Worker<'_>,
    job: &JobRow,
    plan: &Plan,
    (finished, way): (Finished, Way),
) -> Result<(), Fault> {
    let (shared, id, name) = (worker.shared, &job.view.id, job.name()?);
    let registry = &shared.registry.by(Actor::job(id));
    let files = files(plan, &shared.base.name, &finished)?;
    let step = finished.step;
    // Whole weights are large, and registering reads them once more.
    drop(finished);
    let after = peft::generation(&files);
    let begun = match &job.publishing {
        Some(begun) => Some(begun.clone()),
        None => worker.retry(async || begin_publishing(shared, id, &name, (after, &way)).await)?,
    };
    let Some(mut publishing) = begun else {
        return Ok(());
    };
    let source = format!("job:{id}");
    let land = async |publishing: &Publishing| {
        if is_published(registry, &name, publishing, &source).await? {
            return Ok(());
        }
        let publish = match &publishing.way {
            Way::As(publish) => publish.clone(),
            Way::Withheld(_) => Publish::Manual,
        };
        let landed = registry.publish_as(&name, files.clone(), None, &source, publish);
        landed.await.map(drop)
    };
    let landed = worker.retry(async || match land(&publishing).await {
        // Another canary runs, or the name is gone: trying again would not help.
        Err(
            reason @ (Reason::WrongState(_)
            | Reason::NoSuchAdapter(_)
            | Reason::NoSuchGeneration { .. }),
        ) if matches!(publishing.way, Way::As(Publish::Canary(_))) => Ok(Some(reason)),
        landed => landed.map(|()| None),
    })?;
    if let Some(reason) = landed {
        publishing.way = Way::Withheld(format!("it could not become a canary: {reason}"));
        worker.retry(async || shared.store.change_way(id, &publishing.way).await)?;
        worker.retry(async || land(&publishing).await)?;
    }
    let done = told(&name, &publishing);
    let is_served = publishing.way.is_served();
    let ended = async || {
        let made = (publishing.after, step, is_served);
        shared.store.succeed(id, made, &done).await
    };
    shared.broadcast(worker.retry(ended)?.unwrap_or_default());
    tracing::info!(job = %id, %name, generation = %publishing.after, is_served, "the job's adapter is stored");
    Ok(())
}

/// What became of the adapter.
fn told(name: &AdapterName, publishing: &Publishing) -> NewEvent {
    let after = publishing.after;
    let (level, message) = match &publishing.way {
        Way::As(Publish::Now) => (
            Level::Info,
            format!("the adapter is served as `{name}`, generation {after}"),
        ),
        Way::As(Publish::Canary(ask)) => (
            Level::Info,
            format!(
                "generation {after} answers {} % of the requests for `{name}`",
                ask.percent
            ),
        ),
        Way::As(Publish::Manual) => (
            Level::Info,
            format!("generation {after} is kept under `{name}`, which serves what it served"),
        ),
        Way::Withheld(why) => (
            Level::Warn,
            format!("generation {after} is kept under `{name}` and not served: {why}"),
        ),
    };
    NewEvent::message(level, message)
}

/// Records what is about to change; `None` when the job no longer runs.
async fn begin_publishing(
    shared: &Shared,
    id: &JobId,
    name: &AdapterName,
    (after, way): (Generation, &Way),
) -> Result<Option<Publishing>, Reason> {
    let before = generation_of(&shared.registry, name).await?;
    let way = way.clone();
    let publishing = Publishing { before, after, way };
    if shared.store.begin_publishing(id, &publishing).await? {
        return Ok(Some(publishing));
    }
    // An earlier attempt may have been carried out and its answer lost.
    let recorded = shared.store.job(id).await?.publishing;
    Ok(recorded.filter(|recorded| recorded.after == after))
}

async fn generation_of(
    registry: &Registry,
    name: &AdapterName,
) -> Result<Option<Generation>, Reason> {
    match registry.show(name).await {
        Ok(view) => Ok(Some(view.generation)),
        Err(Reason::NoSuchAdapter(_)) => Ok(None),
        Err(reason) => Err(reason),
    }
}

/// Whether an earlier attempt got as far as moving the name: it points to the new generation, or it did and has been
/// moved on since. A name that is where it was, or was removed, has yet to be moved.
async fn is_published(
    registry: &Registry,
    name: &AdapterName,
    publishing: &Publishing,
    source: &str,
) -> Result<bool, Reason> {
    if publishing.way != Way::As(Publish::Now) {
        // The record is written with the change.
        return registry.has_published(name, publishing.after, source).await;
    }
    let now = generation_of(registry, name).await?;
    if now == Some(publishing.after) {
        return Ok(true);
    }
    if now == publishing.before || now.is_none() {
        return Ok(false);
    }
    registry.has_published(name, publishing.after, source).await
}

/// The same job always gives the same bytes.
pub fn files(plan: &Plan, base_name: &str, finished: &Finished) -> Result<Files, Fault> {
    let mut files = finished.trainable.files(base_name)?;
    let provenance = Provenance {
        base: Some(base_name.to_owned()),
        base_digest: Some(plan.identity.base_digest.clone()),
        tokenizer_digest: Some(plan.identity.tokenizer_digest.clone()),
        data_digest: Some(plan.identity.data_digest.clone()),
        recipe: Some(serde_json::to_value(&plan.recipe).map_err(std::io::Error::other)?),
        evaluation: evaluation(plan, finished),
        parent_generation: plan.parent.as_ref().and_then(|parent| parent.generation),
        blend: None,
    };
    let provenance = serde_json::to_vec_pretty(&provenance).map_err(std::io::Error::other)?;
    files.insert(PROVENANCE_FILE.to_owned(), provenance.into());
    Ok(files)
}

/// Held-out scores of the base, of the adapter the job continued, and of the result.
fn evaluation(plan: &Plan, finished: &Finished) -> Option<Value> {
    let progress = &finished.progress;
    let adapter = progress.held_out?;
    Some(json!({
        "rows": plan.held_out.len(),
        "base": progress.base,
        "parent": progress.parent,
        "adapter": adapter,
    }))
}
