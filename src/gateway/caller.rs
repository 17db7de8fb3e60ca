//! Who acts. Whatever is done for somebody is a method of a caller, and only `Gateway::admit` makes one.

use super::{Gateway, Parts};
use crate::domain::Reason;

/// What a call says about who makes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    pub key: Option<String>,
}

/// Somebody who was let in. Cheap to clone.
#[derive(Clone)]
pub struct Caller {
    gateway: Gateway,
    /// The key it came with. It proves nothing: it tells callers apart, so that they share the machine fairly.
    key: Option<String>,
}

impl Gateway {
    /// Lets somebody in.
    pub fn admit(&self, credentials: Credentials) -> Result<Caller, Reason> {
        Ok(Caller {
            gateway: self.clone(),
            key: credentials.key,
        })
    }
}

impl Caller {
    pub(super) fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    pub(super) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    pub(super) fn parts(&self) -> &Parts {
        self.gateway.parts()
    }
}
