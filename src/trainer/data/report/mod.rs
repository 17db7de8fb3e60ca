//! report: what is in a training file, and what is wrong with it.
//!
//! Rows are read block by block. What is known of a row by itself (`facts`) is made on all threads and folded in order,
//! so that a report depends on the file alone; of each row only sketches are kept (`near`, `pairs`), of all rows only
//! counts and the first lines (`tasks`, `classes`, `scope`). Memory is bounded however large the file is. What is found is
//! typed (`finding`) and shown as text, JSON or a page (`render_text`, `render_html`).

mod classes;
mod copies;
mod facts;
mod finding;
mod flaws;
mod fold;
mod language;
mod lengths;
mod near;
mod pairs;
mod phones;
mod plot;
mod render_html;
mod render_text;
mod scope;
mod secrets;
mod sum;
mod tasks;
mod text;
mod weights;

use self::facts::Facts;
use self::fold::{Fold, cluster};
use self::near::Sketch;
use self::tasks::Words;
use super::file::{Line, ReadFault, RowReader, in_tiles, side_by_side};
use super::label::Labelled;
use super::remarks::Remarks;
use super::unused::Unused;
use super::{Example, Renderer};
use crate::domain::{BadRow, Objective};
use crate::text::{ChatTemplate, Tokenizer};

pub use copies::{Brought, Copies};
pub use finding::Report;
pub use near::ROWS;
pub use render_html::to_html;
pub use render_text::to_text;
pub use sum::at_a_glance;

/// Bytes of rows that are read at a time.
const BLOCK: usize = 2 << 20;

/// The model's way of reading rows.
#[derive(Clone, Copy)]
pub struct Voice<'a> {
    pub tokenizer: &'a Tokenizer,
    pub template: &'a ChatTemplate,
    /// Tokens that a row may have in a job that says nothing of it.
    pub limit: usize,
    /// Whether rows above the limit are a finding, or only counted: not every model is the one that will be trained.
    pub judges: bool,
}

#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    /// Without, lengths are in words, and rows are not rendered.
    pub voice: Option<Voice<'a>>,
    /// The key of a row's class.
    pub label: Option<&'a str>,
    /// What a job would hold out, by `eval_split` and `seed`; not with a file that is held out.
    pub split: Option<(f64, u64)>,
    /// First rows to give back as a model sees them.
    pub show: usize,
    /// Bytes of rows after which a file is left, for a report at a glance.
    pub most: Option<u64>,
}

/// A report, and the first rows as a model sees them.
pub struct Checked {
    pub report: Report,
    /// Empty without a voice.
    pub first: Vec<Example>,
}

/// Reports on a file; `held_out` is the file that a job would be measured on.
///
/// # Errors
/// That one of the files cannot be read from its disk. Files that break off and rows that are bad are reported.
pub fn check(
    rows: RowReader,
    held_out: Option<RowReader>,
    options: &Options<'_>,
) -> Result<Checked, ReadFault> {
    let mut fold = Fold::new(options);
    if let Some(mut held_out) = held_out {
        walk(&mut held_out, &mut fold, options, true)?;
    }
    let mut rows = rows;
    walk(&mut rows, &mut fold, options, false)?;
    Ok(fold.finish())
}

/// What is made of a row on any thread.
struct Made {
    facts: Facts,
    sketch: Option<Sketch>,
    /// Of its instruction, where that is new.
    words: Option<Words>,
    label: Option<Result<String, String>>,
    tokens: Option<usize>,
    example: Option<Example>,
}

/// What is made of a few rows: each one's facts, or why it is bad.
#[derive(Default)]
struct Tile {
    made: Vec<Result<Made, BadRow>>,
    unused: Unused,
    remarks: Remarks,
}

fn walk<'o>(
    rows: &mut RowReader,
    fold: &mut Fold<'o>,
    options: &Options<'o>,
    held_out: bool,
) -> Result<(), ReadFault> {
    // Of this file: a held-out one counts by itself.
    let (mut objective, mut read) = (None, 0);
    let mut next = rows.block(BLOCK);
    loop {
        let lines = match std::mem::replace(&mut next, Ok(Vec::new())) {
            Ok(lines) => lines,
            Err(ReadFault::Io(error)) => return Err(ReadFault::Io(error)),
            // What was read so far is reported, and that the file is not whole.
            Err(fault) => {
                fold.broken(&fault, held_out);
                return Ok(());
            }
        };
        if lines.is_empty() {
            return Ok(());
        }
        // All rows of a job are of the kind of the first.
        if objective.is_none() {
            let first = lines
                .iter()
                .find_map(|line| Labelled::read(line, options.label).ok());
            objective = first.map(|read| read.row.record.body.objective());
        }
        let objective = objective.unwrap_or(Objective::Sft);
        let reads = Reads {
            fold,
            options,
            objective,
            held_out,
        };
        let tiles = in_tiles(&lines, |rows| reads.tile(&lines[rows.clone()], rows.start));
        let tiles: Vec<Tile> = tiles.into_iter().map(|(tile, _)| tile).collect();
        let bytes = lines.iter().map(Line::len).sum();
        let mut clusters = std::mem::take(&mut fold.clusters);
        side_by_side([
            &mut || next = rows.block(BLOCK),
            &mut || fold.take(&tiles, held_out),
            &mut || cluster(&mut clusters, if held_out { &[] } else { &tiles }),
        ]);
        fold.clusters = clusters;
        fold.read(bytes, held_out);
        read += bytes as u64;
        if options.most.is_some_and(|most| read >= most) {
            return Ok(());
        }
    }
}

/// What a tile of rows is made with.
struct Reads<'a, 'o> {
    fold: &'a Fold<'o>,
    options: &'a Options<'o>,
    objective: Objective,
    held_out: bool,
}

impl Reads<'_, '_> {
    fn tile(&self, lines: &[Line], from: usize) -> Tile {
        let mut tile = Tile::default();
        for (at, line) in lines.iter().enumerate() {
            let made = self.row(line, from + at, &mut tile);
            tile.made.push(made);
        }
        tile
    }

    fn row(&self, line: &Line, at: usize, tile: &mut Tile) -> Result<Made, BadRow> {
        let read = Labelled::read(line, self.options.label)?;
        let mut tokens = None;
        let mut example = None;
        let body = &read.row.record.body;
        let measured = self.fold.measures(at, line.len()) || body.objective() != self.objective;
        if let Some(voice) = self.options.voice.filter(|_| measured && !self.held_out) {
            let renderer = Renderer {
                tokenizer: voice.tokenizer,
                template: voice.template,
                max_seq: usize::MAX,
                objective: self.objective,
            };
            let rendered = renderer.example(&read.row, &mut tile.remarks)?;
            tokens = { rendered.sequences.iter() }
                .map(|sequence| sequence.tokens.len())
                .max();
            example = self.fold.shows(at).then_some(rendered);
        }
        tile.unused.count(read.unused);
        let mut facts = Facts::of(line.line, &read.row.record);
        let sketch = self.fold.sketch(std::mem::take(&mut facts.features));
        let words = match self.held_out {
            true => None,
            false => self.fold.clusters.words(&facts),
        };
        Ok(Made {
            facts,
            sketch,
            words,
            label: read.label,
            tokens,
            example,
        })
    }
}

/// Room by quarters: what is large shall not be held twice.
fn grow<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / 4).max(1024));
    }
}

#[cfg(test)]
mod tests;
