//! The spans of a request, made when it has been answered from the times that were noted on the way. Pure.

use std::time::Instant;

use crate::api::{Ended, Parent, Status};
use crate::gateway::{Told, Wish};

/// Something that took time. Times are nanoseconds of Unix time.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub trace: [u8; 16],
    pub id: [u8; 8],
    pub parent: Option<[u8; 8]>,
    /// A part of a request; otherwise the request itself.
    pub is_inner: bool,
    /// The parent is of another process.
    pub is_remote: bool,
    pub state: String,
    pub name: String,
    pub start: u64,
    pub end: u64,
    pub attributes: Vec<(&'static str, Value)>,
    pub is_fault: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(String),
    Int(i64),
    Real(f64),
    Texts(Vec<&'static str>),
}

/// Both ways to tell the time at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    pub at: Instant,
    pub unix_nanos: u64,
}

/// What names spans: a new trace, and each span of it.
pub struct Names<N> {
    pub trace: [u8; 16],
    pub next: N,
}

impl Clock {
    fn unix(self, at: Instant) -> u64 {
        let nanos = |took: std::time::Duration| u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let before = nanos(self.at.saturating_duration_since(at));
        let after = nanos(at.saturating_duration_since(self.at));
        self.unix_nanos.saturating_sub(before).saturating_add(after)
    }
}

/// Whether a request's spans are kept: as its caller keeps its own, or else by `drawn`, a number of chance from 0 to 1.
pub fn is_kept(parent: Option<&Parent>, share: f64, drawn: f64) -> bool {
    parent.map_or(drawn < share, |parent| parent.sampled)
}

