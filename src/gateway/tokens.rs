//! Text to tokens and back. Long texts go to a bounded number of blocking threads, so that one huge prompt delays
//! neither other requests nor the sockets; what is sure not to fit is refused before it costs memory.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::{Caller, Claims, Gateway, calls};
use crate::domain::{AdapterChoice, Input, Message, Reason, Scope, Tool, Toolset};
use crate::text::{ChatTemplate, Conversation, TextError, Tokenizer};

/// Texts up to this many bytes tokenize in well under a millisecond and are done on the spot.
const SHORT: usize = 4096;

/// Texts of all callers together that are tokenized or wait for it, in units of [`UNIT`] bytes.
const MOST_UNITS: usize = 64 << 10;
const UNIT: usize = 1024;
/// A call that only wants the tokens of a text may send more than fits a prompt, to see how to cut it: so many times …
const TIMES_A_PROMPT: usize = 16;
/// … and at least this many tokens.
const LEAST_TOKENS: usize = 64 << 10;

/// A conversation, and everything else that a chat template may be given.
#[derive(Debug, Clone, Default)]
pub struct Dialogue {
    pub messages: Vec<Message>,
    /// Descriptions of functions, as templates are told of them; none is none.
    pub tools: Vec<Value>,
    /// Variables of the template, by name.
    pub variables: Map<String, Value>,
    /// End with what begins an answer.
    pub add_generation_prompt: bool,
}

pub(super) struct Pool {
    turns: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    longest_wait: Duration,
}

impl Pool {
    pub fn new(threads: usize, longest_wait: Duration) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(threads.max(1))),
            bytes: Arc::new(Semaphore::new(MOST_UNITS)),
            longest_wait,
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
        let overloaded = || Reason::Overloaded {
            retry_after: self.longest_wait.as_secs().max(1),
        };
        let units = bytes.div_ceil(UNIT).min(MOST_UNITS) as u32;
        let held = self.bytes.clone().try_acquire_many_owned(units);
        let held = held.map_err(|_| overloaded())?;
        let turn = tokio::time::timeout(self.longest_wait, self.turns.clone().acquire_owned())
            .await
            .map_err(|_| overloaded())?
            .map_err(|_| Reason::Draining)?;
        // Both move into the thread: work whose caller has gone still counts.
        let outcome = tokio::task::spawn_blocking(move || {
            let _held = (turn, held);
            work()
        });
        outcome
            .await
            .map_err(|_| Reason::Internal("a tokenizer thread failed".into()))?
    }
}

impl Caller {
    /// Ids of a prompt or a conversation, without running it. The adapter must exist as for a request, but is not loaded.
    pub async fn tokenize(
        &self,
        claims: &Claims,
        input: Input,
        add_special: bool,
    ) -> Result<Vec<u32>, Reason> {
        let most = self.most_tokens(claims).await?;
        let tokens = async {
            match input {
                Input::Text(text) => self.gateway().encode_text(text, add_special, most).await,
                Input::Tokens(ids) => Ok(ids),
                Input::Chat(messages) => self.gateway().encode_chat(messages, &[], most).await,
            }
        };
        self.unless_ended(tokens).await
    }

    /// Whether there is what a request with these claims would be answered by. Loads nothing.
    pub async fn check_claims(&self, claims: &Claims) -> Result<(), Reason> {
        let (parts, chosen) = (self.may(Scope::Infer)?, self.choose(claims)?);
        let found = match &chosen.choice {
            AdapterChoice::Checkpoint { name, step } => {
                let asker = self.asker();
                parts.trainer.find_checkpoint(&asker, name, *step).await
            }
            choice => parts.registry.check_choice(choice),
        };
        found.map_err(|reason| chosen.explain(reason))
    }

    /// As [`Self::tokenize`], of a conversation with tools and variables of the template.
    pub async fn tokenize_dialogue(
        &self,
        claims: &Claims,
        dialogue: Dialogue,
    ) -> Result<Vec<u32>, Reason> {
        let most = self.most_tokens(claims).await?;
        let base = &self.may(Scope::Infer)?.base;
        let (tokenizer, template) = (base.tokenizer.clone(), base.template.clone());
        let bytes = size(&dialogue.messages, &dialogue.tools);
        let tokens = self.gateway().inner.tokenizers.run(bytes, move || {
            let conversation = Conversation {
                messages: &template.told(&dialogue.messages),
                tools: (!dialogue.tools.is_empty()).then_some(&*dialogue.tools),
                variables: Some(&dialogue.variables),
                add_generation_prompt: dialogue.add_generation_prompt,
            };
            let text = template
                .render_with(&conversation)
                .map_err(|fault| explain("messages", &fault))?;
            bounded(&tokenizer, &text, false, most, "messages")
        });
        self.unless_ended(tokens).await
    }

