//! Where a daemon is, as people write it.

use std::net::Ipv6Addr;

use reqwest::Url;

use super::Failure;

/// Where a daemon listens unless told otherwise.
pub const DEFAULT: &str = "http://127.0.0.1:8080";
/// Of an address without scheme and port.
const PORT: u16 = 8080;

/// What `text` means: `http://HOST[:PORT]`, `https://HOST[:PORT]`, or `HOST[:PORT]` with port 8080 where none is said. A path stays in front of
/// every route, but for a slash or a `/v1` at its end, which people copy from the settings of other clients.
///
/// [`Failure::Usage`] for everything else, with what is wanted.
pub fn parse(text: &str) -> Result<Url, Failure> {
    let text = text.trim();
    let wrong = |why: &str| {
        Failure::Usage(format!(
            "--server (ADAPTERD_SERVER) `{text}`: {why}; wanted is HOST, HOST:PORT or http://HOST:PORT, as in {DEFAULT}"
        ))
    };
    if text.is_empty() {
        return Err(wrong("is empty"));
    }
    // A URL parser drops some of these without a word.
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(wrong("has white space in it"));
    }
    let mut url = match text.split_once("://") {
        // A URL parser takes what follows further slashes for the host.
        Some((_, rest)) if rest.starts_with(['/', '\\']) => return Err(wrong("names no host")),
        Some(_) => Url::parse(text).map_err(|error| wrong(&error.to_string()))?,
        None => complete(text).map_err(|why| wrong(&why))?,
    };
    match url.scheme() {
        "http" | "https" => {}
        _ => return Err(wrong("only http:// and https:// are spoken")),
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("has a query or a fragment"));
    }
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/v1").unwrap_or(path);
    let path = path.trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// An address without a scheme.
fn complete(text: &str) -> Result<Url, String> {
    let end = text.find(['/', '?', '#']).unwrap_or(text.len());
    let (authority, path) = text.split_at(end);
    let host = authority.split(':').next().unwrap_or_default();
    if host.is_empty() && authority.parse::<Ipv6Addr>().is_err() {
        return Err("names no host".to_owned());
    }
    if ["http", "https"].contains(&host) {
        return Err(format!("`{host}` is followed by `://`"));
    }
    // As a URL's host a number is an address: 8080 would be 0.0.31.144.
    if authority.chars().all(|c| c.is_ascii_digit()) {
        return Err("is a number and no host".to_owned());
    }
    let full = match authority.parse::<Ipv6Addr>() {
        Ok(address) => format!("http://[{address}]:{PORT}{path}"),
        Err(_) => {
            let after = authority.rsplit(']').next().unwrap_or_default();
            match after.split_once(':') {
                Some((_, port)) if !port.is_empty() => format!("http://{text}"),
                Some(_) => format!("http://{authority}{PORT}{path}"),
                None => format!("http://{authority}:{PORT}{path}"),
            }
        }
    };
    Url::parse(&full).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_as_people_write_it() {
        for (text, meant) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
            ("http://localhost:9000/", "http://localhost:9000/"),
            ("localhost:8080", "http://localhost:8080/"),
            ("127.0.0.1:9000", "http://127.0.0.1:9000/"),
            ("[::1]:9000", "http://[::1]:9000/"),
            ("[::1]", "http://[::1]:8080/"),
            ("::1", "http://[::1]:8080/"),
            ("myhost", "http://myhost:8080/"),
            ("myhost/", "http://myhost:8080/"),
            ("myhost:", "http://myhost:8080/"),
            ("my-host.example.com:80", "http://my-host.example.com/"),
            ("http://myhost", "http://myhost/"),
            ("HTTP://myhost:1", "http://myhost:1/"),
            ("  http://myhost:1\n", "http://myhost:1/"),
            ("http://myhost:1/v1", "http://myhost:1/"),
            ("http://myhost:1/v1/", "http://myhost:1/"),
            ("localhost:8080/v1//", "http://localhost:8080/"),
            ("http://gate/llm", "http://gate/llm"),
            ("http://gate/llm/v1/", "http://gate/llm"),
            ("gate/v12", "http://gate:8080/v12"),
            ("http://u:p@gate:1/", "http://u:p@gate:1/"),
            ("https://example.com", "https://example.com/"),
            ("HTTPS://example.com:8443/v1", "https://example.com:8443/"),
        ] {
            assert_eq!(parse(text).unwrap().as_str(), meant, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_is_wanted() {
        for text in [
            "",
            "  ",
            "8080",
            ":8080",
            "/v1",
            "http://",
            "http:///v1",
            "http:///localhost:8080",
            "http:",
            "http:localhost",
            "https:8080",
            "http/localhost",
            "local host:8080",
            "http://local host",
            "localhost:port",
            "localhost:99999",
            "[::1",
            "http://[::1:8080",
            "unix:///run/adapterd.sock",
            "grpc://localhost:8081",
            "localhost:8080?x=1",
            "http://localhost:8080/#top",
            "a<b>c",
        ] {
            match parse(text) {
                Err(Failure::Usage(why)) => assert!(why.contains("http://HOST:PORT"), "{why}"),
                other => panic!("{text:?}: {other:?}"),
            }
        }
    }
}
