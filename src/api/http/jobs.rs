//! `/v1/fine_tuning/jobs`.

use serde::Deserialize;

use super::call::Call;
use super::dispatch::Outcome;
use super::job_ask;
use super::job_view::{checkpoint, event, event_number, job, plan as plan_view};
use super::paging::{PAGE, PAGING, PageAsk};
use super::respond::{json_response, page};
use super::shape::{FLAG, Field, Shape};
use super::sse;
use crate::api::fault::Fault;
use crate::domain::{JobId, JobView, Reason};

/// Clients send `{}` or nothing.
pub(super) const NOTHING: Shape = Shape {
    name: "Nothing",
    about: "No settings.",
    fields: &[],
};

#[derive(Debug, Deserialize)]
struct Nothing {}

pub(super) const EVENTS: Shape = Shape {
    name: "FineTuningJobEventsQuery",
    about: "Which events, and how.",
    fields: &[
        PAGING,
        &[Field::new(
            "stream",
            FLAG,
            "Send events as they happen, oldest first, from the one that came after `after` (or the header `Last-Event-ID`) until the job has ended.",
        )],
    ],
};

#[derive(Debug, Deserialize)]
struct EventsAsk {
    #[serde(default)]
    stream: bool,
    #[serde(flatten)]
    page: PageAsk,
}

fn id(request: &super::call::Request) -> JobId {
    JobId::from_text(request.param("id"))
}

fn answer(view: &JobView) -> Outcome {
    Ok(json_response(200, &job(view)?))
}

pub(super) async fn create(call: Call) -> Outcome {
    let (request, body) = call.open().await?;
    let (ask, places) = job_ask::read(body)?;
    let created = request.caller().create_job(ask).await;
    answer(&created.map_err(|reason| Fault::from(places.explain(reason)))?)
}

pub(super) async fn plan(call: Call) -> Outcome {
    let (request, body) = call.open().await?;
    let (ask, places) = job_ask::read(body)?;
    let planned = request.caller().plan_job(ask).await;
    let planned = planned.map_err(|reason| Fault::from(places.explain(reason)))?;
    Ok(json_response(200, &plan_view(&planned)?))
}

pub(super) async fn list(call: Call) -> Outcome {
    let ask: PageAsk = call.request.query(&PAGE)?;
    let after = ask.after.as_ref().map(JobId::from_text);
    let jobs = call
        .request
        .caller()
        .jobs(after.as_ref(), ask.limit())
        .await?;
    let data = jobs.items.iter().map(job).collect::<Result<_, _>>()?;
    Ok(json_response(200, &page(data, jobs.has_more)))
}

pub(super) async fn show(call: Call) -> Outcome {
    answer(&call.request.caller().job(&id(&call.request)).await?)
}

pub(super) async fn cancel(call: Call) -> Outcome {
    let (request, _) = call.read_or_empty::<Nothing>(&NOTHING).await?;
    answer(&request.caller().cancel_job(&id(&request)).await?)
}

pub(super) async fn pause(call: Call) -> Outcome {
    let (request, _) = call.read_or_empty::<Nothing>(&NOTHING).await?;
    answer(&request.caller().pause_job(&id(&request)).await?)
}

pub(super) async fn resume(call: Call) -> Outcome {
    let (request, _) = call.read_or_empty::<Nothing>(&NOTHING).await?;
    answer(&request.caller().resume_job(&id(&request)).await?)
}

pub(super) async fn events(call: Call) -> Outcome {
    let EventsAsk { stream, page: ask } = call.request.query(&EVENTS)?;
    let after = ask.after.as_deref().map(event_number).transpose()?;
    let (caller, id) = (call.request.caller(), id(&call.request));
    if stream {
        if ask.has_limit() {
            let why = "is of a page; a stream has every event";
            return Err(Reason::field("limit", why).into());
        }
        // A browser's reader takes a stream up again like this.
        let met = call.request.headers.get("last-event-id");
        let met = met.and_then(|id| event_number(id.to_str().ok()?).ok());
        let news = caller.watch_job(id, after.or(met).unwrap_or(0)).await?;
        return Ok(sse::followed(news, event));
    }
    let events = caller.job_events(&id, after, ask.limit()).await?;
    Ok(json_response(
        200,
        &page(events.items.iter().map(event).collect(), events.has_more),
    ))
}

pub(super) async fn checkpoints(call: Call) -> Outcome {
    let ask: PageAsk = call.request.query(&PAGE)?;
    let (caller, id) = (call.request.caller(), id(&call.request));
    let job = caller.job(&id).await?;
    let found = caller
        .job_checkpoints(&id, ask.after.as_deref(), ask.limit())
        .await?;
    let seen = |kept| checkpoint(kept, &job.name);
    Ok(json_response(
        200,
        &page(found.items.iter().map(seen).collect(), found.has_more),
    ))
}
