//! What watches an answer on its way out, whatever its protocol: limits, the statistics of a route, feedback.

use std::sync::Arc;
use std::time::Instant;

use super::Caller;
use super::limits::{Grant, Settling};
use crate::domain::Event;
use crate::registry::Lease;

/// Sees each event of an answer just before its reader does. It is dropped with the answer: at its end, when the reader
/// goes away, or when the key ends.
pub(super) trait Follow: Send + Sync {
    fn see(&mut self, event: &Event);
}

pub(super) type Followers = Vec<Box<dyn Follow>>;

/// One prompt of a request that is about to be submitted.
pub(super) struct Submission<'a> {
    /// Of the whole request, as its answer says, without a protocol's prefix.
    pub id: &'a str,
    /// `None` for the base.
    pub lease: Option<&'a Lease>,
    pub prompt: &'a [u32],
    /// Its place among the prompts of the request.
    pub number: usize,
    /// As it was sent, where it may be kept.
    pub heard: Option<&'a str>,
    /// When the request arrived.
    pub at: Instant,
    /// What the whole request was let in with.
    pub grant: &'a Arc<Grant>,
}

impl Caller {
    /// Who follows the answer to this prompt.
    pub(super) fn followers(&self, begun: &Submission<'_>) -> Followers {
        let settling = Settling::new(begun.grant, begun.prompt.len());
        let mut followers: Followers = vec![Box::new(settling)];
        followers.extend(self.remember(begun));
        followers.extend(self.counting(begun.lease, begun.at));
        followers
    }
}
