//! One HTTP request as a handler sees it: path and query already text, the body still to come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Uri, header};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::body::Arriving;
use super::shape::{Kind, Shape};
use super::unpack::{Coding, Pieces, pieces, unpacked};
use super::{App, archive};
use crate::api::arrival::{Clock, Held};
use crate::api::fault::Fault;
use crate::domain::{Blend, Reason};
use crate::gateway::{Caller, Claims, Gateway};

/// Everything but the body.
pub(super) struct Request {
    pub app: Arc<App>,
    /// The request's own, as it is echoed.
    pub id: String,
    pub headers: HeaderMap,
    pub uri: Uri,
    pub caller: Caller,
    /// Path parameters, percent-decoded.
    pub params: Vec<(String, String)>,
    /// What the body holds in memory.
    pub held: Held,
}

pub(super) struct Call {
    pub request: Request,
    pub body: Body,
}

/// The field `adapter`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum AdapterField {
    Name(String),
    Blend(BTreeMap<String, f64>),
}

impl Request {
    pub fn gateway(&self) -> &Gateway {
        &self.app.gateway
    }

    /// Whom the request is for.
    pub fn caller(&self) -> &Caller {
        &self.caller
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
    pub fn claims(
        &self,
        model: Option<String>,
        field: Option<AdapterField>,
    ) -> Result<Claims, Reason> {
        let headers = self.headers.get_all("adapter").iter();
        // A header that is no text names nothing that exists.
        let headers = headers
            .map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
            .collect();
        let (field, blend) = match field {
            None => (None, None),
            Some(AdapterField::Name(text)) => (Some(text), None),
            Some(AdapterField::Blend(weights)) => (None, Some(Blend::new("adapter", weights)?)),
        };
        Ok(Claims {
            model,
            field,
            blend,
            headers,
        })
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
                Some(Kind::Number(_)) => {
                    text.parse::<f64>().map_or(Value::String(text), Value::from)
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

    /// The body, up to the limit for JSON, which it must say it is: any page of the web may have a browser send other
    /// types here, but JSON only where it is allowed to. A request without a body need not say what it is.
    async fn bytes(self) -> Result<(Request, Bytes), Fault> {
        let limit = self.request.app.config.limits.max_request_bytes;
        let kind = self.request.content_type().to_ascii_lowercase();
        if !(kind.is_empty() || kind == "application/json") {
            return Err(self.refuse(Reason::MediaType(told(&kind))));
        }
        let (request, body) = self.upload(limit).await?;
        if kind.is_empty() && !body.is_empty() {
            return Err(Reason::MediaType(told(&kind)).into());
        }
        Ok((request, body))
    }

    /// The body, up to `limit`.
    pub async fn upload(self, limit: usize) -> Result<(Request, Bytes), Fault> {
        let Self { request, body } = self.within(limit)?;
        let announced = request.announced(limit);
        let clock = Clock::start(request.app.config.limits.pace);
        request.collect(pieces(body), announced, clock, limit).await
    }

    /// As [`Self::upload`], of an archive: a compressed one is unpacked on the way. The flag says whether it was.
    pub async fn archive(self, limit: usize) -> Result<(Request, Bytes, bool), Fault> {
        let Self { request, body } = self.within(limit)?;
        let clock = Clock::start(request.app.config.limits.pace);
        let mut rest = pieces(body);
        let mut head = Vec::new();
        let mut seen = Vec::new();
        while seen.len() < archive::MAGIC_BYTES
            && let Some(piece) = clock.wait(rest.next()).await?.transpose()?
        {
            seen.extend_from_slice(&piece[..piece.len().min(archive::MAGIC_BYTES)]);
            head.push(Ok(piece));
        }
        let whole = stream::iter(head).chain(rest).boxed();
        match archive::packing(&seen) {
            Ok(None) => {
                let announced = request.announced(limit);
                let (request, body) = request.collect(whole, announced, clock, limit).await?;
                Ok((request, body, false))
            }
            Ok(Some(coding)) => {
                let whole = unpacked(whole, coding, limit, request.gateway().clone());
                let (request, body) = request.collect(whole, limit, clock, limit).await?;
                Ok((request, body, true))
            }
            Err(reason) => {
                discard(whole);
                Err(reason.into())
            }
        }
    }

    /// Refuses a body that says itself that it is larger than `limit`, before any of it comes. One that is packed is
    /// unpacked while it comes, up to `limit`.
    pub fn within(self, limit: usize) -> Result<Self, Fault> {
        let coding = match Coding::of(&self.request.headers) {
            Ok(coding) => coding,
            Err(reason) => return Err(self.refuse(reason)),
        };
        match (self.request.declared(), coding) {
            (Some(bytes), _) if bytes > limit => Err(self.refuse(Reason::TooLarge { limit })),
            (_, None) => Ok(self),
            (_, Some(coding)) => {
                let Self { request, body } = self;
                let gateway = request.gateway().clone();
                let body = Body::from_stream(unpacked(pieces(body), coding, limit, gateway));
                Ok(Self { request, body })
            }
        }
    }

    /// A refusal that does not wait for the body.
    fn refuse(self, reason: Reason) -> Fault {
        refuse(&self.request.headers, self.body, reason)
    }
}

/// A refusal that does not wait for the body.
pub(super) fn refuse(headers: &HeaderMap, body: Body, reason: Reason) -> Fault {
    // A client that waits for `100 continue` has sent nothing, and reading the body would ask it to.
    if !headers.contains_key(header::EXPECT) {
        discard(body.into_data_stream());
    }
    reason.into()
}

impl Request {
    /// The length the headers promise.
    fn declared(&self) -> Option<usize> {
        let text = self.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?;
        text.parse().ok()
    }

    /// How much may come, as far as the headers tell: a packed body does not say what it unpacks to.
    pub fn announced(&self, limit: usize) -> usize {
        match self.headers.contains_key(header::CONTENT_ENCODING) {
            true => limit,
            false => self.declared().unwrap_or(0),
        }
    }

    /// All pieces of a body, up to `limit`.
    async fn collect(
        mut self,
        mut pieces: Pieces,
        announced: usize,
        mut clock: Clock,
        limit: usize,
    ) -> Result<(Self, Bytes), Fault> {
        let mut arriving = Arriving::new(announced);
        loop {
            let next = clock.wait(pieces.next()).await?;
            let Some(next) = next else {
                return Ok((self, arriving.complete()));
            };
            let taken = next.and_then(|piece| {
                match arriving.len() + piece.len() > limit {
                    true => Err(Reason::TooLarge { limit }),
                    false => self.take(&mut clock, piece.len()),
                }
                .map(|()| piece)
            });
            match taken {
                Ok(piece) => arriving.take(&piece),
                Err(reason) => {
                    discard(pieces);
                    return Err(reason.into());
                }
            }
            self.stand_back(&mut clock).await;
        }
    }

    /// A large body comes in with rests, so that answers under way do not wait for it.
    pub async fn stand_back(&self, clock: &mut Clock) {
        if let Some(worked) = clock.unrested() {
            self.gateway().stand_back(worked).await;
        }
    }

    /// Counts a piece of the body; the memory is held as long as the request.
    pub fn take(&mut self, clock: &mut Clock, bytes: usize) -> Result<(), Reason> {
        clock.came(bytes);
        self.held.grow(bytes)
    }
}

/// How long a refused body is read and thrown away, so that the answer reaches a client that is still sending.
const LINGER: Duration = Duration::from_secs(10);

/// Reads on after a refusal, beside the answer and for a bounded time; holds none of it.
pub(super) fn discard<S: Stream + Send + Unpin + 'static>(mut pieces: S) {
    tokio::spawn(tokio::time::timeout(LINGER, async move {
        while pieces.next().await.is_some() {}
    }));
}

fn told(kind: &str) -> String {
    kind.chars().take(80).collect()
}
