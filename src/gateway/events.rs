//! The events of an answer, for as long as its caller may hear them.

use std::future::Future;
use std::pin::Pin;

use tokio::sync::mpsc;

use super::calls::Reader;
use super::follow::Followers;
use super::{Caller, Trace};
use crate::domain::{Event, Reason};

/// Dropping it ends the work.
pub struct Events {
    coming: mpsc::Receiver<Event>,
    /// Resolves when the caller's key has ended; `None` where none can.
    ended: Option<Pin<Box<dyn Future<Output = Reason> + Send + Sync>>>,
    followers: Followers,
    trace: Option<Trace>,
    /// Finds calls in what is said; `None` where nothing can be called.
    reader: Option<Reader>,
}

impl Events {
    pub(super) fn of(caller: &Caller, coming: mpsc::Receiver<Event>, followers: Followers) -> Self {
        Self {
            coming,
            ended: caller.may_end().then(|| Box::pin(caller.ended()) as _),
            followers,
            trace: caller.trace().cloned(),
            reader: None,
        }
    }

    pub(super) fn reading(mut self, reader: Option<Reader>) -> Self {
        self.reader = reader;
        self
    }

    /// Whether calls may come beside text, or instead.
    pub fn may_call(&self) -> bool {
        self.reader.is_some()
    }

    pub async fn recv(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.reader.as_mut().and_then(Reader::next) {
                return Some(self.said(event));
            }
            let event = self.hear().await?;
            if let Some(trace) = &self.trace {
                trace.heard(&event);
            }
            for follower in &mut self.followers {
                follower.see(&event);
            }
            match &mut self.reader {
                Some(reader) => reader.read(event),
                None => return Some(self.said(event)),
            }
        }
    }

    fn said(&self, event: Event) -> Event {
        if let Some(trace) = &self.trace {
            trace.said(&event);
        }
        event
    }

    async fn hear(&mut self) -> Option<Event> {
        let Some(ended) = &mut self.ended else {
            return self.coming.recv().await;
        };
        tokio::select! {
            biased;
            reason = ended => {
                self.ended = None;
                // Nothing more is worked out for it, even if its reader does not let go.
                self.coming.close();
                Some(Event::Failed(reason))
            }
            event = self.coming.recv() => event,
        }
    }
}

/// Of a caller without a key: no such answer is made but through one.
#[cfg(test)]
impl From<mpsc::Receiver<Event>> for Events {
    fn from(coming: mpsc::Receiver<Event>) -> Self {
        Self {
            coming,
            ended: None,
            followers: Followers::new(),
            trace: None,
            reader: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::sync::{Arc, Mutex};

    use super::super::follow::Follow;
    use super::*;
    use crate::domain::Scope;

    #[tokio::test]
    async fn when_a_key_ends_so_does_the_answer_with_the_reason() {
        let (out, coming) = mpsc::channel(4);
        out.send(Event::Failed(Reason::Draining)).await.unwrap();
        let mut events = Events {
            coming,
            ended: Some(Box::pin(ready(Reason::KeyEnded(
                "was revoked",
                Scope::Infer,
            )))),
            followers: Followers::new(),
            trace: None,
            reader: None,
        };
        let told = events.recv().await;
        assert_eq!(
            told,
            Some(Event::Failed(Reason::KeyEnded("was revoked", Scope::Infer)))
        );
        assert!(out.is_closed(), "the work ends");
    }

    #[tokio::test]
    async fn followers_see_what_the_reader_gets_and_end_with_it() {
        struct Seen(Arc<Mutex<Vec<Event>>>);
        impl Follow for Seen {
            fn see(&mut self, event: &Event) {
                self.0.lock().unwrap().push(event.clone());
            }
        }
        let (out, coming) = mpsc::channel(4);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut events = Events {
            followers: vec![Box::new(Seen(seen.clone()))],
            ..Events::from(coming)
        };
        out.send(Event::Failed(Reason::Draining)).await.unwrap();
        let told = events.recv().await;
        assert_eq!(Vec::from_iter(told), *seen.lock().unwrap());
        drop(events);
        assert_eq!(Arc::strong_count(&seen), 1);
    }
}
