//! Compressed bodies, unpacked piece by piece while they arrive and never beyond a bound: what a few kilobytes unpack to
//! can be a thousand times as large.

#[cfg(test)]
mod tests;

use std::error::Error;
use std::io::{self, BufRead, Read};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use futures::stream::{self, BoxStream, StreamExt};

use crate::domain::Reason;
use crate::gateway::Gateway;

/// What is unpacked at a time.
const PIECE: usize = 64 << 10;
/// Work between two rests.
const SLICE: Duration = Duration::from_micros(500);

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    /// HTTP's `deflate`, which is the zlib format.
    Deflate,
}

impl Coding {
    /// What `content-encoding` says; `None` is a body that is not packed.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, Reason> {
        let mut found = None;
        for value in headers.get_all(header::CONTENT_ENCODING) {
            let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
            for name in text.split(',').map(str::trim) {
                let coding = match name {
                    "" | "identity" => continue,
                    "gzip" | "x-gzip" => Self::Gzip,
                    "deflate" => Self::Deflate,
                    other => {
                        return Err(Reason::ContentEncoding(other.chars().take(80).collect()));
                    }
                };
                if found.replace(coding).is_some() {
                    return Err(Reason::ContentEncoding(text.chars().take(80).collect()));
                }
            }
        }
        Ok(found)
    }
}

/// Pieces of a body, with what is wrong with it in the end.
pub(super) type Pieces = BoxStream<'static, Result<Bytes, Reason>>;

/// A body as it comes.
pub(super) fn pieces(body: Body) -> Pieces {
    let cut_short = || Reason::BadBody("the body ended before it was complete".into());
    let chunks = body.into_data_stream();
    chunks
        .map(move |chunk| chunk.map_err(|fault| reason_in(&fault).unwrap_or_else(cut_short)))
        .boxed()
}

