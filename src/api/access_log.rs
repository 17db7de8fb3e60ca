//! The access log: a JSON line for each request. Says who asked which route and what it cost; never a text, never a key.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use serde_json::{Value, json};

use super::entry::Ended;

/// Lines that may wait for a slow disk; beyond, requests go on and lines are lost, which is counted.
const WAITING: usize = 8192;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Stdout,
    /// Added to; opened again by [`AccessLog::reopen`], so that another program may have moved it.
    File(PathBuf),
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct AccessLog {
    lines: SyncSender<String>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    lost: AtomicU64,
    reopen: AtomicBool,
}

impl AccessLog {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// Where the file cannot be opened.
    pub fn open(place: Place) -> io::Result<Self> {
        let target = opened(&place)?;
        let (lines, coming) = sync_channel(WAITING);
        let state = Arc::<State>::default();
        let shared = state.clone();
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write(&place, target, &coming, &shared))?;
        Ok(Self { lines, state })
    }

    /// Opens the file anew with the next line.
    pub fn reopen(&self) {
        self.state.reopen.store(true, Ordering::Relaxed);
    }

    /// Lines that were not written.
    pub fn lost(&self) -> u64 {
        self.state.lost.load(Ordering::Relaxed)
    }

    pub(super) fn tell(&self, ended: &Ended<'_>) {
        let line = line(ended).to_string();
        // Never waits: a full disk must not hold up answers.
        if self.lines.try_send(line).is_err() {
            self.state.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn line(ended: &Ended<'_>) -> Value {
    let (arrival, told) = (ended.arrival, &ended.told);
    let ms = |at: Option<Instant>| {
        at.map(|at| at.saturating_duration_since(arrival.began).as_millis() as u64)
    };
    json!({
        "time": chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        "request_id": arrival.id,
        "protocol": arrival.protocol,
        "address": arrival.address.map(|address| address.to_string()),
        "key": told.key,
        "route": ended.route,
        "status": Value::from(ended.status),
        "adapter": told.adapter,
        "generation": told.generation.map(|generation| generation.to_string()),
        "prompt_tokens": told.prompt_tokens,
        "generated_tokens": told.generated_tokens,
        "queue_ms": ms(told.begun),
        "first_token_ms": ms(told.first_token),
        "total_ms": ms(Some(ended.at)),
        "bytes": ended.bytes,
    })
}

fn opened(place: &Place) -> io::Result<Box<dyn Write + Send>> {
    Ok(match place {
        Place::Stdout => Box::new(io::stdout()),
        Place::File(path) => {
            let mut options = std::fs::OpenOptions::new();
            options.create(true).append(true);
            // Who asked when is nobody else's business.
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
            Box::new(options.open(path)?)
        }
    })
}

fn write(
    place: &Place,
    mut target: Box<dyn Write + Send>,
    coming: &Receiver<String>,
    state: &State,
) {
    let mut failing = false;
    while let Ok(mut line) = coming.recv() {
        if state.reopen.swap(false, Ordering::Relaxed) {
            match opened(place) {
                Ok(fresh) => target = fresh,
                Err(fault) => tracing::warn!(%fault, "the access log is not opened again"),
            }
        }
        line.push('\n');
        // A line in one piece, so that two programs can write to one file.
        let written = target
            .write_all(line.as_bytes())
            .and_then(|()| target.flush());
        if let Err(fault) = &written {
            state.lost.fetch_add(1, Ordering::Relaxed);
            if !failing {
                tracing::warn!(%fault, "the access log cannot be written");
            }
        }
        failing = written.is_err();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::{HeaderMap, HeaderValue, Method};

    use super::*;
    use crate::api::Common;
    use crate::api::entry::{Came, Status};

    fn lines(path: &std::path::Path, wanted: usize) -> Vec<Value> {
        for _ in 0..500 {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            if text.lines().count() >= wanted {
                let read = |line| serde_json::from_str(line).unwrap();
                return text.lines().map(read).collect();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no {wanted} lines in {}", path.display());
    }

    #[test]
    fn each_request_is_a_line_also_after_the_file_was_moved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let log = AccessLog::open(Place::File(path.clone())).unwrap();
        let common = Common {
            log: Some(log.clone()),
            ..Common::default()
        };
        let came = Came {
            protocol: "http",
            id: &HeaderValue::from_static("req_1"),
            method: &Method::GET,
            headers: &HeaderMap::new(),
            peer: None,
        };
        let entry = common.entry(&came).unwrap();
        entry.trace.key("0a1b");
        entry.end("/v1/models", Status::Http(200), 17);
        let first = &lines(&path, 1)[0];
        let told = |field: &str| first[field].clone();
        assert_eq!(
            (told("route"), told("status")),
            ("/v1/models".into(), 200.into())
        );
        assert_eq!((told("key"), told("bytes")), ("0a1b".into(), 17.into()));
        assert_eq!(
            (told("adapter"), told("queue_ms")),
            (Value::Null, Value::Null)
        );
        assert!(told("total_ms").is_u64() && told("time").as_str().unwrap().ends_with('Z'));
        std::fs::rename(&path, dir.path().join("access.log.1")).unwrap();
        log.reopen();
        entry.end("/v1/models", Status::Grpc("OK"), 0);
        assert_eq!(lines(&path, 1)[0]["status"], "OK");
        assert_eq!(log.lost(), 0);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_an_error_at_once() {
        let nowhere = Place::File("/nowhere/at/all/access.log".into());
        assert!(AccessLog::open(nowhere).is_err());
    }
}
