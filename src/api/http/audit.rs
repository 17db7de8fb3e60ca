//! `/v1/audit`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::Call;
use super::dispatch::Outcome;
use super::paging::{PAGING, PageAsk};
use super::respond::{json_response, page};
use super::shape::{COUNT, Field, NAME, Shape};
use crate::domain::{AuditAsk, Reason};

pub(super) const LIST: Shape = Shape {
    name: "AuditPage",
    about: "Which changes.",
    fields: &[
        PAGING,
        &[
            Field::new("object", NAME, "The name or id of what was changed."),
            Field::new(
                "action",
                NAME,
                "What was done, as `adapter.promote`; its first part is all of its kind.",
            ),
            Field::new(
                "who",
                NAME,
                "The id of a key, `job:<id>`, `offline` or `system`.",
            ),
            Field::new("since", COUNT, "Unix seconds."),
        ],
    ],
};

#[derive(Debug, Deserialize)]
struct Ask {
    #[serde(flatten)]
    page: PageAsk,
    object: Option<String>,
    action: Option<String>,
    who: Option<String>,
    since: Option<i64>,
}

pub(super) async fn list(call: Call) -> Outcome {
    let ask: Ask = call.request.query(&LIST)?;
    let (after, limit) = (ask.page.after.clone(), ask.page.limit());
    let ask = AuditAsk {
        object: ask.object,
        action: ask.action,
        who: ask.who,
        since: ask.since,
    };
    let caller = call.request.caller();
    let rows = caller.audit(&ask, after.as_deref(), limit).await?;
    let data: Result<Vec<Value>, _> = rows.items.iter().map(serde_json::to_value).collect();
    let data = data.map_err(|fault| Reason::Internal(fault.to_string()))?;
    Ok(json_response(200, &page(data, rows.has_more)))
}

pub(super) async fn verify(call: Call) -> Outcome {
    let state = call.request.caller().verify_audit().await?;
    Ok(json_response(200, &json!(state)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::http::shape::tests::conforms;

    #[test]
    fn every_field_is_read_and_every_wrong_type_is_named() {
        conforms(&LIST, |query| LIST.take::<Ask>(query).map(drop));
    }
}
