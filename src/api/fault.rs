//! The one table from a reason to what a caller sees: HTTP status, OpenAI error body, gRPC code, retry advice.

use tonic::Code;

use crate::domain::Reason;

/// How a reason looks on both protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub status: u16,
    /// OpenAI's `error.type`.
    pub kind: &'static str,
    /// OpenAI's `error.code`.
    pub code: &'static str,
    pub grpc: Code,
    /// Seconds.
    pub retry_after: Option<u64>,
    /// Clients retry 409, 429 and 5xx by themselves; this stops those that could not succeed.
    pub never_retry: bool,
}

const INVALID: &str = "invalid_request_error";
const SERVER: &str = "server_error";

const fn row(status: u16, kind: &'static str, code: &'static str, grpc: Code) -> Row {
    Row {
        status,
        kind,
        code,
        grpc,
        retry_after: None,
        never_retry: false,
    }
}

impl Row {
    const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    const fn final_(mut self) -> Self {
        self.never_retry = true;
        self
    }

    fn of(reason: &Reason) -> Self {
        match reason {
            Reason::BadField { .. } => row(400, INVALID, "invalid_value", Code::InvalidArgument),
            Reason::BadBody(_) => row(400, INVALID, "invalid_body", Code::InvalidArgument),
            Reason::MediaType(_) => row(
                415,
                INVALID,
                "unsupported_media_type",
                Code::InvalidArgument,
            ),
            Reason::BodyTimeout { .. } => {
                row(408, INVALID, "body_timeout", Code::DeadlineExceeded).final_()
            }
            Reason::BadRows { .. } => {
                row(400, INVALID, "invalid_training_file", Code::InvalidArgument)
            }
            Reason::AdapterConflict(_) => {
                row(400, INVALID, "adapter_conflict", Code::InvalidArgument)
            }
            Reason::GrammarTooComplex { .. } => {
                row(400, INVALID, "grammar_too_complex", Code::InvalidArgument)
            }
            Reason::GrammarStuck { .. } => row(
                400,
                INVALID,
                "grammar_unsatisfiable",
                Code::FailedPrecondition,
            ),
            Reason::NoSuchAdapter(_) => row(404, INVALID, "adapter_not_found", Code::NotFound),
            // A pin is part of the adapter's name.
            Reason::NoSuchGeneration { .. } | Reason::NoSuchStep { .. } => {
                row(404, INVALID, "adapter_not_found", Code::NotFound)
            }
            Reason::NoSuchModel(_) => row(404, INVALID, "model_not_found", Code::NotFound),
            Reason::NoSuchJob(_) => row(404, INVALID, "job_not_found", Code::NotFound),
            Reason::NoSuchFile(_) => row(404, INVALID, "file_not_found", Code::NotFound),
            Reason::NoKey(_) | Reason::UnknownKey(_) | Reason::KeyEnded(..) => {
                row(401, INVALID, "invalid_api_key", Code::Unauthenticated)
            }
            Reason::TwoKeys => row(400, INVALID, "invalid_value", Code::InvalidArgument),
            Reason::OutOfScope(_) | Reason::NotItsName { .. } => {
                row(403, INVALID, "permission_denied", Code::PermissionDenied)
            }
            Reason::NoSuchKey(_) => row(404, INVALID, "key_not_found", Code::NotFound),
            Reason::NoSuchRoute(_) => row(404, INVALID, "unknown_url", Code::Unimplemented),
            Reason::MethodNotAllowed(_) => {
                row(405, INVALID, "method_not_allowed", Code::Unimplemented)
            }
            Reason::GenerationMismatch { .. } => {
                row(409, INVALID, "generation_mismatch", Code::Aborted).final_()
            }
            Reason::AdapterExists(_) => {
                row(409, INVALID, "adapter_exists", Code::AlreadyExists).final_()
            }
            Reason::AdapterInvalid { .. } => {
                row(422, INVALID, "invalid_adapter", Code::InvalidArgument)
            }
            Reason::PathForbidden(_) => row(
                403,
                INVALID,
                "adapter_path_forbidden",
                Code::PermissionDenied,
            ),
            Reason::PathNotFound(_) => row(404, INVALID, "adapter_path_not_found", Code::NotFound),
            Reason::PromptTooLong { .. }
            | Reason::AnswerTooLong { .. }
            | Reason::TextTooLong { .. } => row(
                400,
                INVALID,
                "context_length_exceeded",
                Code::InvalidArgument,
            ),
            Reason::ContentEncoding(_) => row(
                415,
                INVALID,
                "unsupported_content_encoding",
                Code::InvalidArgument,
            ),
            Reason::ForeignOrigin(_) => {
                row(403, INVALID, "permission_denied", Code::PermissionDenied)
            }
            Reason::TooLarge { .. } | Reason::UnpacksTooLarge { .. } => {
                row(413, INVALID, "request_too_large", Code::ResourceExhausted)
            }
            Reason::WrongState(_) => {
                row(409, INVALID, "wrong_state", Code::FailedPrecondition).final_()
            }
            Reason::Overloaded { retry_after } => row(
                429,
                "rate_limit_error",
                "overloaded",
                Code::ResourceExhausted,
            )
            .retry_after(*retry_after),
            // It would only be asked of a machine that is still as busy.
            Reason::DeadlineExceeded => row(
                504,
                "timeout_error",
                "deadline_exceeded",
                Code::DeadlineExceeded,
            )
            .final_(),
            Reason::SlowReader { .. } => {
                row(408, INVALID, "slow_reader", Code::ResourceExhausted).final_()
            }
            Reason::Draining => row(503, SERVER, "draining", Code::Unavailable).retry_after(5),
            Reason::EngineDown(_) => row(503, SERVER, "engine_down", Code::Unavailable),
            Reason::NotEnoughMemory(_) => {
                row(400, INVALID, "insufficient_memory", Code::ResourceExhausted)
            }
            Reason::HubFailed(_) => row(502, SERVER, "hub_failed", Code::Unavailable),
            Reason::StorageFull(_) => {
                row(507, SERVER, "storage_full", Code::ResourceExhausted).final_()
            }
            Reason::Storage(_) => row(500, SERVER, "storage_failed", Code::Internal),
            Reason::Internal(_) => row(500, SERVER, "internal_error", Code::Internal),
            Reason::LimitReached(met) => {
                let kind = met.limit.kind();
                let row = row(429, kind, "rate_limit_exceeded", Code::ResourceExhausted);
                match met.retry_after() {
                    Some(seconds) => row.retry_after(seconds),
                    None => row.final_(),
                }
            }
            Reason::NoSuchAnswer(_) => row(404, INVALID, "answer_not_found", Code::NotFound),
            Reason::NoSuchFeedback(_) => row(404, INVALID, "feedback_not_found", Code::NotFound),
            Reason::OnAdminAddress(_) => row(404, INVALID, "unknown_url", Code::PermissionDenied),
            Reason::MemoryShort { retry_after } => {
                row(503, SERVER, "overloaded", Code::Unavailable).retry_after(*retry_after)
            }
            Reason::UnknownCertificate(..) => {
                row(401, INVALID, "invalid_api_key", Code::Unauthenticated)
            }
            Reason::KeyInUrl(_) => row(400, INVALID, "key_in_url", Code::InvalidArgument),
            Reason::TooManyWrongKeys { retry_after } => row(
                429,
                "rate_limit_error",
                "too_many_wrong_keys",
                Code::ResourceExhausted,
            )
            .retry_after(*retry_after),
        }
    }
}

