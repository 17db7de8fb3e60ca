//! The gRPC services, called by generated clients.

use adapterd::pb;
use adapterd::pb::adapters_client::AdaptersClient;
use adapterd::pb::generate_event::Event;
use adapterd::pb::generate_request::Input;
use adapterd::pb::inference_client::InferenceClient;
use adapterd::pb::training_client::TrainingClient;
use futures::stream;
use tonic::{Code, Request};

use crate::harness::{BASE, Daemon, adapter};

pub fn prompt(text: &str) -> pb::GenerateRequest {
    let sampling = pb::Sampling {
        temperature: Some(0.0),
        max_tokens: Some(8),
        ignore_eos: true,
        ..Default::default()
    };
    pb::GenerateRequest {
        input: Some(Input::Prompt(text.to_owned())),
        sampling: Some(sampling),
        ..Default::default()
    }
}

/// Text, token ids and the last finish of an answer.
pub async fn generate(
    daemon: &Daemon,
    request: Request<pb::GenerateRequest>,
) -> (String, Vec<u32>, pb::Finish) {
    let mut client = InferenceClient::connect(daemon.grpc.clone()).await.unwrap();
    let mut events = client.generate(request).await.unwrap().into_inner();
    let (mut text, mut ids, mut finish) = (String::new(), Vec::new(), None);
    while let Some(event) = events.message().await.unwrap() {
        match event.event.unwrap() {
            Event::Token(token) => {
                text.push_str(&token.text);
                ids.extend(token.id);
            }
            Event::Finish(last) => finish = Some(last),
            Event::Prompt(_) | Event::Called(_) => {}
        }
    }
    (text, ids, finish.expect("a finish"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_streams_tokens_and_ends_with_its_usage() {
    let daemon = Daemon::start().await;
    let (_, ids, finish) = generate(&daemon, Request::new(prompt("The clerk"))).await;
    assert_eq!(
        (
            ids.len(),
            finish.reason.as_str(),
            finish.adapter_generation.as_str()
        ),
        (8, "length", "none")
    );
    assert_eq!(finish.usage.unwrap().completion_tokens, 8);
    let mut client = InferenceClient::connect(daemon.grpc.clone()).await.unwrap();
    let tokens = pb::TokenizeRequest {
        input: Some(pb::tokenize_request::Input::Prompt("The clerk".into())),
        ..Default::default()
    };
    let tokens = client.tokenize(tokens).await.unwrap().into_inner();
    assert_eq!(tokens.count, finish.usage.unwrap().prompt_tokens);
    let by_ids = pb::GenerateRequest {
        input: Some(Input::TokenIds(pb::TokenIds { ids: tokens.tokens })),
        ..prompt("")
    };
    assert_eq!(generate(&daemon, Request::new(by_ids)).await.1, ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn field_model_and_metadata_name_the_same_adapter() {
    let daemon = Daemon::with_adapters().await;
    let (_, view) = daemon.get("/v1/adapters/legal").await;
    let mut by_metadata = Request::new(prompt("Ada"));
    by_metadata
        .metadata_mut()
        .insert("adapter", "legal".parse().unwrap());
    let by_field = Request::new(pb::GenerateRequest {
        adapter: "legal".into(),
        ..prompt("Ada")
    });
    let by_model = Request::new(pb::GenerateRequest {
        model: format!("{BASE}:legal"),
        ..prompt("Ada")
    });
    let mut answers = Vec::new();
    for request in [by_metadata, by_field, by_model] {
        let (_, ids, finish) = generate(&daemon, request).await;
        assert_eq!(view["generation"], finish.adapter_generation);
        answers.push(ids);
    }
    assert!(answers.iter().all(|ids| *ids == answers[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_a_code_and_name_the_field() {
    let daemon = Daemon::with_adapters().await;
    let mut client = InferenceClient::connect(daemon.grpc.clone()).await.unwrap();
    let hot = pb::Sampling {
        temperature: Some(-1.0),
        ..Default::default()
    };
    for (request, code, name, param) in [
        (
            pb::GenerateRequest {
                priority: -101,
                ..prompt("a")
            },
            Code::InvalidArgument,
            "invalid_value",
            "priority",
        ),
        (
            pb::GenerateRequest {
                adapter: "unknown".into(),
                ..prompt("a")
            },
            Code::NotFound,
            "adapter_not_found",
            "adapter",
        ),
        (
            pb::GenerateRequest {
                model: "gpt-4o".into(),
                ..prompt("a")
            },
            Code::NotFound,
            "model_not_found",
            "model",
        ),
        (
            pb::GenerateRequest {
                model: "legal".into(),
                adapter: "medical".into(),
                ..prompt("a")
            },
            Code::InvalidArgument,
            "adapter_conflict",
            "adapter",
        ),
        (
            pb::GenerateRequest {
                input: None,
                ..prompt("a")
            },
            Code::InvalidArgument,
            "invalid_value",
            "input",
        ),
        (
            pb::GenerateRequest {
                sampling: Some(hot),
                ..prompt("a")
            },
            Code::InvalidArgument,
            "invalid_value",
            "temperature",
        ),
    ] {
        let status = client.generate(request).await.unwrap_err();
        let told = |key: &str| {
            status
                .metadata()
                .get(key)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        };
        assert_eq!(
            (
                status.code(),
                told("error-code").as_str(),
                told("error-param").as_str()
            ),
            (code, name, param)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_dropped_frees_its_place() {
    let daemon = Daemon::start().await;
    let mut client = InferenceClient::connect(daemon.grpc.clone()).await.unwrap();
    let mut request = prompt("Ada");
    request.sampling.as_mut().unwrap().max_tokens = Some(480);
    let mut events = client.generate(request).await.unwrap().into_inner();
    events.message().await.unwrap();
    drop(events);
    while daemon.gateway.load().running > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn adapters_are_registered_in_pieces_watched_and_deleted() {
    let daemon = Daemon::start().await;
    let mut client = AdaptersClient::connect(daemon.grpc.clone()).await.unwrap();
    let mut changes = client
        .watch(pb::WatchAdaptersRequest::default())
        .await
        .unwrap()
        .into_inner();
    let header = pb::RegisterHeader {
        name: "legal".into(),
        expected_generation: "none".into(),
        ..pb::RegisterHeader::default()
    };
    let mut parts = vec![pb::register_adapter_request::Part::Header(header)];
    for (name, content) in adapter("plain") {
        for piece in content.chunks(4096) {
            let piece = pb::FilePiece {
                name: name.clone(),
                data: piece.to_vec(),
            };
            parts.push(pb::register_adapter_request::Part::File(piece));
        }
    }
    let parts: Vec<_> = parts
        .into_iter()
        .map(|part| pb::RegisterAdapterRequest { part: Some(part) })
        .collect();
    let made = client
        .register(stream::iter(parts.clone()))
        .await
        .unwrap()
        .into_inner();
    let change = changes.message().await.unwrap().unwrap();
    assert_eq!(
        (change.adapter.unwrap().generation, change.deleted),
        (made.generation.clone(), false)
    );
    let again = client.register(stream::iter(parts)).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists, "the name exists by now");
    let listed = client
        .list(pb::ListAdaptersRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.adapters.len(), 1);
    let pin = pb::PinAdapterRequest {
        name: "legal".into(),
        ..Default::default()
    };
    assert!(client.pin(pin).await.unwrap().into_inner().pinned);
    let gone = pb::DeleteAdapterRequest {
        name: "legal".into(),
        expected_generation: made.generation,
    };
    client.delete(gone).await.unwrap();
    loop {
        if changes.message().await.unwrap().unwrap().deleted {
            break;
        }
    }
    let get = client
        .get(pb::GetAdapterRequest {
            name: "legal".into(),
        })
        .await
        .unwrap_err();
    assert_eq!(get.code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_submitted_watched_to_its_end_and_serves() {
    let daemon = Daemon::start().await;
    let mut client = TrainingClient::connect(daemon.grpc.clone()).await.unwrap();
    let row = "{\"instruction\": \"Copy the name.\", \"input\": \"The clerk is Ada.\", \"output\": \"Ada\"}\n";
    let header = pb::SubmitDataHeader {
        filename: "rows.jsonl".into(),
    };
    let parts = [
        pb::submit_data_request::Part::Header(header),
        pb::submit_data_request::Part::Data(row.repeat(8).into_bytes()),
    ];
    let parts = parts.map(|part| pb::SubmitDataRequest { part: Some(part) });
    let file = client
        .submit_data(stream::iter(parts))
        .await
        .unwrap()
        .into_inner();
    let recipe = pb::Recipe {
        steps: Some(2),
        rank: Some(2),
        batch_size: Some(4),
        ..Default::default()
    };
    let ask = pb::CreateJobRequest {
        name: "clerk".into(),
        training_file: file.id,
        recipe: Some(recipe),
        ..Default::default()
    };
    let job = client.create_job(ask).await.unwrap().into_inner();
    let watch = pb::WatchJobRequest {
        id: job.id.clone(),
        after: 0,
    };
    let mut events = client.watch_job(watch).await.unwrap().into_inner();
    let (mut steps, mut last) = (Vec::new(), 0);
    while let Some(event) = events.message().await.unwrap() {
        assert!(event.seq > last, "events are in order");
        last = event.seq;
        steps.extend(
            event
                .metrics
                .filter(|metrics| metrics.tokens > 0)
                .map(|metrics| metrics.step),
        );
    }
    assert_eq!(steps, [1, 2]);
    let job = client
        .get_job(pb::GetJobRequest { id: job.id })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (job.status.as_str(), job.recipe.unwrap().rank),
        ("succeeded", Some(2))
    );
    let (_, _, finish) = generate(
        &daemon,
        Request::new(pb::GenerateRequest {
            model: "clerk".into(),
            ..prompt("a")
        }),
    )
    .await;
    assert_eq!(finish.adapter_generation, job.generation);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_follows_the_daemon_and_reflection_lists_the_services() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let daemon = Daemon::start().await;
    let channel = tonic::transport::Endpoint::new(daemon.grpc.clone())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut health = HealthClient::new(channel.clone());
    let whole = HealthCheckRequest {
        service: String::new(),
    };
    let mut states = health.watch(whole).await.unwrap().into_inner();
    assert_eq!(
        states.message().await.unwrap().unwrap().status,
        1,
        "SERVING"
    );
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(stream::iter([ask]))
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(listed)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services");
    };
    let names: Vec<String> = listed
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    for service in [
        "adapterd.v1.Inference",
        "adapterd.v1.Adapters",
        "adapterd.v1.Training",
        "grpc.health.v1.Health",
    ] {
        assert!(
            names.iter().any(|name| name == service),
            "{service} is not in {names:?}"
        );
    }
    daemon.gateway.close();
    assert_eq!(
        states.message().await.unwrap().unwrap().status,
        2,
        "NOT_SERVING"
    );
}
