//! Who calls, as far as a call says.

use axum::http::HeaderMap;

use crate::gateway::Credentials;

/// What a call's headers, or its metadata, say about who makes it: the key of `authorization: Bearer KEY`, or else
/// `x-api-key`. Where there are several, all must say the same: a proxy in front may have looked at another of them.
pub(super) fn credentials(headers: &HeaderMap) -> Credentials {
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
        is_ambiguous: disagree || differs("authorization") || differs("x-api-key"),
    }
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, key) = authorization.trim().split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

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
    fn a_bearers_key_comes_before_the_other_header() {
        let of = |authorization: Option<&'static str>, other: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            for (name, text) in [("authorization", authorization), ("x-api-key", other)] {
                if let Some(text) = text {
                    headers.insert(name, HeaderValue::from_static(text));
                }
            }
            credentials(&headers).key
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
            credentials(&headers).is_ambiguous
        };
        for name in ["authorization", "x-api-key"] {
            assert!(of(["Bearer a", "Bearer b"], name), "{name}");
            assert!(!of(["Bearer a", "Bearer a"], name), "{name}");
        }
    }
}
