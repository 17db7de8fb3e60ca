//! `/v1/feedback`, and learning from it.

use axum::body::Body;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::dispatch::Outcome;
use super::job_fields::RETRAIN;
use super::job_view::job;
use super::paging::{PAGING, PageAsk};
use super::respond::{bytes_response, json_response, page};
use super::shape::{FLAG, Field, Kind, NAME, Shape};
use crate::domain::recipes::{self, Recipes};
use crate::domain::{
    FeedbackAsk, FeedbackFilter, LONGEST_COMMENT, LONGEST_CORRECTION, LONGEST_LABEL, Range, Reason,
    RowForm, settings,
};
use crate::gateway::{ExportAsk, RetrainAsk};

/// What an export is.
pub(super) const ROWS: &str = "application/jsonl";

const SCORE: Kind = Kind::Number(Range::at_least(-1.0).at_most(1.0));
const ANY_SCORE: Kind = Kind::Number(Range::ANY);

const fn text(max: usize) -> Kind {
    Kind::Text { min: 1, max }
}

pub(super) const FEEDBACK: Shape = Shape {
    name: "FeedbackRequest",
    about: "What somebody thinks of an answer.",
    fields: &[&[
        Field::new(
            "id",
            NAME,
            "The answer's `id`, with or without what its protocol puts before it.",
        )
        .required(),
        Field::new("score", SCORE, "-1 to 1; above 0 is good.").required(),
        Field::new(
            "correction",
            text(LONGEST_CORRECTION),
            "What the answer should have been. Needs the prompt to be kept: `feedback.capture`.",
        ),
        Field::new("label", text(LONGEST_LABEL), "For finding it again."),
        Field::new("comment", text(LONGEST_COMMENT), "For people."),
    ]],
};

pub(super) const LIST: Shape = Shape {
    name: "FeedbackListQuery",
    about: "Which feedback.",
    fields: &[
        PAGING,
        &[
            Field::new(
                "adapter",
                NAME,
                "On answers of this adapter; `none` is the base.",
            ),
            Field::new(
                "generation",
                NAME,
                "On answers of this generation; its first digits do.",
            ),
            Field::new("label", NAME, "With this label."),
            Field::new("min_score", ANY_SCORE, "Scored at least so."),
            Field::new("max_score", ANY_SCORE, "Scored at most so."),
            Field::new("has_correction", FLAG, "With a correction, or without one."),
        ],
    ],
};

const ADAPTER: Field = Field::new(
    "adapter",
    NAME,
    "On answers of this adapter; `none` is the base.",
)
.required();

pub(super) const EXPORT: Shape = Shape {
    name: "FeedbackExportQuery",
    about: "Which training rows.",
    fields: &[&[
        ADAPTER,
        Field::new(
            "format",
            Kind::Choice(RowForm::NAMES),
            "`sft` where absent: corrections as answers, and answers that were liked. `dpo`: corrections beside the answers.",
        ),
        Field::new(
            "min_score",
            ANY_SCORE,
            "What answers without a correction need; above 0 where absent.",
        ),
    ]],
};

pub(super) const SCORES: Shape = Shape {
    name: "FeedbackScoresQuery",
    about: "Whose scores.",
    fields: &[&[ADAPTER]],
};

pub(super) const OWNER: Shape = Shape {
    name: "FeedbackOwner",
    about: "Whose feedback.",
    fields: &[&[Field::new(
        "owner",
        NAME,
        "Id of a key: all that is remembered of it goes. `none`: of callers without a key.",
    )
    .required()]],
};

