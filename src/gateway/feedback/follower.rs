//! What remembers an answer while it goes out.

use super::super::Caller;
use super::super::follow::{Follow, Submission};
use super::{Feedback, LONGEST};
use crate::domain::Event;
use crate::store::{Answered, Kept, now};

/// Hands the answer on when it ends, or when its reader goes away.
struct Follower {
    feedback: Feedback,
    /// Taken when it has been handed on.
    answered: Option<Answered>,
    generated: u64,
}

impl Follow for Follower {
    fn see(&mut self, event: &Event) {
        match event {
            Event::Delta { text, tokens, .. } => {
                self.generated += tokens.len() as u64;
                let kept = self.answered.as_mut().and_then(|a| a.kept.as_mut());
                // One piece above the bound: then it is counted as one that was not kept.
                if let Some(kept) = kept.filter(|kept| kept.bytes() <= LONGEST) {
                    kept.answer.push_str(text);
                }
            }
            Event::Done { usage } => {
                self.generated = usage.generated as u64;
                self.hand_on();
            }
            Event::Failed(_) => self.hand_on(),
            Event::Prompt { .. }
            | Event::Finish { .. }
            | Event::Embedding { .. }
            | Event::Call { .. } => {}
        }
    }
}

impl Follower {
    fn hand_on(&mut self) {
        if let Some(answered) = self.answered.take() {
            let tokens = self.generated;
            self.feedback.note(Answered { tokens, ..answered });
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.hand_on();
    }
}

impl Caller {
    /// Remembers which generation answers, and prompt and answer where they may be kept. Several prompts or answers of one
    /// request have one id: it is remembered once, and no text of it is kept.
    pub(in crate::gateway) fn remember(&self, begun: &Submission<'_>) -> Option<Box<dyn Follow>> {
        if begun.number > 0 {
            return None;
        }
        let feedback = &self.gateway().parts().feedback;
        let names = begun.lease.map(|lease| lease.names());
        let input = begun.heard.filter(|_| feedback.inner.capture.keeps(names));
        let answered = Answered {
            id: begun.id.to_owned(),
            at: now(),
            owner: self.key_id().cloned(),
            adapter: begun.lease.map(|lease| lease.shown().to_owned()),
            generation: begun.lease.map(|lease| lease.generation()),
            tokens: 0,
            kept: input.map(|input| Kept {
                input: input.to_owned(),
                answer: String::new(),
            }),
        };
        Some(Box::new(Follower {
            feedback: feedback.clone(),
            answered: Some(answered),
            generated: 0,
        }))
    }

    /// The prompt of a request as it was sent, where it may come to be kept.
    pub(in crate::gateway) fn hear(&self, asks: &[crate::domain::Ask]) -> Option<String> {
        let [ask] = asks else { return None };
        let capture = &self.gateway().parts().feedback.inner.capture;
        // Calls are no text: a row of them would teach their marks without the functions they are for.
        let is_text = ask.tools.offered().is_empty();
        let is_one = ask.n == 1 && is_text && capture.hears(self.key_id());
        is_one.then(|| super::capture::written(&ask.input))?
    }
}
