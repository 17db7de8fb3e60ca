//! Requests whose callers say how long they may take. The server keeps to that by itself: the client of these calls
//! waits for whatever comes.

use std::time::{Duration, Instant};

use adapterd::domain::{Ask, Input, Sampling, Toolset};
use adapterd::gateway::{Answers, Claims, Credentials};
use adapterd::pb;
use adapterd::pb::generate_event::Event;
use adapterd::pb::generate_request;
use axum::http::Request;
use prost::Message;
use serde_json::json;
use tokio::net::TcpStream;

use crate::harness::Daemon;

/// Of an answer, where its time is not up before: hundreds of steps.
const TOKENS: u32 = 480;
const ANSWERS: u32 = 8;

#[derive(Debug, Clone, Copy)]
enum Door {
    Http,
    Grpc,
}

/// How a request ended.
#[derive(Debug)]
enum End {
    /// The transport gave up before the call was accepted.
    Unheard,
    DeadlineExceeded,
    Answered {
        tokens: u32,
        finish: String,
    },
}

impl Door {
    async fn ask(self, daemon: &Daemon, time: Duration) -> End {
        match self {
            Self::Http => over_http(daemon, time).await,
            Self::Grpc => over_grpc(daemon, time).await,
        }
    }
}

async fn over_http(daemon: &Daemon, time: Duration) -> End {
    let ask = json!({
        "prompt": "Ada", "max_tokens": TOKENS, "ignore_eos": true, "n": ANSWERS, "timeout": time.as_secs_f64(),
    });
    let (status, told) = daemon.post("/v1/completions", ask).await;
    if status == 504 {
        assert_eq!(told["error"]["code"], "deadline_exceeded");
        return End::DeadlineExceeded;
    }
    assert_eq!(status, 200, "{told}");
    End::Answered {
        tokens: told["usage"]["completion_tokens"].as_u64().unwrap() as u32,
        finish: told["choices"][0]["finish_reason"].as_str().unwrap().into(),
    }
}

async fn over_grpc(daemon: &Daemon, time: Duration) -> End {
    let sampling = pb::Sampling {
        max_tokens: Some(TOKENS),
        ignore_eos: true,
        n: Some(ANSWERS),
        ..Default::default()
    };
    let ask = pb::GenerateRequest {
        input: Some(generate_request::Input::Prompt("Ada".into())),
        sampling: Some(sampling),
        ..Default::default()
    };
    let (status, events) = generate(daemon, &ask, time).await;
    match status.as_str() {
        "1" => return End::Unheard,
        "4" => return End::DeadlineExceeded,
        other => assert_eq!(other, "0"),
    }
    match events.into_iter().next_back().and_then(|told| told.event) {
        Some(Event::Finish(finish)) => End::Answered {
            tokens: finish.usage.unwrap().completion_tokens,
            finish: finish.reason,
        },
        other => panic!("ended with {other:?}"),
    }
}

/// The call as frames. The generated client would watch the deadline on its own side.
async fn generate(
    daemon: &Daemon,
    ask: &pb::GenerateRequest,
    time: Duration,
) -> (String, Vec<pb::GenerateEvent>) {
    let at = daemon.grpc.trim_start_matches("http://");
    let socket = TcpStream::connect(at).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post(format!("{}/adapterd.v1.Inference/Generate", daemon.grpc))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", format!("{}m", time.as_millis()))
        .body(())
        .unwrap();
    let mut client = client.ready().await.unwrap();
    let (response, mut sending) = client.send_request(request, false).unwrap();
    let message = ask.encode_to_vec();
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    sending.send_data(frame.into(), true).unwrap();
    let (head, mut body) = response.await.unwrap().into_parts();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        bytes.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.unwrap().unwrap_or(head.headers);
    let status = trailers["grpc-status"].to_str().unwrap().to_owned();
    (status, messages(&bytes))
}

fn messages(mut bytes: &[u8]) -> Vec<pb::GenerateEvent> {
    let mut found = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (message, rest) = rest.split_at(length);
        found.push(pb::GenerateEvent::decode(message).unwrap());
        bytes = rest;
    }
    found
}

/// Work for every row and most places of the queue, for as long as it is held.
async fn backlog(daemon: &Daemon) -> Answers {
    let ask = Ask {
        input: Input::Text("Ada".into()),
        sampling: Sampling {
            max_tokens: Some(TOKENS as usize),
            ignore_eos: true,
            ..Sampling::default()
        },
        tools: Toolset::default(),
        constraint: None,
        n: 1,
        prompt_logprobs: false,
        cache_salt: String::new(),
        urgency: Default::default(),
    };
    let asks = vec![ask; 60];
    let caller = daemon.gateway.admit(Credentials::default()).await.unwrap();
    caller.ask(&Claims::default(), asks).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_still_waits_at_its_deadline_is_told_so_then() {
    for door in [Door::Http, Door::Grpc] {
        let daemon = Daemon::start().await;
        let _working = backlog(&daemon).await;
        let began = Instant::now();
        let end = door.ask(&daemon, Duration::from_millis(100)).await;
        let took = began.elapsed();
        assert!(matches!(end, End::DeadlineExceeded), "{door:?}: {end:?}");
        let (soon, late) = (Duration::from_millis(50), Duration::from_secs(10));
        assert!(soon < took && took < late, "{door:?}: {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_under_way_at_their_deadline_end_there() {
    let daemon = Daemon::start().await;
    for door in [Door::Http, Door::Grpc] {
        // Until there is time for a token; there is none for all of them by far.
        let mut time = Duration::from_millis(10);
        let (tokens, finish) = loop {
            match door.ask(&daemon, time).await {
                End::Unheard | End::DeadlineExceeded => time *= 2,
                End::Answered { tokens, finish } => break (tokens, finish),
            }
        };
        assert_eq!(finish, "length", "{door:?}");
        let range = 1..ANSWERS * TOKENS;
        assert!(range.contains(&tokens), "{door:?}: {tokens} in {time:?}");
    }
}
