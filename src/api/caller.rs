//! Who calls, as far as a call says.

/// The key a call came with, which tells its caller from others: that of `authorization: Bearer KEY`, or else `x-api-key`.
/// `header` gives a header's or metadata entry's text.
pub(super) fn key<'h>(header: impl Fn(&str) -> Option<&'h str>) -> Option<&'h str> {
    let other = || header("x-api-key").map(str::trim);
    header("authorization")
        .and_then(bearer)
        .or_else(|| other().filter(|key| !key.is_empty()))
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
    fn a_bearers_key_comes_before_the_other_header() {
        let of = |authorization: Option<&'static str>, other: Option<&'static str>| {
            key(|name| match name {
                "authorization" => authorization,
                "x-api-key" => other,
                _ => None,
            })
        };
        assert_eq!(of(Some("Bearer sk-1"), Some("sk-2")), Some("sk-1"));
        assert_eq!(of(Some("Basic abc"), Some(" sk-2 ")), Some("sk-2"));
        assert_eq!(of(None, Some("sk-2")), Some("sk-2"));
        assert_eq!(of(None, Some(" ")), None);
        assert_eq!(of(None, None), None);
    }
}
