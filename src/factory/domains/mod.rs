//! The three demonstration tasks: clauses, clinical notes, ledger lines. The base never sees them; adapters learn them.

mod finance;
mod legal;
mod medical;

use std::collections::HashSet;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::record::Record;
use super::words::{Draw, Side};

const TRAIN_ROWS: usize = 1200;
const HELD_OUT_ROWS: usize = 200;

/// Writes `NAME/train.jsonl` and `NAME/heldout.jsonl` of every domain into `folder`.
pub fn write_all(folder: &Path, seed: u64) -> io::Result<()> {
    for domain in Domain::ALL {
        let folder = folder.join(domain.name());
        fs::create_dir_all(&folder)?;
        for (file, seed, side, count) in [
            ("train.jsonl", seed, Side::Train, TRAIN_ROWS),
            ("heldout.jsonl", seed + 1, Side::HeldOut, HELD_OUT_ROWS),
        ] {
            let mut out = BufWriter::new(fs::File::create(folder.join(file))?);
            for record in domain.records(seed, side, count) {
                serde_json::to_writer(&mut out, &record)?;
                out.write_all(b"\n")?;
            }
            out.flush()?;
        }
    }
    Ok(())
}

/// A task an adapter is trained for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    Legal,
    Medical,
    Finance,
}

impl Domain {
    pub const ALL: [Self; 3] = [Self::Legal, Self::Medical, Self::Finance];

    pub fn name(self) -> &'static str {
        match self {
            Self::Legal => "legal",
            Self::Medical => "medical",
            Self::Finance => "finance",
        }
    }

    /// `count` different records whose names and numbers are all of one side.
    pub fn records(self, seed: u64, side: Side, count: usize) -> Vec<Record> {
        let make = match self {
            Self::Legal => legal::record,
            Self::Medical => medical::record,
            Self::Finance => finance::record,
        };
        let mut draw = Draw::new(ChaCha8Rng::seed_from_u64(seed), side);
        let mut seen = HashSet::new();
        let mut records = Vec::with_capacity(count);
        while records.len() < count {
            let record = make(&mut draw);
            if seen.insert(record.input.clone()) {
                records.push(record);
            }
        }
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Capitalised words, numbers and amounts of the answer that the question also holds: what is copied.
    fn values(record: &Record) -> Vec<String> {
        let words = record
            .output
            .split(|c: char| !c.is_alphanumeric() && c != '.');
        words
            .map(|word| word.trim_matches('.'))
            .filter(|word| {
                word.len() > 2 && word.starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit())
            })
            .filter(|word| *word != "Stop" && record.input.contains(word))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn held_out_rows_share_no_name_and_no_number_with_training_rows() {
        for domain in Domain::ALL {
            let seen: HashSet<String> = domain
                .records(11, Side::Train, TRAIN_ROWS)
                .iter()
                .flat_map(values)
                .collect();
            let new: HashSet<String> = domain
                .records(11, Side::HeldOut, HELD_OUT_ROWS)
                .iter()
                .flat_map(values)
                .collect();
            let both: Vec<&String> = seen.intersection(&new).collect();
            assert!(
                both.is_empty() && new.len() > HELD_OUT_ROWS / 4,
                "{}: {both:?}",
                domain.name()
            );
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_rows() {
        for domain in Domain::ALL {
            assert_eq!(
                domain.records(5, Side::Train, 20),
                domain.records(5, Side::Train, 20)
            );
        }
    }
}
