//! A request, while it is answered, and who is told of it when it has been: the access log, and whoever draws traces.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::http::{HeaderMap, HeaderValue, Method};
use serde_json::Value;

use super::Common;
use super::access_log::AccessLog;
use super::door::Peer;
use super::trace_parent::Parent;
use crate::gateway::{Told, Trace};

/// Who draws traces of requests.
pub trait Traces: fmt::Debug + Send + Sync {
    /// A request has been answered. Must not wait: it is called where the answer ends.
    fn ended(&self, request: &Ended<'_>);

    /// Requests whose spans should have reached somebody and did not.
    fn lost(&self) -> u64;
}

/// What is known of a request when it comes.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// http or grpc.
    pub protocol: &'static str,
    pub method: Method,
    pub id: String,
    pub address: Option<IpAddr>,
    pub began: Instant,
    /// The caller's span, where one is said and traces are drawn.
    pub parent: Option<Parent>,
}

/// How a request was answered, in its protocol's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Http(u16),
    Grpc(&'static str),
}

/// What is known of a request when it has been answered. Holds no text of it.
#[derive(Debug)]
pub struct Ended<'r> {
    pub arrival: &'r Arrival,
    /// As the table of routes writes it.
    pub route: &'r str,
    pub status: Status,
    /// Of the answer's body.
    pub bytes: u64,
    pub told: Told,
    pub at: Instant,
}

pub(super) struct Entry {
    log: Option<AccessLog>,
    traces: Option<Arc<dyn Traces>>,
    pub trace: Trace,
    arrival: Arrival,
}

/// A request that comes.
pub(super) struct Came<'r> {
    pub protocol: &'static str,
    pub id: &'r HeaderValue,
    pub method: &'r Method,
    pub headers: &'r HeaderMap,
    pub peer: Option<&'r Peer>,
}

impl Common {
    /// `None` where nobody is to be told of requests.
    pub(super) fn entry(&self, came: &Came<'_>) -> Option<Entry> {
        let (log, traces) = (self.log.clone(), self.traces.clone());
        if log.is_none() && traces.is_none() {
            return None;
        }
        let parent = traces.as_ref().and_then(|_| Parent::of(came.headers));
        Some(Entry {
            log,
            traces,
            trace: Trace::new(),
            arrival: Arrival {
                protocol: came.protocol,
                method: came.method.clone(),
                id: came.id.to_str().unwrap_or("").to_owned(),
                address: came.peer.map(|peer| peer.address.ip()),
                began: Instant::now(),
                parent,
            },
        })
    }
}

impl Entry {
    /// The request has been answered.
    pub fn end(&self, route: &str, status: Status, bytes: u64) {
        let ended = Ended {
            arrival: &self.arrival,
            route,
            status,
            bytes,
            told: self.trace.told(),
            at: Instant::now(),
        };
        if let Some(log) = &self.log {
            log.tell(&ended);
        }
        if let Some(traces) = &self.traces {
            traces.ended(&ended);
        }
    }
}

impl From<Status> for Value {
    fn from(status: Status) -> Self {
        match status {
            Status::Http(code) => code.into(),
            Status::Grpc(name) => name.into(),
        }
    }
}

impl Status {
    /// Whether the fault is the server's own, as far as the status tells.
    pub fn is_fault(self) -> bool {
        match self {
            Self::Http(code) => code >= 500,
            Self::Grpc(name) => matches!(
                name,
                "UNKNOWN"
                    | "DEADLINE_EXCEEDED"
                    | "UNIMPLEMENTED"
                    | "INTERNAL"
                    | "UNAVAILABLE"
                    | "DATA_LOSS"
            ),
        }
    }
}
