//! Server-sent events: chunks as they come, comments while nothing does, an error object if it fails midway.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use futures::stream::{self, Stream, StreamExt};
use serde_json::Value;
use tokio::sync::mpsc;

use super::gather;
use super::respond::{bytes_response, error_body};
use crate::api::fault::Fault;
use crate::domain::{Event, Reason};
use crate::gateway::Events;

/// Shorter than the idle limits of common proxies.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

const COMMENT: &[u8] = b": keep-alive\n\n";
const DONE: &[u8] = b"data: [DONE]\n\n";

/// Turns events into a protocol's chunks.
pub(super) trait Chunks: Send + 'static {
    /// The `type` of each chunk is its event's name too, and the last chunk ends the stream; otherwise `[DONE]` does.
    const NAMED: bool = false;

    /// What comes before anything is answered.
    fn begin(&mut self) -> Vec<Value> {
        Vec::new()
    }

    fn on(&mut self, prompt: usize, event: Event) -> Vec<Value>;

    /// What follows the last answer.
    fn end(&mut self) -> Vec<Value>;

    /// What follows instead where an answer fails.
    fn failed(&mut self, fault: &Fault) -> Vec<Value> {
        vec![error_body(fault)]
    }

    /// What is said while nothing comes; `None` is a comment.
    fn silence(&self) -> Option<Value> {
        None
    }
}

/// Streams the answers. Dropping the response's body drops their receivers, which ends the work.
pub(super) fn response(each: Vec<Events>, chunks: impl Chunks) -> Response {
    paced(each, chunks, KEEP_ALIVE)
}

fn paced<C: Chunks>(each: Vec<Events>, mut chunks: C, pace: Duration) -> Response {
    let ready = chunks.begin().iter().map(frame::<C>).collect();
    let state = State {
        events: gather::merged(each),
        chunks,
        pace,
        ready,
        over: false,
    };
    framed(stream::unfold(state, |mut state| async move {
        let text = state.next().await?;
        Some((text, state))
    }))
}

/// Streams what is followed as objects with an `id`, each under its own, up to its end: `[DONE]`, or what went wrong.
pub(super) fn followed<T: Send + 'static>(
    news: mpsc::Receiver<Result<T, Reason>>,
    told: fn(&T) -> Value,
) -> Response {
    framed(stream::unfold(Some(news), move |news| async move {
        let mut news = news?;
        Some(match tokio::time::timeout(KEEP_ALIVE, news.recv()).await {
            Err(_) => (Bytes::from_static(COMMENT), Some(news)),
            Ok(Some(Ok(one))) => {
                let one = told(&one);
                let id = one["id"].as_str().unwrap_or_default();
                (
                    Bytes::from(format!("id: {id}\ndata: {one}\n\n")),
                    Some(news),
                )
            }
            Ok(Some(Err(reason))) => {
                let error = error_body(&Fault::from(reason));
                (Bytes::from(format!("data: {error}\n\n")), None)
            }
            Ok(None) => (Bytes::from_static(DONE), None),
        })
    }))
}

fn framed(frames: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let body = Body::from_stream(frames.map(Ok::<Bytes, Infallible>));
    let mut response = bytes_response(200, "text/event-stream", body);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Asks proxies not to collect the stream before they pass it on.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}

struct State<S, C> {
    events: S,
    chunks: C,
    /// How long silence may last.
    pace: Duration,
    ready: VecDeque<Bytes>,
    over: bool,
}

impl<S, C> State<S, C>
where
    S: futures::Stream<Item = (usize, Event)> + Unpin,
    C: Chunks,
{
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(text) = self.ready.pop_front() {
                return Some(text);
            }
            if self.over {
                return None;
            }
            match tokio::time::timeout(self.pace, self.events.next()).await {
                Err(_) => {
                    let said = self.chunks.silence().as_ref().map(frame::<C>);
                    let comment = || Bytes::from_static(COMMENT);
                    return Some(said.unwrap_or_else(comment));
                }
                Ok(Some((_, Event::Failed(reason)))) => {
                    self.over = true;
                    let last = self.chunks.failed(&Fault::from(reason));
                    self.ready.extend(last.iter().map(frame::<C>));
                }
                Ok(Some((prompt, event))) => {
                    let chunks = self.chunks.on(prompt, event);
                    self.ready.extend(chunks.iter().map(frame::<C>));
                }
                Ok(None) => {
                    self.over = true;
                    let last = self.chunks.end();
                    self.ready.extend(last.iter().map(frame::<C>));
                    if !C::NAMED {
                        self.ready.push_back(Bytes::from_static(DONE));
                    }
                }
            }
        }
    }
}

