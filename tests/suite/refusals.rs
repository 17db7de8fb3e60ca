//! What gRPC refuses: the same as HTTP, by the names its messages have.

use adapterd::pb;
use adapterd::pb::inference_client::InferenceClient;
use adapterd::pb::training_client::TrainingClient;
use tonic::{Code, Request};

use crate::calls::prompt;
use crate::harness::Daemon;

#[tokio::test(flavor = "multi_thread")]
async fn both_protocols_refuse_the_same_values() {
    let daemon = Daemon::start().await;
    let mut client = InferenceClient::connect(daemon.grpc.clone()).await.unwrap();
    let hot = pb::Sampling {
        temperature: Some(2.1),
        ..Default::default()
    };
    let many = pb::Sampling {
        stop_token_ids: vec![1; 129],
        ..Default::default()
    };
    for (sampling, field) in [(hot, "temperature"), (many, "stop_token_ids")] {
        let ask = pb::GenerateRequest {
            sampling: Some(sampling),
            ..prompt("a")
        };
        let refused = client.generate(ask).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(refused.metadata().get("error-param").unwrap(), field);
    }
    let mut client = TrainingClient::connect(daemon.grpc.clone()).await.unwrap();
    let after = pb::ListJobsRequest {
        after: "nope".into(),
        limit: 0,
    };
    let refused = client.list_jobs(after).await.unwrap_err();
    assert_eq!(refused.metadata().get("error-param").unwrap(), "after");
    let job = pb::CreateJobRequest {
        training_file: "file-none".into(),
        metadata: [("k".repeat(65), "v".to_owned())].into(),
        ..Default::default()
    };
    let refused = client.create_job(job).await.unwrap_err();
    assert_eq!(refused.metadata().get("error-param").unwrap(), "metadata");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_is_its_senders_fault() {
    let daemon = Daemon::start().await;
    let channel = tonic::transport::Endpoint::new(daemon.grpc.clone())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut raw = tonic::client::Grpc::new(channel);
    raw.ready().await.unwrap();
    // The same fields with other types: a text where a list of numbers is read.
    let path = "/adapterd.v1.Inference/Tokenize".parse().unwrap();
    let codec = tonic_prost::ProstCodec::<pb::Usage, pb::TokenizeResponse>::default();
    let ask = pb::Usage {
        prompt_tokens: 7,
        completion_tokens: 7,
        cached_tokens: 7,
    };
    let refused = raw.unary(Request::new(ask), path, codec).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
}
