//! Which pages are let in.

use super::*;

fn origins(entries: &[&str]) -> Origins {
    let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
    Origins::parse(&entries).unwrap()
}

fn headers(entries: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, text) in entries {
        let name = HeaderName::from_static(name);
        headers.append(name, HeaderValue::from_static(text));
    }
    headers
}

#[test]
fn an_entry_that_is_no_origin_is_told_with_what_is_wrong() {
    for (entry, why) in [
        ("", "scheme"),
        ("example.com", "scheme"),
        ("localhost:3000", "scheme"),
        ("https://", "host"),
        ("https://example.com/", "path"),
        ("https://example.com/app", "path"),
        ("https://example.com?x", "path"),
        ("https://*.example.com", "pattern"),
        ("https://exa mple.com", "host"),
        ("https://user@example.com", "host"),
        ("https://example.com:port", "port"),
        ("https://example.com:70000", "port"),
        ("https://bücher.example", "host"),
        ("http://[::1", "host"),
        ("1http://a", "scheme"),
        ("null", "`*`"),
    ] {
        let good = "https://good.example".to_owned();
        let wrong = Origins::parse(&[good, entry.to_owned()]).unwrap_err();
        assert_eq!(wrong.len(), 1, "{entry}");
        let (named, said) = (format!("`{entry}`"), &wrong[0]);
        assert!(said.contains(&named) && said.contains(why), "{said}");
    }
    let both = Origins::parse(&["a".to_owned(), "b".to_owned()]).unwrap_err();
    assert_eq!(both.len(), 2);
}

#[test]
fn origins_are_compared_as_browsers_write_them() {
    let listed = origins(&[
        "https://Example.com:443",
        "http://localhost:3000",
        "http://[::1]:80",
        "app://obsidian.md",
    ]);
    for allowed in [
        "https://example.com",
        "http://localhost:3000",
        "http://[::1]",
        "app://obsidian.md",
    ] {
        assert!(listed.allows(allowed), "{allowed}");
    }
    for other in [
        "http://example.com",
        "https://example.com:8443",
        "https://example.com.evil.example",
        "https://sub.example.com",
        "http://localhost",
        "http://localhost:30000",
        "null",
        "",
        "https://example.com/",
    ] {
        assert!(!listed.allows(other), "{other}");
    }
    assert!(origins(&["*"]).allows("null") && origins(&["*"]).allows("https://any.example"));
    assert!(!Origins::default().allows("https://any.example"));
}

#[test]
fn who_is_no_browser_or_a_page_of_this_server_is_here() {
    let off = Origins::default();
    for entries in [
        &[][..],
        &[("host", "127.0.0.1:8080")],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "same-origin")],
        &[
            ("host", "127.0.0.1:8080"),
            ("origin", "http://127.0.0.1:8080"),
        ],
        &[("host", "Box.example"), ("origin", "https://box.example")],
        &[
            ("host", "box.example:443"),
            ("origin", "https://box.example"),
        ],
        &[("host", "box.example:80"), ("origin", "http://box.example")],
        &[("host", "[::1]:8080"), ("origin", "http://[::1]:8080")],
        // Behind a proxy that gives the request another host.
        &[
            ("host", "inner:8080"),
            ("origin", "https://box.example"),
            ("sec-fetch-site", "same-origin"),
        ],
    ] {
        assert_eq!(off.of(&headers(entries)), Source::Here, "{entries:?}");
    }
}

#[test]
fn who_is_a_page_of_another_place_is_not() {
    let listed = origins(&["https://good.example"]);
    for origins in [&Origins::default(), &listed] {
        for entries in [
            &[
                ("host", "127.0.0.1:8080"),
                ("origin", "http://127.0.0.1:8081"),
            ][..],
            &[
                ("host", "127.0.0.1:8080"),
                ("origin", "http://localhost:8080"),
            ],
            &[
                ("host", "127.0.0.1:8080"),
                ("origin", "https://evil.example"),
            ],
            &[("host", "127.0.0.1:8080"), ("origin", "null")],
            &[("host", "127.0.0.1:8080"), ("origin", "")],
            &[("host", "null"), ("origin", "null")],
            &[("origin", "http://127.0.0.1:8080")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[
                ("host", "box:1"),
                ("origin", "http://box:1"),
                ("sec-fetch-site", "cross-site"),
            ],
            &[
                ("host", "box:1"),
                ("origin", "http://box:1"),
                ("origin", "https://evil.example"),
            ],
            &[
                ("host", "evil.example"),
                ("origin", "chrome-extension://evil.example"),
            ],
        ] {
            let from = origins.of(&headers(entries));
            assert!(
                matches!(from, Source::Elsewhere(_)),
                "{entries:?}: {from:?}"
            );
        }
    }
    let good = headers(&[
        ("host", "a:1"),
        ("origin", "https://good.example"),
        ("sec-fetch-site", "cross-site"),
    ]);
    assert!(matches!(listed.of(&good), Source::Allowed(_)));
}

#[test]
fn a_preflight_repeats_the_headers_it_asks_for_within_reason() {
    let any = origins(&["*"]);
    let told = |asked: Option<&str>| {
        let mut headers = headers(&[("origin", "http://localhost:3000")]);
        if let Some(asked) = asked {
            let asked = HeaderValue::from_str(asked).unwrap();
            headers.insert(header::ACCESS_CONTROL_REQUEST_HEADERS, asked);
        }
        let response = any.preflight(&headers).unwrap();
        assert_eq!(response.status(), 204);
        let allowed = &response.headers()[header::ACCESS_CONTROL_ALLOW_HEADERS];
        allowed.to_str().unwrap().to_owned()
    };
    let asked = "authorization,content-type,x-stainless-os";
    assert_eq!(told(Some(asked)), asked);
    let long = "x,".repeat(MOST_HEADERS);
    for other in [None, Some("a;b"), Some(long.as_str()), Some(" ")] {
        assert_eq!(told(other), HEADERS, "{other:?}");
    }
}
