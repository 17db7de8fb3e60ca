//! The `Feedback` service.

use futures::stream::{BoxStream, StreamExt};
use tonic::{Request, Response, Status};

use super::Doors;
use super::guard::caller;
use super::status::status;
use crate::domain::{
    FeedbackAsk, FeedbackFilter, FeedbackView, Generation, KeyId, Reason, RowForm, ScoreView,
};
use crate::gateway::ExportAsk;
use crate::pb;
use crate::pb::feedback_server::Feedback;

const DEFAULT_PAGE: u32 = 20;
const MAX_PAGE: u32 = 100;

/// Text fields have no "absent" in proto3: empty is absent.
fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn told(generation: Option<Generation>) -> String {
    generation.map_or_else(|| "none".to_owned(), |generation| generation.to_string())
}

fn entry(view: FeedbackView) -> pb::FeedbackEntry {
    let key = |key: Option<KeyId>| key.map(|key| key.to_string()).unwrap_or_default();
    pb::FeedbackEntry {
        id: view.id,
        adapter: view.adapter.unwrap_or_default(),
        adapter_generation: told(view.adapter_generation),
        owner: key(view.owner),
        given_by: key(view.given_by),
        created_at: view.created_at,
        answered_at: view.answered_at,
        score: view.score,
        correction: view.correction.unwrap_or_default(),
        label: view.label.unwrap_or_default(),
        comment: view.comment.unwrap_or_default(),
        captured: view.captured,
        tokens: view.tokens,
        used_by: view.used_by.map(|job| job.to_string()).unwrap_or_default(),
        input_json: view
            .input
            .map(|input| input.to_string())
            .unwrap_or_default(),
        answer: view.answer.unwrap_or_default(),
    }
}

fn score(view: ScoreView) -> pb::GenerationScore {
    pb::GenerationScore {
        adapter_generation: told(view.adapter_generation),
        count: view.count,
        mean: view.mean,
        up: view.up,
        down: view.down,
        corrections: view.corrections,
    }
}

#[tonic::async_trait]
impl Feedback for Doors {
    type ExportStream = BoxStream<'static, Result<pb::FeedbackRows, Status>>;

    async fn give(
        &self,
        request: Request<pb::GiveFeedbackRequest>,
    ) -> Result<Response<pb::FeedbackEntry>, Status> {
        let caller = caller(&request)?;
        let ask = request.into_inner();
        if ask.id.is_empty() {
            return Err(status(Reason::field("id", "is required")));
        }
        let ask = FeedbackAsk {
            id: ask.id,
            score: ask.score,
            correction: given(ask.correction),
            label: given(ask.label),
            comment: given(ask.comment),
        };
        let view = caller.give_feedback(ask).await.map_err(status)?;
        Ok(Response::new(entry(view)))
    }

    async fn list(
        &self,
        request: Request<pb::ListFeedbackRequest>,
    ) -> Result<Response<pb::ListFeedbackResponse>, Status> {
        let caller = caller(&request)?;
        let ask = request.into_inner();
        let limit = match ask.limit {
            0 => DEFAULT_PAGE,
            limit => limit.min(MAX_PAGE),
        };
        let filter = FeedbackFilter {
            adapter: given(ask.adapter),
            generation: given(ask.generation),
            label: given(ask.label),
            min_score: ask.min_score,
            max_score: ask.max_score,
            has_correction: ask.has_correction,
        };
        let after = given(ask.after);
        let page = caller.feedback(&filter, after.as_deref(), limit as usize);
        let page = page.await.map_err(status)?;
        Ok(Response::new(pb::ListFeedbackResponse {
            entries: page.items.into_iter().map(entry).collect(),
            has_more: page.has_more,
        }))
    }

    async fn get(
        &self,
        request: Request<pb::GetFeedbackRequest>,
    ) -> Result<Response<pb::FeedbackEntry>, Status> {
        let caller = caller(&request)?;
        let view = caller.one_feedback(&request.into_inner().id).await;
        Ok(Response::new(entry(view.map_err(status)?)))
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteFeedbackRequest>,
    ) -> Result<Response<pb::DeleteFeedbackResponse>, Status> {
        let caller = caller(&request)?;
        let ask = request.into_inner();
        let count = match (given(ask.id), given(ask.key)) {
            (Some(id), None) => caller.delete_feedback(&id).await.map(|()| 1),
            (None, Some(key)) => caller.delete_feedback_of(&key).await,
            _ => Err(Reason::field(
                "id",
                "is required, or else `key`, and not both",
            )),
        };
        let count = count.map_err(status)?;
        Ok(Response::new(pb::DeleteFeedbackResponse { count }))
    }

    async fn export(
        &self,
        request: Request<pb::ExportFeedbackRequest>,
    ) -> Result<Response<Self::ExportStream>, Status> {
        let caller = caller(&request)?;
        let ask = request.into_inner();
        if ask.adapter.is_empty() {
            return Err(status(Reason::field("adapter", "is required")));
        }
        let form = match ask.format.as_str() {
            "" => RowForm::default(),
            name => RowForm::named(name).ok_or_else(|| {
                let known = RowForm::NAMES.join("`, `");
                status(Reason::field("format", format!("is none of `{known}`")))
            })?,
        };
        let ask = ExportAsk {
            adapter: ask.adapter,
            form,
            min_score: ask.min_score,
        };
        let lines = caller.export_feedback(ask).map_err(status)?;
        let rows = lines.map(|lines| {
            let lines = lines.map_err(status)?;
            Ok(pb::FeedbackRows { lines })
        });
        Ok(Response::new(rows.boxed()))
    }

    async fn scores(
        &self,
        request: Request<pb::FeedbackScoresRequest>,
    ) -> Result<Response<pb::FeedbackScoresResponse>, Status> {
        let caller = caller(&request)?;
        let ask = request.into_inner();
        if ask.adapter.is_empty() {
            return Err(status(Reason::field("adapter", "is required")));
        }
        let scores = caller.feedback_scores(&ask.adapter).await.map_err(status)?;
        let scores = scores.into_iter().map(score).collect();
        Ok(Response::new(pb::FeedbackScoresResponse { scores }))
    }
}
