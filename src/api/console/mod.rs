//! console: the page at `/` and the files it is made of, built into the program, and the headers they go out with. Holds
//! no secret and decides nothing: whatever the page does, it asks the HTTP interface for, with the key that was typed in.

mod asset;

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

use self::asset::Asset;

/// Nothing from another host, nothing written into the page, no frame around it, no form that leads elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
    font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file that is asked for by what it contains.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// Kept, and asked after before it is used.
const ASK_AGAIN: &str = "no-cache";

macro_rules! files {
    ($($name:literal $kind:literal),+ $(,)?) => {
        &[$(($name, $kind, include_bytes!(concat!("../../../console/dist/", $name)))),+]
    };
}

/// `console/build.mjs` writes them.
static FILES: &[(&str, &str, &[u8])] = files![
    "app.js" "text/javascript; charset=utf-8",
    "app.css" "text/css; charset=utf-8",
    "icon.svg" "image/svg+xml",
    "LICENSES.txt" "text/plain; charset=utf-8",
];

static ASSETS: LazyLock<Vec<(&str, Asset)>> = LazyLock::new(|| {
    let files = FILES.iter();
    files
        .map(|(name, kind, bytes)| (*name, Asset::new(kind, bytes.to_vec())))
        .collect()
});

/// The page names each file with its digest, so that a new version of the program is never mixed with an old one's files.
static PAGE: LazyLock<Asset> = LazyLock::new(|| {
    let mut page = include_str!("../../../console/dist/index.html").to_owned();
    for (name, asset) in ASSETS.iter() {
        let named = format!("\"/console/{name}?v={}\"", asset.digest);
        page = page.replace(&format!("\"/console/{name}\""), &named);
    }
    Asset::new("text/html; charset=utf-8", page.into_bytes())
});

/// Whether a browser asks, or a program that would read the page as an answer.
pub(super) fn is_browser(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter();
    accepted.any(|value| {
        value
            .to_str()
            .is_ok_and(|value| value.contains("text/html"))
    })
}

pub(super) fn page(headers: &HeaderMap) -> Response {
    let mut response = answer(&PAGE, headers, ASK_AGAIN);
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// A file of the page; `query` may name its digest.
pub(super) fn file(name: &str, query: Option<&str>, headers: &HeaderMap) -> Option<Response> {
    let (_, asset) = ASSETS.iter().find(|(known, _)| *known == name)?;
    let asked = query.and_then(|query| query.strip_prefix("v="));
    let kept = match asked == Some(asset.digest.as_str()) {
        true => FOR_EVER,
        false => ASK_AGAIN,
    };
    Some(answer(asset, headers, kept))
}

fn answer(asset: &'static Asset, asked: &HeaderMap, kept: &'static str) -> Response {
    let mut response = asset.respond(asked);
    let headers = response.headers_mut();
    for (name, text) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CACHE_CONTROL, kept),
        (header::VARY, "accept-encoding"),
    ] {
        headers.insert(name, HeaderValue::from_static(text));
    }
    if response.status() == StatusCode::NOT_MODIFIED {
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(name: header::HeaderName, text: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(text))])
    }

    #[test]
    fn every_file_that_the_page_names_is_there_by_its_digest() {
        let page = PAGE.text();
        let named: Vec<&str> = page.split("\"/console/").skip(1).collect();
        assert!(named.len() >= 3, "{page}");
        for rest in named {
            let (path, _) = rest.split_once('"').unwrap();
            let (name, query) = path.split_once('?').unwrap();
            let response = file(name, Some(query), &HeaderMap::new()).unwrap();
            assert_eq!(response.headers()[header::CACHE_CONTROL], FOR_EVER);
        }
        let stale = file("app.js", Some("v=0"), &HeaderMap::new()).unwrap();
        assert_eq!(stale.headers()[header::CACHE_CONTROL], ASK_AGAIN);
        assert!(file("../main.rs", None, &HeaderMap::new()).is_none());
    }

    #[test]
    fn nothing_of_the_page_comes_from_elsewhere_or_is_written_into_it() {
        let page = PAGE.text();
        for foreign in [
            "http://", "https://", "//cdn", "<style", "style=", "onclick",
        ] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        for script in page.split("<script").skip(1) {
            assert!(script.contains("src=\"/console/"), "{script}");
        }
    }

    #[test]
    fn the_whole_console_is_small_on_the_wire() {
        let packed: usize = ASSETS.iter().map(|(_, asset)| asset.packed_bytes()).sum();
        assert!(packed + PAGE.packed_bytes() < 400 << 10, "{packed}");
    }

    #[test]
    fn a_browser_says_so_and_a_program_does_not() {
        assert!(is_browser(&asking(
            header::ACCEPT,
            "text/html,application/xhtml+xml,*/*;q=0.8"
        )));
        assert!(!is_browser(&asking(header::ACCEPT, "*/*")));
        assert!(!is_browser(&asking(header::ACCEPT, "application/json")));
        assert!(!is_browser(&HeaderMap::new()));
    }
}
