//! domain: the plain values every layer speaks.
//! No arrays, no files, no sockets, no clocks: only names, requests, answers, events, settings and reasons.

mod adapter;
mod blend;
mod bytes;
mod chat;
mod event;
mod ids;
mod job;
mod job_event;
mod job_plan;
mod key;
mod pointer;
mod range;
mod reason;
pub mod recipes;
mod request;
pub mod sampling;
pub mod settings;
mod strict;

pub use adapter::{AdapterView, Tier};
pub use blend::{Blend, BlendAsk, BlendMethod, MOST_MEMBERS, MOST_WEIGHT, Member, Weight};
pub use bytes::{Bytes, shown_bytes};
pub use chat::{Message, Role, join_parts};
pub use event::{Event, FinishReason, TokenInfo, TopToken, Usage};
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
    AdapterGlobs, Asker, IssuedKey, KeyAsk, KeyView, LONGEST_SPAN, OVERLAP, Scope, Scopes,
    check_span, id_in_key, key_text, plain_identity,
};
pub use pointer::lfs_pointer;
pub use range::Range;
pub use reason::{BadRow, Reason};
pub use request::{AdapterChoice, Ask, Input, MAX_SALT_BYTES, MOST_PRIORITY, Urgency};
pub use sampling::Sampling;
pub use settings::{
    Bias, Checkpointing, Keep, Layers, LossScale, Method, Named, NonLinearity, Objective, Offload,
    OnSpike, Optimizer, Patterns, Placement, Precision, PromptInit, Recipe, Schedule, Stage,
    Stages, Targets, Wishes,
};
pub use strict::Strict;
