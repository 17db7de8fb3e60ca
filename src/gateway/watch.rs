//! Following what changes: the events of a job, the state of adapters. The store is the truth; broadcasts only say
//! when to look, so a slow follower misses nothing.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::Caller;
use crate::domain::{AdapterView, JobEvent, JobId, Reason, Scope};

/// Events held for a follower that reads slowly; then the follower waits for itself. It reads them also after its key has
/// ended, so they are few.
const AHEAD: usize = 2;
/// A job that ends without an event is noticed after this long.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const PAGE: usize = 100;

/// An adapter after a change.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterChange {
    pub adapter: AdapterView,
    /// The name is gone; `adapter` is its last state.
    pub deleted: bool,
}

impl Caller {
    /// Every event of a job numbered above `after`, oldest first, until the job has ended. Dropping the receiver
    /// ends the following.
    pub async fn watch_job(
        &self,
        id: JobId,
        after: i64,
    ) -> Result<mpsc::Receiver<Result<JobEvent, Reason>>, Reason> {
        self.job(&id).await?;
        let (out, follower) = mpsc::channel(AHEAD);
        let caller = self.clone();
        tokio::spawn(async move {
            if let Err(reason) = caller.follow_job(&id, after, &out).await {
                // A follower that has gone needs no error.
                let _ = out.send(Err(reason.needing(Scope::Train))).await;
            }
        });
        Ok(follower)
    }

    async fn follow_job(
        &self,
        id: &JobId,
        mut last: i64,
        out: &mpsc::Sender<Result<JobEvent, Reason>>,
    ) -> Result<(), Reason> {
        let mut live = self.may(Scope::Train)?.trainer.watch();
        let closing = &self.gateway().inner.closing;
        let mut ended = pin!(self.ended());
        loop {
            // Asked before reading: events are stored before the status they lead to.
            let is_over = self.job(id).await?.status.is_final();
            for event in self.events_since(id, last).await? {
                last = event.seq;
                tokio::select! {
                    biased;
                    reason = &mut ended => return Err(reason),
                    sent = out.send(Ok(event)) => if sent.is_err() {
                        return Ok(());
                    },
                }
            }
            if is_over {
                return Ok(());
            }
            tokio::select! {
                () = out.closed() => return Ok(()),
                reason = &mut ended => return Err(reason),
                () = closing.cancelled() => return Err(Reason::Draining),
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                news = live.recv() => match news {
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Err(Reason::Draining),
                },
            }
        }
    }

    async fn events_since(&self, id: &JobId, last: i64) -> Result<Vec<JobEvent>, Reason> {
        let mut found: Vec<JobEvent> = Vec::new();
        loop {
            let page = self
                .job_events(id, found.last().map(|event| event.seq), PAGE)
                .await?;
            let reached = page.items.iter().any(|event| event.seq <= last);
            found.extend(page.items.into_iter().filter(|event| event.seq > last));
            if reached || !page.has_more {
                found.reverse();
                return Ok(found);
            }
        }
    }

    /// Every adapter (or the one named) as it is, then each change, until the receiver is dropped.
    pub async fn watch_adapters(
        &self,
        name: Option<String>,
    ) -> Result<mpsc::Receiver<Result<AdapterChange, Reason>>, Reason> {
        self.check(Scope::Adapters)?;
        let (out, follower) = mpsc::channel(AHEAD);
        let caller = self.clone();
        tokio::spawn(async move {
            if let Err(reason) = caller.follow_adapters(name.as_deref(), &out).await {
                let _ = out.send(Err(reason.needing(Scope::Adapters))).await;
            }
        });
        Ok(follower)
    }

    async fn follow_adapters(
        &self,
        name: Option<&str>,
        out: &mpsc::Sender<Result<AdapterChange, Reason>>,
    ) -> Result<(), Reason> {
        let wanted = |view: &AdapterView| {
            name.is_none_or(|name| view.id.as_str() == name) && self.sees(&view.id)
        };
        let registry = &self.may(Scope::Adapters)?.registry;
        let mut changes = registry.changes();
        let closing = &self.gateway().inner.closing;
        let mut pending = self.adapters().await?;
        let mut ended = pin!(self.ended());
        loop {
            for adapter in pending.drain(..).filter(|view| wanted(view)) {
                let send = async {
                    // Asked when there is room for it: a burst of changes ends in the state that holds.
                    let Ok(room) = out.reserve().await else {
                        return Ok(false);
                    };
                    let (adapter, deleted) = match registry.show(&adapter.id).await {
                        Ok(adapter) => (adapter, false),
                        Err(Reason::NoSuchAdapter(_)) => (adapter, true),
                        Err(reason) => return Err(reason),
                    };
                    let adapter = self.shown(adapter);
                    room.send(Ok(AdapterChange { adapter, deleted }));
                    Ok(true)
                };
                let is_read = tokio::select! {
                    biased;
                    reason = &mut ended => return Err(reason),
                    sent = send => sent?,
                };
                if !is_read {
                    return Ok(());
                }
            }
            tokio::select! {
                () = out.closed() => return Ok(()),
                reason = &mut ended => return Err(reason),
                () = closing.cancelled() => return Err(Reason::Draining),
                change = changes.recv() => match change {
                    Ok(view) => pending.push(view),
                    Err(RecvError::Lagged(_)) => pending = self.adapters().await?,
                    Err(RecvError::Closed) => return Ok(()),
                },
            }
        }
    }
}
