//! The rows that a plan counts with: those of a file, or so many full ones.

use std::path::Path;

use crate::cli::Failure;
use crate::domain::{Reason, Recipe};
use crate::model::{Origin, voice};
use crate::text::{ChatTemplate, Tokenizer};
use crate::trainer::data::{
    Labelled, Length, ReadFault, Refused, Remarks, Renderer, RowReader, Unused, held_out,
    held_out_count, select,
};

/// Bytes that stand for a token where there is no tokenizer: common for English text.
const BYTES_A_TOKEN: usize = 4;
/// What a file is for, as jobs name it.
const FIELD: &str = "training_file";

/// What turns records into tokens.
pub struct Voice {
    pub tokenizer: Tokenizer,
    template: ChatTemplate,
}

impl Voice {
    /// Of a base; `None` where its files have none, as a `config.json` alone.
    pub fn of(origin: &Origin) -> Option<Self> {
        let (tokenizer, template) = voice(origin).ok()?;
        Some(Self {
            tokenizer,
            template,
        })
    }
}

/// The rows that are learned from.
pub struct Rows {
    pub lengths: Vec<Length>,
    /// How many there are; lengths are fewer where they are all alike.
    pub count: u64,
    /// Of all of them.
    pub tokens: u64,
    pub trained: u64,
    /// Lengths are those of no tokenizer.
    pub guessed: bool,
    pub warnings: Vec<String>,
}

impl Rows {
    /// Of so many rows as long as one can be, every token of which is learned, those that are not held out.
    ///
    /// # Errors
    /// `BadField` where that leaves none.
    pub fn full(count: u64, recipe: &Recipe) -> Result<Self, Reason> {
        let count = count - held_out_count(count as usize, recipe.eval_split)? as u64;
        let row = of_length(recipe.max_seq);
        // One step's are as good as all.
        let kept = count.min(recipe.batch_size as u64) as usize;
        Ok(Self {
            tokens: count * u64::from(row.tokens),
            trained: count * u64::from(row.trained),
            lengths: vec![row; kept],
            count,
            guessed: false,
            warnings: Vec::new(),
        })
    }

    /// Those of a file that a job would learn from, each with its own length.
    ///
    /// # Errors
    /// Names the lines that cannot be used, or says that all rows would be held out.
    pub fn of_file(file: &Path, recipe: &Recipe, voice: Option<&Voice>) -> Result<Self, Failure> {
        let shown = file.display();
        let refused = |reason: Reason| Failure::Usage(format!("{shown}: {reason}"));
        let unread = |fault: ReadFault| refused(fault.refusal(FIELD));
        let template = voice.map(|voice| voice.template.at(chrono::Utc::now().timestamp()));
        let renderer = voice
            .zip(template.as_ref())
            .map(|(voice, template)| Renderer {
                tokenizer: &voice.tokenizer,
                template,
                max_seq: recipe.max_seq,
                objective: recipe.objective,
            });
        let (mut lengths, mut bad) = (Vec::new(), Refused::default());
        let (mut unused, mut remarks) = (Unused::default(), Remarks::default());
        for line in RowReader::open(file, u64::MAX).map_err(unread)? {
            let line = line.map_err(unread)?;
            let read = Labelled::read(&line, recipe.balance.as_deref()).and_then(|read| {
                let length = match &renderer {
                    Some(renderer) => Length::of(&renderer.example(&read.row, &mut remarks)?),
                    None => {
                        let bytes = read.row.record.body.text().len();
                        of_length((bytes / BYTES_A_TOKEN).clamp(2, recipe.max_seq))
                    }
                };
                unused.count(read.unused);
                Ok(length)
            });
            match read {
                Ok(length) => lengths.push(length),
                Err(row) => bad.add(row),
            }
        }
        bad.check(FIELD).map_err(refused)?;
        if lengths.is_empty() {
            return Err(Failure::Usage(format!("{shown} has no rows")));
        }
        let mut warnings = unused.warnings();
        warnings.extend(remarks.warnings());
        if recipe.dedup || recipe.balance.is_some() {
            let chosen = select(file, u64::MAX, recipe, &|| true).map_err(refused)?;
            let all = lengths;
            lengths = { chosen.train.iter() }
                .map(|row| all[*row as usize])
                .collect();
            warnings.extend(chosen.told);
        } else {
            let held = held_out(lengths.len(), recipe.eval_split, recipe.seed).map_err(refused)?;
            let is_held = |row: usize| held.binary_search(&(row as u32)).is_ok();
            let all = lengths.into_iter().enumerate();
            let train = all.filter(|(row, _)| !is_held(*row));
            lengths = train.map(|(_, length)| length).collect();
        }
        let sum = |of: fn(&Length) -> u32| lengths.iter().map(|row| u64::from(of(row))).sum();
        Ok(Self {
            count: lengths.len() as u64,
            tokens: sum(|row| row.tokens),
            trained: sum(|row| row.trained),
            lengths,
            guessed: voice.is_none(),
            warnings,
        })
    }
}

/// A row of so many tokens, of which all are learned that can be.
fn of_length(tokens: usize) -> Length {
    Length {
        tokens: tokens as u32,
        trained: tokens as u32 - 1,
        sequences: 1,
    }
}
