//! The integration suite: one binary, a module a subject.

#[path = "suite/adapters.rs"]
mod adapters;
#[path = "suite/audit.rs"]
mod audit;
#[path = "suite/base.rs"]
mod base;
#[path = "suite/blends.rs"]
mod blends;
#[path = "suite/browsers.rs"]
mod browsers;
#[path = "suite/callers.rs"]
mod callers;
#[path = "suite/calls.rs"]
mod calls;
#[path = "suite/chat.rs"]
mod chat;
#[path = "suite/checkpoints.rs"]
mod checkpoints;
#[path = "suite/command_line.rs"]
mod command_line;
#[path = "suite/completions.rs"]
mod completions;
#[path = "suite/console.rs"]
mod console;
#[path = "suite/conversations.rs"]
mod conversations;
#[path = "suite/crash.rs"]
mod crash;
#[path = "suite/deadlines.rs"]
mod deadlines;
#[path = "suite/documents.rs"]
mod documents;
#[path = "suite/doors.rs"]
mod doors;
#[path = "suite/embeddings.rs"]
mod embeddings;
#[path = "suite/engine.rs"]
mod engine;
#[path = "suite/failing_canaries.rs"]
mod failing_canaries;
#[path = "suite/feedback.rs"]
mod feedback;
#[path = "suite/golden_adapters.rs"]
mod golden_adapters;
#[path = "suite/golden_blends.rs"]
mod golden_blends;
#[path = "suite/golden_forward.rs"]
mod golden_forward;
#[path = "suite/harness.rs"]
mod harness;
#[path = "suite/hidden.rs"]
mod hidden;
#[path = "suite/hostile.rs"]
mod hostile;
#[path = "suite/hub.rs"]
mod hub;
#[path = "suite/key_making.rs"]
mod key_making;
#[path = "suite/keys.rs"]
mod keys;
#[path = "suite/layers.rs"]
mod layers;
#[path = "suite/learned_calls.rs"]
mod learned_calls;
#[path = "suite/learning.rs"]
mod learning;
#[path = "suite/limits.rs"]
mod limits;
#[path = "suite/managing.rs"]
mod managing;
#[path = "suite/matrix.rs"]
mod matrix;
#[path = "suite/merges.rs"]
mod merges;
#[path = "suite/methods.rs"]
mod methods;
#[path = "suite/more_doors.rs"]
mod more_doors;
#[path = "suite/overload.rs"]
mod overload;
#[path = "suite/packed.rs"]
mod packed;
#[path = "suite/pressure.rs"]
mod pressure;
#[path = "suite/recipes.rs"]
mod recipes;
#[path = "suite/reference.rs"]
mod reference;
#[path = "suite/refusals.rs"]
mod refusals;
#[path = "suite/retraining.rs"]
mod retraining;
#[path = "suite/rollout.rs"]
mod rollout;
#[path = "suite/rollout_jobs.rs"]
mod rollout_jobs;
#[path = "suite/samples.rs"]
mod samples;
#[path = "suite/shells.rs"]
mod shells;
#[path = "suite/structured.rs"]
mod structured;
#[path = "suite/text.rs"]
mod text;
#[path = "suite/tls.rs"]
mod tls;
#[path = "suite/tool_forms.rs"]
mod tool_forms;
#[path = "suite/tools.rs"]
mod tools;
#[path = "suite/tracing.rs"]
mod tracing;
#[path = "suite/virtual_tokens.rs"]
mod virtual_tokens;
#[path = "suite/weights.rs"]
mod weights;
