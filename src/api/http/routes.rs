//! The route table. A row is an endpoint: the router, who may use it, the errors, the metrics' labels and the OpenAPI
//! document are all made from it.

use super::dialect::Dialect;
use super::dispatch::Handler;
use super::documents as answers;
use super::shape::Shape;
use super::{
    adapters, audit, chat, completions, console, docs, embeddings, feedback, files, health,
    job_fields, jobs, keys, messages, models, paging, responses, rollout, tokens, vllm,
};
use crate::api::access::{ADAPTERS, ADMIN, Access, INFER, TRAIN};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

/// What a request carries.
#[derive(Clone, Copy)]
pub(super) enum Sent {
    Nothing,
    Json(&'static Shape),
    /// May be left out.
    Optional(&'static Shape),
    Form(&'static Shape),
    /// An adapter: an archive, a form, or the JSON that names a folder.
    Folder(&'static Shape),
}

/// What an answer carries.
#[derive(Clone, Copy)]
pub(super) enum Given {
    Json(&'static Shape),
    /// An object, or a stream of the second.
    Stream(&'static Shape, &'static Shape),
    /// Bytes of this type.
    Raw(&'static str),
}

pub(super) struct Row {
    pub verb: Verb,
    pub path: &'static str,
    pub access: Access,
    pub handler: Handler,
    pub tag: &'static str,
    pub about: &'static str,
    pub query: Option<&'static Shape>,
    pub sent: Sent,
    pub given: Given,
    /// How its errors are written.
    pub dialect: Dialect,
}

impl Row {
    const fn query(mut self, shape: &'static Shape) -> Self {
        self.query = Some(shape);
        self
    }

    const fn sends(mut self, sent: Sent) -> Self {
        self.sent = sent;
        self
    }

    const fn speaks(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    const fn tag(mut self, tag: &'static str) -> Self {
        self.tag = tag;
        self
    }
}

/// `row!(Get "/path" ANY_KEY handler, answer, "what it does")`
macro_rules! row {
    ($verb:ident $path:literal $access:ident $handler:path, $given:expr, $about:literal) => {
        Row {
            verb: Verb::$verb,
            path: $path,
            access: $access,
            handler: |call| Box::pin($handler(call)),
            tag: "",
            about: $about,
            query: None,
            sent: Sent::Nothing,
            given: $given,
            dialect: Dialect::OpenAi,
        }
    };
}

const OPEN: Access = Access::Open;
const METRICS: Access = Access::Metrics;
const ANY_KEY: Access = Access::AnyKey;

use Given::{Json, Raw, Stream};
use Sent::{Folder, Form, Optional};

static ASK: &[Row] = &[
    row!(Post "/v1/chat/completions" INFER chat::create, Stream(&answers::CHAT, &answers::CHAT_CHUNK), "Continue a conversation.")
        .sends(Sent::Json(&chat::CHAT)).tag("Inference"),
    row!(Post "/v1/completions" INFER completions::create, Stream(&answers::TEXT_COMPLETION, &answers::TEXT_COMPLETION), "Continue or score a text.")
        .sends(Sent::Json(&completions::COMPLETION)).tag("Inference"),
    row!(Post "/v1/responses" INFER responses::create, Stream(&answers::RESPONSE, &answers::RESPONSE_EVENT), "Continue a conversation, in the form of OpenAI's Responses.")
        .sends(Sent::Json(&responses::RESPONSE)).tag("Inference"),
    row!(Post "/v1/messages" INFER messages::create, Stream(&answers::MESSAGE, &answers::MESSAGE_EVENT), "Continue a conversation, in Anthropic's form.")
        .sends(Sent::Json(&messages::MESSAGES)).tag("Inference").speaks(Dialect::Anthropic),
    row!(Post "/v1/messages/count_tokens" INFER messages::count, Json(&answers::TOKEN_COUNT), "Count the tokens of a conversation in Anthropic's form.")
        .sends(Sent::Json(&messages::COUNTED)).tag("Inference").speaks(Dialect::Anthropic),
    row!(Post "/tokenize" INFER tokens::tokenize, Json(&answers::TOKENS), "Turn text into token ids.")
        .sends(Sent::Json(&tokens::TOKENIZE)).tag("Inference"),
    row!(Post "/detokenize" INFER tokens::detokenize, Json(&answers::PROMPT), "Turn token ids into text.")
        .sends(Sent::Json(&tokens::DETOKENIZE)).tag("Inference"),
    row!(Post "/v1/embeddings" INFER embeddings::create, Json(&answers::EMBEDDINGS), "Turn texts into vectors.")
        .sends(Sent::Json(&embeddings::EMBEDDING)).tag("Inference"),
    row!(Get "/v1/models" ANY_KEY models::list, Json(&answers::MODELS), "The base and every adapter.").tag("Models"),
    row!(Get "/v1/models/{*id}" ANY_KEY models::show, Json(&answers::MODEL), "One of them.").tag("Models"),
];

static LEARN: &[Row] = &[
    row!(Post "/v1/files" TRAIN files::create, Json(&answers::FILE), "Upload training records.")
        .sends(Form(&files::UPLOAD)).tag("Files"),
    row!(Get "/v1/files" TRAIN files::list, Json(&answers::FILES), "Uploaded files, newest first.")
        .query(&files::LIST).tag("Files"),
    row!(Get "/v1/files/{id}" TRAIN files::show, Json(&answers::FILE), "One file's description.").tag("Files"),
    row!(Get "/v1/files/{id}/content" TRAIN files::content, Raw("application/octet-stream"), "One file's bytes.").tag("Files"),
    row!(Get "/v1/files/{id}/report" TRAIN files::report, Json(&answers::REPORT), "What is in a file's records, and what is wrong with them.")
        .query(&files::REPORT).tag("Files"),
    row!(Delete "/v1/files/{id}" TRAIN files::delete, Json(&answers::DELETED), "Delete a file.").tag("Files"),
    row!(Post "/v1/fine_tuning/jobs" TRAIN jobs::create, Json(&answers::JOB), "Check the records and queue a job.")
        .sends(Sent::Json(&job_fields::JOB)).tag("Fine-tuning"),
    row!(Post "/v1/fine_tuning/plan" TRAIN jobs::plan, Json(&answers::PLAN), "Check the records and say what a job would take; none is created.")
        .sends(Sent::Json(&job_fields::JOB)).tag("Fine-tuning"),
    row!(Get "/v1/fine_tuning/jobs" TRAIN jobs::list, Json(&answers::JOBS), "Jobs, newest first.")
        .query(&paging::PAGE).tag("Fine-tuning"),
    row!(Get "/v1/fine_tuning/jobs/{id}" TRAIN jobs::show, Json(&answers::JOB), "One job.").tag("Fine-tuning"),
    row!(Post "/v1/fine_tuning/jobs/{id}/cancel" TRAIN jobs::cancel, Json(&answers::JOB), "End a job for good.")
        .sends(Optional(&jobs::NOTHING)).tag("Fine-tuning"),
    row!(Post "/v1/fine_tuning/jobs/{id}/pause" TRAIN jobs::pause, Json(&answers::JOB), "Stop a job once its progress is saved.")
        .sends(Optional(&jobs::NOTHING)).tag("Fine-tuning"),
    row!(Post "/v1/fine_tuning/jobs/{id}/resume" TRAIN jobs::resume, Json(&answers::JOB), "Queue a job again that is paused, or that failed without diverging.")
        .sends(Optional(&jobs::NOTHING)).tag("Fine-tuning"),
    row!(Get "/v1/fine_tuning/jobs/{id}/events" TRAIN jobs::events, Stream(&answers::EVENTS, &answers::EVENT), "A job's events, newest first, or with `stream` as they happen.")
        .query(&jobs::EVENTS).tag("Fine-tuning"),
    row!(Get "/v1/fine_tuning/jobs/{id}/checkpoints" TRAIN jobs::checkpoints, Json(&answers::CHECKPOINTS), "A job's checkpoints.")
        .query(&paging::PAGE).tag("Fine-tuning"),
];

static MANAGE: &[Row] = &[
    row!(Get "/v1/adapters" ADAPTERS adapters::list, Json(&answers::ADAPTERS), "Every adapter.").tag("Adapters"),
    row!(Get "/v1/adapters/{name}" ADAPTERS adapters::show, Json(&answers::ADAPTER), "One adapter.").tag("Adapters"),
    row!(Get "/v1/adapters/{name}/content" ADAPTERS adapters::content, Raw("application/x-tar"), "Its folder.").tag("Adapters"),
    row!(Put "/v1/adapters/{name}" ADAPTERS adapters::put, Json(&answers::ADAPTER), "Create a name, or move it to a new folder.")
        .query(&adapters::ARRIVAL).sends(Folder(&adapters::FOLDER)).tag("Adapters"),
    row!(Delete "/v1/adapters/{name}" ADAPTERS adapters::delete, Json(&answers::DELETED), "Take a name away; running requests finish.")
        .query(&adapters::CONDITION).tag("Adapters"),
    row!(Post "/v1/adapters/{name}/promote" ADAPTERS adapters::promote, Json(&answers::ADAPTER), "Move a name to a generation it had.")
        .sends(Sent::Json(&adapters::PROMOTION)).tag("Adapters"),
    row!(Post "/v1/adapters/{name}/blend" ADAPTERS adapters::blend, Json(&answers::ADAPTER), "Make an adapter of others, and move the name to it.")
        .sends(Sent::Json(&adapters::BLENDING)).tag("Adapters"),
    row!(Post "/v1/adapters/{name}/rollback" ADAPTERS adapters::rollback, Json(&answers::ADAPTER), "Move a name back.")
        .sends(Optional(&adapters::CONDITION)).tag("Adapters"),
    row!(Post "/v1/adapters/{name}/pin" ADAPTERS adapters::pin, Json(&answers::ADAPTER), "Keep it resident.")
        .sends(Optional(&adapters::CONDITION)).tag("Adapters"),
    row!(Post "/v1/adapters/{name}/unpin" ADAPTERS adapters::unpin, Json(&answers::ADAPTER), "Let it be evicted again.")
        .sends(Optional(&adapters::CONDITION)).tag("Adapters"),
    row!(Post "/v1/adapters/{name}/load" ADAPTERS adapters::load, Json(&answers::ADAPTER), "Make it resident now.")
        .sends(Optional(&adapters::CONDITION)).tag("Adapters"),
    row!(Post "/v1/adapters/{name}/unload" ADAPTERS adapters::unload, Json(&answers::ADAPTER), "Drop it until it is asked for.")
        .sends(Optional(&adapters::CONDITION)).tag("Adapters"),
    row!(Post "/v1/adapters/{name}/canary" ADAPTERS rollout::canary, Json(&answers::ADAPTER), "Let a generation answer part of a name's requests.")
        .sends(Sent::Json(&rollout::CANARY)).tag("Adapters"),
    row!(Post "/v1/adapters/{name}/canary/promote" ADAPTERS rollout::promote, Json(&answers::ADAPTER), "Move a name to its canary.")
        .sends(Optional(&adapters::CONDITION)).tag("Adapters"),
    row!(Post "/v1/adapters/{name}/canary/abort" ADAPTERS rollout::abort, Json(&answers::ADAPTER), "Give a canary up.")
        .sends(Optional(&adapters::CONDITION)).tag("Adapters"),
    row!(Post "/v1/adapters/{name}/shadow" ADAPTERS rollout::shadow, Json(&answers::ADAPTER), "Let a generation answer part of a name's requests once more, unheard.")
        .sends(Sent::Json(&rollout::SHADOW)).tag("Adapters"),
    row!(Post "/v1/adapters/{name}/shadow/stop" ADAPTERS rollout::stop_shadow, Json(&answers::ADAPTER), "End that.")
        .sends(Optional(&adapters::CONDITION)).tag("Adapters"),
    row!(Post "/v1/load_lora_adapter" ADAPTERS vllm::load, Raw("text/plain"), "Serve a folder, as vLLM does.")
        .sends(Sent::Json(&vllm::LOAD)).tag("Adapters"),
    row!(Post "/v1/unload_lora_adapter" ADAPTERS vllm::unload, Raw("text/plain"), "Take a name away, as vLLM does.")
        .sends(Sent::Json(&vllm::UNLOAD)).tag("Adapters"),
    row!(Get "/v1/lora_adapters" ADAPTERS vllm::list, Json(&answers::LORAS), "Every adapter and the resident bytes.").tag("Adapters"),
];

static KEYS: &[Row] = &[
    row!(Get "/v1/keys" ADMIN keys::list, Json(&answers::KEYS), "Every key, without secrets.").tag("Keys"),
    row!(Post "/v1/keys" ADMIN keys::create, Json(&answers::ISSUED_KEY), "Make a key; its secret is told this once.")
        .sends(Sent::Json(&keys::KEY)).tag("Keys"),
    row!(Delete "/v1/keys/{id}" ADMIN keys::revoke, Json(&answers::KEY), "End a key at once.").tag("Keys"),
    row!(Post "/v1/keys/{id}/rotate" ADMIN keys::rotate, Json(&answers::ISSUED_KEY), "Give a key a new secret.")
        .sends(Optional(&keys::ROTATION)).tag("Keys"),
];

static AUDIT: &[Row] = &[
    row!(Get "/v1/audit" ADMIN audit::list, Json(&answers::AUDIT), "Who changed what, newest first.")
        .query(&audit::LIST).tag("Audit"),
    row!(Get "/v1/audit/verify" ADMIN audit::verify, Json(&answers::AUDIT_STATE), "Whether every change still follows from the one before.")
        .tag("Audit"),
];

static FEEDBACK: &[Row] = &[
    row!(Post "/v1/feedback" INFER feedback::give, Json(&answers::FEEDBACK), "Say what an answer was worth, or what it should have been.")
        .sends(Sent::Json(&feedback::FEEDBACK)).tag("Feedback"),
    row!(Get "/v1/feedback" INFER feedback::list, Json(&answers::FEEDBACKS), "Feedback, newest first.")
        .query(&feedback::LIST).tag("Feedback"),
    row!(Delete "/v1/feedback" INFER feedback::delete_of, Json(&answers::FORGOTTEN), "Delete all that is remembered of a key.")
        .query(&feedback::OWNER).tag("Feedback"),
    row!(Get "/v1/feedback/export" INFER feedback::export, Raw(feedback::ROWS), "Training rows of feedback.")
        .query(&feedback::EXPORT).tag("Feedback"),
    row!(Get "/v1/feedback/scores" INFER feedback::scores, Json(&answers::SCORES), "What each generation of an adapter was worth.")
        .query(&feedback::SCORES).tag("Feedback"),
    row!(Get "/v1/feedback/{id}" INFER feedback::show, Json(&answers::FEEDBACK), "One, with prompt and answer where they are kept.").tag("Feedback"),
    row!(Delete "/v1/feedback/{id}" INFER feedback::delete, Json(&answers::DELETED), "Delete one, with what is kept of its answer.").tag("Feedback"),
    row!(Post "/v1/adapters/{name}/retrain" TRAIN feedback::retrain, Json(&answers::JOB), "Learn from new feedback: queue a job that continues the name.")
        .sends(Optional(&job_fields::RETRAIN)).tag("Feedback"),
];

static OPERATE: &[Row] = &[
    row!(Get "/livez" OPEN health::live, Json(&answers::HEALTH), "The engine runs.")
        .tag("Operations"),
    row!(Get "/readyz" OPEN health::ready, Json(&answers::HEALTH), "New requests are taken.")
        .tag("Operations"),
    row!(Get "/startupz" OPEN health::started, Json(&answers::HEALTH), "Start-up is over.")
        .tag("Operations"),
    row!(Get "/health" OPEN health::ready, Json(&answers::HEALTH), "As `/readyz`.")
        .tag("Operations"),
    row!(Get "/metrics" METRICS health::metrics, Raw("text/plain"), "Prometheus metrics.")
        .tag("Operations"),
    row!(Get "/openapi.json" ANY_KEY docs::openapi, Raw("application/json"), "This document.")
        .tag("Operations"),
    row!(Get "/docs" ANY_KEY docs::page, Raw("text/html"), "This document, to read.")
        .tag("Operations"),
];

static CONSOLE: &[Row] = &[
    row!(Get "/" OPEN console::page, Raw("text/html"), "The console, for browsers: who does not accept `text/html` is told that there is no such route.")
        .tag("Console"),
    row!(Get "/console/{name}" OPEN console::file, Raw("application/octet-stream"), "A file of the console.")
        .tag("Console"),
];

pub(super) fn rows() -> impl Iterator<Item = &'static Row> {
    [ASK, LEARN, MANAGE, KEYS, AUDIT, FEEDBACK, OPERATE, CONSOLE]
        .into_iter()
        .flatten()
}

/// What answers while nothing else does.
pub(super) fn probe_rows() -> impl Iterator<Item = &'static Row> {
    let probe =
        |row: &&Row| ["/livez", "/readyz", "/startupz", "/health", "/metrics"].contains(&row.path);
    OPERATE.iter().filter(probe)
}
