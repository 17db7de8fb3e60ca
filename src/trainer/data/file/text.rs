//! Rows of JSON: one a line, or the elements of one array.

use std::io::{self, BufRead, BufReader, Read};

use super::{LONGEST_ROW, Line};
use crate::domain::lfs_pointer;
use crate::trainer::data::rows;

const BUFFER: usize = 256 << 10;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

pub struct Text {
    file: BufReader<Box<dyn Read + Send>>,
    /// Bytes before what is read next.
    offset: u64,
    /// Line breaks before it.
    breaks: usize,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Nothing has been read yet.
    Unknown,
    /// The file is one pointer to another.
    Pointer(&'static str),
    Lines,
    Array {
        first: bool,
    },
    Ended,
}

impl Text {
    /// `head`: the first bytes of `file`, which is at its beginning.
    pub fn new(file: Box<dyn Read + Send>, head: &[u8]) -> Self {
        Self {
            file: BufReader::with_capacity(BUFFER, file),
            offset: 0,
            breaks: 0,
            form: lfs_pointer(head).map_or(Form::Unknown, Form::Pointer),
        }
    }

    pub fn next(&mut self) -> io::Result<Option<Line>> {
        if self.form == Form::Unknown {
            self.begin()?;
        }
        match self.form {
            Form::Pointer(why) => {
                self.form = Form::Ended;
                Ok(Some(Line {
                    line: 1,
                    offset: 0,
                    text: Err(why.to_owned()),
                }))
            }
            Form::Lines => self.line(),
            Form::Array { first } => self.element(first),
            Form::Unknown | Form::Ended => Ok(None),
        }
    }

    /// Blank lines and a leading byte-order mark are skipped; a bracket begins an array.
    fn begin(&mut self) -> io::Result<()> {
        if self.file.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
            self.consume(BYTE_ORDER_MARK.len());
        }
        loop {
            let buffer = self.file.fill_buf()?;
            if buffer.is_empty() {
                self.form = Form::Ended;
                return Ok(());
            }
            match buffer.iter().position(|byte| !byte.is_ascii_whitespace()) {
                None => {
                    let all = buffer.len();
                    self.consume(all);
                }
                Some(at) if buffer[at] == b'[' => {
                    self.consume(at + 1);
                    self.form = Form::Array { first: true };
                    return Ok(());
                }
                Some(_) => {
                    self.form = Form::Lines;
                    return Ok(());
                }
            }
        }
    }

    /// Passes over bytes of the buffer.
    fn consume(&mut self, bytes: usize) {
        let passed = self.file.buffer().iter().take(bytes);
        self.breaks += passed.filter(|byte| **byte == b'\n').count();
        self.offset += bytes as u64;
        self.file.consume(bytes);
    }

    fn line(&mut self) -> io::Result<Option<Line>> {
        loop {
            let mut text = Vec::new();
            let most = LONGEST_ROW as u64 + 1;
            let mut read = self.file.by_ref().take(most).read_until(b'\n', &mut text)?;
            if read == 0 {
                self.form = Form::Ended;
                return Ok(None);
            }
            let offset = self.offset;
            let line = self.breaks + 1;
            let mut ended = text.last() == Some(&b'\n');
            let is_long = !ended && text.len() > LONGEST_ROW;
            while is_long && !ended {
                let buffer = self.file.fill_buf()?;
                let end = buffer.iter().position(|byte| *byte == b'\n');
                let (some, last) = (buffer.len(), buffer.is_empty());
                let passed = end.map_or(some, |at| at + 1);
                self.file.consume(passed);
                read += passed;
                ended = end.is_some();
                if last {
                    break;
                }
            }
            self.offset += read as u64;
            self.breaks += usize::from(ended);
            if !is_long {
                text.truncate(text.len() - usize::from(ended));
                if text.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
            }
            return Ok(Some(Line {
                line,
                offset,
                text: if is_long { Err(too_long()) } else { Ok(text) },
            }));
        }
    }

