//! The `Training` service.

use futures::stream::{BoxStream, StreamExt};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::guard::caller;
use super::status::status;
use super::{Doors, recipe, views};
use crate::domain::{JobId, JobView, Reason, settings};
use crate::gateway::{JobAsk, RetrainAsk};
use crate::pb;
use crate::pb::submit_data_request::Part;
use crate::pb::training_server::Training;

const DEFAULT_PAGE: u32 = 20;
const MAX_PAGE: u32 = 100;

fn answer(outcome: Result<JobView, Reason>) -> Result<Response<pb::Job>, Status> {
    outcome
        .map(|view| Response::new(views::job(view)))
        .map_err(status)
}

#[tonic::async_trait]
impl Training for Doors {
    type WatchJobStream = BoxStream<'static, Result<pb::JobEvent, Status>>;

    async fn submit_data(
        &self,
        request: Request<Streaming<pb::SubmitDataRequest>>,
    ) -> Result<Response<pb::DataFile>, Status> {
        let caller = caller(&request)?;
        let mut upload = self.upload(request.into_inner(), self.limits.max_file_bytes);
        let header = upload
            .opening(|message| match message.part {
                Some(Part::Header(header)) => Some(header),
                _ => None,
            })
            .await?;
        let filename = match header.filename.as_str() {
            "" => "data.jsonl",
            named => named,
        };
        let file = caller.receive_file(filename).await;
        let mut file = file.map_err(status)?;
        while let Some(message) = upload.next().await? {
            match message.part {
                Some(Part::Data(data)) => {
                    upload.pass(data.len())?;
                    file.write(data.into()).await.map_err(status)?;
                }
                Some(Part::Header(_)) => {
                    return Err(status(Reason::field("header", "appears twice")));
                }
                None => return Err(status(Reason::field("part", "is required"))),
            }
        }
        let file = caller.keep_file(file, "fine-tune").await;
        let file = file.map_err(status)?;
        Ok(Response::new(views::file(file)))
    }

    async fn create_job(
        &self,
        request: Request<pb::CreateJobRequest>,
    ) -> Result<Response<pb::Job>, Status> {
        let caller = caller(&request)?;
        let ask = job_ask(request.into_inner()).map_err(status)?;
        answer(caller.create_job(ask).await.map_err(called_here))
    }

    async fn plan_job(
        &self,
        request: Request<pb::PlanJobRequest>,
    ) -> Result<Response<pb::JobPlan>, Status> {
        let caller = caller(&request)?;
        let ask = job_ask(request.into_inner().job.unwrap_or_default()).map_err(status)?;
        let planned = caller.plan_job(ask).await.map_err(called_here);
        planned
            .map(|plan| Response::new(views::plan(plan)))
            .map_err(status)
    }

    async fn list_jobs(
        &self,
        request: Request<pb::ListJobsRequest>,
    ) -> Result<Response<pb::ListJobsResponse>, Status> {
        let caller = caller(&request)?;
        let ask = request.into_inner();
        let limit = if ask.limit == 0 {
            DEFAULT_PAGE
        } else {
            ask.limit.min(MAX_PAGE)
        };
        let after = (!ask.after.is_empty()).then(|| JobId::from_text(ask.after));
        let page = caller
            .jobs(after.as_ref(), limit as usize)
            .await
            .map_err(status)?;
        let jobs = page.items.into_iter().map(views::job).collect();
        Ok(Response::new(pb::ListJobsResponse {
            jobs,
            has_more: page.has_more,
        }))
    }

    async fn get_job(
        &self,
        request: Request<pb::GetJobRequest>,
    ) -> Result<Response<pb::Job>, Status> {
        let caller = caller(&request)?;
        answer(caller.job(&JobId::from_text(request.into_inner().id)).await)
    }

    async fn cancel_job(
        &self,
        request: Request<pb::CancelJobRequest>,
    ) -> Result<Response<pb::Job>, Status> {
        let caller = caller(&request)?;
        answer(
            caller
                .cancel_job(&JobId::from_text(request.into_inner().id))
                .await,
        )
    }

    async fn pause_job(
        &self,
        request: Request<pb::PauseJobRequest>,
    ) -> Result<Response<pb::Job>, Status> {
        let caller = caller(&request)?;
        answer(
            caller
                .pause_job(&JobId::from_text(request.into_inner().id))
                .await,
        )
    }

    async fn resume_job(
        &self,
        request: Request<pb::ResumeJobRequest>,
    ) -> Result<Response<pb::Job>, Status> {
        let caller = caller(&request)?;
        answer(
            caller
                .resume_job(&JobId::from_text(request.into_inner().id))
                .await,
        )
    }

    async fn watch_job(
        &self,
        request: Request<pb::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let caller = caller(&request)?;
        let ask = request.into_inner();
        let events = caller
            .watch_job(JobId::from_text(ask.id), ask.after)
            .await
            .map_err(status)?;
        let told = ReceiverStream::new(events).map(|event| event.map(views::event).map_err(status));
        Ok(Response::new(told.boxed()))
    }

    async fn retrain(
        &self,
        request: Request<pb::RetrainRequest>,
    ) -> Result<Response<pb::Job>, Status> {
        let caller = caller(&request)?;
        let ask = request.into_inner();
        let mut recipe = ask.recipe.unwrap_or_default();
        let recipes = recipe::recipes(&mut recipe).map_err(status)?;
        let wishes = recipe::wishes(recipe).map_err(status)?;
        let retrain = RetrainAsk {
            min_rows: ask.min_rows,
            min_corrections: ask.min_corrections,
            wishes,
            recipes,
        };
        answer(
            caller
                .retrain(&ask.name, retrain)
                .await
                .map_err(called_here),
        )
    }
}

/// A refusal names the field as this protocol does.
fn called_here(reason: Reason) -> Reason {
    let Reason::BadField { field, why } = reason else {
        return reason;
    };
    let field = match settings::public_name(&field) {
        "suffix" => "name",
        other => other,
    };
    Reason::field(field, why)
}

/// Text fields have no "absent" in proto3: empty is absent.
fn job_ask(ask: pb::CreateJobRequest) -> Result<JobAsk, Reason> {
    let given = |text: String| (!text.is_empty()).then_some(text);
    if ask.training_file.is_empty() {
        return Err(Reason::field("training_file", "is required"));
    }
    let mut recipe = ask.recipe.unwrap_or_default();
    let recipes = recipe::recipes(&mut recipe)?;
    Ok(JobAsk {
        model: given(ask.model),
        name: given(ask.name),
        training_file: ask.training_file,
        validation_file: given(ask.validation_file),
        wishes: recipe::wishes(recipe)?,
        recipes,
        learning_rate_multiplier: None,
        metadata: ask
            .metadata
            .into_iter()
            .map(|(key, value)| (key, value.into()))
            .collect(),
        notes: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_fields_as_the_messages_do() {
        for (ours, theirs) in [
            ("learning_rate", "lr"),
            ("shuffle", "no_shuffle"),
            ("pack", "no_pack"),
            ("suffix", "name"),
            ("rank", "rank"),
        ] {
            let named = called_here(Reason::field(ours, "is wrong"));
            assert_eq!(named, Reason::field(theirs, "is wrong"));
        }
    }
}
