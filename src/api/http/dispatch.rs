//! From the route table to a router, and what happens around every handler: request ids, path parameters, faults
//! turned into answers, panics contained, counting.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Uri, Version, header};
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::call::{Call, Request, refuse};
use super::dialect::Dialect;
use super::logged::{Arrived, Awaited, Logged};
use super::origin::Source;
use super::respond::empty_response;
use super::routes::{Row, Verb, probe_rows, rows};
use super::{App, Part};
use crate::api::access::{Access, tell_limits};
use crate::api::caller::{REQUEST_ID, key_in_url, request_id};
use crate::api::door::Peer;
use crate::api::entry::{Came, Entry};
use crate::api::fault::Fault;
use crate::domain::Reason;

pub(super) type Outcome = Result<Response, Fault>;
pub(super) type Handler = fn(Call) -> BoxFuture<'static, Outcome>;

/// The metrics label of requests that match no row.
const NO_ROUTE: &str = "none";

pub(super) fn router(app: Arc<App>) -> Router {
    let lost = |parts: &Parts| bad_path(&parts.uri);
    routed(app, rows(), lost, |parts| {
        Reason::MethodNotAllowed(parts.method.to_string())
    })
}

/// What is answered when no more connections are: probes, and to everything else when to come back.
pub(super) fn probes(app: Arc<App>) -> Router {
    let full = |_: &Parts| Reason::Overloaded { retry_after: 5 };
    routed(app, probe_rows(), full, full)
}

fn routed(
    app: Arc<App>,
    rows: impl Iterator<Item = &'static Row>,
    lost: fn(&Parts) -> Reason,
    refused: fn(&Parts) -> Reason,
) -> Router {
    let mut router = Router::new();
    for row in rows {
        let app = app.clone();
        let filter = match row.verb {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
            Verb::Put => MethodFilter::PUT,
            Verb::Delete => MethodFilter::DELETE,
        };
        let handler = move |request: axum::extract::Request| answer(app.clone(), row, request);
        router = router.route(row.path, on(filter, handler));
    }
    let other = app.clone();
    router
        .fallback(move |request: axum::extract::Request| stray(app.clone(), request, lost))
        .method_not_allowed_fallback(move |request: axum::extract::Request| {
            stray(other.clone(), request, refused)
        })
        // Each handler has its own limit, and says so in our words.
        .layer(DefaultBodyLimit::disable())
}

async fn answer(app: Arc<App>, row: &'static Row, request: axum::extract::Request) -> Response {
    let began = Instant::now();
    let (mut parts, body) = request.into_parts();
    let id = request_id(&parts.headers);
    let source = app.config.origins.of(&parts.headers);
    let peer = parts.extensions.get::<Peer>().cloned();
    let came = || Arrived {
        route: row.path,
        began,
        id: id.clone(),
    };
    let mut awaited = Awaited::new(app.clone(), came(), entry(&app, &id, &parts));
    let mut standing = None;
    let outcome = async {
        if let Some(reason) = misplaced(&app, Some(row), &parts) {
            return Err(refuse(&parts.headers, body, reason));
        }
        if row.verb != Verb::Get
            && let Source::Elsewhere(origin) = &source
        {
            return Err(refuse(
                &parts.headers,
                body,
                Reason::ForeignOrigin(origin.clone()),
            ));
        }
        let access = match row.access {
            Access::Metrics if app.config.open_metrics => Access::Open,
            access => access,
        };
        let backoff = &app.config.common.backoff;
        let admitted = access.admit(&app.gateway, &parts.headers, peer.as_ref(), backoff);
        let mut caller = match admitted.await {
            Ok(caller) => caller.traced(awaited.trace()),
            Err(reason) => return Err(refuse(&parts.headers, body, reason)),
        };
        caller.asks_by(id.to_str().unwrap_or(""));
        // Known before it is refused: the log says who tries what is not theirs.
        awaited.by(caller.key_id());
        if let Err(reason) = access.check(&caller) {
            return Err(refuse(&parts.headers, body, reason));
        }
        // The limits stand as the answer leaves them, also one that is a refusal.
        standing = row.access.tells_limits().then(|| caller.clone());
        let params = params(row, &mut parts).await?;
        let Parts { headers, uri, .. } = parts;
        let request = Request {
            app: app.clone(),
            id: id.to_str().unwrap_or_default().to_owned(),
            caller,
            headers,
            uri,
            params,
            held: app.config.limits.memory.open(),
        };
        (row.handler)(Call { request, body }).await
    };
    let outcome = caught(outcome).await.unwrap_or_else(|reason| {
        let request = id.to_str().unwrap_or("");
        tracing::error!(route = row.path, request, "a handler panicked");
        Err(reason.into())
    });
    let (entry, key) = awaited.answered();
    let who = Who {
        came: came(),
        source: &source,
        key: key.as_deref(),
        entry,
        dialect: row.dialect,
    };
    let mut response = finish(&app, who, outcome);
    if let Some(caller) = standing {
        tell_limits(&caller, response.headers_mut());
    }
    response
}