    /// The next byte that is no blank.
    fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            let buffer = self.file.fill_buf()?;
            let blanks = buffer.iter().position(|byte| !byte.is_ascii_whitespace());
            match (buffer.is_empty(), blanks) {
                (true, _) => return Ok(None),
                (false, Some(at)) => {
                    let byte = buffer[at];
                    self.consume(at);
                    return Ok(Some(byte));
                }
                (false, None) => {
                    let all = buffer.len();
                    self.consume(all);
                }
            }
        }
    }

    /// Ends reading with a fault of the array itself.
    fn broken(&mut self, why: &str) -> Option<Line> {
        self.form = Form::Ended;
        Some(Line {
            line: self.breaks + 1,
            offset: self.offset,
            text: Err(why.to_owned()),
        })
    }

    /// Behind the opening bracket or a comma, or, where an element came before, right behind that.
    fn element(&mut self, first: bool) -> io::Result<Option<Line>> {
        if !first {
            match self.peek()? {
                Some(b',') => self.consume(1),
                Some(b']') => return self.close(),
                _ => {
                    return Ok(self.broken("expected a comma or the closing bracket of the list"));
                }
            }
        }
        let byte = match self.peek()? {
            None => return Ok(self.broken("the list has no closing bracket")),
            Some(b']') if first => return self.close(),
            Some(byte) => byte,
        };
        self.form = Form::Array { first: false };
        let (line, offset) = (self.breaks + 1, self.offset);
        let text = match byte {
            b'{' | b'[' | b'"' => self.nested()?,
            _ => self.bare()?,
        };
        Ok(Some(Line { line, offset, text }))
    }

    fn close(&mut self) -> io::Result<Option<Line>> {
        self.consume(1);
        let more = self.peek()?.is_some();
        self.form = Form::Ended;
        Ok(more
            .then(|| self.broken("something follows the list"))
            .flatten())
    }

    /// An element that begins with a bracket or a quote, to where that is closed. Only brackets and quotes are looked at:
    /// what is wrong between them is found when the element is read.
    fn nested(&mut self) -> io::Result<Result<Vec<u8>, String>> {
        let (mut text, mut nesting) = (Vec::new(), Nesting::default());
        let mut is_long = false;
        loop {
            let buffer = self.file.fill_buf()?;
            if buffer.is_empty() {
                self.form = Form::Ended;
                break;
            }
            let end = nesting.pass(buffer);
            let taken = end.unwrap_or(buffer.len());
            is_long |= text.len() + taken > LONGEST_ROW;
            match is_long {
                true => text = Vec::new(),
                false => text.extend_from_slice(&buffer[..taken]),
            }
            self.consume(taken);
            if end.is_some() {
                break;
            }
        }
        if nesting.is_broken {
            // Where this element ends cannot be known.
            self.form = Form::Ended;
        }
        Ok(if is_long { Err(too_long()) } else { Ok(text) })
    }

    /// A number or a word, or what is neither; what follows such a one cannot be told.
    fn bare(&mut self) -> io::Result<Result<Vec<u8>, String>> {
        let mut text: Vec<u8> = Vec::new();
        let ends = |byte: &u8| byte.is_ascii_whitespace() || b",]}".contains(byte);
        loop {
            let buffer = self.file.fill_buf()?;
            if buffer.is_empty() || text.len() > LONGEST_ROW {
                break;
            }
            let from = usize::from(text.is_empty());
            let end = buffer[from..].iter().position(ends).map(|at| at + from);
            let taken = end.unwrap_or(buffer.len());
            text.extend_from_slice(&buffer[..taken]);
            let next = end.map(|at| buffer[at]);
            self.consume(taken);
            if let Some(next) = next {
                let length = text.len();
                // With what follows, for the reason to be the one that reading on would give.
                text.push(next);
                let read = rows::first(&text);
                text.truncate(length);
                return Ok(read.map(|()| text).inspect_err(|_| self.form = Form::Ended));
            }
        }
        self.form = Form::Ended;
        Ok(rows::first(&text).map(|()| text))
    }
}

fn too_long() -> String {
    format!("has more than {} MiB", LONGEST_ROW >> 20)
}

/// How deep a reader is in brackets and texts.
#[derive(Default)]
struct Nesting {
    open: Vec<u8>,
    in_text: bool,
    escaped: bool,
    /// A bracket was closed by another one.
    is_broken: bool,
}

impl Nesting {
    /// Goes over bytes; where the outermost bracket or text ends in them, the bytes until there.
    fn pass(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, &byte) in bytes.iter().enumerate() {
            if self.in_text {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.in_text = false;
                        if self.open.is_empty() {
                            return Some(at + 1);
                        }
                    }
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_text = true,
                b'{' => self.open.push(b'}'),
                b'[' => self.open.push(b']'),
                b'}' | b']' => {
                    self.is_broken = self.open.pop() != Some(byte);
                    if self.is_broken || self.open.is_empty() {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }
}
