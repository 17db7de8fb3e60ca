//! An answer that is written to the access log when it has gone, or when its reader has.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as Read, Frame, SizeHint};

use crate::api::entry::{Entry, Status};
use crate::gateway::Trace;

/// What is told of a request whose reader left before there was an answer: as proxies write it.
const LEFT: u16 = 499;

/// A request that is being answered, and is told of when its reader leaves before that.
pub(super) struct Awaited {
    entry: Option<Entry>,
    route: &'static str,
}

impl Awaited {
    pub fn new(entry: Option<Entry>, route: &'static str) -> Self {
        Self { entry, route }
    }

    pub fn trace(&self) -> Option<Trace> {
        self.entry.as_ref().map(|entry| entry.trace.clone())
    }

    /// There is an answer now, which tells of itself.
    pub fn answered(mut self) -> Option<Entry> {
        self.entry.take()
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        if let Some(entry) = &mut self.entry {
            entry.end(self.route, Status::Http(LEFT), 0);
        }
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
