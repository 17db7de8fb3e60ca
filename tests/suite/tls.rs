//! Connections with TLS: both ports, certificates that change, handshakes that never end, callers known by certificates.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adapterd::api::Common;
use adapterd::api::tls::{ClientAuth, Files, Tls};
use adapterd::domain::KeyAsk;
use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::harness::{Daemon, PATIENCE, answer, trust};

/// A certificate authority.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }

    /// A certificate for hosts, or else for who is called `name`.
    fn sign(&self, hosts: &[&str], name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let made = params.signed_by(&key, &self.issuer).unwrap();
        (made.pem(), key.serialize_pem())
    }

    /// A certificate for this machine, put where a daemon reads it.
    fn renew(&self, dir: &Path) {
        let (certificate, key) = self.sign(&["localhost"], "daemon");
        std::fs::write(dir.join("cert.pem"), certificate).unwrap();
        std::fs::write(dir.join("key.pem"), key).unwrap();
    }
}

struct Safe {
    authority: Authority,
    dir: TempDir,
    tls: Tls,
    daemon: Daemon,
}

impl Safe {
    async fn start(client_auth: Option<ClientAuth>, needs_keys: bool) -> Self {
        let authority = Authority::new();
        let dir = TempDir::new().unwrap();
        authority.renew(dir.path());
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, &authority.pem).unwrap();
        let tls = Tls::open(Files {
            certificate: dir.path().join("cert.pem"),
            key: dir.path().join("key.pem"),
            client_ca: client_auth.map(|_| ca),
            client_auth: client_auth.unwrap_or_default(),
        })
        .unwrap();
        let common = Common {
            tls: Some(tls.clone()),
            ..Common::default()
        };
        let daemon = Daemon::changed(needs_keys, |config| {
            config.common = common;
            config.limits.handshake = Duration::from_millis(700);
        })
        .await;
        Self {
            authority,
            dir,
            tls,
            daemon,
        }
    }

    fn url(&self, path: &str) -> String {
        let port = self.daemon.http.rsplit(':').next().unwrap();
        format!("https://localhost:{port}{path}")
    }

    fn client(&self, own: Option<&(String, String)>) -> reqwest::Client {
        let own = own.map(|(certificate, key)| (certificate.as_str(), key.as_str()));
        reqwest::Client::builder()
            .timeout(PATIENCE)
            .no_proxy()
            .tls_backend_preconfigured(trust(Some(&self.authority.pem), own))
            .build()
            .unwrap()
    }
}