    /// How many tokens a request with this conversation would be asked, without running it.
    pub async fn count_chat(
        &self,
        claims: &Claims,
        messages: Vec<Message>,
        tools: &Toolset,
    ) -> Result<usize, Reason> {
        let most = self.most_tokens(claims).await?;
        let tokens = self.gateway().encode_chat(messages, tools.offered(), most);
        Ok(self.unless_ended(tokens).await?.len())
    }

    /// How many tokens a text may have that is only tokenized. The adapter must exist.
    async fn most_tokens(&self, claims: &Claims) -> Result<usize, Reason> {
        self.check_claims(claims).await?;
        Ok((TIMES_A_PROMPT * self.gateway().longest_prompt()).max(LEAST_TOKENS))
    }

    /// The text of `ids`, special tokens included.
    pub async fn detokenize(&self, ids: Vec<u32>) -> Result<String, Reason> {
        let tokenizer = self.may(Scope::Infer)?.base.tokenizer.clone();
        let vocabulary = tokenizer.vocab_size();
        if let Some(at) = ids.iter().position(|&id| id as usize >= vocabulary) {
            return Err(Reason::field(
                format!("tokens[{at}]"),
                format!("is not below the vocabulary size {vocabulary}"),
            ));
        }
        let text = self.gateway().inner.tokenizers.run(ids.len() * 4, move || {
            tokenizer
                .decode(&ids, false)
                .map_err(|fault| explain("tokens", &fault))
        });
        self.unless_ended(text).await
    }
}

impl Gateway {
    /// The tokens `input` stands for, as a request would run them.
    pub(super) async fn encode(&self, input: Input, tools: &[Tool]) -> Result<Vec<u32>, Reason> {
        let most = self.longest_prompt();
        match input {
            Input::Tokens(ids) => Ok(ids),
            Input::Text(text) => self.encode_text(text, true, most).await,
            Input::Chat(messages) => self.encode_chat(messages, tools, most).await,
        }
    }

    fn longest_prompt(&self) -> usize {
        let limits = self.parts().scheduler.limits();
        limits.context.min(limits.kv_tokens)
    }

    async fn encode_text(
        &self,
        text: String,
        add_special: bool,
        most: usize,
    ) -> Result<Vec<u32>, Reason> {
        let tokenizer = self.parts().base.tokenizer.clone();
        self.inner
            .tokenizers
            .run(text.len(), move || {
                bounded(&tokenizer, &text, add_special, most, "prompt")
            })
            .await
    }

    async fn encode_chat(
        &self,
        messages: Vec<Message>,
        tools: &[Tool],
        most: usize,
    ) -> Result<Vec<u32>, Reason> {
        let base = &self.parts().base;
        calls::writable(&base.template, &messages, tools)?;
        let told: Vec<Value> = tools.iter().map(|tool| tool.sent.clone()).collect();
        let bytes = size(&messages, &told);
        let (tokenizer, template) = (base.tokenizer.clone(), base.template.with_tools(&told));
        self.inner
            .tokenizers
            .run(bytes, move || {
                render(&tokenizer, &template, &messages, most)
            })
            .await
    }
}

/// Bytes of what a template is given, roughly.
fn size(messages: &[Message], tools: &[Value]) -> usize {
    let calls = messages.iter().flat_map(|message| &message.tool_calls);
    let calls = calls.map(|call| call.told().to_string().len());
    let tools = tools.iter().map(|tool| tool.to_string().len());
    let texts = messages.iter().map(|message| message.content.len());
    texts.chain(calls).chain(tools).sum()
}

/// The template writes the special tokens itself.
fn render(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    messages: &[Message],
    most: usize,
) -> Result<Vec<u32>, Reason> {
    let text = template
        .render(messages, true)
        .map_err(|fault| explain("messages", &fault))?;
    bounded(tokenizer, &text, false, most, "messages")
}

/// The tokens of a text that may have `most`; one a little longer is left to admission, which tells how long it is.
fn bounded(
    tokenizer: &Tokenizer,
    text: &str,
    add_special: bool,
    most: usize,
    field: &str,
) -> Result<Vec<u32>, Reason> {
    let read = || {
        if tokenizer.surely_exceeds(text, most)? {
            return Ok(None);
        }
        tokenizer.encode(text, add_special).map(Some)
    };
    read()
        .map_err(|fault| explain(field, &fault))?
        .ok_or(Reason::TextTooLong {
            bytes: text.len(),
            limit: most,
        })
}

/// A template may refuse a conversation (two user turns in a row, say): that is the caller's to mend.
fn explain(field: &str, fault: &TextError) -> Reason {
    match fault {
        TextError::Template(_) | TextError::Tokenizer(_) => Reason::field(field, fault.to_string()),
        TextError::File(why) => Reason::Internal(why.clone()),
    }
}