/// What unpacking found wrong, where that is why a body broke off.
pub(super) fn reason_in(fault: &(dyn Error + 'static)) -> Option<Reason> {
    let mut next = Some(fault);
    while let Some(fault) = next {
        if let Some(reason) = fault.downcast_ref::<Reason>() {
            return Some(reason.clone());
        }
        next = fault.source();
    }
    None
}

/// What `packed` unpacks to, at most `limit` bytes. It rests where the device's steps would wait for it. After a fault it
/// goes on to take in what still comes, without unpacking it, as an empty piece each: so a refusal reaches a client that
/// is still sending.
pub(super) fn unpacked(packed: Pieces, coding: Coding, limit: usize, gateway: Gateway) -> Pieces {
    let state = State {
        packed,
        inflater: Some(Inflater::new(coding)),
        begun: false,
        left: limit,
        limit,
        worked: Duration::ZERO,
        gateway,
    };
    stream::unfold(state, |mut state| async move {
        let piece = state.next().await?;
        Some((piece, state))
    })
    .boxed()
}

struct State {
    packed: Pieces,
    /// `None` after a fault, or the end.
    inflater: Option<Inflater>,
    begun: bool,
    left: usize,
    limit: usize,
    worked: Duration,
    gateway: Gateway,
}

impl State {
    async fn next(&mut self) -> Option<Result<Bytes, Reason>> {
        let Some(inflater) = &mut self.inflater else {
            return Some(self.packed.next().await?.map(|_| Bytes::new()));
        };
        loop {
            if self.worked >= SLICE {
                self.gateway
                    .stand_back(std::mem::take(&mut self.worked))
                    .await;
                // Also where nothing is stood back for: other sockets have their turn.
                tokio::task::yield_now().await;
            }
            let began = Instant::now();
            let pulled = inflater.pull();
            self.worked += began.elapsed();
            match pulled {
                Ok(Pulled::Piece(piece)) if piece.len() <= self.left => {
                    self.left -= piece.len();
                    return Some(Ok(piece));
                }
                Ok(Pulled::Piece(_)) => {
                    self.inflater = None;
                    return Some(Err(Reason::UnpacksTooLarge { limit: self.limit }));
                }
                Ok(Pulled::Hungry) => match self.packed.next().await {
                    Some(Ok(more)) => {
                        self.begun = true;
                        inflater.push(more);
                    }
                    Some(Err(reason)) => {
                        self.inflater = None;
                        return Some(Err(reason));
                    }
                    None if self.begun => inflater.end(),
                    // No body at all is an empty one, whatever its headers say.
                    None => {
                        self.inflater = None;
                        return None;
                    }
                },
                Ok(Pulled::End) => {
                    self.inflater = None;
                    return None;
                }
                Err(why) => {
                    self.inflater = None;
                    return Some(Err(Reason::BadBody(why)));
                }
            }
        }
    }
}

/// Unpacks what it is given; never waits.
struct Inflater {
    kind: Kind,
    scratch: Vec<u8>,
}

enum Kind {
    Gzip(Box<MultiGzDecoder<Feed>>),
    Zlib {
        inflate: Decompress,
        feed: Feed,
        /// More may have been ready than there was room for.
        full: bool,
        complete: bool,
    },
}

/// What came of the packed bytes and was not looked at.
#[derive(Default)]
struct Feed {
    bytes: Bytes,
    ended: bool,
}

#[derive(Debug, PartialEq)]
enum Pulled {
    Piece(Bytes),
    /// Needs more input.
    Hungry,
    End,
}

impl Inflater {
    fn new(coding: Coding) -> Self {
        let kind = match coding {
            Coding::Gzip => Kind::Gzip(Box::new(MultiGzDecoder::new(Feed::default()))),
            Coding::Deflate => Kind::Zlib {
                inflate: Decompress::new(true),
                feed: Feed::default(),
                full: false,
                complete: false,
            },
        };
        Self {
            kind,
            scratch: vec![0; PIECE],
        }
    }

    fn feed(&mut self) -> &mut Feed {
        match &mut self.kind {
            Kind::Gzip(decoder) => decoder.get_mut(),
            Kind::Zlib { feed, .. } => feed,
        }
    }

    /// Only after [`Pulled::Hungry`]: all that was given before is used up.
    fn push(&mut self, bytes: Bytes) {
        self.feed().bytes = bytes;
    }

    fn end(&mut self) {
        self.feed().ended = true;
    }

    /// # Errors
    /// What is wrong with the packed bytes.
    fn pull(&mut self) -> Result<Pulled, String> {
        let Self { kind, scratch } = self;
        match kind {
            Kind::Gzip(decoder) => match decoder.read(scratch) {
                Ok(0) => Ok(Pulled::End),
                Ok(count) => Ok(Pulled::Piece(Bytes::copy_from_slice(&scratch[..count]))),
                Err(fault) => match fault.kind() {
                    io::ErrorKind::WouldBlock => Ok(Pulled::Hungry),
                    io::ErrorKind::UnexpectedEof => Err(cut_off("gzip")),
                    _ => Err(broken("gzip")),
                },
            },
            Kind::Zlib {
                inflate,
                feed,
                full,
                complete,
            } => loop {
                let spent = feed.bytes.is_empty();
                match (spent, feed.ended) {
                    (false, _) if *complete => {
                        return Err("the deflate body goes on after its end".to_owned());
                    }
                    (true, false) if !*full || *complete => return Ok(Pulled::Hungry),
                    (true, true) if *complete => return Ok(Pulled::End),
                    (true, true) if !*full => return Err(cut_off("deflate")),
                    _ => {}
                }
                let (taken, made) = (inflate.total_in(), inflate.total_out());
                let status = inflate
                    .decompress(&feed.bytes, scratch, FlushDecompress::None)
                    .map_err(|_| broken("deflate"))?;
                let taken = (inflate.total_in() - taken) as usize;
                let made = (inflate.total_out() - made) as usize;
                feed.consume(taken);
                *complete = status == Status::StreamEnd;
                *full = made == scratch.len();
                if made > 0 {
                    return Ok(Pulled::Piece(Bytes::copy_from_slice(&scratch[..made])));
                }
                if taken == 0 && !spent && !*complete {
                    return Err(broken("deflate"));
                }
            },
        }
    }
}

fn cut_off(what: &str) -> String {
    format!("the {what} body is cut off: it ends before what it holds does")
}

fn broken(what: &str) -> String {
    format!("the body is said to be {what} and is not, or was damaged on its way")
}

impl Read for Feed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.bytes.is_empty() && !self.ended {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => Ok(&self.bytes),
        }
    }

    fn consume(&mut self, count: usize) {
        let _ = self.bytes.split_to(count.min(self.bytes.len()));
    }
}