/// The request first, then its parts.
pub fn spans_of<N>(request: &Ended<'_>, clock: Clock, names: Names<N>) -> Vec<Span>
where
    N: FnMut() -> [u8; 8],
{
    let Names { trace, mut next } = names;
    let parent = request.arrival.parent.as_ref();
    let trace = parent.map_or(trace, |parent| parent.trace);
    let id = next();
    let (start, end) = (clock.unix(request.arrival.began), clock.unix(request.at));
    let state = parent.map_or(String::new(), |parent| parent.state.clone());
    let mut spans = vec![Span {
        trace,
        id,
        parent: parent.map(|parent| parent.span),
        is_inner: false,
        is_remote: parent.is_some(),
        state: state.clone(),
        name: name(request),
        start,
        end,
        attributes: attributes(request),
        is_fault: request.status.is_fault(),
    }];
    for (name, began, ended) in parts(request) {
        // A part that had not ended ends with its request.
        let (Some(began), ended) = (began, ended.unwrap_or(request.at)) else {
            continue;
        };
        let began = clock.unix(began).clamp(start, end);
        spans.push(Span {
            trace,
            id: next(),
            parent: Some(id),
            is_inner: true,
            is_remote: false,
            state: state.clone(),
            name: name.to_owned(),
            start: began,
            end: clock.unix(ended).clamp(began, end),
            attributes: Vec::new(),
            is_fault: false,
        });
    }
    spans
}

type Part = (&'static str, Option<Instant>, Option<Instant>);

/// What a request goes through. Tokenizing and leasing go on beside each other.
fn parts(request: &Ended<'_>) -> Vec<Part> {
    let told = &request.told;
    // Refused before the gateway took it up, all of it was admission.
    let mut parts = vec![("admit", Some(request.arrival.began), told.asked)];
    if told.asked.is_some() {
        parts.push(("tokenize", told.asked, told.tokenized));
        parts.push(("lease", told.asked, told.leased));
    }
    parts.push(("queue", told.submitted, told.begun));
    // A vector has no tokens: it is done with the prompt.
    parts.push(("prefill", told.begun, told.first_token.or(told.done)));
    parts.push(("decode", told.first_token, told.last_token));
    parts
}

fn name(request: &Ended<'_>) -> String {
    match request.status {
        Status::Http(_) => format!("{} {}", request.arrival.method, request.route),
        Status::Grpc(_) => request.route.to_owned(),
    }
}

/// By the names of the semantic conventions; what has none there begins with `adapterd.`.
fn attributes(request: &Ended<'_>) -> Vec<(&'static str, Value)> {
    let (arrival, told) = (request.arrival, &request.told);
    let mut all = match request.status {
        Status::Http(code) => vec![
            ("http.request.method", text(arrival.method.as_str())),
            ("http.route", text(request.route)),
            ("http.response.status_code", Value::Int(code.into())),
        ],
        Status::Grpc(code) => vec![
            ("rpc.system.name", text("grpc")),
            ("rpc.method", text(request.route)),
            ("rpc.response.status_code", text(code)),
        ],
    };
    if request.status.is_fault() {
        let fault = match request.status {
            Status::Http(code) => code.to_string(),
            Status::Grpc(code) => code.to_owned(),
        };
        all.push(("error.type", Value::Text(fault)));
    }
    all.push(("adapterd.request.id", text(&arrival.id)));
    let key = told.key.as_deref();
    all.extend(key.map(|key| ("adapterd.key.id", text(key))));
    if let Some(wish) = &told.wish {
        all.extend(asked(wish, told));
    }
    all
}

fn asked(wish: &Wish, told: &Told) -> Vec<(&'static str, Value)> {
    let mut all = vec![
        ("gen_ai.operation.name", text(wish.operation.as_str())),
        ("gen_ai.provider.name", text("adapterd")),
    ];
    let mut say = |name, value: Option<Value>| all.extend(value.map(|value| (name, value)));
    let count = |count: usize| Value::Int(i64::try_from(count).unwrap_or(i64::MAX));
    let model = told.model.as_deref();
    say(
        "gen_ai.request.model",
        told.requested.as_deref().or(model).map(text),
    );
    say("gen_ai.response.model", model.map(text));
    say("adapterd.adapter", told.adapter.as_deref().map(text));
    let generation = told.generation.map(|generation| generation.to_string());
    say("adapterd.generation", generation.map(Value::Text));
    say("gen_ai.usage.input_tokens", told.prompt_tokens.map(count));
    say(
        "gen_ai.usage.cache_read.input_tokens",
        told.cached_tokens.map(count),
    );
    let Some(shape) = &wish.sampling else {
        return all;
    };
    let real = |number: f32| Some(Value::Real(number.into()));
    say(
        "gen_ai.usage.output_tokens",
        told.generated_tokens.map(count),
    );
    let n = (wish.n != 1).then(|| Value::Int(wish.n.into()));
    say("gen_ai.request.choice.count", n);
    say("gen_ai.request.temperature", real(shape.temperature));
    say("gen_ai.request.top_p", real(shape.top_p));
    let top_k = (shape.top_k > 0).then(|| Value::Int(shape.top_k.into()));
    say("gen_ai.request.top_k", top_k);
    say(
        "gen_ai.request.presence_penalty",
        real(shape.presence_penalty),
    );
    say(
        "gen_ai.request.frequency_penalty",
        real(shape.frequency_penalty),
    );
    say("gen_ai.request.max_tokens", shape.max_tokens.map(count));
    let seed = shape.seed.and_then(|seed| i64::try_from(seed).ok());
    say("gen_ai.request.seed", seed.map(Value::Int));
    let finished: Vec<_> = told.finished.iter().map(|reason| reason.as_str()).collect();
    let finished = (!finished.is_empty()).then_some(Value::Texts(finished));
    say("gen_ai.response.finish_reasons", finished);
    all
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::Method;

    use super::*;
    use crate::api::Arrival;
    use crate::domain::{FinishReason, Sampling};
    use crate::gateway::{Operation, Shape};

    const NOW: u64 = 1_700_000_000_000_000_000;

    fn drawn(
        status: Status,
        parent: Option<Parent>,
        tell: impl Fn(&mut Told, Instant),
    ) -> Vec<Span> {
        let began = Instant::now();
        let arrival = Arrival {
            protocol: "http",
            method: Method::POST,
            id: "req_7".into(),
            address: None,
            began,
            parent,
        };
        let mut told = Told::default();
        tell(&mut told, began);
        let at = began + Duration::from_millis(100);
        let request = Ended {
            arrival: &arrival,
            route: "/v1/chat/completions",
            status,
            bytes: 5,
            told,
            at,
        };
        let clock = Clock {
            at,
            unix_nanos: NOW,
        };
        let mut last = 0;
        let next = || {
            last += 1;
            [last; 8]
        };
        let names = Names {
            trace: [9; 16],
            next,
        };
        spans_of(&request, clock, names)
    }

    fn answered(told: &mut Told, began: Instant) {
        let ms = |ms| Some(began + Duration::from_millis(ms));
        *told = Told {
            key: Some("4f0c".into()),
            wish: Some(Wish {
                operation: Operation::Chat,
                n: 1,
                sampling: Some(Shape::from(&Sampling::default())),
            }),
            model: Some("legal".into()),
            adapter: Some("legal".into()),
            prompt_tokens: Some(31),
            generated_tokens: Some(12),
            finished: vec![FinishReason::Stop],
            asked: ms(1),
            tokenized: ms(3),
            leased: ms(9),
            submitted: ms(10),
            begun: ms(20),
            first_token: ms(40),
            last_token: ms(90),
            done: ms(95),
            ..Told::default()
        };
    }

    /// Names with their milliseconds from the beginning.
    fn times(spans: &[Span]) -> Vec<(&str, u64, u64)> {
        let ms = |at: u64| (at - (NOW - 100_000_000)) / 1_000_000;
        let times = spans.iter();
        times
            .map(|span| (span.name.as_str(), ms(span.start), ms(span.end)))
            .collect()
    }

    #[test]
    fn a_request_is_a_span_with_its_parts_below() {
        let spans = drawn(Status::Http(200), None, answered);
        let wanted = [
            ("POST /v1/chat/completions", 0, 100),
            ("admit", 0, 1),
            ("tokenize", 1, 3),
            ("lease", 1, 9),
            ("queue", 10, 20),
            ("prefill", 20, 40),
            ("decode", 40, 90),
        ];
        assert_eq!(times(&spans), wanted);
        let (request, inner) = spans.split_first().unwrap();
        assert_eq!((request.parent, request.trace), (None, [9; 16]));
        for part in inner {
            assert!(part.parent == Some(request.id) && part.id != request.id && part.is_inner);
        }
        let said = |name: &str| {
            let mut attributes = request.attributes.iter();
            attributes
                .find(|(other, _)| *other == name)
                .map(|(_, value)| value.clone())
        };
        for (name, value) in [
            ("http.route", text("/v1/chat/completions")),
            ("http.response.status_code", Value::Int(200)),
            ("adapterd.request.id", text("req_7")),
            ("adapterd.key.id", text("4f0c")),
            ("gen_ai.operation.name", text("chat")),
            ("gen_ai.request.model", text("legal")),
            ("gen_ai.usage.input_tokens", Value::Int(31)),
            ("gen_ai.usage.output_tokens", Value::Int(12)),
            ("gen_ai.request.temperature", Value::Real(1.0)),
            ("gen_ai.response.finish_reasons", Value::Texts(vec!["stop"])),
        ] {
            assert_eq!(said(name), Some(value), "{name}");
        }
        assert_eq!(said("error.type"), None);
    }

    #[test]
    fn what_did_not_happen_has_no_span_and_what_had_not_ended_ends_with_the_request() {
        let refused = drawn(Status::Http(401), None, |_, _| {});
        assert_eq!(times(&refused)[1..], [("admit", 0, 100)]);
        assert!(!refused[0].is_fault, "the caller's own");
        let left = drawn(Status::Grpc("CANCELLED"), None, |told, began| {
            answered(told, began);
            (told.begun, told.first_token, told.last_token) = (None, None, None);
            told.done = None;
        });
        assert_eq!(times(&left).last(), Some(&("queue", 10, 100)));
        assert_eq!(left[0].name, "/v1/chat/completions");
        let failed = drawn(Status::Grpc("INTERNAL"), None, |_, _| {});
        assert!(failed[0].is_fault);
        let error = ("error.type", text("INTERNAL"));
        assert!(failed[0].attributes.contains(&error));
    }

    #[test]
    fn a_parent_says_the_trace_and_whether_it_is_kept() {
        let parent = Parent {
            trace: [4; 16],
            span: [5; 8],
            sampled: false,
            state: "a=1".into(),
        };
        let spans = drawn(Status::Http(200), Some(parent.clone()), answered);
        assert!(
            spans
                .iter()
                .all(|span| span.trace == [4; 16] && span.state == "a=1")
        );
        assert_eq!((spans[0].parent, spans[0].is_remote), (Some([5; 8]), true));
        assert!(!is_kept(Some(&parent), 1.0, 0.0));
        let kept = Parent {
            sampled: true,
            ..parent
        };
        assert!(is_kept(Some(&kept), 0.0, 0.5));
        assert!(is_kept(None, 0.5, 0.4) && !is_kept(None, 0.5, 0.5));
        assert!(is_kept(None, 1.0, 0.999_999) && !is_kept(None, 0.0, 0.0));
    }
}
