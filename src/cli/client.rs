//! HTTP to the daemon: one place that knows headers, errors and exit codes.

use reqwest::{Body, Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;
use tokio_util::io::ReaderStream;

use super::proxy::Proxy;
use super::{Failure, Trust, server};

/// Bytes of a file that are sent at a time.
const PIECE: usize = 256 << 10;

/// A handle to one daemon.
#[derive(Debug, Clone)]
pub struct Client {
    base: Url,
    key: Option<String>,
    http: reqwest::Client,
    /// In the way of every request.
    proxy: Option<Proxy>,
}

/// A file on its way up.
pub struct Upload {
    pub filename: String,
    pub purpose: &'static str,
    pub content: Content,
}

pub enum Content {
    Bytes(Vec<u8>),
    /// Read while it is sent.
    File(tokio::fs::File),
}

/// A body that is made while it is sent.
pub(super) struct Streamed {
    pub content_type: &'static str,
    /// Bytes of all parts together.
    pub length: u64,
    pub parts: Body,
}

impl Client {
    /// `server` is an address as [`server::parse`] takes it.
    pub fn new(server: &str, key: Option<&str>) -> Result<Self, Failure> {
        Self::trusting(server, key, &Trust::default())
    }

    /// The same, with what `trust` says about TLS.
    pub fn trusting(server: &str, key: Option<&str>, trust: &Trust) -> Result<Self, Failure> {
        Self::within(server, key, trust, |name| std::env::var(name).ok())
    }

    /// `variable` reads a variable of the environment, which may name a proxy.
    fn within(
        server: &str,
        key: Option<&str>,
        trust: &Trust,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Failure> {
        let base = server::parse(server)?;
        let proxy = Proxy::between(&base, variable);
        let mut http = reqwest::Client::builder()
            .connect_timeout(std::time::Duration::from_secs(5))
            // The decision is made above; the library's own knows nothing of loopback.
            .no_proxy()
            .tls_backend_preconfigured(trust.config(base.scheme() == "https")?);
        if let Some(proxy) = &proxy {
            let refused = |error| Failure::Usage(format!("{proxy}: {}", root_cause(&error)));
            http = http.proxy(reqwest::Proxy::all(&proxy.url).map_err(refused)?);
        }
        Ok(Self {
            base,
            key: key.map(str::to_owned),
            http: http.build().map_err(Failure::failed)?,
            proxy,
        })
    }

    /// Starts a request; path segments are encoded, so names need no care.
    fn request(&self, method: Method, segments: &[&str]) -> Result<RequestBuilder, Failure> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| {
                Failure::Usage(format!("--server `{}` cannot have a path", self.shown()))
            })?
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
            let why = root_cause(&error);
            match error.is_connect() || error.is_timeout() {
                true => self.unreachable(why),
                false if speaks_otherwise(&error) => Failure::failed(self.told(format!(
                    "{} does not speak HTTP/1.1 ({why}); gRPC has an address of its own",
                    self.shown()
                ))),
                false => Failure::failed(self.told(why)),
            }
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let message = serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|body| body["error"]["message"].as_str().map(str::to_owned));
        Err(match message {
            Some(message) if status == StatusCode::UNAUTHORIZED => Failure::Failed(format!(
                "{message} ({status}; --api-key or ADAPTERD_API_KEY says which key is sent)"
            )),
            Some(message) => Failure::Failed(format!("{message} ({status})")),
            // A daemon's refusals are JSON: this one is the proxy's own.
            None if self.proxy.is_some() => self.unreachable(format!("the answer was {status}")),
            None => Failure::Failed(format!("{text} ({status})")),
        })
    }

    fn unreachable(&self, why: String) -> Failure {
        Failure::Unreachable {
            url: self.shown(),
            why: self.told(why),
        }
    }

    /// `why`, and the proxy it was asked through, where there is one.
    fn told(&self, why: String) -> String {
        match &self.proxy {
            Some(proxy) => format!(
                "{why}, asked through {proxy} (NO_PROXY names hosts that are asked directly)"
            ),
            None => why,
        }
    }

    /// Where the daemon is, without a password.
    fn shown(&self) -> String {
        let mut url = self.base.clone();
        // Fails only where there can be no password.
        let _ = url.set_password(None);
        url.to_string()
    }

    async fn json(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let bytes = self.send(request).await?.bytes().await;
        let bytes = bytes.map_err(|error| Failure::failed(self.told(root_cause(&error))))?;
        serde_json::from_slice(&bytes).map_err(|_| {
            let why = format!("what answers at {} is not adapterd", self.shown());
            Failure::failed(self.told(why))
        })
    }

    pub async fn get(&self, segments: &[&str], query: &[(&str, String)]) -> Result<Value, Failure> {
        self.json(self.request(Method::GET, segments)?.query(query))
            .await
    }

    pub async fn bytes(&self, segments: &[&str]) -> Result<Vec<u8>, Failure> {
        let response = self.send(self.request(Method::GET, segments)?).await?;
        Ok(response.bytes().await.map_err(Failure::failed)?.to_vec())
    }

    /// An answer to be read as it comes.
    pub(super) async fn read(
        &self,
        segments: &[&str],
        query: &[(&str, String)],
    ) -> Result<Response, Failure> {
        let request = self.request(Method::GET, segments)?.query(query);
        self.send(request).await
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
        let part = match upload.content {
            Content::Bytes(bytes) => reqwest::multipart::Part::bytes(bytes),
            Content::File(file) => {
                let length = file.metadata().await?.len();
                let pieces = ReaderStream::with_capacity(file, PIECE);
                let body = Body::wrap_stream(pieces);
                reqwest::multipart::Part::stream_with_length(body, length)
            }
        };
        let part = part.file_name(upload.filename);
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

/// Whether what came back is no HTTP/1.1, as from a gRPC address, which speaks first.
fn speaks_otherwise(error: &reqwest::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        // A request that was given up has the reason as its cause.
        if let Some(error) = inner.downcast_ref::<hyper::Error>()
            && (error.is_parse() || error.to_string().contains("unexpected message"))
        {
            return true;
        }
        cause = inner.source();
    }
    false
}

/// The innermost message: what really went wrong, without the layers around it.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
