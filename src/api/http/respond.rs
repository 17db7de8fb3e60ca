//! Responses and the parts that several of them share.

use std::future::Future;
use std::io;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde_json::{Value, json};

use crate::api::fault::Fault;
use crate::domain::{Generation, Usage};

/// Bytes of a download that are sent at a time.
pub(super) const PIECE: usize = 64 << 10;

pub(super) const ADAPTER_GENERATION: HeaderName = HeaderName::from_static("adapter-generation");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

pub(super) fn json_response(status: u16, value: &Value) -> Response {
    bytes_response(status, "application/json", value.to_string())
}

pub(super) fn bytes_response(
    status: u16,
    content_type: &'static str,
    body: impl Into<Body>,
) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// So many bytes in pieces, until the key of who gets them has `ended`.
pub(super) fn download(
    ended: impl Future<Output: Send> + Send + 'static,
    content_type: &'static str,
    length: u64,
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Response {
    // What was announced is longer then: the reader sees that it was cut off.
    let pieces = pieces.take_until(Box::pin(ended));
    let mut response = bytes_response(200, content_type, Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// A status and nothing more.
pub(super) fn empty_response(status: u16) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// Says which generation answered.
pub(super) fn completion_headers(
    mut response: Response,
    generation: Option<Generation>,
) -> Response {
    let text = generation.map_or_else(|| "none".to_owned(), |generation| generation.to_string());
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(ADAPTER_GENERATION, value);
    }
    response
}

/// `{"error": …}`, as OpenAI's clients read it.
pub(super) fn error_body(fault: &Fault) -> Value {
    let row = fault.row();
    let mut error = json!({"message": fault.message(), "type": row.kind, "param": fault.param, "code": row.code});
    if let crate::domain::Reason::BadRows { first, .. } = &fault.reason {
        let rows = first
            .iter()
            .map(|row| json!({"line": row.line, "message": row.why}));
        error["rows"] = rows.collect();
    }
    json!({ "error": error })
}

/// A refusal, with what is told of it in its protocol's form.
pub(super) fn fault_response(fault: &Fault, told: &Value) -> Response {
    let row = fault.row();
    let mut response = json_response(row.status, told);
    let headers = response.headers_mut();
    if let Some(seconds) = row.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if row.status == 401 {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if row.never_retry {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    response
}

pub(super) fn usage(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.generated,
        "total_tokens": usage.prompt + usage.generated,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
    })
}

/// A page of a listing.
pub(super) fn page(data: Vec<Value>, has_more: bool) -> Value {
    let (first, last) = (
        data.first().map(|item| item["id"].clone()),
        data.last().map(|item| item["id"].clone()),
    );
    json!({"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more})
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    #[tokio::test]
    async fn a_download_stays_short_of_its_length_when_the_key_ends() {
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let pieces = ["one", "two"].map(|piece| Ok(Bytes::from(piece)));
        let response = download(ended, "text/plain", 6, stream::iter(pieces));
        assert_eq!(response.headers()[header::CONTENT_LENGTH], "6");
        let mut sent = response.into_body().into_data_stream();
        assert_eq!(sent.next().await.unwrap().unwrap(), "one");
        end.send(()).unwrap();
        assert!(sent.next().await.is_none());
    }
}
