//! `POST /v1/responses`: chats in the form of OpenAI's Responses. Nothing is stored, so a conversation is sent whole.

mod ask;
mod fields;
mod stream;
#[cfg(test)]
mod tests;
mod view;

use super::blocks::Blocks;
use super::call::Call;
use super::dispatch::Outcome;
use super::respond::{completion_headers, json_response};
use super::sse;
use ask::Asked;
use view::ResponseView;

pub(super) use fields::RESPONSE;

pub(super) async fn create(call: Call) -> Outcome {
    let (request, body) = call.open().await?;
    let asked = Asked::read(body)?;
    let claims = request.claims(asked.model, asked.adapter)?;
    let names = asked.names;
    let logprobs = asked.ask.sampling.logprobs.is_some();
    let answers = { request.caller().ask(&claims, vec![asked.ask]).await }
        .map_err(|reason| names.fault(reason))?;
    let generation = answers.generation;
    let blocks = Blocks::new(logprobs);
    let (view, each) = ResponseView::new(answers, asked.echo);
    let response = if asked.stream {
        sse::response(each, view.stream(blocks, names))
    } else {
        let whole = blocks.gather(each).await;
        let whole = whole.map_err(|reason| names.fault(reason))?;
        json_response(200, &view.whole(&whole))
    };
    Ok(completion_headers(response, generation))
}
