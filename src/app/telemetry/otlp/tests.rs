use std::sync::Mutex;

use axum::http::Method;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Response;

use super::*;
use crate::api::{Arrival, Parent, Status as Said};
use crate::gateway::Told;

/// Keeps what it is sent, with the key it was sent with.
#[derive(Clone, Default)]
struct Collector {
    traces: Arc<Mutex<Vec<(String, ExportTraceServiceRequest)>>>,
    metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let key = request
            .metadata()
            .get("x-key")
            .and_then(|key| key.to_str().ok());
        let key = key.unwrap_or("").to_owned();
        self.traces
            .lock()
            .unwrap()
            .push((key, request.into_inner()));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().unwrap().push(request.into_inner());
        let told = ExportMetricsPartialSuccess {
            rejected_data_points: 1,
            error_message: "one of them".into(),
        };
        Ok(Response::new(ExportMetricsServiceResponse {
            partial_success: Some(told),
        }))
    }
}

fn settings(address: &str) -> Telemetry {
    Telemetry {
        otlp: address.into(),
        service_name: "mine".into(),
        ..Telemetry::default()
    }
}

fn end(traces: &Arc<dyn Traces>, parent: Option<Parent>) {
    let arrival = Arrival {
        protocol: "http",
        method: Method::GET,
        id: "req_1".into(),
        address: None,
        began: Instant::now(),
        parent,
    };
    traces.ended(&Ended {
        arrival: &arrival,
        route: "/v1/models",
        status: Said::Http(200),
        bytes: 0,
        told: Told::default(),
        at: Instant::now(),
    });
}

#[tokio::test]
async fn a_collector_is_sent_spans_and_metrics_also_the_last_ones() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (collector, ended) = (Collector::default(), CancellationToken::new());
    let serving = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(collector.clone()))
        .add_service(MetricsServiceServer::new(collector.clone()))
        .serve_with_incoming_shutdown(
            TcpListenerStream::new(listener),
            ended.clone().cancelled_owned(),
        );
    let serving = tokio::spawn(serving);
    let variable = |name: &str| match name {
        target::HEADERS => Some("X-Key=k%201".to_owned()),
        target::RESOURCE => Some("host.name=here,service.name=other".to_owned()),
        _ => None,
    };
    let (traces, exporter) = open(&settings(&address), variable).unwrap().unwrap();
    let stop = CancellationToken::new();
    let metrics = || "# TYPE a_total counter\na_total{x=\"y\"} 3\n".to_owned();
    let running = tokio::spawn(exporter.run(metrics, stop.clone()));
    let parent = Parent {
        trace: [4; 16],
        span: [5; 8],
        sampled: true,
        state: "a=1".into(),
    };
    end(&traces, Some(parent));
    end(&traces, None);
    stop.cancel();
    running.await.unwrap();
    ended.cancel();
    serving.await.unwrap().unwrap();

    let sent = std::mem::take(&mut *collector.traces.lock().unwrap());
    assert!(sent.iter().all(|(key, _)| key == "k 1"));
    let groups: Vec<_> = { sent.iter() }
        .flat_map(|(_, message)| &message.resource_spans)
        .collect();
    let told = &groups[0].resource.as_ref().unwrap().attributes;
    let told: Vec<&str> = told.iter().map(|attribute| &*attribute.key).collect();
    assert_eq!(told, ["service.name", "service.version", "host.name"]);
    let spans: Vec<_> = { groups.iter() }
        .flat_map(|group| &group.scope_spans)
        .flat_map(|scope| &scope.spans)
        .collect();
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(
        names,
        ["GET /v1/models", "admit", "GET /v1/models", "admit"]
    );
    assert_eq!(
        (&spans[0].trace_id, &spans[0].parent_span_id),
        (&vec![4; 16], &vec![5; 8])
    );
    assert_eq!((spans[0].kind, spans[1].kind), (2, 1), "server, internal");
    assert_eq!(spans[0].flags, 0x301, "sampled, of a remote parent");
    assert_eq!(spans[1].parent_span_id, spans[0].span_id);
    assert!(spans[2].parent_span_id.is_empty() && spans[2].trace_id != spans[0].trace_id);
    assert!(spans.iter().all(|span| {
        span.start_time_unix_nano > 0 && span.start_time_unix_nano <= span.end_time_unix_nano
    }));
    let metrics = collector.metrics.lock().unwrap();
    let metric = &metrics[0].resource_metrics[0].scope_metrics[0].metrics[0];
    assert_eq!(metric.name, "a_total");
    let Some(Data::Sum(sum)) = &metric.data else {
        panic!("{metric:?}")
    };
    assert!(sum.is_monotonic && sum.data_points.len() == 1);
    assert_eq!(traces.lost(), 0);
}

#[tokio::test]
async fn a_collector_that_is_away_costs_spans_and_no_time() {
    // Nobody listens there once it is dropped.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (traces, exporter) = open(&settings(&address), |_| None).unwrap().unwrap();
    let began = Instant::now();
    (0..WAITING + 5).for_each(|_| end(&traces, None));
    assert!(began.elapsed() < Duration::from_secs(5), "none waited");
    assert_eq!(traces.lost(), 5, "what waits is bounded");
    let stop = CancellationToken::new();
    stop.cancel();
    exporter.run(String::new, stop).await;
    assert_eq!(traces.lost(), WAITING as u64 + 5);
}

#[tokio::test]
async fn one_that_never_answers_is_given_up_in_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (traces, exporter) = open(&settings(&address), |_| None).unwrap().unwrap();
    let pauses = Pauses {
        spans: Duration::from_millis(5),
        answer: Duration::from_millis(20),
        last: Duration::from_millis(50),
        ..PAUSES
    };
    let exporter = Exporter { pauses, ..exporter };
    let stop = CancellationToken::new();
    let running = tokio::spawn(exporter.run(String::new, stop.clone()));
    end(&traces, None);
    for _ in 0..500 {
        if traces.lost() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(traces.lost(), 1);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn without_an_address_or_a_share_nothing_is_drawn() {
    assert!(open(&settings(""), |_| None).unwrap().is_none());
    let mut settings = settings("http://127.0.0.1:9");
    settings.otlp_sample = 0.0;
    let (traces, mut exporter) = open(&settings, |_| None).unwrap().unwrap();
    (0..100).for_each(|_| end(&traces, None));
    assert!(exporter.coming.try_recv().is_err() && traces.lost() == 0);
}
