//! Lets callers in before their call is looked at: no method of a service runs without one.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::{Request, Status};

use super::status::status;
use crate::api::caller::credentials;
use crate::domain::Reason;
use crate::gateway::{Caller, Gateway};

/// A service whose callers are let in.
#[derive(Clone)]
pub struct Guarded<S> {
    inner: S,
    gateway: Gateway,
}

impl<S> Guarded<S> {
    pub fn new(inner: S, gateway: Gateway) -> Self {
        Self { inner, gateway }
    }
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Guarded<S>
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
        match self.gateway.admit(credentials(request.headers())) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                self.inner.call(request).boxed()
            }
            Err(reason) => {
                let refused = status(reason).into_http();
                async move { Ok(refused) }.boxed()
            }
        }
    }
}

/// Whom a call is for.
pub(super) fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| status(Reason::Internal("a call passed the guard unseen".into())))
}
