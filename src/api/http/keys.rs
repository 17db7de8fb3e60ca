//! `/v1/keys`.

use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::Call;
use super::dispatch::Outcome;
use super::respond::json_response;
use super::shape::{Field, Kind, NAME, Shape};
use crate::domain::{
    IssuedKey, KeyAsk, KeyId, KeyLimits, LONGEST_SPAN, MOST_OF_A_LIMIT, OVERLAP, Range, Reason,
    Scope,
};

const SCOPE: Kind = Kind::Choice(Scope::NAMES);

const SPAN: Kind = Kind::Integer {
    min: 0,
    max: LONGEST_SPAN as i64,
};

const LIFE: Kind = Kind::Integer {
    min: 1,
    max: LONGEST_SPAN as i64,
};

const LIMIT: Kind = Kind::Integer {
    min: 1,
    max: MOST_OF_A_LIMIT as i64,
};

pub(super) const KEY: Shape = Shape {
    name: "KeyRequest",
    about: "A key to create.",
    fields: &[&[
        Field::new("name", NAME, "For people.").required(),
        Field::new(
            "scopes",
            Kind::List {
                of: &SCOPE,
                min: 1,
                max: Scope::NAMES.len(),
            },
            "What it opens; `admin` is all of it.",
        )
        .required(),
        Field::new(
            "adapters",
            Kind::List {
                of: &NAME,
                min: 1,
                max: 64,
            },
            "Names and patterns (`team-a-*`) of the adapters that exist for it; every adapter where absent.",
        ),
        Field::new(
            "weight",
            Kind::Number(Range::at_least(0.01).at_most(100.0)),
            "What it gets beside other keys where not all get what they ask for; 1 where absent.",
        ),
        Field::new("expires_in", LIFE, "Seconds; for ever where absent."),
        Field::new(
            "requests_per_minute",
            LIMIT,
            "At most so many in any 60 seconds; no limit where absent, as of all that follow.",
        ),
        Field::new(
            "tokens_per_minute",
            LIMIT,
            "Tokens of prompts and answers in any 60 seconds; a request counts with all it may take until it has ended.",
        ),
        Field::new(
            "concurrent",
            LIMIT,
            "Requests that wait or are answered at the same time.",
        ),
        Field::new(
            "queued_jobs",
            LIMIT,
            "Jobs that wait to be run, paused ones among them.",
        ),
        Field::new(
            "training_tokens_per_day",
            LIMIT,
            "Tokens that the jobs of one day (UTC) read.",
        ),
        Field::new("storage_bytes", LIMIT, "Of uploaded files."),
        Field::new(
            "identity",
            NAME,
            "What a client's certificate calls its holder (URI, DNS name or common name), who then needs no secret.",
        ),
    ]],
};

pub(super) const ROTATION: Shape = Shape {
    name: "KeyRotation",
    about: "How a key's secret is replaced.",
    fields: &[&[Field::new(
        "overlap",
        SPAN,
        "Seconds for which the secret before still counts; 3600 where absent.",
    )]],
};

#[derive(Debug, Deserialize)]
struct Ask {
    name: String,
    scopes: Vec<String>,
    adapters: Option<Vec<String>>,
    weight: Option<f64>,
    expires_in: Option<u64>,
    #[serde(flatten)]
    limits: KeyLimits,
    identity: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Rotation {
    overlap: Option<u64>,
}

fn id(request: &super::call::Request) -> KeyId {
    KeyId::from_text(request.param("id"))
}

fn shown(value: impl serde::Serialize) -> Outcome {
    let value = serde_json::to_value(value).map_err(|fault| Reason::Internal(fault.to_string()));
    Ok(json_response(200, &value?))
}

/// A secret is for who asked, and for no cache on the way.
fn issued(key: IssuedKey) -> Outcome {
    let mut response = shown(key)?;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

pub(super) async fn list(call: Call) -> Outcome {
    let keys = call.request.caller().keys().await?;
    let data: Result<Vec<Value>, _> = keys.iter().map(serde_json::to_value).collect();
    let data = data.map_err(|fault| Reason::Internal(fault.to_string()))?;
    Ok(json_response(200, &json!({"object": "list", "data": data})))
}

pub(super) async fn create(call: Call) -> Outcome {
    let (request, ask) = call.read::<Ask>(&KEY).await?;
    let ask = KeyAsk {
        weight: ask.weight,
        expires_in: ask.expires_in,
        limits: ask.limits,
        identity: ask.identity,
        ..KeyAsk::of(ask.name, ask.scopes, ask.adapters)?
    };
    issued(request.caller().create_key(ask).await?)
}

pub(super) async fn revoke(call: Call) -> Outcome {
    shown(call.request.caller().revoke_key(&id(&call.request)).await?)
}

pub(super) async fn rotate(call: Call) -> Outcome {
    let (request, ask) = call.read_or_empty::<Rotation>(&ROTATION).await?;
    let overlap = ask.overlap.unwrap_or(OVERLAP);
    issued(request.caller().rotate_key(&id(&request), overlap).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::http::shape::tests::conforms;

    #[test]
    fn every_field_is_read_and_every_wrong_type_is_named() {
        conforms(&KEY, |body| KEY.take::<Ask>(body).map(drop));
        conforms(&ROTATION, |body| ROTATION.take::<Rotation>(body).map(drop));
    }
}
