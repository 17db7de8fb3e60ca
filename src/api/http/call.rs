//! One HTTP request as a handler sees it: path and query already text, the body still to come.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Uri, header};
use futures::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::App;
use super::shape::{Kind, Shape};
use crate::api::fault::Fault;
use crate::domain::Reason;
use crate::gateway::{Claims, Gateway};

/// Everything but the body.
pub(super) struct Request {
    pub app: Arc<App>,
    pub headers: HeaderMap,
    pub uri: Uri,
    /// Path parameters, percent-decoded.
    pub params: Vec<(String, String)>,
}

pub(super) struct Call {
    pub request: Request,
    pub body: Body,
}

impl Request {
    pub fn gateway(&self) -> &Gateway {
        &self.app.gateway
    }

    /// A parameter of the route's path; the route table and its handlers agree on the names.
    pub fn param(&self, name: &str) -> &str {
        self.params
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.as_str())
    }

    pub fn fingerprint(&self) -> &str {
        &self.app.fingerprint
    }

    pub fn content_type(&self) -> &str {
        let text = self
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        text.unwrap_or("").split(';').next().unwrap_or("").trim()
    }

    /// What this request says about the adapter, in all its places.
    pub fn claims(&self, model: Option<String>, field: Option<String>) -> Claims {
        let headers = self.headers.get_all("adapter").iter();
        // A header that is no text names nothing that exists.
        let headers = headers
            .map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
            .collect();
        Claims {
            model,
            field,
            headers,
        }
    }

    /// The query string along a table; numbers and flags are read from their text.
    pub fn query<T: DeserializeOwned>(&self, shape: &Shape) -> Result<T, Reason> {
        let mut map = Map::new();
        for (key, text) in axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&self.uri)
            .map_err(|_| Reason::field("query", "is not a query string"))?
            .0
        {
            let kind = shape
                .all()
                .find(|field| field.name == key)
                .map(|field| &field.kind);
            let value = match kind {
                Some(Kind::Integer { .. }) => {
                    text.parse::<i64>().map_or(Value::String(text), Value::from)
                }
                Some(Kind::Flag) => text
                    .parse::<bool>()
                    .map_or(Value::String(text), Value::from),
                _ => Value::String(text),
            };
            if map.contains_key(&key) {
                return Err(Reason::field(key, "appears twice"));
            }
            map.insert(key, value);
        }
        shape.take(Value::Object(map))
    }
}

impl Call {
    /// The JSON body, not yet held against a table.
    pub async fn open(self) -> Result<(Request, Value), Fault> {
        let (request, body) = self.bytes().await?;
        let value = super::shape::parse(&body)?;
        Ok((request, value))
    }

    /// The JSON body along its table.
    pub async fn read<T: DeserializeOwned>(self, shape: &Shape) -> Result<(Request, T), Fault> {
        let (request, body) = self.bytes().await?;
        let ask = shape.read(&body)?;
        Ok((request, ask))
    }

    /// As [`Self::read`]; no body at all counts as `{}`.
    pub async fn read_or_empty<T: DeserializeOwned>(
        self,
        shape: &Shape,
    ) -> Result<(Request, T), Fault> {
        let (request, body) = self.bytes().await?;
        let ask = if body.trim_ascii().is_empty() {
            shape.read(b"{}")
        } else {
            shape.read(&body)
        }?;
        Ok((request, ask))
    }

    /// The body, up to the limit for JSON.
    async fn bytes(self) -> Result<(Request, Vec<u8>), Fault> {
        let limit = self.request.app.config.max_json_bytes;
        self.upload(limit).await
    }

    /// The body, up to `limit`.
    pub async fn upload(self, limit: usize) -> Result<(Request, Vec<u8>), Fault> {
        let patience = self.request.app.config.body_patience;
        let declared = self
            .request
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok());
        let declared = declared
            .and_then(|text| text.parse::<usize>().ok())
            .unwrap_or(0);
        let body = collect(self.body, declared, limit, patience).await?;
        Ok((self.request, body))
    }
}

/// What is read and thrown away after a refusal, so that the answer reaches a client that is still sending.
pub(super) const LINGER: usize = 64 << 20;

async fn collect(
    body: Body,
    declared: usize,
    limit: usize,
    patience: Duration,
) -> Result<Vec<u8>, Reason> {
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::with_capacity(declared.min(limit));
    let mut beyond = declared > limit;
    while !beyond && let Some(chunk) = next_chunk(&mut chunks, patience).await? {
        beyond = bytes.len() + chunk.len() > limit;
        if !beyond {
            bytes.extend_from_slice(&chunk);
        }
    }
    if !beyond {
        return Ok(bytes);
    }
    drop(bytes);
    let mut thrown = 0;
    while thrown < LINGER
        && let Ok(Some(chunk)) = next_chunk(&mut chunks, patience).await
    {
        thrown += chunk.len();
    }
    Err(Reason::TooLarge { limit })
}

/// The next piece of a body; a sender who pauses longer than `patience` has lost its turn.
pub(super) async fn next_chunk<S, E>(
    chunks: &mut S,
    patience: Duration,
) -> Result<Option<Bytes>, Reason>
where
    S: futures::Stream<Item = Result<Bytes, E>> + Unpin,
{
    match tokio::time::timeout(patience, chunks.next()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(chunk))) => Ok(Some(chunk)),
        Ok(Some(Err(_))) => Err(Reason::BadBody(
            "the body ended before it was complete".into(),
        )),
        Err(_) => Err(Reason::BodyTimeout {
            seconds: patience.as_secs(),
        }),
    }
}
