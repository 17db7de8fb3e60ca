//! Pages of the web: which of them may read answers and change things here (`server.cors_origins`), and which
//! headers say so. Clients other than browsers send no `Origin`, and nothing here concerns them.

#[cfg(test)]
mod tests;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::respond::empty_response;
use crate::api::fault::Fault;
use crate::domain::Reason;

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const ASKS_PRIVATE: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOWS_PRIVATE: HeaderName = HeaderName::from_static("access-control-allow-private-network");

const METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS";
/// Where a preflight does not say which headers it asks for.
const HEADERS: &str = "authorization, content-type, x-api-key, adapter, x-request-id";
/// Bytes of headers' names that are repeated to a browser.
const MOST_HEADERS: usize = 4096;
/// What a page's script may read beside the body.
const EXPOSED: &str = "x-request-id, adapter-generation, retry-after, x-should-retry, \
    x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, \
    x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens";
/// Seconds a browser may remember a preflight; browsers have lower limits of their own.
const REMEMBERED: &str = "7200";
/// Of an origin that is repeated in an error.
const CLIP: usize = 120;

/// Pages of other origins that may use this server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    any: bool,
    /// As browsers write them.
    listed: Vec<String>,
}

/// Where a request comes from, as far as its browser says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// No browser, or a page of this server.
    Here,
    /// A page that may: its origin, to be repeated.
    Allowed(HeaderValue),
    /// A page that may not; how it is named in the refusal.
    Elsewhere(String),
}

impl Origins {
    /// # Errors
    /// What is wrong with each entry that is no origin.
    pub fn parse(entries: &[String]) -> Result<Self, Vec<String>> {
        let (mut origins, mut wrong) = (Self::default(), Vec::new());
        for entry in entries {
            match entry.trim() {
                "*" => origins.any = true,
                text => match Origin::of(text) {
                    Ok(origin) => origins.listed.push(origin.text()),
                    Err(why) => wrong.push(format!("`{text}` {why}")),
                },
            }
        }
        match wrong.is_empty() {
            true => Ok(origins),
            false => Err(wrong),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.any || !self.listed.is_empty()
    }

    fn allows(&self, text: &str) -> bool {
        self.any || Origin::of(text).is_ok_and(|origin| self.listed.contains(&origin.text()))
    }

    pub(super) fn of(&self, headers: &HeaderMap) -> Source {
        let site = headers.get(&SITE).and_then(|site| site.to_str().ok());
        let mut sent = headers.get_all(header::ORIGIN).iter();
        let (origin, more) = (sent.next(), sent.next());
        let Some(origin) = origin else {
            // Browsers leave the origin out of a few kinds of requests, but not where those come from.
            return match site {
                None | Some("same-origin" | "none") => Source::Here,
                Some(_) if self.any => Source::Here,
                Some(_) => Source::Elsewhere("another site".to_owned()),
            };
        };
        let text = origin.to_str().unwrap_or("");
        if more.is_none() && self.allows(text) {
            return Source::Allowed(origin.clone());
        }
        let is_here = match site {
            Some("same-origin") => true,
            Some("cross-site") => false,
            _ => is_same(text, headers),
        };
        match is_here && more.is_none() {
            true => Source::Here,
            false => Source::Elsewhere(match text {
                "null" => "no place of its own (`Origin: null`)".to_owned(),
                text => format!("`{}`", text.chars().take(CLIP).collect::<String>()),
            }),
        }
    }

    /// The answer to a browser that asks whether a page may send a request.
    pub(super) fn preflight(&self, headers: &HeaderMap) -> Result<axum::response::Response, Fault> {
        let allowed = match self.of(headers) {
            Source::Elsewhere(origin) => return Err(Reason::ForeignOrigin(origin).into()),
            Source::Here => None,
            Source::Allowed(origin) => Some(origin),
        };
        let mut response = empty_response(204);
        if allowed.is_some() {
            let answer = response.headers_mut();
            let fixed = |text| HeaderValue::from_static(text);
            answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, fixed(METHODS));
            answer.insert(header::ACCESS_CONTROL_MAX_AGE, fixed(REMEMBERED));
            let asked = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
            let asked = asked.filter(|names| are_names(names)).cloned();
            answer.insert(
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                asked.unwrap_or_else(|| fixed(HEADERS)),
            );
            if headers.contains_key(&ASKS_PRIVATE) {
                answer.insert(ALLOWS_PRIVATE, fixed("true"));
            }
            for name in [
                header::ACCESS_CONTROL_REQUEST_METHOD,
                header::ACCESS_CONTROL_REQUEST_HEADERS,
            ] {
                answer.append(header::VARY, name.into());
            }
        }
        Ok(response)
    }

    /// Adds the headers that tell a browser whether the page may read the answer.
    pub(super) fn mark(&self, source: &Source, answer: &mut HeaderMap) {
        if !self.is_open() {
            return;
        }
        // A cache must not give one page what was allowed to another.
        answer.append(header::VARY, header::ORIGIN.into());
        if let Source::Allowed(origin) = source {
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            let exposed = HeaderValue::from_static(EXPOSED);
            answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }
}

/// Names of headers with commas between them, and not too many.
fn are_names(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~, ".contains(byte);
    !bytes.trim_ascii().is_empty() && bytes.len() <= MOST_HEADERS && bytes.iter().all(is_part)
}

/// Whether the origin is the very place the request was sent to. How it got there, by TLS or a proxy that ends TLS, does
/// not matter.
fn is_same(origin: &str, headers: &HeaderMap) -> bool {
    let Some(host) = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
    else {
        return false;
    };
    let Ok(origin) = Origin::of(origin) else {
        return false;
    };
    // The port that goes without saying depends on the scheme, which only the origin tells.
    let here = format!("{}://{host}", origin.scheme);
    matches!(origin.scheme.as_str(), "http" | "https")
        && Origin::of(&here).is_ok_and(|here| here == origin)
}

/// Scheme, host and port, in lower case; a port that goes without saying is left out, as browsers do.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    fn text(&self) -> String {
        let Self { scheme, host, port } = self;
        match port {
            None => format!("{scheme}://{host}"),
            Some(port) => format!("{scheme}://{host}:{port}"),
        }
    }

    fn of(text: &str) -> Result<Self, &'static str> {
        if text == "null" {
            return Err(
                "is the origin of pages without one, which may come from anywhere; only `*` allows them",
            );
        }
        let Some((scheme, place)) = text.split_once("://") else {
            return Err("is no origin: write its scheme too, as in `https://example.com`");
        };
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        if !is_scheme {
            return Err("is no origin: its scheme is none");
        }
        if place.contains(['/', '?', '#']) {
            return Err(
                "is more than an origin, which ends with its host or port: without a path, and without a `/`",
            );
        }
        if place.contains('*') {
            return Err("is a pattern; list each origin, or `*` alone for all");
        }
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let number = port.parse().ok().filter(|port| *port > 0);
                (host, Some(number.ok_or("has a port that is no number")?))
            }
            _ => (place, None),
        };
        let is_address = host.starts_with('[') && host.ends_with(']');
        let is_host = match is_address {
            true => host[1..host.len() - 1]
                .parse::<std::net::Ipv6Addr>()
                .is_ok(),
            false => host
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)),
        };
        if host.is_empty() || !is_host {
            return Err("has no host that a browser would write (letters, digits, `-`, `.`)");
        }
        let scheme = scheme.to_ascii_lowercase();
        let usual = match scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        Ok(Self {
            scheme,
            host: host.to_ascii_lowercase(),
            port: port.filter(|port| Some(*port) != usual),
        })
    }
}
