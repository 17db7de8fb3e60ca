//! JSON in a text that is still being written: where a value ends, whether it can still become one, and its entries.

use std::ops::Range;

/// Values within values.
const DEEPEST: usize = 64;
/// Bytes of one value; a longer one is taken for text.
pub(super) const LONGEST: usize = 256 << 10;

/// How a text begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// With a value of so many bytes.
    Whole(usize),
    /// With what may become a value.
    Open,
    /// With something else.
    Bad,
}

/// An object or a list at the very beginning of the text.
pub(super) fn value(text: &str) -> Read {
    let mut reader = Reader::new(text);
    if !matches!(reader.peek(), Some(b'{' | b'[') | None) {
        return Read::Bad;
    }
    let read = reader.value(0);
    reader.told(read)
}

/// The entries of an object that is the whole text: keys without their quotes as they are spelled, and values.
pub(super) fn entries(text: &str) -> Option<Vec<(Range<usize>, Range<usize>)>> {
    let mut reader = Reader::new(text);
    let mut found = Vec::new();
    let mut note = |key, value| found.push((key, value));
    let read = reader.object(0, &mut note);
    let whole = read.is_ok() && reader.at == text.len();
    whole.then_some(found)
}

/// The items of a list that is the whole text.
pub(super) fn items(text: &str) -> Option<Vec<Range<usize>>> {
    let mut reader = Reader::new(text);
    let mut found = Vec::new();
    let read = reader.list(0, &mut |item| found.push(item));
    let whole = read.is_ok() && reader.at == text.len();
    whole.then_some(found)
}

enum Stop {
    Open,
    Bad,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    cut: bool,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        Self {
            bytes: &bytes[..bytes.len().min(LONGEST)],
            at: 0,
            cut: bytes.len() > LONGEST,
        }
    }

    fn told(&self, read: Result<(), Stop>) -> Read {
        match read {
            Ok(()) => Read::Whole(self.at),
            Err(Stop::Open) if !self.cut => Read::Open,
            Err(_) => Read::Bad,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The next byte that is no blank.
    fn next(&mut self) -> Result<u8, Stop> {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.peek().ok_or(Stop::Open)
    }

    fn take(&mut self, wanted: u8) -> Result<(), Stop> {
        match self.next()? {
            byte if byte == wanted => {
                self.at += 1;
                Ok(())
            }
            _ => Err(Stop::Bad),
        }
    }

    fn value(&mut self, depth: usize) -> Result<(), Stop> {
        if depth > DEEPEST {
            return Err(Stop::Bad);
        }
        match self.next()? {
            b'{' => self.object(depth, &mut |_, _| ()),
            b'[' => self.list(depth, &mut |_| ()),
            b'"' => self.string(),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            b'-' | b'0'..=b'9' => self.number(),
            _ => Err(Stop::Bad),
        }
    }

    fn object(
        &mut self,
        depth: usize,
        note: &mut dyn FnMut(Range<usize>, Range<usize>),
    ) -> Result<(), Stop> {
        self.take(b'{')?;
        if self.next()? == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.next()?;
            let start = self.at + 1;
            self.string()?;
            let key = start..self.at - 1;
            self.take(b':')?;
            self.next()?;
            let start = self.at;
            self.value(depth + 1)?;
            note(key, start..self.at);
            match self.next()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Stop::Bad),
            }
        }
    }

    fn list(&mut self, depth: usize, note: &mut dyn FnMut(Range<usize>)) -> Result<(), Stop> {
        self.take(b'[')?;
        if self.next()? == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.next()?;
            let start = self.at;
            self.value(depth + 1)?;
            note(start..self.at);
            match self.next()? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Stop::Bad),
            }
        }
    }

    fn string(&mut self) -> Result<(), Stop> {
        if self.peek().ok_or(Stop::Open)? != b'"' {
            return Err(Stop::Bad);
        }
        self.at += 1;
        loop {
            match self.peek().ok_or(Stop::Open)? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    self.at += 1;
                    let digits = match self.peek().ok_or(Stop::Open)? {
                        b'u' => 4,
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 0,
                        _ => return Err(Stop::Bad),
                    };
                    self.at += 1;
                    for _ in 0..digits {
                        if !self.peek().ok_or(Stop::Open)?.is_ascii_hexdigit() {
                            return Err(Stop::Bad);
                        }
                        self.at += 1;
                    }
                }
                0..0x20 => return Err(Stop::Bad),
                _ => self.at += 1,
            }
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Stop> {
        for wanted in word {
            if self.peek().ok_or(Stop::Open)? != *wanted {
                return Err(Stop::Bad);
            }
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Stop> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek().ok_or(Stop::Open)? {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits()?,
            _ => return Err(Stop::Bad),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        // A number goes on until something else comes.
        self.peek().map(drop).ok_or(Stop::Open)
    }

    fn digits(&mut self) -> Result<(), Stop> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        match (self.at > start, self.peek()) {
            (true, _) => Ok(()),
            (false, None) => Err(Stop::Open),
            (false, Some(_)) => Err(Stop::Bad),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_value_ends_where_it_ends_and_nothing_else_begins_one() {
        for text in [
            r#"{}"#,
            r#"{"a": [1, -2.5e+3, 0, true, false, null], "b\"}": {"c": "é\u00e9\n"}}"#,
            "[ ]",
            "[[], {}, \"]\"]",
        ] {
            assert!(serde_json::from_str::<Value>(text).is_ok());
            assert_eq!(value(&format!("{text}}} more")), Read::Whole(text.len()));
            for (at, _) in text.char_indices() {
                assert_eq!(value(&text[..at]), Read::Open, "{}", &text[..at]);
            }
        }
        for bad in [
            "x",
            "1 ",
            "\"a\"",
            "{a",
            "{'a",
            "{\"a\" 1",
            "{\"a\":}",
            "{\"a\":1,}",
            "[1,]",
            "[01",
            "[1.x",
            "[tru ",
            "[\"\\x",
            "[\"\n",
            "{\"a\":1]",
            "[-]",
            "[1e,",
        ] {
            assert_eq!(value(bad), Read::Bad, "{bad}");
        }
        assert_eq!(value(&"[".repeat(DEEPEST + 2)), Read::Bad);
        assert_eq!(value(&format!("[\"{}", "x".repeat(LONGEST))), Read::Bad);
    }

    #[test]
    fn entries_and_items_are_found_where_they_stand() {
        let text = r#"{ "a" : [1] , "b\n":{"c":2} }"#;
        let found: Vec<(&str, &str)> = { entries(text).unwrap().into_iter() }
            .map(|(key, value)| (&text[key], &text[value]))
            .collect();
        assert_eq!(found, [("a", "[1]"), ("b\\n", r#"{"c":2}"#)]);
        let text = r#"[ {"a":1}, 2 ]"#;
        let found: Vec<&str> = items(text)
            .unwrap()
            .into_iter()
            .map(|item| &text[item])
            .collect();
        assert_eq!(found, [r#"{"a":1}"#, "2"]);
        assert!(entries("[]").is_none() && items("{}").is_none() && entries("{} ").is_none());
    }
}
