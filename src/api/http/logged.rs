//! An answer that is written to the access log when it has gone, or when its reader has.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::http::HeaderValue;
use bytes::Bytes;
use hyper::body::{Body as Read, Frame, SizeHint};

use super::App;
use crate::api::entry::{Entry, Status};
use crate::domain::KeyId;
use crate::gateway::Trace;

/// What is told of a request whose reader left before there was an answer: as proxies write it.
const LEFT: u16 = 499;

/// A request that is being answered, and is told of when its reader leaves before that.
pub(super) struct Awaited {
    app: Arc<App>,
    came: Arrived,
    entry: Option<Entry>,
    key: Option<String>,
    is_answered: bool,
}

/// A request that has come.
pub(super) struct Arrived {
    pub route: &'static str,
    pub began: Instant,
    /// The request's own.
    pub id: HeaderValue,
}

impl Awaited {
    pub fn new(app: Arc<App>, came: Arrived, entry: Option<Entry>) -> Self {
        Self {
            app,
            came,
            entry,
            key: None,
            is_answered: false,
        }
    }

    pub fn trace(&self) -> Option<Trace> {
        self.entry.as_ref().map(|entry| entry.trace.clone())
    }

    /// Whose it is, which is known before there is an answer.
    pub fn by(&mut self, key: Option<&KeyId>) {
        self.key = key.map(ToString::to_string);
        if let (Some(entry), Some(key)) = (&self.entry, &self.key) {
            entry.trace.key(key);
        }
    }

    /// There is an answer now, which tells of itself; with the id of its key.
    pub fn answered(mut self) -> (Option<Entry>, Option<String>) {
        self.is_answered = true;
        (self.entry.take(), self.key.take())
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        self.came.told(&self.app, LEFT, self.key.as_deref());
        if let Some(entry) = &self.entry {
            entry.end(self.came.route, Status::Http(LEFT), 0);
        }
    }
}

impl Arrived {
    /// Counts its answer, and says so.
    pub fn told(&self, app: &App, code: u16, key: Option<&str>) {
        let (route, took) = (self.route, self.began.elapsed());
        app.telemetry.answered(route, code, took);
        tracing::info!(
            route,
            code,
            ms = took.as_millis() as u64,
            id = self.id.to_str().unwrap_or(""),
            key,
            "answered"
        );
    }
}

pub(super) struct Logged {
    body: Body,
    entry: Entry,
    route: &'static str,
    code: u16,
    bytes: u64,
}

impl Logged {
    pub fn new(body: Body, entry: Entry, route: &'static str, code: u16) -> Self {
        Self {
            body,
            entry,
            route,
            code,
            bytes: 0,
        }
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        self.entry
            .end(self.route, Status::Http(self.code), self.bytes);
    }
}

impl Read for Logged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let next = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &next
            && let Some(data) = frame.data_ref()
        {
            self.bytes += data.len() as u64;
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
