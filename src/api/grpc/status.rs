//! Reasons as gRPC statuses. The code and the field at fault travel as metadata, as they do in HTTP's error body.

use bytes::Bytes;
use prost::Message;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use crate::api::fault::Fault;
use crate::domain::Reason;

pub(super) fn status(reason: Reason) -> Status {
    let fault = Fault::from(reason);
    let row = fault.row();
    let mut metadata = MetadataMap::new();
    metadata.insert("error-code", MetadataValue::from_static(row.code));
    if let Some(param) = fault
        .param
        .as_deref()
        .and_then(|param| MetadataValue::try_from(param).ok())
    {
        metadata.insert("error-param", param);
    }
    if let Some(seconds) = row.retry_after {
        metadata.insert("retry-after", MetadataValue::from(seconds));
    }
    let message = fault.message();
    let details = row
        .retry_after
        .map(|seconds| retry_info(row.grpc, &message, seconds));
    Status::with_details_and_metadata(row.grpc, message, details.unwrap_or_default(), metadata)
}

/// `google.rpc.Status`, which clients' libraries look for in the details of a status.
#[derive(Clone, PartialEq, prost::Message)]
struct Details {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Span>,
}

/// `google.protobuf.Duration`, of whole seconds.
#[derive(Clone, PartialEq, prost::Message)]
struct Span {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

/// Says when to come back, to libraries that wait by themselves.
fn retry_info(code: Code, message: &str, seconds: u64) -> Bytes {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let info = RetryInfo {
        retry_delay: Some(Span { seconds }),
    };
    let details = Details {
        code: code as i32,
        message: message.to_owned(),
        details: vec![Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            value: info.encode_to_vec(),
        }],
    };
    details.encode_to_vec().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Scope;

    #[test]
    fn a_status_carries_code_and_field() {
        let status = status(Reason::field("temperature", "must be a number"));
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert_eq!(
            status.metadata().get("error-code").unwrap(),
            "invalid_value"
        );
        assert_eq!(status.metadata().get("error-param").unwrap(), "temperature");
    }

    #[test]
    fn who_is_to_come_back_is_told_when_in_both_ways() {
        let status = status(Reason::Overloaded { retry_after: 7 });
        assert_eq!(status.metadata().get("retry-after").unwrap(), "7");
        let details = Details::decode(status.details()).unwrap();
        assert_eq!(details.code, Code::ResourceExhausted as i32);
        let [info] = &details.details[..] else {
            panic!("{details:?}")
        };
        let info = RetryInfo::decode(&info.value[..]).unwrap();
        assert_eq!(info.retry_delay, Some(Span { seconds: 7 }));
        assert!(
            super::status(Reason::NoKey(Scope::Infer))
                .details()
                .is_empty()
        );
    }
}
