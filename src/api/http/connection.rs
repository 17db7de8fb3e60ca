//! One connection's requests: each learns who is at the other end, and is counted until its answer has gone.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::body::{Body as Read, Frame, Incoming, SizeHint};
use tonic::codegen::Service;

use crate::api::door::{Counted, Counts, Peer};

/// What a connection does.
#[derive(Default)]
struct Activity {
    open: AtomicUsize,
    begun: AtomicU64,
}

/// A router for one connection.
#[derive(Clone)]
pub(super) struct Connected {
    router: Router,
    peer: Peer,
    counts: Arc<Counts>,
    activity: Arc<Activity>,
}

impl Connected {
    pub fn new(router: Router, peer: Peer, counts: Arc<Counts>) -> Self {
        Self {
            router,
            peer,
            counts,
            activity: Arc::default(),
        }
    }

    /// Resolves when nothing has been asked or answered for as long as `timeout`, at the latest after twice that.
    pub fn quiet(&self, timeout: Duration) -> impl Future<Output = ()> + use<> {
        let activity = self.activity.clone();
        async move {
            loop {
                let begun = activity.begun.load(Ordering::Relaxed);
                let was_idle = activity.open.load(Ordering::Relaxed) == 0;
                tokio::time::sleep(timeout).await;
                let is_idle = activity.open.load(Ordering::Relaxed) == 0;
                if was_idle && is_idle && activity.begun.load(Ordering::Relaxed) == begun {
                    return;
                }
            }
        }
    }
}

/// A request that is being answered.
struct Open {
    activity: Arc<Activity>,
    _counted: Counted,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.activity.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Service<Request<Incoming>> for Connected {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A router always is.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        self.activity.begun.fetch_add(1, Ordering::Relaxed);
        self.activity.open.fetch_add(1, Ordering::Relaxed);
        let open = Open {
            activity: self.activity.clone(),
            _counted: self.counts.requests.hold(),
        };
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.peer.clone());
        let answered = self.router.call(request);
        async move {
            let response = answered.await?;
            Ok(response.map(|body| Body::new(Leaving { body, _open: open })))
        }
        .boxed()
    }
}

/// An answer on its way out.
struct Leaving {
    body: Body,
    _open: Open,
}

impl Read for Leaving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
