//! Packed bytes, cut and damaged in every way.

use std::io::Write;

use axum::http::HeaderValue;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use super::*;

fn packed(coding: Coding, plain: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Gzip => {
            let mut out = GzEncoder::new(Vec::new(), Compression::default());
            out.write_all(plain).unwrap();
            out.finish().unwrap()
        }
        Coding::Deflate => {
            let mut out = ZlibEncoder::new(Vec::new(), Compression::default());
            out.write_all(plain).unwrap();
            out.finish().unwrap()
        }
    }
}

/// All of it, given so many bytes at a time.
fn unpack(coding: Coding, packed: &[u8], at_a_time: usize) -> Result<Vec<u8>, String> {
    let mut inflater = Inflater::new(coding);
    let mut chunks = packed.chunks(at_a_time);
    let mut whole = Vec::new();
    loop {
        match inflater.pull()? {
            Pulled::Piece(piece) => {
                assert!(piece.len() <= PIECE);
                whole.extend_from_slice(&piece);
            }
            Pulled::Hungry => match chunks.next() {
                Some(chunk) => inflater.push(Bytes::copy_from_slice(chunk)),
                None => inflater.end(),
            },
            Pulled::End => return Ok(whole),
        }
    }
}

fn texts() -> Vec<Vec<u8>> {
    let noise = (0u32..200_000).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8);
    vec![
        Vec::new(),
        b"{}".to_vec(),
        vec![b'a'; 300_000],
        noise.collect(),
    ]
}

#[test]
fn what_was_packed_comes_out_however_it_is_cut() {
    for coding in [Coding::Gzip, Coding::Deflate] {
        for plain in texts() {
            let packed = packed(coding, &plain);
            for at_a_time in [1, 7, 4096, usize::MAX] {
                assert!(
                    unpack(coding, &packed, at_a_time).unwrap() == plain,
                    "{coding:?}, {} bytes, {at_a_time} at a time",
                    plain.len()
                );
            }
        }
    }
}

#[test]
fn several_members_of_gzip_are_one_body() {
    let both = [
        packed(Coding::Gzip, b"{\"a\":"),
        packed(Coding::Gzip, b"1}"),
    ]
    .concat();
    for at_a_time in [1, 1000] {
        assert_eq!(
            unpack(Coding::Gzip, &both, at_a_time).unwrap(),
            b"{\"a\":1}"
        );
    }
}

#[test]
fn what_is_cut_off_or_damaged_is_refused() {
    for coding in [Coding::Gzip, Coding::Deflate] {
        for plain in texts() {
            let whole = packed(coding, &plain);
            for length in [0, 1, 5, whole.len() / 2, whole.len() - 1] {
                let cut = unpack(coding, &whole[..length], 100);
                let empty = coding == Coding::Gzip && length == 0;
                assert!(
                    cut.as_ref().is_err_and(|why| why.contains("cut off")) || empty,
                    "{coding:?} {length} of {}: {:?}",
                    whole.len(),
                    cut.map(|found| found.len())
                );
            }
            let mut flipped = whole.clone();
            let last = flipped.len() - 3;
            flipped[last] ^= 0x55;
            assert!(
                unpack(coding, &flipped, 100).is_err(),
                "{coding:?}: its checksum"
            );
        }
        assert!(unpack(coding, b"{\"prompt\": \"a\"}", 100).is_err());
        let long = [packed(coding, b"{}"), b"rest".to_vec()].concat();
        assert!(
            unpack(coding, &long, 100).is_err(),
            "{coding:?}: more than there is"
        );
    }
}

#[test]
fn codings_are_read_as_clients_write_them() {
    let of = |values: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
        }
        Coding::of(&headers)
    };
    assert_eq!(of(&[]), Ok(None));
    for none in ["", "identity", "Identity, identity"] {
        assert_eq!(of(&[none]), Ok(None), "{none}");
    }
    for gzip in ["gzip", "GZIP", "x-gzip", " gzip ", "identity, gzip"] {
        assert_eq!(of(&[gzip]), Ok(Some(Coding::Gzip)), "{gzip}");
    }
    assert_eq!(of(&["deflate"]), Ok(Some(Coding::Deflate)));
    for (bad, named) in [
        (&["br"][..], "br"),
        (&["zstd"], "zstd"),
        (&["compress"], "compress"),
        (&["gzip, br"], "br"),
        (&["gzip, gzip"], "gzip, gzip"),
        (&["gzip", "deflate"], "deflate"),
    ] {
        assert_eq!(
            of(bad),
            Err(Reason::ContentEncoding(named.into())),
            "{bad:?}"
        );
    }
}
