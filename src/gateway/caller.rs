//! Who acts. Whatever is done for somebody is a method of a caller, and only `Gateway::admit` makes one that may do
//! anything. Each method says which scope it needs, whatever its protocol has asked for already.

use std::borrow::Cow;
use std::future::{Future, pending};
use std::sync::Arc;

use uuid::Uuid;

use super::keys::Pass;
use super::limits::Meter;
use super::share::{Tenant, number};
use super::{Gateway, Parts, Trace};
use crate::domain::{Actor, AdapterName, Asker, KeyId, Rates, Reason, Scope, key_text};

/// What a call says about who makes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    pub key: Option<String>,
    /// What its client's certificate, which was verified, calls it; none where it showed none.
    pub certificate: Arc<[String]>,
    /// It carries others that differ.
    pub is_ambiguous: bool,
}

/// Somebody who was let in. Cheap to clone.
#[derive(Clone)]
pub struct Caller {
    gateway: Gateway,
    who: Who,
    /// The id of the request it makes.
    request: Option<Arc<str>>,
    /// Where it is noted what became of its request.
    trace: Option<Trace>,
}

#[derive(Clone)]
enum Who {
    /// May do nothing.
    Nobody,
    /// No key is asked for. One that came proves nothing: it tells callers apart, so that they share the machine fairly.
    Anyone {
        key: Option<String>,
    },
    Holder(Pass),
    /// The daemon by its settings, for nobody's key.
    Program,
}

impl Gateway {
    /// Lets somebody in.
    pub async fn admit(&self, credentials: Credentials) -> Result<Caller, Reason> {
        let Credentials {
            key,
            certificate,
            is_ambiguous,
        } = credentials;
        let who = match self.inner.config.needs_keys {
            false => Who::Anyone {
                key: key.or_else(|| certificate.first().cloned()),
            },
            true if is_ambiguous => return Err(Reason::TwoKeys),
            true => Who::Holder(self.pass(key, &certificate).await?),
        };
        Ok(self.caller(who))
    }

    /// The key that is shown, by its text or by a certificate; where both are, they must say the same.
    async fn pass(&self, key: Option<String>, names: &[String]) -> Result<Pass, Reason> {
        let keys = &self.parts().keys;
        let certified = keys.certified(names);
        let Some(key) = key else {
            return certified?.ok_or_else(|| match names.first() {
                Some(name) => Reason::UnknownCertificate(name.clone(), Scope::Infer),
                None => Reason::NoKey(Scope::Infer),
            });
        };
        let pass = keys.find(&key).await?;
        match certified? {
            Some(other) if other.key().id != pass.key().id => Err(Reason::TwoKeys),
            _ => Ok(pass),
        }
    }

    /// What a key is to be created with for what needs `scope`. The first one is an admin's, whatever it is for.
    pub fn scope_to_create(&self, scope: Scope) -> Scope {
        match self.parts().keys.is_empty() {
            true => Scope::Admin,
            false => scope,
        }
    }

    /// For what is open to all: nobody is asked who they are, and nothing is done for them.
    pub fn nobody(&self) -> Caller {
        self.caller(Who::Nobody)
    }

    /// Who acts by the settings alone.
    pub(super) fn itself(&self) -> Caller {
        self.caller(Who::Program)
    }

    fn caller(&self, who: Who) -> Caller {
        let gateway = self.clone();
        let request = None;
        Caller {
            gateway,
            who,
            request,
            trace: None,
        }
    }
}

impl Caller {
    /// Whether it may do what needs `scope`; its key may have ended meanwhile.
    pub fn check(&self, scope: Scope) -> Result<(), Reason> {
        self.may(scope).map(drop)
    }

    /// The same, and what becomes of its request is noted.
    pub fn traced(mut self, trace: Option<Trace>) -> Self {
        self.trace = trace;
        self
    }

    pub(super) fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// What `work` comes to, whose end is noted.
    pub(super) async fn noting<T>(&self, work: impl Future<Output = T>, note: fn(&Trace)) -> T {
        let done = work.await;
        if let Some(trace) = &self.trace {
            note(trace);
        }
        done
    }

    /// The id of its key, where keys are asked for.
    pub fn key_id(&self) -> Option<&KeyId> {
        match &self.who {
            Who::Holder(pass) => Some(&pass.key().id),
            Who::Nobody | Who::Anyone { .. } | Who::Program => None,
        }
    }

    /// By the request of this id, which the record of changes tells.
    pub fn asks_by(&mut self, request: &str) {
        self.request = Some(request.into());
    }

