//! How errors are written: as OpenAI's clients read them, or as Anthropic's do.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use serde_json::{Value, json};

use super::documents;
use super::respond::{error_body, fault_response};
use super::shape::Shape;
use crate::api::fault::Fault;

/// Where Anthropic's clients look for a request's id.
const REQUEST: HeaderName = HeaderName::from_static("request-id");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    OpenAi,
    Anthropic,
}

impl Dialect {
    pub fn refusal(self, fault: &Fault, request: &HeaderValue) -> Response {
        let told = match self {
            Self::OpenAi => error_body(fault),
            Self::Anthropic => anthropic(fault, request.to_str().unwrap_or("")),
        };
        fault_response(fault, &told)
    }

    /// What each answer says beside what all say.
    pub fn mark(self, request: &HeaderValue, headers: &mut HeaderMap) {
        if self == Self::Anthropic {
            headers.insert(REQUEST, request.clone());
        }
    }

    /// For the interface's description.
    pub fn shape(self) -> &'static Shape {
        match self {
            Self::OpenAi => &documents::ERROR,
            Self::Anthropic => &documents::ANTHROPIC_ERROR,
        }
    }
}

/// `{"type": "error", …}`. Code and field are not of Anthropic's form; its clients hand them on.
pub(super) fn anthropic(fault: &Fault, request: &str) -> Value {
    let row = fault.row();
    let kind = match row.status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        504 => "timeout_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    json!({
        "type": "error",
        "error": {"type": kind, "message": fault.message(), "param": fault.param, "code": row.code},
        "request_id": request,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Reason, Scope};

    #[test]
    fn each_kind_of_failure_has_the_name_that_anthropics_clients_know() {
        for (reason, status, kind) in [
            (
                Reason::field("max_tokens", "is required"),
                400,
                "invalid_request_error",
            ),
            (Reason::NoKey(Scope::Infer), 401, "authentication_error"),
            (Reason::OutOfScope(Scope::Infer), 403, "permission_error"),
            (Reason::NoSuchModel("m".into()), 404, "not_found_error"),
            (Reason::TooLarge { limit: 5 }, 413, "request_too_large"),
            (
                Reason::Overloaded { retry_after: 1 },
                429,
                "rate_limit_error",
            ),
            (Reason::Draining, 503, "overloaded_error"),
            (Reason::DeadlineExceeded, 504, "timeout_error"),
            (Reason::Internal("x".into()), 500, "api_error"),
        ] {
            let fault = Fault::from(reason);
            let response = Dialect::Anthropic.refusal(&fault, &HeaderValue::from_static("req_1"));
            assert_eq!(response.status().as_u16(), status);
            let told = anthropic(&fault, "req_1");
            assert_eq!(told["error"]["type"], kind, "{told}");
            assert_eq!(told["request_id"], "req_1");
            Dialect::Anthropic.shape().settle(told).unwrap();
        }
    }

    #[test]
    fn only_anthropics_form_has_its_header() {
        for (dialect, marked) in [(Dialect::OpenAi, false), (Dialect::Anthropic, true)] {
            let mut headers = HeaderMap::new();
            dialect.mark(&HeaderValue::from_static("req_1"), &mut headers);
            assert_eq!(headers.contains_key(REQUEST), marked);
        }
    }
}