fn frame<C: Chunks>(chunk: &Value) -> Bytes {
    let name = chunk["type"].as_str().filter(|_| C::NAMED);
    let name = name.map_or_else(String::new, |name| format!("event: {name}\n"));
    Bytes::from(format!("{name}data: {chunk}\n\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::Usage;

    struct Plain;

    impl Chunks for Plain {
        fn on(&mut self, prompt: usize, event: Event) -> Vec<Value> {
            match event {
                Event::Delta { text, .. } => vec![json!([prompt, text])],
                _ => Vec::new(),
            }
        }

        fn end(&mut self) -> Vec<Value> {
            vec![json!("end")]
        }
    }

    async fn body_of(each: Vec<mpsc::Receiver<Event>>) -> String {
        let body = axum::body::to_bytes(
            response(each.into_iter().map(Into::into).collect(), Plain).into_body(),
            usize::MAX,
        )
        .await
        .unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    fn delta(text: &str) -> Event {
        Event::Delta {
            choice: 0,
            text: text.into(),
            tokens: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_stream_ends_with_done() {
        let (out, events) = mpsc::channel(4);
        for event in [
            delta("a\nb"),
            Event::Done {
                usage: Usage::default(),
            },
        ] {
            out.send(event).await.unwrap();
        }
        assert_eq!(
            body_of(vec![events]).await,
            "data: [0,\"a\\nb\"]\n\ndata: \"end\"\n\ndata: [DONE]\n\n"
        );
    }

    struct Named;

    impl Chunks for Named {
        const NAMED: bool = true;

        fn begin(&mut self) -> Vec<Value> {
            vec![json!({"type": "start"})]
        }

        fn on(&mut self, _prompt: usize, _event: Event) -> Vec<Value> {
            vec![json!({"type": "more"})]
        }

        fn end(&mut self) -> Vec<Value> {
            vec![json!({"type": "stop"})]
        }

        fn failed(&mut self, fault: &Fault) -> Vec<Value> {
            vec![json!({"type": "error", "code": fault.row().code})]
        }

        fn silence(&self) -> Option<Value> {
            Some(json!({"type": "ping"}))
        }
    }

    #[tokio::test]
    async fn named_events_begin_by_themselves_and_end_without_done() {
        let whole = async |last: Event| {
            let (out, events) = mpsc::channel(4);
            out.send(last).await.unwrap();
            let body = paced(vec![events.into()], Named, KEEP_ALIVE).into_body();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let text = String::from_utf8(body.to_vec()).unwrap();
            let named = |line: &str| line.strip_prefix("event: ").map(str::to_owned);
            text.lines().filter_map(named).collect::<Vec<_>>()
        };
        let done = Event::Done {
            usage: Usage::default(),
        };
        assert_eq!(whole(done).await, ["start", "more", "stop"]);
        let failed = Event::Failed(Reason::Draining);
        assert_eq!(whole(failed).await, ["start", "error"]);
        let (_out, events) = mpsc::channel(4);
        let quiet = paced(vec![events.into()], Named, Duration::from_millis(1));
        let mut body = quiet.into_body().into_data_stream();
        body.next().await.unwrap().unwrap();
        assert_eq!(
            body.next().await.unwrap().unwrap(),
            "event: ping\ndata: {\"type\":\"ping\"}\n\n"
        );
    }

    #[tokio::test]
    async fn a_failure_midway_is_an_error_object_and_no_done() {
        let (out, events) = mpsc::channel(4);
        out.send(delta("a")).await.unwrap();
        out.send(Event::Failed(Reason::Draining)).await.unwrap();
        let body = body_of(vec![events]).await;
        assert!(
            body.contains(r#""code":"draining""#) && !body.contains("[DONE]"),
            "{body}"
        );
    }

    #[tokio::test]
    async fn silence_is_filled_with_comments() {
        let (out, events) = mpsc::channel(4);
        let mut body = paced(vec![events.into()], Plain, Duration::from_millis(1))
            .into_body()
            .into_data_stream();
        for _ in 0..2 {
            assert_eq!(body.next().await.unwrap().unwrap(), ": keep-alive\n\n");
        }
        out.send(Event::Done {
            usage: Usage::default(),
        })
        .await
        .unwrap();
        let rest: Vec<_> = body.map(|part| part.unwrap()).collect().await;
        assert_eq!(rest.last().unwrap(), "data: [DONE]\n\n");
    }

    #[tokio::test]
    async fn dropping_the_body_drops_the_receivers() {
        let (out, events) = mpsc::channel(4);
        drop(response(vec![events.into()], Plain));
        out.closed().await;
    }

    #[tokio::test]
    async fn what_is_followed_ends_with_done_or_with_what_went_wrong() {
        let told = |number: &u64| json!({"id": format!("n-{number}")});
        for (last, end) in [
            (None, "data: [DONE]\n\n".to_owned()),
            (
                Some(Reason::Draining),
                format!("data: {}\n\n", error_body(&Fault::from(Reason::Draining))),
            ),
        ] {
            let (out, news) = mpsc::channel(4);
            out.send(Ok(7)).await.unwrap();
            if let Some(reason) = last {
                out.send(Err(reason)).await.unwrap();
            }
            drop(out);
            let body = followed(news, told).into_body();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let expected = format!("id: n-7\ndata: {{\"id\":\"n-7\"}}\n\n{end}");
            assert_eq!(String::from_utf8(body.to_vec()).unwrap(), expected);
        }
    }
}