/// A connection to `http://HOST:PORT`, by TLS.
async fn connect(at: &str, mut config: ClientConfig, protocol: &[u8]) -> TlsStream<TcpStream> {
    config.alpn_protocols = vec![protocol.to_vec()];
    let socket = TcpStream::connect(at.trim_start_matches("http://"))
        .await
        .unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, socket).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ports_speak_http2_by_tls_and_nothing_else() {
    let safe = Safe::start(None, false).await;
    for (at, method, path, body) in [
        (&safe.daemon.http, "GET", "/livez", &b""[..]),
        (
            &safe.daemon.grpc,
            "POST",
            "/grpc.health.v1.Health/Check",
            &[0; 5],
        ),
    ] {
        let config = trust(Some(&safe.authority.pem), None);
        let stream = connect(at, config, b"h2").await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        let serving = tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        let request = axum::http::Request::builder()
            .method(method)
            .uri(format!("https://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let (response, mut sending) = client.send_request(request, false).unwrap();
        sending
            .send_data(Bytes::copy_from_slice(body), true)
            .unwrap();
        assert_eq!(response.await.unwrap().status(), 200, "{path}");
        serving.abort();
    }
    let (status, _) = answer(safe.client(None).get(safe.url("/livez"))).await;
    assert_eq!(status, 200, "HTTP/1.1 too");
    let plain = safe
        .daemon
        .client
        .get(format!("{}/livez", safe.daemon.http));
    assert!(
        plain.send().await.is_err(),
        "without TLS there is no answer"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_meet_new_connections_and_leave_answers_alone() {
    let safe = Safe::start(None, false).await;
    let config = || trust(Some(&safe.authority.pem), None);
    let mut stream = connect(&safe.daemon.http, config(), b"http/1.1").await;
    let shown =
        |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let body =
        json!({"prompt": "a", "max_tokens": 60, "stream": true, "ignore_eos": true}).to_string();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    let mut first = [0; 64];
    stream.read_exact(&mut first).await.unwrap();
    let before = shown(&stream);
    safe.authority.renew(safe.dir.path());
    assert!(matches!(safe.tls.reload(), Some(Ok(()))));
    let after = shown(&connect(&safe.daemon.http, config(), b"http/1.1").await);
    assert_ne!(before, after);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("[DONE]"), "{rest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_do_not_end_hold_up_nobody_and_are_given_up() {
    let safe = Safe::start(None, false).await;
    let mut silent = Vec::new();
    for at in [&safe.daemon.http, &safe.daemon.grpc] {
        for _ in 0..4 {
            let address = at.trim_start_matches("http://");
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        // The beginning of a greeting that does not go on.
        silent
            .last_mut()
            .unwrap()
            .write_all(&[22, 3, 1])
            .await
            .unwrap();
    }
    let (status, _) = answer(safe.client(None).get(safe.url("/livez"))).await;
    assert_eq!(status, 200);
    let config = trust(Some(&safe.authority.pem), None);
    connect(&safe.daemon.grpc, config, b"h2").await;
    for mut socket in silent {
        let end = tokio::time::timeout(PATIENCE, socket.read(&mut [0; 64])).await;
        assert!(matches!(end.unwrap(), Ok(0) | Err(_)), "it is closed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shakes_hands_with_grpc_and_does_not_go_on_is_given_up() {
    let safe = Safe::start(None, false).await;
    for first in [&b""[..], b"PRI * HTTP/2.0\r\n"] {
        let config = trust(Some(&safe.authority.pem), None);
        let mut stream = connect(&safe.daemon.grpc, config, b"h2").await;
        stream.write_all(first).await.unwrap();
        let mut said = Vec::new();
        let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await;
        assert!(end.is_ok(), "still open after {first:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_a_certificate_is_the_key_with_its_name() {
    let safe = Safe::start(Some(ClientAuth::Required), true).await;
    let ask = KeyAsk {
        identity: Some("claims".into()),
        ..KeyAsk::of("claims".into(), vec!["infer".into()], None).unwrap()
    };
    let own = safe.daemon.keys.create(ask.clone()).await.unwrap();
    let twice = safe.daemon.keys.create(ask).await;
    assert!(twice.is_err(), "one key at a time has a name");
    let (_, other) = safe.daemon.key("infer", "*").await;
    let holder = safe.client(Some(&safe.authority.sign(&[], "claims")));
    let models = || holder.get(safe.url("/v1/models"));
    assert_eq!(answer(models()).await.0, 200);
    assert_eq!(answer(models().bearer_auth(&own.secret)).await.0, 200);
    let (status, body) = answer(models().bearer_auth(&other)).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (400, &Value::from("invalid_value"))
    );
    let (status, _) = answer(holder.get(safe.url("/v1/keys"))).await;
    assert_eq!(status, 403, "its key has no such scope");
    let stranger = safe.client(Some(&safe.authority.sign(&[], "stranger")));
    let (status, body) = answer(stranger.get(safe.url("/v1/models"))).await;
    assert_eq!(status, 401, "{body}");
    assert!(
        body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("stranger")
    );
    let known = stranger.get(safe.url("/v1/models")).bearer_auth(&other);
    assert_eq!(answer(known).await.0, 200, "a key is enough");
    let forged = safe.client(Some(&Authority::new().sign(&[], "claims")));
    assert!(forged.get(safe.url("/livez")).send().await.is_err());
    assert!(
        safe.client(None)
            .get(safe.url("/livez"))
            .send()
            .await
            .is_err()
    );
    safe.daemon.keys.revoke(&own.key.id).await.unwrap();
    assert_eq!(answer(models()).await.0, 401, "its key has ended");
}
