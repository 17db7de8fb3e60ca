//! The routes of the console: the page at `/`, for browsers alone, and its files.

use super::call::Call;
use super::dispatch::Outcome;
use crate::api::console;
use crate::domain::Reason;

/// A program that asks for `/` is told what it always was: that there is no such route.
pub(super) async fn page(call: Call) -> Outcome {
    match console::is_browser(&call.request.headers) {
        true => Ok(console::page(&call.request.headers)),
        false => Err(Reason::NoSuchRoute("/".to_owned()).into()),
    }
}

pub(super) async fn file(call: Call) -> Outcome {
    let request = &call.request;
    let found = console::file(request.param("name"), request.uri.query(), &request.headers);
    let lost = || Reason::NoSuchRoute(request.uri.path().chars().take(200).collect());
    Ok(found.ok_or_else(lost)?)
}
