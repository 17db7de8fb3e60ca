//! What a route or a call asks of its caller.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::backoff::Backoff;
use super::caller::credentials;
use super::door::Peer;
use crate::domain::{Reason, Scope};
use crate::gateway::{Caller, Gateway};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Nothing, whatever keys there are.
    Open,
    /// As settings say: nothing, or `admin`.
    Metrics,
    /// Any key.
    AnyKey,
    /// A key with this scope.
    Of(Scope),
}

pub(super) const INFER: Access = Access::Of(Scope::Infer);
pub(super) const TRAIN: Access = Access::Of(Scope::Train);
pub(super) const ADAPTERS: Access = Access::Of(Scope::Adapters);
pub(super) const ADMIN: Access = Access::Of(Scope::Admin);

/// Says how the limits of the caller's key stand, as OpenAI's clients read it.
pub(super) fn tell_limits(caller: &Caller, headers: &mut HeaderMap) {
    for (name, value) in caller.standing().headers() {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

impl Access {
    /// Says who calls, before anything else of the request is looked at.
    pub async fn admit(
        self,
        gateway: &Gateway,
        headers: &HeaderMap,
        peer: Option<&Peer>,
        backoff: &Backoff,
    ) -> Result<Caller, Reason> {
        if self == Self::Open {
            return Ok(gateway.nobody());
        }
        let admitted = gateway.admit(credentials(headers, peer)).await;
        admitted.map_err(|reason| {
            let reason = reason.needing(gateway.scope_to_create(self.least()));
            match peer {
                Some(peer) => backoff.judge(peer.address.ip(), reason),
                None => reason,
            }
        })
    }

    /// The scope that opens this and least else.
    fn least(self) -> Scope {
        match self {
            Self::Of(scope) => scope,
            Self::Metrics => Scope::Admin,
            Self::Open | Self::AnyKey => Scope::Infer,
        }
    }

    /// Whether it is about the daemon rather than about what the daemon answers: adapters, keys, metrics.
    pub fn operates(self) -> bool {
        match self {
            Self::Metrics | Self::Of(Scope::Adapters | Scope::Admin) => true,
            Self::Open | Self::AnyKey | Self::Of(Scope::Infer | Scope::Train) => false,
        }
    }

    /// Whether the caller may have what is behind this.
    pub fn check(self, caller: &Caller) -> Result<(), Reason> {
        match self {
            Self::Open | Self::AnyKey => Ok(()),
            Self::Metrics => caller.check(Scope::Admin),
            Self::Of(scope) => caller.check(scope),
        }
    }

    /// Whether answers say how the caller's limits stand.
    pub fn tells_limits(self) -> bool {
        self == INFER
    }

    /// For the interface's description.
    pub fn told(self) -> &'static str {
        match self {
            Self::Open => "Open to all.",
            Self::Metrics => {
                "Open to all, or else for keys with the scope `admin`, as `auth.open_metrics` says."
            }
            Self::AnyKey => "For every key.",
            Self::Of(Scope::Infer) => "For keys with the scope `infer`.",
            Self::Of(Scope::Train) => "For keys with the scope `train`.",
            Self::Of(Scope::Adapters) => "For keys with the scope `adapters`.",
            Self::Of(Scope::Admin) => "For keys with the scope `admin`.",
        }
    }
}
