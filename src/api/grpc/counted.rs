//! Counts calls by their route and how they ended. A stream ends with its trailers, or when its reader leaves. A call that
//! panics ends with a status, and its connection goes on.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt};
use hyper::body::{Body as Read, Frame, SizeHint};
use tonic::body::Body;
use tonic::codegen::{Bytes, Service, http};
use tonic::server::NamedService;
use tonic::{Code, Status};

use super::Telemetry;
use crate::api::Common;
use crate::api::caller::{REQUEST_ID, request_id};
use crate::api::door::{Counted as Held, Counter, Peer};
use crate::api::entry::{Came, Entry, Status as Said};

/// The metrics label of calls to methods that do not exist.
const NO_ROUTE: &str = "none";

const STATUS: &str = "grpc-status";

/// A service whose calls are counted.
#[derive(Clone)]
pub struct Counted<S> {
    inner: S,
    telling: Telling,
}

/// Whom calls are told.
#[derive(Clone)]
pub struct Telling {
    pub telemetry: Arc<dyn Telemetry>,
    /// Calls under way.
    pub open: Arc<Counter>,
    pub common: Common,
}

impl<S> Counted<S> {
    pub fn new(inner: S, telling: Telling) -> Self {
        Self { inner, telling }
    }
}

impl<S: NamedService> NamedService for Counted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Counted<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        // Said once, so that the log, the answer, the record of changes and a route's draw tell of the same.
        let id = request_id(request.headers());
        request.headers_mut().insert(REQUEST_ID, id.clone());
        let entry = self.telling.common.entry(&Came {
            protocol: "grpc",
            id: &id,
            method: request.method(),
            headers: request.headers(),
            peer: request.extensions().get::<Peer>(),
        });
        if let Some(entry) = &entry {
            request.extensions_mut().insert(entry.trace.clone());
        }
        let mut call = Call {
            route: request.uri().path().trim_start_matches('/').to_owned(),
            telemetry: self.telling.telemetry.clone(),
            ended: false,
            entry,
            bytes: 0,
            _open: self.telling.open.hold(),
        };
        let answered = self.inner.call(request);
        async move {
            let mut response = match AssertUnwindSafe(answered).catch_unwind().await {
                Ok(response) => response?,
                Err(_) => {
                    tracing::error!(route = call.route, "a call panicked");
                    Status::internal("the call failed inside the server").into_http()
                }
            };
            // A call that fails before it says anything has its status among the headers.
            if let Some(status) = Status::from_header_map(response.headers()) {
                let code = match status.code() {
                    // The transport's word for a message that is too large; everybody else's is this.
                    Code::OutOfRange => {
                        let exhausted = http::HeaderValue::from(Code::ResourceExhausted as i32);
                        response.headers_mut().insert(STATUS, exhausted);
                        Code::ResourceExhausted
                    }
                    code => code,
                };
                call.end(code);
                return Ok(response);
            }
            Ok(response.map(|body| Body::new(Told { body, call })))
        }
        .boxed()
    }
}

/// One call, counted once.
struct Call {
    route: String,
    telemetry: Arc<dyn Telemetry>,
    ended: bool,
    entry: Option<Entry>,
    /// Of its messages.
    bytes: u64,
    _open: Held,
}

impl Call {
    fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        // A caller may write anything there, but only our own methods are implemented.
        let route = match code {
            Code::Unimplemented => NO_ROUTE,
            _ => &self.route,
        };
        self.telemetry.called(route, name(code));
        if let Some(entry) = &self.entry {
            entry.end(route, Said::Grpc(name(code)), self.bytes);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

/// The messages of a call on their way out.
struct Told {
    body: Body,
    call: Call,
}

impl Read for Told {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let next = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &next
            && let Some(data) = frame.data_ref()
        {
            self.call.bytes += data.len() as u64;
        }
        if let Poll::Ready(Some(Ok(frame))) = &next
            && let Some(status) = frame.trailers_ref().and_then(Status::from_header_map)
        {
            self.call.end(status.code());
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

/// As the protocol spells it.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);

    impl Telemetry for Notes {
        fn called(&self, route: &str, code: &'static str) {
            self.0.lock().unwrap().push(format!("{route} {code}"));
        }
    }

    struct Frames(VecDeque<Frame<Bytes>>);

    impl Read for Frames {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.pop_front().map(Ok))
        }
    }

    /// Answers with a status among the headers, or with one among the trailers after a message.
    #[derive(Clone)]
    struct Answers(Code, bool);

    impl Service<http::Request<Body>> for Answers {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: http::Request<Body>) -> Self::Future {
            let status = Status::new(self.0, "");
            if !self.1 {
                return std::future::ready(Ok(status.into_http()));
            }
            let mut trailers = http::HeaderMap::new();
            status.add_header(&mut trailers).unwrap();
            let message = Frame::data(Bytes::from_static(b"x"));
            let frames = Frames([message, Frame::trailers(trailers)].into());
            std::future::ready(Ok(http::Response::new(Body::new(frames))))
        }
    }

    /// Fails while it answers.
    #[derive(Clone)]
    struct Panics;

    impl Service<http::Request<Body>> for Panics {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: http::Request<Body>) -> Self::Future {
            async { panic!("a mistake of ours") }.boxed()
        }
    }

    #[tokio::test]
    async fn a_panic_of_a_call_is_its_status() {
        let notes = Arc::new(Notes::default());
        let response = call(Panics, &notes).await;
        let status = Status::from_header_map(response.headers()).map(|status| status.code());
        assert_eq!(status, Some(Code::Internal));
        assert_eq!(*notes.0.lock().unwrap(), ["a.B/C INTERNAL"]);
    }

    async fn call<S>(answers: S, notes: &Arc<Notes>) -> http::Response<Body>
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
        S::Future: Send + 'static,
    {
        let mut counted = Counted::new(
            answers,
            Telling {
                telemetry: notes.clone(),
                open: Arc::default(),
                common: Common::default(),
            },
        );
        let request = http::Request::builder().uri("http://x/a.B/C");
        counted
            .call(request.body(Body::empty()).unwrap())
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_call_is_counted_once_when_its_end_is_known() {
        let notes = Arc::new(Notes::default());
        let told = || std::mem::take(&mut *notes.0.lock().unwrap());
        drop(call(Answers(Code::NotFound, false), &notes).await);
        assert_eq!(told(), ["a.B/C NOT_FOUND"]);
        let response = call(Answers(Code::Ok, true), &notes).await;
        assert!(told().is_empty(), "its stream goes on");
        let body = axum::body::Body::new(response.into_body());
        axum::body::to_bytes(body, 1000).await.unwrap();
        assert_eq!(told(), ["a.B/C OK"]);
        drop(call(Answers(Code::Ok, true), &notes).await);
        assert_eq!(told(), ["a.B/C CANCELLED"], "its reader left");
        let refused = call(Answers(Code::OutOfRange, false), &notes).await;
        let status = Status::from_header_map(refused.headers()).map(|status| status.code());
        assert_eq!(status, Some(Code::ResourceExhausted));
        assert_eq!(told(), ["a.B/C RESOURCE_EXHAUSTED"]);
        drop(call(Answers(Code::Unimplemented, false), &notes).await);
        assert_eq!(told(), ["none UNIMPLEMENTED"]);
    }
}