/// What a handler comes to. A panic is a fault of ours, never the end of the daemon.
async fn caught<T>(handler: impl Future<Output = T>) -> Result<T, Reason> {
    let done = AssertUnwindSafe(handler).catch_unwind().await;
    done.map_err(|_| Reason::Internal("the request failed inside the server".into()))
}

/// A request to be told of when it has been answered, where somebody listens.
fn entry(app: &App, id: &HeaderValue, parts: &Parts) -> Option<Entry> {
    app.config.common.entry(&Came {
        protocol: "http",
        id,
        method: &parts.method,
        headers: &parts.headers,
        peer: parts.extensions.get::<Peer>(),
    })
}

/// No place or two that a request may be meant for.
fn placeless(parts: &Parts) -> Option<Reason> {
    match parts.headers.get_all(header::HOST).iter().count() {
        0 if parts.version == Version::HTTP_11 => {
            Some(Reason::field("host", "is missing, which HTTP/1.1 asks for"))
        }
        0 | 1 => None,
        // What stands in front may have gone by the other one.
        _ => Some(Reason::field("host", "is sent more than once")),
    }
}

/// What is refused whoever asks: what has no one place, a key where logs would show it, and what is answered elsewhere.
fn misplaced(app: &App, row: Option<&Row>, parts: &Parts) -> Option<Reason> {
    if let Some(reason) = placeless(parts) {
        return Some(reason);
    }
    if let Some(name) = key_in_url(&parts.uri) {
        return Some(Reason::KeyInUrl(name));
    }
    let row = row.filter(|row| app.config.part == Part::Public && row.access.operates());
    row.map(|row| Reason::OnAdminAddress(row.path.to_owned()))
}

/// What no route answers: browsers that ask first, and mistakes.
async fn stray(
    app: Arc<App>,
    request: axum::extract::Request,
    why: fn(&Parts) -> Reason,
) -> Response {
    let (parts, _) = request.into_parts();
    let (id, headers) = (request_id(&parts.headers), &parts.headers);
    let entry = entry(&app, &id, &parts);
    let source = app.config.origins.of(headers);
    let asks_first = parts.method == Method::OPTIONS
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let refused = match asks_first {
        // What else is wrong, a page can read only of the request itself.
        true => placeless(&parts),
        false => Some(misplaced(&app, None, &parts).unwrap_or_else(|| why(&parts))),
    };
    let outcome = match refused {
        None => app.config.origins.preflight(headers),
        // Which methods there are, is said by a header that the router adds.
        Some(Reason::MethodNotAllowed(_)) if parts.method == Method::OPTIONS => {
            Ok(empty_response(204))
        }
        Some(reason) => Err(reason.into()),
    };
    let who = Who {
        came: Arrived {
            route: NO_ROUTE,
            began: Instant::now(),
            id,
        },
        source: &source,
        key: None,
        entry,
        dialect: Dialect::OpenAi,
    };
    finish(&app, who, outcome)
}

/// What is told of where a request came from.
struct Who<'r> {
    came: Arrived,
    source: &'r Source,
    /// The id of its key.
    key: Option<&'r str>,
    entry: Option<Entry>,
    /// How its errors are written.
    dialect: Dialect,
}

fn finish(app: &App, who: Who<'_>, outcome: Outcome) -> Response {
    let Who {
        came,
        source,
        key,
        entry,
        dialect,
    } = who;
    let (route, id) = (came.route, &came.id);
    let mut response = outcome.unwrap_or_else(|fault| {
        // A deadline is the caller's own wish.
        if fault.row().status >= 500 && fault.reason != Reason::DeadlineExceeded {
            tracing::error!(route, fault = %fault.reason, "a request failed");
        }
        dialect.refusal(&fault, id)
    });
    let code = response.status().as_u16();
    came.told(app, code, key);
    dialect.mark(id, response.headers_mut());
    response.headers_mut().insert(REQUEST_ID, id.clone());
    app.config.origins.mark(source, response.headers_mut());
    match entry {
        None => response,
        Some(entry) => response.map(|body| Body::new(Logged::new(body, entry, route, code))),
    }
}

async fn params(row: &Row, parts: &mut Parts) -> Result<Vec<(String, String)>, Fault> {
    if !row.path.contains('{') {
        return Ok(Vec::new());
    }
    match Path::<Vec<(String, String)>>::from_request_parts(parts, &()).await {
        Ok(Path(params)) => Ok(params),
        Err(_) => Err(bad_path(&parts.uri).into()),
    }
}

fn bad_path(uri: &Uri) -> Reason {
    Reason::NoSuchRoute(uri.path().chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_a_handler_is_an_error_of_its_request() {
        assert_eq!(caught(async { 5 }).await, Ok(5));
        let broken = caught(async { panic!("a mistake of ours") });
        let reason: Result<(), Reason> = broken.await;
        assert!(matches!(reason, Err(Reason::Internal(_))));
    }
}
