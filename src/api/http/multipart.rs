//! Multipart bodies, bounded in parts and bytes.

use axum::extract::FromRequest;
use axum::extract::multipart::{Multipart, MultipartError};
use axum::http;
use bytes::Bytes;
use futures::stream::{self, Stream};

use super::body::Arriving;
use super::call::{Call, Request, discard};
use super::unpack::reason_in;
use crate::api::arrival::Clock;
use crate::api::fault::Fault;
use crate::domain::Reason;
use crate::gateway::Incoming;

const MAX_PARTS: usize = 64;
/// Boundaries and headers of all parts.
const AROUND: usize = 64 << 10;

pub(super) struct Part {
    pub name: String,
    pub filename: Option<String>,
    /// Empty where the part went to disk.
    pub bytes: Bytes,
    pub file: Option<Incoming>,
}

/// All parts, of at most `limit` bytes together. Parts of the name `to_disk` are written there as they come; the others
/// are in memory.
pub(super) async fn parts(
    call: Call,
    limit: usize,
    to_disk: Option<&str>,
) -> Result<(Request, Vec<Part>), Fault> {
    let Call { mut request, body } = call.within(limit.saturating_add(AROUND))?;
    let announced = request.announced(limit);
    let mut clock = Clock::start(request.app.config.limits.pace);
    let mut whole = http::Request::new(body);
    *whole.headers_mut() = request.headers.clone();
    // Its own limit of two megabytes would cut larger files short; `limit` is the one that counts.
    axum::extract::DefaultBodyLimit::disable().apply(&mut whole);
    let mut form = Multipart::from_request(whole, &()).await.map_err(|_| {
        Reason::BadBody("the body is not multipart/form-data with a boundary".into())
    })?;
    let mut parts: Vec<Part> = Vec::new();
    let mut taken = 0;
    loop {
        let next = clock.wait(form.next_field()).await?;
        let Some(mut field) = next.map_err(|why| broken(&why))? else {
            return Ok((request, parts));
        };
        if parts.len() == MAX_PARTS {
            let why = format!("the body has more than {MAX_PARTS} parts");
            return Err(Reason::BadBody(why).into());
        }
        let name = field.name().unwrap_or("").to_owned();
        let filename = field.file_name().map(str::to_owned);
        let mut file = match to_disk == Some(name.as_str()) {
            true => {
                let named = filename.as_deref().unwrap_or_default();
                Some(request.caller().receive_file(named).await?)
            }
            false => None,
        };
        // A part may be all that is left of the body, and the large one mostly is.
        let mut arriving = Arriving::new(announced.saturating_sub(taken));
        while let Some(chunk) = clock
            .wait(field.chunk())
            .await?
            .map_err(|why| broken(&why))?
        {
            taken += chunk.len();
            let kept = match &mut file {
                _ if taken > limit => Err(Reason::TooLarge { limit }),
                Some(file) => {
                    clock.came(chunk.len());
                    file.write(chunk).await
                }
                None => {
                    let room = request.take(&mut clock, chunk.len());
                    room.map(|()| arriving.take(&chunk))
                }
            };
            if let Err(reason) = kept {
                drop(field);
                discard(rest(form));
                return Err(reason.into());
            }
            request.stand_back(&mut clock).await;
        }
        parts.push(Part {
            name,
            filename,
            bytes: arriving.complete(),
            file,
        });
    }
}

/// What is left of a form, a part at a time; the next one is reached by reading past the one before.
fn rest(form: Multipart) -> impl Stream<Item = ()> + Send + Unpin {
    Box::pin(stream::unfold(form, |mut form| async move {
        let more = form.next_field().await.is_ok_and(|field| field.is_some());
        more.then_some(((), form))
    }))
}

fn broken(why: &MultipartError) -> Reason {
    let broken = format!("the multipart body is broken: {}", why.body_text());
    reason_in(why).unwrap_or(Reason::BadBody(broken))
}