    /// What a route draws by: the id of its request, or chance where it has none.
    pub(super) fn drawn_by(&self) -> Cow<'_, str> {
        match &self.request {
            Some(request) => Cow::Borrowed(request),
            None => Cow::Owned(Uuid::new_v4().simple().to_string()),
        }
    }

    /// As changes are recorded.
    pub(super) fn actor(&self) -> Actor {
        match &self.who {
            Who::Program => Actor::system(),
            _ => Actor::caller(self.key_id(), self.request.as_deref()),
        }
    }

    /// The parts, for what needs `scope`.
    pub(super) fn may(&self, scope: Scope) -> Result<&Parts, Reason> {
        let parts = self.with_any_key();
        let parts = parts.map_err(|reason| reason.needing(scope))?;
        match &self.who {
            Who::Holder(pass) if !pass.key().scopes.allow(scope) => Err(Reason::OutOfScope(scope)),
            _ => Ok(parts),
        }
    }

    /// The parts, for what every key may do.
    pub(super) fn with_any_key(&self) -> Result<&Parts, Reason> {
        match &self.who {
            Who::Nobody => Err(Reason::NoKey(Scope::Infer)),
            Who::Anyone { .. } | Who::Program => Ok(self.gateway.parts()),
            Who::Holder(pass) => pass.check().map(|()| self.gateway.parts()),
        }
    }

    /// Whether an adapter of this name may exist for it.
    pub fn sees(&self, name: &AdapterName) -> bool {
        match &self.who {
            Who::Nobody => false,
            Who::Anyone { .. } | Who::Program => true,
            Who::Holder(pass) => pass.key().adapters.allow(name),
        }
    }

    /// The same as an error, in the words for what does not exist.
    pub(super) fn see(&self, name: &AdapterName) -> Result<(), Reason> {
        match self.sees(name) {
            true => Ok(()),
            false => Err(Reason::NoSuchAdapter(name.to_string())),
        }
    }

    /// Refuses a name that something of it would get, unless it could see that then.
    pub(super) fn may_name(&self, name: &AdapterName) -> Result<(), Reason> {
        match &self.who {
            Who::Holder(pass) if !self.sees(name) => Err(Reason::NotItsName {
                name: name.to_string(),
                allowed: pass.key().adapters.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// Whether nothing is hidden from it but what its list of adapters hides.
    pub(super) fn sees_everything(&self) -> bool {
        !self.asker().only_own
    }

    /// As jobs and files are concerned.
    pub(super) fn asker(&self) -> Asker {
        match &self.who {
            Who::Nobody => Asker {
                only_own: true,
                ..Asker::default()
            },
            Who::Anyone { .. } | Who::Program => Asker::default(),
            Who::Holder(pass) => Asker {
                key: Some(pass.key().id.clone()),
                only_own: !pass.key().scopes.allow(Scope::Admin),
                limits: pass.key().limits,
            },
        }
    }

    /// What its key may ask, where that has limits, and what it asked.
    pub(super) fn own_limits(&self) -> Option<(Rates, &Arc<Meter>)> {
        match &self.who {
            Who::Holder(pass) => {
                let rates = pass.key().limits.rates();
                (rates != Rates::default()).then(|| (rates, pass.meter()))
            }
            Who::Nobody | Who::Anyone { .. } | Who::Program => None,
        }
    }

    /// What tells it from other callers for as long as it is the same one: the id of its key, or the text it sends as one.
    /// `None` where it says nothing of itself.
    pub(super) fn told_apart_by(&self) -> Option<&str> {
        match &self.who {
            Who::Nobody | Who::Program => None,
            Who::Anyone { key } => key.as_deref(),
            Who::Holder(pass) => Some(pass.key().id.as_str()),
        }
    }

    pub(super) fn tenant(&self) -> Tenant {
        let shares = &self.gateway.inner.config.shares;
        match &self.who {
            Who::Nobody | Who::Anyone { key: None } | Who::Program => Tenant::default(),
            Who::Anyone { key: Some(key) } => Tenant {
                number: number(key),
                weight: shares.of_key(key),
                shares_nothing: false,
            },
            Who::Holder(pass) => Tenant {
                // Not of its secret, which a rotation changes.
                number: number(pass.key().id.as_str()),
                weight: pass.key().weight.map_or_else(
                    || shares.of_key(&key_text(&pass.key().id, "")),
                    |weight| weight as f32,
                ),
                shares_nothing: true,
            },
        }
    }

    /// Resolves when its key has ended; never where none is needed.
    pub fn ended(&self) -> impl Future<Output = Reason> + Send + Sync + use<> {
        let pass = match &self.who {
            Who::Holder(pass) => Some(pass.clone()),
            Who::Nobody | Who::Anyone { .. } | Who::Program => None,
        };
        async move {
            match pass {
                Some(pass) => pass.ended().await,
                None => pending().await,
            }
        }
    }

    /// What `work` comes to, unless the key ends before that; then it is dropped.
    pub(super) async fn unless_ended<T>(
        &self,
        work: impl Future<Output = Result<T, Reason>>,
    ) -> Result<T, Reason> {
        tokio::select! {
            biased;
            reason = self.ended() => Err(reason),
            done = work => self.with_any_key().and(done),
        }
    }

    /// Whether its key may end while it is answered.
    pub(super) fn may_end(&self) -> bool {
        matches!(self.who, Who::Holder(_))
    }

    pub(super) fn gateway(&self) -> &Gateway {
        &self.gateway
    }
}
