//! A file in memory, plain and compressed, with the digest of what it contains.

use std::io::Write;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// Hex digits of a digest that tell versions apart.
const DIGITS: usize = 16;

pub(super) struct Asset {
    pub digest: String,
    kind: &'static str,
    plain: Bytes,
    /// None where it would not be smaller.
    packed: Option<Bytes>,
}

impl Asset {
    pub fn new(kind: &'static str, bytes: Vec<u8>) -> Self {
        let digest = blake3::hash(&bytes).to_hex();
        let packed = pack(&bytes).filter(|packed| packed.len() < bytes.len());
        Self {
            digest: digest.as_str().chars().take(DIGITS).collect(),
            kind,
            plain: bytes.into(),
            packed: packed.map(Bytes::from),
        }
    }

    /// The file, compressed for who reads that, or that it is still the same.
    pub fn respond(&'static self, asked: &HeaderMap) -> Response {
        // Weak: it stands for the plain and the compressed form alike.
        let tag = format!("W/\"{}\"", self.digest);
        let is_known = tags(asked).any(|known| known == "*" || known.ends_with(&tag[2..]));
        let packed = self.packed.as_ref().filter(|_| reads_gzip(asked));
        let body = match (is_known, packed) {
            (true, _) => Body::empty(),
            (false, Some(packed)) => Body::from(packed.clone()),
            (false, None) => Body::from(self.plain.clone()),
        };
        let mut response = Response::new(body);
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        if packed.is_some() && !is_known {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Ok(tag) = HeaderValue::try_from(tag) {
            headers.insert(header::ETAG, tag);
        }
        response
    }

    #[cfg(test)]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.plain).unwrap()
    }

    #[cfg(test)]
    pub fn packed_bytes(&self) -> usize {
        self.packed.as_ref().unwrap_or(&self.plain).len()
    }
}

fn pack(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

/// What the caller has already.
fn tags(asked: &HeaderMap) -> impl Iterator<Item = &str> {
    listed(asked, header::IF_NONE_MATCH)
}

/// Whether gzip is among the codings, and not by a weight of 0.
fn reads_gzip(asked: &HeaderMap) -> bool {
    listed(asked, header::ACCEPT_ENCODING).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
        name.trim().eq_ignore_ascii_case("gzip") && weight.parse().is_ok_and(|q: f32| q > 0.0)
    })
}

/// The parts of a header that is a list.
fn listed(asked: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    let values = asked.get_all(name).into_iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',').map(str::trim))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::LazyLock;

    use super::*;

    static ASSET: LazyLock<Asset> =
        LazyLock::new(|| Asset::new("text/plain", b"some text. ".repeat(50)));

    fn asking(name: header::HeaderName, text: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::try_from(text).unwrap())])
    }

    async fn body(response: Response) -> Vec<u8> {
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await;
        bytes.unwrap().to_vec()
    }

    #[tokio::test]
    async fn what_is_compressed_unpacks_to_what_is_not() {
        let plain = body(ASSET.respond(&HeaderMap::new())).await;
        assert_eq!(plain, b"some text. ".repeat(50));
        let response = ASSET.respond(&asking(header::ACCEPT_ENCODING, "br;q=1, gzip;q=0.8"));
        assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
        let mut unpacked = Vec::new();
        let packed = body(response).await;
        assert!(packed.len() < plain.len());
        let mut reader = flate2::read::GzDecoder::new(packed.as_slice());
        reader.read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain);
        let refused = ASSET.respond(&asking(header::ACCEPT_ENCODING, "gzip;q=0"));
        assert!(!refused.headers().contains_key(header::CONTENT_ENCODING));
    }

    #[tokio::test]
    async fn who_has_it_is_told_so_and_sent_nothing() {
        let tag = ASSET.respond(&HeaderMap::new()).headers()[header::ETAG].clone();
        let tag = tag.to_str().unwrap();
        for known in [tag.to_owned(), format!("\"other\", {tag}"), "*".into()] {
            let response = ASSET.respond(&asking(header::IF_NONE_MATCH, &known));
            assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert!(body(response).await.is_empty());
        }
        let response = ASSET.respond(&asking(header::IF_NONE_MATCH, "W/\"other\""));
        assert_eq!(response.status(), StatusCode::OK);
    }
}
