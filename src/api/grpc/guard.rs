//! Lets callers in before their call is looked at: no method of a service runs without one.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::{Request, Status};

use super::status::status;
use crate::api::access::{ADAPTERS, ADMIN, Access, INFER, TRAIN, tell_limits};
use crate::api::backoff::Backoff;
use crate::api::caller::{REQUEST_ID, request_id};
use crate::api::door::Peer;
use crate::domain::Reason;
use crate::gateway::{Caller, Gateway, Trace};

/// What each call asks of its caller; a method that is not here serves nobody.
const CALLS: &[(&str, &[&str], Access)] = &[
    (
        "adapterd.v1.Inference",
        &["Generate", "Tokenize", "Embed"],
        INFER,
    ),
    (
        "adapterd.v1.Adapters",
        &[
            "List",
            "Get",
            "Register",
            "Blend",
            "Promote",
            "Rollback",
            "Pin",
            "Load",
            "Unload",
            "Delete",
            "Watch",
            "Canary",
            "PromoteCanary",
            "AbortCanary",
            "Shadow",
            "StopShadow",
        ],
        ADAPTERS,
    ),
    (
        "adapterd.v1.Training",
        &[
            "SubmitData",
            "CreateJob",
            "PlanJob",
            "ListJobs",
            "GetJob",
            "CancelJob",
            "PauseJob",
            "ResumeJob",
            "WatchJob",
            "Retrain",
        ],
        TRAIN,
    ),
    (
        "adapterd.v1.Keys",
        &["List", "Create", "Revoke", "Rotate"],
        ADMIN,
    ),
    ("adapterd.v1.Audit", &["List", "Verify"], ADMIN),
    (
        "adapterd.v1.Feedback",
        &["Give", "List", "Get", "Delete", "Export", "Scores"],
        INFER,
    ),
    (
        "grpc.reflection.v1.ServerReflection",
        &["ServerReflectionInfo"],
        Access::AnyKey,
    ),
    (
        "grpc.reflection.v1alpha.ServerReflection",
        &["ServerReflectionInfo"],
        Access::AnyKey,
    ),
];

fn access(path: &str) -> Option<Access> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let mut rows = CALLS.iter();
    let row = rows.find(|(name, methods, _)| *name == service && methods.contains(&method));
    row.map(|(.., access)| *access)
}

/// A service whose callers are let in.
#[derive(Clone)]
pub struct Guarded<S> {
    inner: S,
    gateway: Gateway,
    backoff: Backoff,
    /// What operates the daemon is refused.
    is_public: bool,
}

impl<S> Guarded<S> {
    pub fn new(inner: S, gateway: Gateway, backoff: Backoff, is_public: bool) -> Self {
        Self {
            inner,
            gateway,
            backoff,
            is_public,
        }
    }
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let Some(access) = access(request.uri().path()) else {
            // Without a caller: should there be such a method, it does nothing.
            return self.inner.call(request).boxed();
        };
        // The one that was asked whether it is ready.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let (gateway, backoff) = (self.gateway.clone(), self.backoff.clone());
        if self.is_public && access.operates() {
            let elsewhere = Reason::OnAdminAddress(request.uri().path().to_owned());
            return std::future::ready(Ok(status(elsewhere).into_http())).boxed();
        }
        async move {
            let id = request_id(request.headers());
            let peer = request.extensions().get::<Peer>().cloned();
            let trace = request.extensions().get::<Trace>().cloned();
            let caller = access.admit(&gateway, request.headers(), peer.as_ref(), &backoff);
            let caller = caller.await.map(|caller| caller.traced(trace.clone()));
            let caller = caller.and_then(|mut caller| {
                caller.asks_by(id.to_str().unwrap_or(""));
                let key = caller.key_id().map(ToString::to_string);
                if let (Some(trace), Some(key)) = (trace, &key) {
                    trace.key(key);
                }
                let may = access.check(&caller);
                tracing::info!(
                    call = request.uri().path(),
                    id = id.to_str().unwrap_or(""),
                    key,
                    refused = may.is_err(),
                    "called"
                );
                may.map(|()| caller)
            });
            let mut response = match caller {
                Ok(caller) => {
                    let asks = access.tells_limits().then(|| caller.clone());
                    request.extensions_mut().insert(caller);
                    let mut response = inner.call(request).await?;
                    if let Some(caller) = asks {
                        tell_limits(&caller, response.headers_mut());
                    }
                    response
                }
                Err(reason) => status(reason).into_http(),
            };
            response.headers_mut().insert(REQUEST_ID, id);
            Ok(response)
        }
        .boxed()
    }
}

/// Whom a call is for.
pub(super) fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| status(Reason::Internal("a call passed the guard unseen".into())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::pb;

    #[test]
    fn every_method_says_what_it_asks_of_its_caller() {
        let files = FileDescriptorSet::decode(pb::DESCRIPTORS).unwrap().file;
        let mut methods = BTreeSet::new();
        for file in &files {
            for service in &file.service {
                let name = format!("{}.{}", file.package(), service.name());
                let of = |method: &str| format!("/{name}/{method}");
                methods.extend(service.method.iter().map(|method| of(method.name())));
            }
        }
        for method in &methods {
            assert!(access(method).is_some(), "{method}");
        }
        let ours = CALLS
            .iter()
            .filter(|(name, ..)| name.starts_with("adapterd"));
        let rows: usize = ours.map(|(_, methods, _)| methods.len()).sum();
        assert_eq!(rows, methods.len());
        assert_eq!(access("/adapterd.v1.Keys/Steal"), None);
    }
}
