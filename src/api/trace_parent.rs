//! Which trace a request belongs to, as W3C's Trace Context writes it: `traceparent` and `tracestate`. A header that is not
//! written so is as one that did not come: the request begins a trace of its own.

use axum::http::HeaderMap;

/// The span of a caller that a request is part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    pub trace: [u8; 16],
    pub span: [u8; 8],
    /// Whether the caller keeps the trace.
    pub sampled: bool,
    /// What other systems keep with it, passed on as it came.
    pub state: String,
}

/// Bytes and entries of a state that is passed on.
const MAX_STATE: usize = 512;
const MAX_ENTRIES: usize = 32;

/// Characters of a version's first form.
const LENGTH: usize = 55;

impl Parent {
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut said = headers.get_all("traceparent").iter();
        let first = said.next()?.to_str().ok()?;
        // Two that differ have no right one.
        if said.next().is_some() {
            return None;
        }
        let parent = Self::read(first)?;
        let states = headers.get_all("tracestate").iter();
        let states: Result<Vec<&str>, _> = states.map(|state| state.to_str()).collect();
        let state = states.map(|states| states.join(",")).unwrap_or_default();
        Some(Self {
            state: if is_state(&state) {
                state
            } else {
                String::new()
            },
            ..parent
        })
    }

    fn read(text: &str) -> Option<Self> {
        let text = text.trim_matches([' ', '\t']);
        let (known, rest) = (text.get(..LENGTH)?, text.get(LENGTH..)?);
        let mut parts = known.split('-');
        let mut part = |length: usize| parts.next().filter(|part| part.len() == length);
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let [version] = bytes::<1>(version)?;
        // Later versions may say more behind a dash; 255 is none.
        let fits = match version {
            0 => rest.is_empty(),
            255 => false,
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        let (trace, span) = (bytes::<16>(trace)?, bytes::<8>(span)?);
        let [flags] = bytes::<1>(flags)?;
        let is_one = trace != [0; 16] && span != [0; 8];
        (fits && is_one).then(|| Self {
            trace,
            span,
            sampled: flags & 1 == 1,
            state: String::new(),
        })
    }
}

/// Lower-case hexadecimal digits.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
    }
    Some(bytes)
}

fn is_state(text: &str) -> bool {
    let mut entries = text.split(',').map(str::trim);
    let is_entry = |entry: &str| {
        let key = entry.split_once('=').map(|(key, _)| key);
        let is_plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte)
        };
        entry.is_empty() || key.is_some_and(|key| !key.is_empty() && key.bytes().all(is_plain))
    };
    let is_printed = text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    text.len() <= MAX_STATE
        && is_printed
        && entries.clone().count() <= MAX_ENTRIES
        && entries.all(is_entry)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn only_a_well_formed_parent_is_one() {
        let long = GOOD.repeat(1000);
        for (text, sampled) in [
            (GOOD, Some(true)),
            (
                " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00\t",
                Some(false),
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe",
                Some(false),
            ),
            (
                "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
                Some(true),
            ),
            (
                "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                Some(true),
            ),
            (
                "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
                None,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
                None,
            ),
            (
                "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                None,
            ),
            (
                "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
                None,
            ),
            (
                "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                None,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                None,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
                None,
            ),
            (
                "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
                None,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
                None,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-",
                None,
            ),
            (
                "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                None,
            ),
            (
                "é0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
                None,
            ),
            (
                "-------------------------------------------------------",
                None,
            ),
            ("", None),
            (&long, None),
        ] {
            let read = Parent::read(text);
            assert_eq!(read.map(|parent| parent.sampled), sampled, "{text:.80}");
        }
        let parent = Parent::read(GOOD).unwrap();
        assert_eq!((parent.trace[0], parent.trace[15]), (0x4b, 0x36));
        assert_eq!((parent.span[0], parent.span[7]), (0x00, 0xb7));
    }

    fn of(lines: &[(&'static str, &str)]) -> Option<Parent> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Parent::of(&headers)
    }

    #[test]
    fn a_state_is_passed_on_with_its_parent_or_left_out() {
        let state = |states: &[&str]| {
            let mut lines = vec![("traceparent", GOOD)];
            lines.extend(states.iter().map(|state| ("tracestate", *state)));
            of(&lines).unwrap().state
        };
        assert_eq!(state(&[]), "");
        assert_eq!(state(&["a=1, b@c=2", "d=3"]), "a=1, b@c=2,d=3");
        let (long, many) = (format!("a={}", "x".repeat(512)), "a=1,".repeat(40));
        for hostile in ["no entry", "=1", "A=1", "a=é", &long, &many] {
            assert_eq!(state(&[hostile]), "", "{hostile:.40}");
        }
        assert_eq!(of(&[("tracestate", "a=1")]), None);
        assert_eq!(of(&[("traceparent", GOOD), ("traceparent", GOOD)]), None);
        assert_eq!(of(&[("traceparent", "é")]), None);
    }
}
