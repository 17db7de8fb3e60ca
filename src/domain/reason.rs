//! Every way a request can be refused or fail, named once. `api::fault` turns each into a status; nothing else does.

use super::{Generation, LimitReached, Scope, checkpoint_name};

/// A row of a training file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BadRow {
    /// Counted from 1.
    pub line: usize,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Reason {
    /// A field of the request has a wrong type, value or name.
    #[error("{field}: {why}")]
    BadField { field: String, why: String },
    /// The body cannot be read at all.
    #[error("{0}")]
    BadBody(String),
    /// The body says it is something else than JSON, or not what it is; holds what it says.
    #[error("the body must be application/json and say so in `content-type`, which is `{0}`")]
    MediaType(String),
    #[error("the body did not arrive within {seconds} s")]
    BodyTimeout { seconds: u64 },
    #[error("{} unusable rows in the {}; first: line {}: {}", .total, .file.replace('_', " "), .first.first().map_or(0, |r| r.line), .first.first().map_or("", |r| r.why.as_str()))]
    BadRows {
        /// The field that named it: `training_file` or `validation_file`.
        file: &'static str,
        /// The first 20.
        first: Vec<BadRow>,
        total: usize,
    },
    /// Two places of one request name different adapters.
    #[error("{0}")]
    AdapterConflict(String),
    /// A schema, expression or grammar is larger than what is compiled, or its answer than what is followed.
    #[error("{field}: {why}")]
    GrammarTooComplex { field: String, why: String },
    /// An answer has come to where no token of the model is allowed.
    #[error("{field}: the answer cannot go on: {why}")]
    GrammarStuck { field: String, why: String },
    #[error("adapter `{0}` does not exist")]
    NoSuchAdapter(String),
    #[error("model `{0}` does not exist")]
    NoSuchModel(String),
    #[error("adapter `{name}` has no generation `{generation}`")]
    NoSuchGeneration { name: String, generation: String },
    #[error(
        "adapter `{name}` has no checkpoint of step {step}; {}",
        listed_steps(.name, .kept)
    )]
    NoSuchStep {
        name: String,
        step: u64,
        /// Newest first.
        kept: Vec<u64>,
    },
    #[error("fine-tuning job `{0}` does not exist")]
    NoSuchJob(String),
    #[error("file `{0}` does not exist")]
    NoSuchFile(String),
    #[error(
        "this needs a key: send `authorization: Bearer sk-adp-…`; create one with `adapterd key create --name me --scopes {0}`"
    )]
    NoKey(Scope),
    #[error(
        "the key that was sent is none of this daemon's; create one with `adapterd key create --name me --scopes {0}`"
    )]
    UnknownKey(Scope),
    /// Holds what became of the key, and as the others here the scope that a key needs for what was asked: the least one
    /// until [`needing`](Self::needing) says it.
    #[error(
        "the key that was sent {0}; create another with `adapterd key create --name me --scopes {1}`"
    )]
    KeyEnded(&'static str, Scope),
    #[error("the request carries keys that differ; send one")]
    TwoKeys,
    #[error(
        "the key lacks the scope `{0}`; create one that has it with `adapterd key create --name me --scopes {0}`"
    )]
    OutOfScope(Scope),
    /// Nothing about whether an adapter has the name.
    #[error(
        "the key may give adapters names as {allowed} only, and `{name}` is none of them; say how the job's adapter is to be called"
    )]
    NotItsName { name: String, allowed: String },
    #[error("key `{0}` does not exist")]
    NoSuchKey(String),
    #[error("there is no route {0}")]
    NoSuchRoute(String),
    #[error("{0} is not allowed here")]
    MethodNotAllowed(String),
    #[error("adapter `{name}` is at generation {}, not at {expected}", .actual.map_or("none".to_owned(), |g| g.to_string()))]
    GenerationMismatch {
        name: String,
        expected: String,
        actual: Option<Generation>,
    },
    #[error("adapter `{0}` already exists")]
    AdapterExists(String),
    /// The adapter's files cannot be served; `field` names the config key or tensor.
    #[error("{field}: {why}")]
    AdapterInvalid { field: String, why: String },
    #[error("path `{0}` lies outside the adapter root")]
    PathForbidden(String),
    #[error("path `{0}` does not exist under the adapter root")]
    PathNotFound(String),
    #[error(
        "the prompt has {tokens} tokens; with {wanted} to generate it exceeds the context of {limit}{}",
        taken(*.virtual_tokens)
    )]
    PromptTooLong {
        tokens: usize,
        wanted: usize,
        limit: usize,
        /// Positions that the adapter takes before the prompt.
        virtual_tokens: usize,
    },
    /// The prompt fits, the answer that is wished for does not.
    #[error(
        "{wanted} tokens to generate are too many: the context is {limit} tokens{} and the prompt has {tokens}, which leaves {}",
        taken(*.virtual_tokens), .limit.saturating_sub(*.tokens + *.virtual_tokens)
    )]
    AnswerTooLong {
        tokens: usize,
        wanted: usize,
        limit: usize,
        /// As of [`Self::PromptTooLong`].
        virtual_tokens: usize,
    },
    /// As [`Self::PromptTooLong`], for a text so long that its tokens were not counted.
    #[error("a text of {bytes} bytes has more than the {limit} tokens that fit")]
    TextTooLong { bytes: usize, limit: usize },
    #[error("the body is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the body unpacks to more than {limit} bytes")]
    UnpacksTooLarge { limit: usize },
    /// Holds the coding that is not read.
    #[error("the body's content-encoding is `{0}`; gzip and deflate are read, or send it as it is")]
    ContentEncoding(String),
    /// A browser sent a change on behalf of a page that is not ours; holds the page's origin.
    #[error(
        "a page of {0} may not do this: its origin is not among those that `server.cors_origins` allows"
    )]
    ForeignOrigin(String),
    /// The job or adapter is in a state that forbids what was asked.
    #[error("{0}")]
    WrongState(String),
    #[error("too many requests are waiting; try again in {retry_after} s")]
    Overloaded { retry_after: u64 },
    /// The request's own `timeout`, before its first token.
    #[error("no token came within the request's timeout")]
    DeadlineExceeded,
    /// The reader of a stream lagged so far behind that its answer was given up.
    #[error("the reader fell {events} events behind")]
    SlowReader { events: usize },
    #[error("the server is shutting down")]
    Draining,
    /// The engine answers nothing any more; holds why.
    #[error("{0}")]
    EngineDown(&'static str),
    /// A job would take more memory than it may; holds what it takes, what there is, and what would fit.
    #[error("{0}")]
    NotEnoughMemory(String),
    /// The model hub cannot be reached, or says what nobody can read.
    #[error("the hub failed: {0}")]
    HubFailed(String),
    #[error("no space is left: {0}")]
    StorageFull(String),
    #[error("storage failed: {0}")]
    Storage(String),
    #[error("{0}")]
    Internal(String),
    /// A key or an adapter has had what it may have for now.
    #[error("{0}")]
    LimitReached(Box<LimitReached>),
    /// Of no answer that is remembered, or of another key's.
    #[error("no answer `{0}` is remembered here")]
    NoSuchAnswer(String),
    #[error("there is no feedback `{0}`")]
    NoSuchFeedback(String),
    /// Holds what was asked for.
    #[error("{0} is answered on the daemon's admin address (`server.admin`)")]
    OnAdminAddress(String),
    #[error("memory is short; try again in {retry_after} s")]
    MemoryShort { retry_after: u64 },
    /// Holds what the certificate calls its holder.
    #[error(
        "the client certificate is of `{0}`, which is no key's identity; create a key with `adapterd key create --name me --scopes {1} --identity {0}`"
    )]
    UnknownCertificate(String, Scope),
    /// Holds the parameter's name.
    #[error(
        "the URL carries a key (`{0}`), and URLs are written into logs; send it as `authorization: Bearer KEY` or `x-api-key`, and replace this one with `adapterd key rotate`"
    )]
    KeyInUrl(String),
    #[error("too many requests of this address carried no good key; try again in {retry_after} s")]
    TooManyWrongKeys { retry_after: u64 },
}