#[derive(Debug, Deserialize)]
struct Ask {
    id: String,
    score: f64,
    correction: Option<String>,
    label: Option<String>,
    comment: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ListAsk {
    #[serde(flatten)]
    page: PageAsk,
    adapter: Option<String>,
    generation: Option<String>,
    label: Option<String>,
    min_score: Option<f64>,
    max_score: Option<f64>,
    has_correction: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct ExportQuery {
    adapter: String,
    format: Option<String>,
    min_score: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct ScoresQuery {
    adapter: String,
}

#[derive(Debug, Deserialize)]
struct OwnerQuery {
    owner: String,
}

fn shown(value: impl serde::Serialize) -> Result<Value, Reason> {
    serde_json::to_value(value).map_err(|fault| Reason::Internal(fault.to_string()))
}

pub(super) async fn give(call: Call) -> Outcome {
    let (request, ask) = call.read::<Ask>(&FEEDBACK).await?;
    let ask = FeedbackAsk {
        id: ask.id,
        score: ask.score,
        correction: ask.correction,
        label: ask.label,
        comment: ask.comment,
    };
    let given = request.caller().give_feedback(ask).await?;
    Ok(json_response(200, &shown(given)?))
}

pub(super) async fn list(call: Call) -> Outcome {
    let ask: ListAsk = call.request.query(&LIST)?;
    let filter = FeedbackFilter {
        adapter: ask.adapter,
        generation: ask.generation,
        label: ask.label,
        min_score: ask.min_score,
        max_score: ask.max_score,
        has_correction: ask.has_correction,
    };
    let (after, limit) = (ask.page.after.as_deref(), ask.page.limit());
    let found = call.request.caller().feedback(&filter, after, limit);
    let found = found.await?;
    let data: Result<Vec<Value>, _> = found.items.iter().map(shown).collect();
    Ok(json_response(200, &page(data?, found.has_more)))
}

pub(super) async fn show(call: Call) -> Outcome {
    let id = call.request.param("id");
    let found = call.request.caller().one_feedback(id).await?;
    Ok(json_response(200, &shown(found)?))
}

pub(super) async fn delete(call: Call) -> Outcome {
    let id = call.request.param("id");
    call.request.caller().delete_feedback(id).await?;
    let gone = json!({"id": id, "object": "feedback", "deleted": true});
    Ok(json_response(200, &gone))
}

pub(super) async fn delete_of(call: Call) -> Outcome {
    let OwnerQuery { owner } = call.request.query(&OWNER)?;
    let count = call.request.caller().delete_feedback_of(&owner).await?;
    let gone = json!({"id": owner, "object": "key.feedback", "deleted": true, "count": count});
    Ok(json_response(200, &gone))
}

pub(super) async fn scores(call: Call) -> Outcome {
    let ScoresQuery { adapter } = call.request.query(&SCORES)?;
    let found = call.request.caller().feedback_scores(&adapter).await?;
    let data: Result<Vec<Value>, _> = found.iter().map(shown).collect();
    let data = data?;
    Ok(json_response(200, &json!({"object": "list", "data": data})))
}

pub(super) async fn export(call: Call) -> Outcome {
    let query: ExportQuery = call.request.query(&EXPORT)?;
    let ask = ExportAsk {
        adapter: query.adapter,
        // The table takes no other names.
        form: query
            .format
            .and_then(|name| RowForm::named(&name))
            .unwrap_or_default(),
        min_score: query.min_score,
    };
    let mut lines = call.request.caller().export_feedback(ask)?;
    // What fails before the first line is still an answer of its own.
    let first = lines.next().await.transpose()?;
    let rest = lines.map(|lines| lines.map_err(|fault| std::io::Error::other(fault.to_string())));
    let all = futures::stream::iter(first.map(Ok)).chain(rest);
    Ok(bytes_response(200, ROWS, Body::from_stream(all)))
}

/// What a body says of a retraining: settings of a job beside the rows that it needs.
fn asked(body: Value) -> Result<RetrainAsk, Reason> {
    let Value::Object(mut said) = RETRAIN.settle(body)? else {
        return Err(Reason::BadBody("the body is an object".into()));
    };
    said.retain(|_, value: &mut Value| !value.is_null());
    let mut count = |field: &str| said.remove(field).and_then(|count| count.as_u64());
    let (min_rows, min_corrections) = (count("min_rows"), count("min_corrections"));
    let mut brought = Recipes::default();
    for name in recipes::NAMES {
        if let Some(file) = said.remove(name) {
            brought.put(name, file)?;
        }
    }
    let said: Map<String, Value> = said;
    Ok(RetrainAsk {
        min_rows,
        min_corrections,
        wishes: settings::wishes(&said)?,
        recipes: brought,
    })
}

pub(super) async fn retrain(call: Call) -> Outcome {
    let (request, body) = call.read_or_empty::<Value>(&RETRAIN).await?;
    let ask = asked(body)?;
    let retrained = request.caller().retrain(request.param("name"), ask).await;
    let public = |reason| match reason {
        Reason::BadField { field, why } => Reason::field(settings::public_name(&field), why),
        other => other,
    };
    Ok(json_response(200, &job(&retrained.map_err(public)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::http::shape::tests::conforms;

    #[test]
    fn every_field_is_read_and_every_wrong_type_is_named() {
        conforms(&FEEDBACK, |body| FEEDBACK.take::<Ask>(body).map(drop));
        conforms(&RETRAIN, |body| asked(body).map(drop));
    }
}
