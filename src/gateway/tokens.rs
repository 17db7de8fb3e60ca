//! Text to tokens and back. Long texts go to a bounded number of blocking threads, so that one huge prompt delays
//! neither other requests nor the sockets.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{Claims, Gateway};
use crate::domain::{Input, Message, Reason};
use crate::text::{ChatTemplate, TextError, Tokenizer};

/// Texts up to this many bytes tokenize in well under a millisecond and are done on the spot.
const SHORT: usize = 4096;

pub(super) struct Pool {
    turns: Arc<Semaphore>,
    patience: Duration,
}

impl Pool {
    pub fn new(threads: usize, patience: Duration) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(threads.max(1))),
            patience,
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> Result<T, Reason> + Send + 'static,
    ) -> Result<T, Reason> {
        if bytes <= SHORT {
            return work();
        }
        let turn = tokio::time::timeout(self.patience, self.turns.clone().acquire_owned())
            .await
            .map_err(|_| Reason::Overloaded {
                retry_after: self.patience.as_secs().max(1),
            })?
            .map_err(|_| Reason::Draining)?;
        // The turn moves into the thread: work whose caller has gone still counts.
        let outcome = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        outcome
            .await
            .map_err(|_| Reason::Internal("a tokenizer thread failed".into()))?
    }
}

impl Gateway {
    /// Ids of a prompt or a conversation, without running it. The adapter is checked as for a request.
    pub async fn tokenize(
        &self,
        claims: &Claims,
        input: Input,
        add_special: bool,
    ) -> Result<Vec<u32>, Reason> {
        self.lease(claims).await?;
        match input {
            Input::Text(text) => self.encode_text(text, add_special).await,
            other => self.encode(other).await,
        }
    }

    /// The text of `ids`, special tokens included.
    pub async fn detokenize(&self, ids: Vec<u32>) -> Result<String, Reason> {
        let tokenizer = self.parts().base.tokenizer.clone();
        let vocabulary = tokenizer.vocab_size();
        if let Some(at) = ids.iter().position(|&id| id as usize >= vocabulary) {
            return Err(Reason::field(
                format!("tokens[{at}]"),
                format!("is not below the vocabulary size {vocabulary}"),
            ));
        }
        self.inner
            .tokenizers
            .run(ids.len() * 4, move || {
                tokenizer
                    .decode(&ids, false)
                    .map_err(|fault| explain("tokens", &fault))
            })
            .await
    }

    /// The tokens `input` stands for, as a request would run them.
    pub(super) async fn encode(&self, input: Input) -> Result<Vec<u32>, Reason> {
        match input {
            Input::Tokens(ids) => Ok(ids),
            Input::Text(text) => self.encode_text(text, true).await,
            Input::Chat(messages) => self.encode_chat(messages).await,
        }
    }

    async fn encode_text(&self, text: String, add_special: bool) -> Result<Vec<u32>, Reason> {
        let tokenizer = self.parts().base.tokenizer.clone();
        self.inner
            .tokenizers
            .run(text.len(), move || {
                tokenizer
                    .encode(&text, add_special)
                    .map_err(|fault| explain("prompt", &fault))
            })
            .await
    }

    async fn encode_chat(&self, messages: Vec<Message>) -> Result<Vec<u32>, Reason> {
        let base = &self.parts().base;
        let (tokenizer, template) = (base.tokenizer.clone(), base.template.clone());
        let bytes = messages.iter().map(|message| message.content.len()).sum();
        self.inner
            .tokenizers
            .run(bytes, move || render(&tokenizer, &template, &messages))
            .await
    }
}

/// The template writes the special tokens itself.
fn render(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    messages: &[Message],
) -> Result<Vec<u32>, Reason> {
    let text = template
        .render(messages, true)
        .map_err(|fault| explain("messages", &fault))?;
    tokenizer
        .encode(&text, false)
        .map_err(|fault| explain("messages", &fault))
}

/// A template may refuse a conversation (two user turns in a row, say): that is the caller's to mend.
fn explain(field: &str, fault: &TextError) -> Reason {
    match fault {
        TextError::Template(_) | TextError::Tokenizer(_) => Reason::field(field, fault.to_string()),
        TextError::File(why) => Reason::Internal(why.clone()),
    }
}
