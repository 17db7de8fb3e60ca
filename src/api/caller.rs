//! Who calls, as far as a call says.

use axum::extract::Query;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use uuid::Uuid;

use super::door::Peer;
use crate::gateway::Credentials;

/// What a call's headers, or its metadata, say about who makes it: the key of `authorization: Bearer KEY`, or else
/// `x-api-key`. Where there are several, all must say the same: a proxy in front may have looked at another of them. What
/// the peer's certificate calls it comes beside.
pub(super) fn credentials(headers: &HeaderMap, peer: Option<&Peer>) -> Credentials {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let other = || text("x-api-key").map(str::trim);
    let both = [
        text("authorization").and_then(bearer),
        other().filter(|key| !key.is_empty()),
    ];
    let key = both[0].or(both[1]);
    let disagree = matches!(both, [Some(one), Some(other)] if one != other);
    let differs = |name| {
        let mut all = headers.get_all(name).iter();
        let first = all.next();
        all.any(|other| Some(other) != first)
    };
    Credentials {
        key: key.map(str::to_owned),
        certificate: peer.map(|peer| peer.names.clone()).unwrap_or_default(),
        is_ambiguous: disagree || differs("authorization") || differs("x-api-key"),
    }
}

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The caller's own id, if it is harmless to repeat in headers and logs; otherwise a new one.
pub(super) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(&REQUEST_ID).filter(|value| {
        let bytes = value.as_bytes();
        (1..=128).contains(&bytes.len()) && bytes.iter().all(|byte| (b' '..=b'~').contains(byte))
    });
    given.cloned().unwrap_or_else(|| {
        let fresh = format!("req_{}", Uuid::new_v4().simple());
        HeaderValue::from_str(&fresh).unwrap_or(HeaderValue::from_static("req_0"))
    })
}

/// Names of query parameters that people write keys into.
const KEY_NAMES: [&str; 7] = [
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "authorization",
    "key",
    "x-api-key",
];

/// The query parameter that carries a key, which ends up in the logs of everything on the way.
pub(super) fn key_in_url(uri: &Uri) -> Option<String> {
    uri.query()?;
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    let found = pairs.into_iter().find(|(name, value)| {
        let is_name = KEY_NAMES.iter().any(|key| name.eq_ignore_ascii_case(key));
        (is_name && !value.is_empty()) || value.trim().starts_with("sk-adp-")
    });
    found.map(|(name, _)| name.chars().take(80).collect())
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, key) = authorization.trim().split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearers_key_is_one() {
        assert_eq!(bearer("Bearer sk-1"), Some("sk-1"));
        assert_eq!(bearer(" bearer  sk-1 "), Some("sk-1"));
        for other in ["", "Bearer", "Bearer ", "Basic sk-1", "sk-1"] {
            assert_eq!(bearer(other), None, "{other}");
        }
    }

    #[test]
    fn a_key_in_a_url_is_seen_by_its_name_or_its_beginning() {
        let of = |text: &str| key_in_url(&text.parse().unwrap());
        for (uri, name) in [
            ("/v1/models?api_key=x", "api_key"),
            ("/v1/models?limit=1&Access_Token=x", "Access_Token"),
            ("/v1/files?after=sk-adp-0a1b-ff", "after"),
            ("/v1/files?x=sk%2Dadp-0a1b-ff", "x"),
        ] {
            assert_eq!(of(uri).as_deref(), Some(name), "{uri}");
        }
        for uri in [
            "/v1/models",
            "/v1/files?limit=2&after=file-1",
            "/v1/files?key=",
        ] {
            assert_eq!(of(uri), None, "{uri}");
        }
    }

    fn id_for(value: &[u8]) -> HeaderValue {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
        request_id(&headers)
    }

    #[test]
    fn a_callers_id_is_kept_only_if_it_is_harmless() {
        for good in [&b"trace-7/a"[..], b"my id 7", &[b'a'; 128]] {
            assert_eq!(id_for(good).as_bytes(), good);
        }
        for bad in [&b""[..], b"a\tb", b"caf\xc3\xa9", &[b'a'; 129]] {
            assert!(id_for(bad).to_str().unwrap().starts_with("req_"));
        }
    }

    #[test]
    fn a_bearers_key_comes_before_the_other_header() {
        let of = |authorization: Option<&'static str>, other: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            for (name, text) in [("authorization", authorization), ("x-api-key", other)] {
                if let Some(text) = text {
                    headers.insert(name, HeaderValue::from_static(text));
                }
            }
            credentials(&headers, None).key
        };
        let key = |text: &str| Some(text.to_owned());
        assert_eq!(of(Some("Bearer sk-1"), Some("sk-2")), key("sk-1"));
        assert_eq!(of(Some("Basic abc"), Some(" sk-2 ")), key("sk-2"));
        assert_eq!(of(None, Some("sk-2")), key("sk-2"));
        assert_eq!(of(None, Some(" ")), None);
        assert_eq!(of(None, None), None);
    }

    #[test]
    fn headers_that_differ_are_told_and_equal_ones_are_one() {
        let of = |values: [&'static str; 2], name: &'static str| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(name, HeaderValue::from_static(value));
            }
            credentials(&headers, None).is_ambiguous
        };
        for name in ["authorization", "x-api-key"] {
            assert!(of(["Bearer a", "Bearer b"], name), "{name}");
            assert!(!of(["Bearer a", "Bearer a"], name), "{name}");
        }
    }
}