/// The names that would be found.
fn listed_steps(name: &str, kept: &[u64]) -> String {
    /// A job keeps two or three; more come of several jobs.
    const SHOWN: usize = 20;
    if kept.is_empty() {
        return "there are none".to_owned();
    }
    let steps = kept.iter().take(SHOWN);
    let steps: Vec<String> = steps
        .map(|step| format!("`{}`", checkpoint_name(name, *step)))
        .collect();
    format!("there are {}", steps.join(", "))
}

fn taken(virtual_tokens: usize) -> String {
    match virtual_tokens {
        0 => String::new(),
        taken => format!(" (of which the adapter's virtual tokens take {taken})"),
    }
}

impl Reason {
    pub fn field(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::BadField {
            field: field.into(),
            why: why.into(),
        }
    }

    /// The same of a caller without a valid key, who is told to make one with this scope.
    pub fn needing(mut self, needed: Scope) -> Self {
        if let Self::NoKey(scope)
        | Self::UnknownKey(scope)
        | Self::KeyEnded(_, scope)
        | Self::UnknownCertificate(_, scope) = &mut self
        {
            *scope = needed;
        }
        self
    }

    pub fn limit(reached: LimitReached) -> Self {
        Self::LimitReached(Box::new(reached))
    }

    pub fn adapter(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::AdapterInvalid {
            field: field.into(),
            why: why.into(),
        }
    }
}
