//! Reasons as gRPC statuses. The code and the field at fault travel as metadata, as they do in HTTP's error body.

use tonic::Status;
use tonic::metadata::{MetadataMap, MetadataValue};

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
    Status::with_metadata(row.grpc, fault.message(), metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