/// A reason on its way out, with the field at fault where one is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    pub reason: Reason,
    pub param: Option<String>,
}

impl Fault {
    pub fn row(&self) -> Row {
        Row::of(&self.reason)
    }

    pub fn message(&self) -> String {
        match &self.reason {
            Reason::BadRows { file, first, total } => {
                let lines = first
                    .iter()
                    .map(|row| format!("line {}: {}", row.line, row.why));
                format!(
                    "{total} unusable rows in the {}: {}",
                    file.replace('_', " "),
                    lines.collect::<Vec<_>>().join("; ")
                )
            }
            other => other.to_string(),
        }
    }

    /// The same fault, with `field` as the field at fault.
    pub fn about(mut self, field: &str) -> Self {
        self.param = Some(field.to_owned());
        self
    }
}

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Self {
        let param = match &reason {
            Reason::BadField { field, .. }
            | Reason::AdapterInvalid { field, .. }
            | Reason::GrammarTooComplex { field, .. }
            | Reason::GrammarStuck { field, .. } => Some(field.as_str()),
            Reason::BadRows { file, .. } => Some(*file),
            Reason::AdapterConflict(_)
            | Reason::NoSuchAdapter(_)
            | Reason::NoSuchGeneration { .. }
            | Reason::NoSuchStep { .. } => Some("adapter"),
            Reason::NoSuchModel(_) => Some("model"),
            Reason::GenerationMismatch { .. } => Some("expected_generation"),
            Reason::AdapterExists(_) => Some("name"),
            Reason::PathForbidden(_) | Reason::PathNotFound(_) => Some("path"),
            Reason::PromptTooLong { .. } | Reason::TextTooLong { .. } => Some("prompt"),
            Reason::AnswerTooLong { .. } => Some("max_tokens"),
            Reason::MediaType(_) => Some("content-type"),
            Reason::ContentEncoding(_) => Some("content-encoding"),
            Reason::ForeignOrigin(_) => Some("origin"),
            Reason::TwoKeys => Some("authorization"),
            Reason::NotEnoughMemory(_) => Some("memory_limit"),
            Reason::BadBody(_)
            | Reason::BodyTimeout { .. }
            | Reason::NoSuchJob(_)
            | Reason::NoSuchFile(_)
            | Reason::NoKey(_)
            | Reason::UnknownKey(_)
            | Reason::KeyEnded(..)
            | Reason::OutOfScope(_)
            | Reason::NotItsName { .. }
            | Reason::NoSuchKey(_)
            | Reason::NoSuchRoute(_)
            | Reason::MethodNotAllowed(_)
            | Reason::TooLarge { .. }
            | Reason::UnpacksTooLarge { .. }
            | Reason::WrongState(_)
            | Reason::Overloaded { .. }
            | Reason::DeadlineExceeded
            | Reason::SlowReader { .. }
            | Reason::Draining
            | Reason::EngineDown(_)
            | Reason::HubFailed(_)
            | Reason::StorageFull(_)
            | Reason::Storage(_)
            | Reason::Internal(_)
            | Reason::LimitReached(_)
            | Reason::NoSuchFeedback(_)
            | Reason::OnAdminAddress(_)
            | Reason::MemoryShort { .. }
            | Reason::UnknownCertificate(..)
            | Reason::TooManyWrongKeys { .. } => None,
            Reason::NoSuchAnswer(_) => Some("id"),
            Reason::KeyInUrl(name) => Some(name.as_str()),
        };
        let param = param.map(str::to_owned);
        Self { reason, param }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::BadRow;

    #[test]
    fn a_condition_that_failed_must_not_be_retried_by_the_client() {
        let fault = Fault::from(Reason::GenerationMismatch {
            name: "legal".into(),
            expected: "none".into(),
            actual: None,
        });
        assert_eq!((fault.row().status, fault.row().never_retry), (409, true));
    }

    #[test]
    fn overload_says_when_to_come_back() {
        assert_eq!(
            Fault::from(Reason::Overloaded { retry_after: 7 })
                .row()
                .retry_after,
            Some(7)
        );
        assert!(Fault::from(Reason::Draining).row().retry_after.is_some());
    }

    #[test]
    fn bad_rows_are_told_each_with_its_line() {
        let first = vec![
            BadRow {
                line: 3,
                why: "no output".into(),
            },
            BadRow {
                line: 9,
                why: "not JSON".into(),
            },
        ];
        let fault = Fault::from(Reason::BadRows {
            file: "validation_file",
            first,
            total: 2,
        });
        assert!(
            fault
                .message()
                .contains("in the validation file: line 3: no output")
                && fault.message().contains("line 9: not JSON")
        );
        assert_eq!(fault.param.as_deref(), Some("validation_file"));
    }
}
