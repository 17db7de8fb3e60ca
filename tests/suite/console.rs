//! The console at `/`: who gets it, with which headers, and what is kept of it.

use adapterd::api::http;
use reqwest::Response;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, ETAG, IF_NONE_MATCH};

use crate::harness::{Daemon, answer};

const HTML: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

async fn browse(daemon: &Daemon, path: &str) -> Response {
    let request = daemon.client.get(format!("{}{path}", daemon.http));
    request.header(ACCEPT, HTML).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_gets_the_page_without_a_key_and_a_program_does_not() {
    let daemon = Daemon::with_keys().await;
    let page = browse(&daemon, "/").await;
    assert_eq!(page.status(), 200);
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let text = page.text().await.unwrap();
    assert!(text.contains("<title>adapterd</title>"), "{text}");
    let (status, body) = answer(daemon.client.get(&daemon.http)).await;
    assert_eq!(status, 404);
    assert_eq!(body["error"]["code"], "unknown_url");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_and_its_files_let_nothing_else_in() {
    let daemon = Daemon::with_keys().await;
    let text = browse(&daemon, "/").await.text().await.unwrap();
    let named = text.split('"').filter(|part| part.starts_with("/console/"));
    let mut paths: Vec<&str> = named.collect();
    assert!(paths.len() >= 3, "{text}");
    paths.push("/");
    paths.push("/console/LICENSES.txt");
    for path in paths {
        let got = browse(&daemon, path).await;
        assert_eq!(got.status(), 200, "{path}");
        let header = |name: &str| got.headers()[name].to_str().unwrap().to_owned();
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; "));
        assert!(policy.ends_with("frame-ancestors 'none'") && !policy.contains("unsafe"));
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{path}");
        let is_named = path.contains("?v=");
        assert_eq!(header("cache-control").contains("immutable"), is_named);
    }
    for lost in ["/console/nothing.js", "/console/..%2fCargo.toml"] {
        let got = browse(&daemon, lost).await;
        assert_eq!(got.status(), 404, "{lost}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_browser_has_is_not_sent_again() {
    let daemon = Daemon::start().await;
    for path in ["/", "/console/app.js"] {
        let first = browse(&daemon, path).await;
        let tag = first.headers()[ETAG].clone();
        assert_eq!(first.headers()[CACHE_CONTROL], "no-cache");
        let url = format!("{}{path}", daemon.http);
        let request = daemon.client.get(&url).header(ACCEPT, HTML);
        let again = request.header(IF_NONE_MATCH, tag).send().await.unwrap();
        assert_eq!(again.status(), 304, "{path}");
        assert!(again.bytes().await.unwrap().is_empty(), "{path}");
        let request = daemon.client.get(&url).header(ACCEPT, HTML);
        let packed = request.header(ACCEPT_ENCODING, "gzip").send().await;
        let packed = packed.unwrap();
        assert_eq!(packed.headers()["content-encoding"], "gzip", "{path}");
        assert!(packed.bytes().await.unwrap().len() < first.bytes().await.unwrap().len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_addresses_have_it_where_operating_has_its_own() {
    for part in [http::Part::Public, http::Part::Admin] {
        let daemon = Daemon::changed(false, |config| config.part = part).await;
        assert_eq!(browse(&daemon, "/").await.status(), 200, "{part:?}");
    }
}
