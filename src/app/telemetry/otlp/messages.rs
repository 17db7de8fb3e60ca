//! Spans and measurements as OTLP writes them. Pure.

use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value,
};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span as Message, SpanFlags, Status, span, status,
};

use crate::app::telemetry::families::{Family, Kind, Point, Value as Measured};
use crate::app::telemetry::spans::{Span, Value};

/// This process; what `more` says of it counts less than what it knows itself.
pub fn resource(service_name: &str, more: Vec<(String, String)>) -> Resource {
    let own = [
        ("service.name", service_name),
        ("service.version", env!("CARGO_PKG_VERSION")),
    ];
    let mut attributes: Vec<KeyValue> = own
        .into_iter()
        .map(|(name, value)| pair(name, string(value)))
        .collect();
    for (name, value) in more {
        if !attributes.iter().any(|attribute| attribute.key == name) {
            attributes.push(pair(&name, string(&value)));
        }
    }
    Resource {
        attributes,
        ..Resource::default()
    }
}

pub fn spans(resource: &Resource, spans: Vec<Span>) -> ResourceSpans {
    ResourceSpans {
        resource: Some(resource.clone()),
        scope_spans: vec![ScopeSpans {
            scope: Some(scope()),
            spans: spans.into_iter().map(span_message).collect(),
            schema_url: String::new(),
        }],
        schema_url: String::new(),
    }
}

/// `started`: when counting began. Times are nanoseconds of Unix time.
pub fn metrics(
    resource: &Resource,
    families: Vec<Family>,
    started: u64,
    now: u64,
) -> ResourceMetrics {
    let metrics = families.into_iter();
    let metrics = metrics.map(|family| metric_message(family, started, now));
    ResourceMetrics {
        resource: Some(resource.clone()),
        scope_metrics: vec![ScopeMetrics {
            scope: Some(scope()),
            metrics: metrics.collect(),
            schema_url: String::new(),
        }],
        schema_url: String::new(),
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "adapterd".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    }
}

fn span_message(span: Span) -> Message {
    let kind = match span.is_inner {
        true => span::SpanKind::Internal,
        false => span::SpanKind::Server,
    };
    // Sampled, as all that is sent.
    let mut flags = 1 | SpanFlags::ContextHasIsRemoteMask as u32;
    if span.is_remote {
        flags |= SpanFlags::ContextIsRemoteMask as u32;
    }
    let attributes = span.attributes.into_iter();
    Message {
        trace_id: span.trace.to_vec(),
        span_id: span.id.to_vec(),
        trace_state: span.state,
        parent_span_id: span.parent.map(Vec::from).unwrap_or_default(),
        flags,
        name: span.name,
        kind: kind as i32,
        start_time_unix_nano: span.start,
        end_time_unix_nano: span.end,
        attributes: attributes
            .map(|(name, said)| pair(name, value(said)))
            .collect(),
        status: span.is_fault.then(|| Status {
            message: String::new(),
            code: status::StatusCode::Error as i32,
        }),
        ..Message::default()
    }
}

fn metric_message(family: Family, started: u64, now: u64) -> Metric {
    let temporality = AggregationTemporality::Cumulative as i32;
    let data = match family.kind {
        Kind::Gauge => metric::Data::Gauge(Gauge {
            data_points: numbers(family.points, 0, now),
        }),
        Kind::Counter => metric::Data::Sum(Sum {
            data_points: numbers(family.points, started, now),
            aggregation_temporality: temporality,
            is_monotonic: true,
        }),
        Kind::Histogram => metric::Data::Histogram(Histogram {
            data_points: histograms(family.points, started, now),
            aggregation_temporality: temporality,
        }),
    };
    Metric {
        name: family.name,
        description: family.help,
        data: Some(data),
        ..Metric::default()
    }
}

fn numbers(points: Vec<Point>, started: u64, now: u64) -> Vec<NumberDataPoint> {
    let number = |Point { labels, value }| match value {
        Measured::Number(number) => Some(NumberDataPoint {
            attributes: labelled(labels),
            start_time_unix_nano: started,
            time_unix_nano: now,
            value: Some(number_data_point::Value::AsDouble(number)),
            ..NumberDataPoint::default()
        }),
        Measured::Histogram(_) => None,
    };
    points.into_iter().filter_map(number).collect()
}

fn histograms(points: Vec<Point>, started: u64, now: u64) -> Vec<HistogramDataPoint> {
    let histogram = |Point { labels, value }| match value {
        Measured::Histogram(histogram) => Some(HistogramDataPoint {
            attributes: labelled(labels),
            start_time_unix_nano: started,
            time_unix_nano: now,
            count: histogram.count,
            sum: Some(histogram.sum),
            bucket_counts: histogram.counts,
            explicit_bounds: histogram.bounds,
            ..HistogramDataPoint::default()
        }),
        Measured::Number(_) => None,
    };
    points.into_iter().filter_map(histogram).collect()
}

fn labelled(labels: Vec<(String, String)>) -> Vec<KeyValue> {
    let labels = labels.iter();
    labels
        .map(|(name, value)| pair(name, string(value)))
        .collect()
}

fn pair(name: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn string(text: &str) -> any_value::Value {
    any_value::Value::StringValue(text.to_owned())
}

fn value(value: Value) -> any_value::Value {
    match value {
        Value::Text(text) => any_value::Value::StringValue(text),
        Value::Int(number) => any_value::Value::IntValue(number),
        Value::Real(number) => any_value::Value::DoubleValue(number),
        Value::Texts(texts) => {
            let values = texts.into_iter().map(|text| AnyValue {
                value: Some(string(text)),
            });
            any_value::Value::ArrayValue(ArrayValue {
                values: values.collect(),
            })
        }
    }
}
