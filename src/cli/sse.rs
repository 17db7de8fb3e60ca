//! Server-sent events, as far as chat streams use them.

use futures::{Stream, StreamExt};
use serde_json::Value;

use super::Failure;

/// The `data:` payloads of a response as JSON, until `[DONE]`. An error object in the stream ends it.
pub fn chunks(response: reqwest::Response) -> impl Stream<Item = Result<Value, Failure>> {
    let body = response.bytes_stream().boxed();
    futures::stream::unfold(
        (body, Vec::new(), false),
        |(mut body, mut pending, mut over)| async move {
            loop {
                if over {
                    return None;
                }
                if let Some(end) = pending.iter().position(|&byte| byte == b'\n') {
                    let line: Vec<u8> = pending.drain(..=end).collect();
                    let line = String::from_utf8_lossy(&line);
                    let Some(data) = line.trim_end().strip_prefix("data:").map(str::trim_start)
                    else {
                        continue;
                    };
                    if data == "[DONE]" {
                        return None;
                    }
                    let item = parse(data);
                    over = item.is_err();
                    return Some((item, (body, pending, over)));
                }
                match body.next().await {
                    Some(Ok(bytes)) => pending.extend_from_slice(&bytes),
                    Some(Err(error)) => {
                        return Some((Err(Failure::failed(error)), (body, pending, true)));
                    }
                    None => {
                        let cut = Failure::failed("the answer was cut off");
                        return Some((Err(cut), (body, pending, true)));
                    }
                }
            }
        },
    )
}

fn parse(data: &str) -> Result<Value, Failure> {
    let value: Value = serde_json::from_str(data).map_err(Failure::failed)?;
    match value["error"]["message"].as_str() {
        Some(message) => Err(Failure::failed(message)),
        None => Ok(value),
    }
}
