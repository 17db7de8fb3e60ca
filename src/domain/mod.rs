//! domain: the plain values every layer speaks.
//! No arrays, no files, no sockets, no clocks: only names, requests, answers, events, settings and reasons.

mod adapter;
mod audit;
mod blend;
mod bytes;
mod chat;
mod constraint;
mod embedding;
mod event;
mod feedback;
mod globs;
mod hub_id;
mod ids;
mod job;
mod job_event;
mod job_plan;
mod key;
mod limit;
mod pointer;
mod range;
mod reason;
pub mod recipes;
mod request;
pub mod rollout;
pub mod sampling;
pub mod settings;
pub mod span;
mod strict;
mod tools;

pub use adapter::{AdapterView, Tier};
pub use audit::{Action, Actor, AuditAsk, AuditRow, AuditState};
pub use blend::{Blend, BlendAsk, BlendMethod, MOST_MEMBERS, MOST_WEIGHT, Member, Weight};
pub use bytes::{Bytes, shown_bytes};
pub use chat::{Message, Role, join_parts};
pub use constraint::{CallsOr, Constraint, Rule};
pub use embedding::{EmbedAsk, MOST_EMBEDDED_TOKENS, MOST_TEXTS, Pooling, normalised};
pub use event::{CallPiece, Event, FinishReason, TokenInfo, TopToken, Usage};
pub use feedback::{
    FeedbackAsk, FeedbackFilter, FeedbackView, LONGEST_COMMENT, LONGEST_CORRECTION, LONGEST_LABEL,
    RowForm, ScoreView, bare_answer_id,
};
pub use globs::AdapterGlobs;
pub use hub_id::{HubId, is_hub_id, is_plain};
pub use ids::{
    AdapterName, FileId, Generation, JobId, KeyId, NameError, Pin, STEP, checkpoint_name,
};
pub use job::{CheckpointView, FileView, JobStatus, JobView, parameters_report, thousands};
pub use job_event::{
    AnsweredRow, CheckpointWritten, Evaluation, EventData, HeldOut, JobEvent, Level, NoData,
    Rewards, StepMetrics, Summary,
};
pub use job_plan::{JobPlan, MemoryPlan, PlannedChange};
pub use key::{
    Asker, IssuedKey, KeyAsk, KeyView, LONGEST_SPAN, OVERLAP, Scope, Scopes, check_span, id_in_key,
    key_text, plain_identity,
};
pub use limit::{
    Full, KeyLimits, Left, Limit, LimitReached, MOST_OF_A_LIMIT, Rates, Stamp, Standing, Window,
    shown_span,
};
pub use pointer::lfs_pointer;
pub use range::Range;
pub use reason::{BadRow, Reason};
pub use request::{AdapterChoice, Ask, Input, MAX_SALT_BYTES, MOST_PRIORITY, Urgency};
pub use sampling::Sampling;
pub use settings::{
    Bias, Checkpointing, Gate, Keep, Layers, LossScale, Method, Named, NonLinearity, Objective,
    Offload, OnSpike, Optimizer, Patterns, Placement, Precision, PromptInit, Recipe, Schedule,
    Stage, Stages, Targets, Wishes,
};
pub use strict::Strict;
pub use tools::{MAX_CALLS, MAX_TOOL_NAME, MAX_TOOLS, Tool, ToolCall, ToolChoice, Toolset};
