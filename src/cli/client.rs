//! HTTP to the daemon: one place that knows headers, errors and exit codes.

use reqwest::{Body, Method, RequestBuilder, Response, Url};
use serde_json::Value;

use super::Failure;

/// A handle to one daemon.
#[derive(Debug, Clone)]
pub struct Client {
    base: Url,
    key: Option<String>,
    http: reqwest::Client,
}

/// A file on its way up.
pub struct Upload {
    pub filename: String,
    pub purpose: &'static str,
    pub bytes: Vec<u8>,
}

/// A body that is made while it is sent.
pub(super) struct Streamed {
    pub content_type: &'static str,
    /// Bytes of all parts together.
    pub length: u64,
    pub parts: Body,
}

impl Client {
    pub fn new(server: &str, key: Option<&str>) -> Result<Self, Failure> {
        let base = Url::parse(server)
            .map_err(|error| Failure::Usage(format!("--server `{server}`: {error}")))?;
        if base.scheme() != "http" {
            return Err(Failure::Usage(format!(
                "--server `{server}`: only http:// is spoken; put a TLS proxy or tunnel in between"
            )));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(std::time::Duration::from_secs(5))
            .build()
            .map_err(Failure::failed)?;
        Ok(Self {
            base,
            key: key.map(str::to_owned),
            http,
        })
    }

    /// Starts a request; path segments are encoded, so names need no care.
    fn request(&self, method: Method, segments: &[&str]) -> Result<RequestBuilder, Failure> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| Failure::Usage(format!("--server `{}` cannot have a path", self.base)))?
            .pop_if_empty()
            .extend(segments);
        let request = self.http.request(method, url);
        Ok(match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        })
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|error| {
            match error.is_connect() || error.is_timeout() {
                true => Failure::Unreachable {
                    url: self.base.to_string(),
                    why: root_cause(&error),
                },
                false => Failure::failed(root_cause(&error)),
            }
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let message = serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|body| body["error"]["message"].as_str().map(str::to_owned))
            .unwrap_or(text);
        Err(Failure::Failed(format!("{message} ({status})")))
    }

    async fn json(&self, request: RequestBuilder) -> Result<Value, Failure> {
        self.send(request)
            .await?
            .json()
            .await
            .map_err(Failure::failed)
    }

    pub async fn get(&self, segments: &[&str], query: &[(&str, String)]) -> Result<Value, Failure> {
        self.json(self.request(Method::GET, segments)?.query(query))
            .await
    }

    pub async fn bytes(&self, segments: &[&str]) -> Result<Vec<u8>, Failure> {
        let response = self.send(self.request(Method::GET, segments)?).await?;
        Ok(response.bytes().await.map_err(Failure::failed)?.to_vec())
    }

    pub async fn post(&self, segments: &[&str], body: &Value) -> Result<Value, Failure> {
        self.json(self.request(Method::POST, segments)?.json(body))
            .await
    }

    /// A response to be read as it comes.
    pub async fn stream(&self, segments: &[&str], body: &Value) -> Result<Response, Failure> {
        self.send(self.request(Method::POST, segments)?.json(body))
            .await
    }

    pub(super) async fn put(
        &self,
        segments: &[&str],
        query: &[(&str, String)],
        body: Streamed,
    ) -> Result<Value, Failure> {
        let request = self.request(Method::PUT, segments)?.query(query);
        let request = request.header("content-type", body.content_type);
        let request = request.header("content-length", body.length);
        self.json(request.body(body.parts)).await
    }

    pub async fn delete(
        &self,
        segments: &[&str],
        query: &[(&str, String)],
    ) -> Result<Value, Failure> {
        self.json(self.request(Method::DELETE, segments)?.query(query))
            .await
    }

    pub async fn upload(&self, upload: Upload) -> Result<Value, Failure> {
        let part = reqwest::multipart::Part::bytes(upload.bytes).file_name(upload.filename);
        let form = reqwest::multipart::Form::new()
            .text("purpose", upload.purpose)
            .part("file", part);
        self.json(
            self.request(Method::POST, &["v1", "files"])?
                .multipart(form),
        )
        .await
    }

    /// The served name of the base model.
    pub async fn base_name(&self) -> Result<String, Failure> {
        let models = self.get(&["v1", "models"], &[]).await?;
        models["data"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|model| model["parent"].is_null())
            .and_then(|model| model["id"].as_str())
            .map(str::to_owned)
            .ok_or_else(|| Failure::failed("the daemon lists no base model"))
    }
}

/// The innermost message: what really went wrong, without the layers around it.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
