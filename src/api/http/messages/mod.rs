//! `POST /v1/messages`, `POST /v1/messages/count_tokens`: chats in Anthropic's form.

mod ask;
mod fields;
mod stream;
#[cfg(test)]
mod tests;
mod view;

use serde_json::json;

use super::blocks::Blocks;
use super::call::Call;
use super::dispatch::Outcome;
use super::respond::{completion_headers, json_response};
use super::sse;
use ask::{Asked, Counted};
use stream::MessageStream;
use view::MessageView;

pub(super) use fields::{COUNTED, MESSAGES};

pub(super) async fn create(call: Call) -> Outcome {
    let (request, body) = call.open().await?;
    let asked = Asked::read(body)?;
    let claims = request.claims(asked.model, asked.adapter)?;
    let names = asked.names;
    let stops = asked.ask.sampling.stop.clone();
    let answers = { request.caller().ask(&claims, vec![asked.ask]).await }
        .map_err(|reason| names.fault(reason))?;
    let generation = answers.generation;
    let blocks = Blocks::default();
    let (view, each) = MessageView::new(answers, stops);
    let response = if asked.stream {
        sse::response(each, MessageStream::new(view, blocks, names, request.id))
    } else {
        let whole = blocks.gather(each).await;
        let whole = whole.map_err(|reason| names.fault(reason))?;
        json_response(200, &view.whole(&whole))
    };
    Ok(completion_headers(response, generation))
}

pub(super) async fn count(call: Call) -> Outcome {
    let (request, body) = call.open().await?;
    let counted = Counted::read(body)?;
    let claims = request.claims(counted.model, counted.adapter)?;
    let counting = request
        .caller()
        .count_chat(&claims, counted.messages, &counted.tools);
    let tokens = counting
        .await
        .map_err(|reason| counted.names.fault(reason))?;
    Ok(json_response(200, &json!({"input_tokens": tokens})))
}
