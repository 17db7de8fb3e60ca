//! Multipart bodies, bounded in parts and bytes.

use axum::extract::FromRequest;
use axum::http;

use super::call::{Call, LINGER, Request, next_chunk};
use crate::api::fault::Fault;
use crate::domain::Reason;

const MAX_PARTS: usize = 64;

pub(super) struct Part {
    pub name: String,
    pub filename: Option<String>,
    pub bytes: Vec<u8>,
}

/// All parts, of at most `limit` bytes together.
pub(super) async fn parts(call: Call, limit: usize) -> Result<(Request, Vec<Part>), Fault> {
    let Call { request, body } = call;
    let patience = request.app.config.body_patience;
    let mut whole = http::Request::new(body);
    *whole.headers_mut() = request.headers.clone();
    // Its own limit of two megabytes would cut larger files short; `limit` is the one that counts.
    axum::extract::DefaultBodyLimit::disable().apply(&mut whole);
    let mut form = axum::extract::Multipart::from_request(whole, &())
        .await
        .map_err(|_| {
            Reason::BadBody("the body is not multipart/form-data with a boundary".into())
        })?;
    let mut parts: Vec<Part> = Vec::new();
    let mut taken = 0;
    let broken = |why: &axum::extract::multipart::MultipartError| {
        Reason::BadBody(format!("the multipart body is broken: {}", why.body_text()))
    };
    loop {
        let next = tokio::time::timeout(patience, form.next_field()).await;
        let next = next.map_err(|_| Reason::BodyTimeout {
            seconds: patience.as_secs(),
        })?;
        let Some(mut field) = next.map_err(|why| broken(&why))? else {
            return match taken > limit {
                true => Err(Reason::TooLarge { limit }.into()),
                false => Ok((request, parts)),
            };
        };
        if parts.len() == MAX_PARTS {
            return Err(
                Reason::BadBody(format!("the body has more than {MAX_PARTS} parts")).into(),
            );
        }
        let name = field.name().unwrap_or("").to_owned();
        let filename = field.file_name().map(str::to_owned);
        let mut bytes = Vec::new();
        while let Some(chunk) = next_chunk(&mut field, patience).await? {
            taken += chunk.len();
            if taken > limit.saturating_add(LINGER) {
                return Err(Reason::TooLarge { limit }.into());
            }
            // What is beyond the limit is read and thrown away, so that the answer reaches the client.
            match taken > limit {
                true => bytes = Vec::new(),
                false => bytes.extend_from_slice(&chunk),
            }
        }
        parts.push(Part {
            name,
            filename,
            bytes,
        });
    }
}
