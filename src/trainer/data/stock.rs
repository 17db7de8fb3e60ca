//! The rows of a checked file on disk: rendered when they are asked for, the first ones kept in memory.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use super::examples::{Examples, Taken};
use super::file::Line;
use super::index::Index;
use super::label::Labelled;
use super::{Example, Length, Remarks, Renderer};
use crate::domain::{Objective, Reason};
use crate::text::{ChatTemplate, Tokenizer};

/// Bytes of rendered rows that are kept, so that a small file is rendered once and not in every epoch.
const KEPT: usize = 16 << 20;

/// How rows are rendered. Cheap to clone.
#[derive(Clone)]
pub struct Voice {
    pub tokenizer: Tokenizer,
    pub template: ChatTemplate,
    pub max_seq: usize,
    pub objective: Objective,
    /// A key of the rows that names their class, and is known.
    pub label: Option<String>,
}

impl Voice {
    pub fn renderer(&self) -> Renderer<'_> {
        Renderer {
            tokenizer: &self.tokenizer,
            template: &self.template,
            max_seq: self.max_seq,
            objective: self.objective,
        }
    }
}

/// All rows of one file.
#[derive(Clone)]
pub struct Stock(Arc<Inner>);

struct Inner {
    index: Index,
    /// What the index's offsets are in: the file itself, or what it was unpacked to.
    texts: File,
    voice: Voice,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    rows: HashMap<usize, Arc<Example>>,
    bytes: usize,
}

impl Stock {
    pub fn new(index: Index, texts: File, voice: Voice) -> Self {
        Self(Arc::new(Inner {
            index,
            texts,
            voice,
            kept: Mutex::default(),
        }))
    }

    pub fn rows(&self) -> usize {
        self.0.index.rows()
    }

    /// How long each row is, in their order.
    fn lengths(&self) -> Result<Vec<Length>, Reason> {
        let lengths = self.0.index.lengths();
        lengths.map_err(|error| {
            crate::store::disk_fault("reading the index of the training data", &error)
        })
    }

    fn example(&self, row: usize) -> Result<Arc<Example>, Reason> {
        let Inner { kept, .. } = &*self.0;
        let lock = || kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(example) = lock().rows.get(&row) {
            return Ok(example.clone());
        }
        let example = Arc::new(self.render(row)?);
        let bytes = size_of(&example);
        let mut kept = lock();
        if kept.bytes + bytes <= KEPT {
            kept.bytes += bytes;
            kept.rows.insert(row, example.clone());
        }
        Ok(example)
    }

    fn render(&self, row: usize) -> Result<Example, Reason> {
        let Inner {
            index,
            texts,
            voice,
            ..
        } = &*self.0;
        let read = || {
            let entry = index.entry(row)?;
            let mut text = vec![0; entry.length as usize];
            texts.read_exact_at(&mut text, entry.offset)?;
            Ok(Line {
                line: entry.line as usize,
                offset: entry.offset,
                text: Ok(text),
            })
        };
        let line = read().map_err(|error: std::io::Error| {
            crate::store::disk_fault("reading a row of the training data", &error)
        })?;
        let rendered = Labelled::read(&line, voice.label.as_deref()).and_then(|read| {
            let renderer = voice.renderer();
            renderer.example(&read.row, &mut Remarks::default())
        });
        rendered.map_err(|bad| {
            Reason::Storage(format!(
                "the row of line {}, which was sound, {}",
                bad.line, bad.why
            ))
        })
    }
}

/// About what a rendered row takes in memory.
fn size_of(example: &Example) -> usize {
    200 + example.tokens() * 4
}

/// Some rows of a file, by numbers of their own.
#[derive(Clone)]
pub struct Chosen {
    stock: Stock,
    rows: Which,
}

#[derive(Clone)]
enum Which {
    All,
    Only(Arc<[u32]>),
    /// All but these, ascending.
    Except(Arc<[u32]>),
}

impl Chosen {
    pub fn all(stock: Stock) -> Self {
        Self {
            stock,
            rows: Which::All,
        }
    }

    /// These, in this order; a row may be there several times.
    pub fn only(stock: Stock, rows: impl Into<Arc<[u32]>>) -> Self {
        let rows = Which::Only(rows.into());
        Self { stock, rows }
    }

    /// All rows but those of `held_out`, which are in order, and those.
    pub fn split(stock: Stock, held_out: Vec<u32>) -> [Self; 2] {
        let held_out: Arc<[u32]> = held_out.into();
        let train = Self {
            stock: stock.clone(),
            rows: Which::Except(held_out.clone()),
        };
        [train, Self::only(stock, held_out)]
    }

    fn row(&self, number: usize) -> usize {
        match &self.rows {
            Which::All => number,
            Which::Only(rows) => rows[number] as usize,
            Which::Except(rows) => {
                // Of the rows left out, those that lie before the one that is wanted.
                let (mut low, mut high) = (0, rows.len());
                while low < high {
                    let middle = low.midpoint(high);
                    match rows[middle] as usize - middle <= number {
                        true => low = middle + 1,
                        false => high = middle,
                    }
                }
                number + low
            }
        }
    }
}

impl Examples for Chosen {
    fn len(&self) -> usize {
        match &self.rows {
            Which::All => self.stock.rows(),
            Which::Only(rows) => rows.len(),
            Which::Except(rows) => self.stock.rows() - rows.len(),
        }
    }

    fn get(&self, number: usize) -> Result<Taken<'_>, Reason> {
        self.stock.example(self.row(number)).map(Taken::Shared)
    }

    /// Without rendering any.
    fn lengths(&self) -> Result<Vec<Length>, Reason> {
        let all = self.stock.lengths()?;
        match &self.rows {
            Which::All => Ok(all),
            _ => Ok((0..self.len())
                .map(|number| all[self.row(number)])
                .collect()),
        }
    }
}
