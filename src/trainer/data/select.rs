//! Which rows of a file a job learns from: all of them, or without copies (`dedup`), less those held out, and those of
//! rarer classes several times (`balance`). A function of the rows, the settings and the seed alone.

use std::collections::BTreeMap;
use std::path::Path;

use super::file::{Line, ReadFault, RowReader, in_tiles};
use super::held_out;
use super::label::Labelled;
use super::report::{Brought, Copies, ROWS};
use super::unused::counted;
use super::{Refused, Row};
use crate::domain::{BadRow, Reason, Recipe, thousands};
use crate::trainer::rng::{self, Purpose};

/// Values of a field that are still classes.
const CLASSES: usize = 1000;
/// Rows of a balanced job.
const MOST: usize = 1 << 28;
/// Bytes of rows in memory at a time.
const BLOCK: usize = 2 << 20;
/// Copies and classes that are told one by one.
const TOLD: usize = 10;

/// Takes up the rows of a file, one after the other.
pub struct Selector {
    rows: usize,
    copies: Option<Copies>,
    lines: Vec<u32>,
    field: Option<String>,
    /// The class of each row, and the names of classes.
    classes: Vec<u16>,
    names: BTreeMap<String, u16>,
}

/// What a row brings along; made on any thread.
pub struct Candidate {
    line: usize,
    copy: Option<Brought>,
    label: Option<Result<String, String>>,
}

/// Numbers of rows in the file's order, bad ones not counted.
#[derive(Debug, Default, PartialEq)]
pub struct Selection {
    /// With repetitions.
    pub train: Vec<u32>,
    pub held_out: Vec<u32>,
    /// What was left out or repeated.
    pub told: Vec<String>,
}

impl Selector {
    pub fn new(recipe: &Recipe) -> Self {
        Self {
            rows: 0,
            copies: recipe.dedup.then(Copies::default),
            lines: Vec::new(),
            field: recipe.balance.clone(),
            classes: Vec::new(),
            names: BTreeMap::new(),
        }
    }

    /// Looks at a row; `label` is what stands under the field to balance by.
    pub fn look(&self, row: &Row, label: Option<Result<String, String>>) -> Candidate {
        Candidate {
            line: row.line,
            copy: self.copies.as_ref().map(|copies| copies.look(&row.record)),
            label,
        }
    }

    /// Takes up the next row.
    ///
    /// # Errors
    /// That it has no class, where one is needed.
    pub fn add(&mut self, candidate: Candidate) -> Result<(), BadRow> {
        let bad = |why| BadRow {
            line: candidate.line,
            why,
        };
        let class = match (&self.field, candidate.label) {
            (None, _) => None,
            (Some(_), Some(label)) => Some(label.map_err(bad)?),
            (Some(field), None) => return Err(bad(format!("`{field}` is missing"))),
        };
        if let Some(class) = class {
            // One more than there may be says that there are too many.
            let next = self.names.len().min(CLASSES) as u16;
            let known = self.names.get(&class).copied();
            let class = known.unwrap_or_else(|| {
                if usize::from(next) < CLASSES {
                    self.names.insert(class, next);
                }
                next
            });
            self.classes.push(class);
        }
        if let (Some(copies), Some(brought)) = (&mut self.copies, candidate.copy) {
            copies.add(brought);
            if self.lines.len() < ROWS {
                self.lines
                    .push(u32::try_from(candidate.line).unwrap_or(u32::MAX));
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Chooses among the rows taken up.
    ///
    /// # Errors
    /// `BadField` where nothing would be left to train on, or the field to balance by has no classes.
    pub fn select(mut self, recipe: &Recipe) -> Result<Selection, Reason> {
        let mut told = Vec::new();
        let kept = self.without_copies(&mut told);
        let held = held_out(kept.len(), recipe.eval_split, recipe.seed)?;
        let held_out = held.iter().map(|at| kept[*at as usize]).collect();
        let is_held = |at: &usize| held.binary_search(&(*at as u32)).is_ok();
        let rest = (0..kept.len()).filter(|at| !is_held(at));
        let train: Vec<u32> = rest.map(|at| kept[at]).collect();
        let train = match &self.field {
            None => train,
            Some(field) => self.balanced(field, train, recipe.seed, &mut told)?,
        };
        Ok(Selection {
            train,
            held_out,
            told,
        })
    }

    fn without_copies(&mut self, told: &mut Vec<String>) -> Vec<u32> {
        let all = 0..self.rows as u32;
        let Some(copies) = self.copies.take() else {
            return all.collect();
        };
        let copies = copies.find();
        let is_copy = |row: u32| copies.get(row as usize).copied().flatten();
        let dropped: Vec<(u32, u32)> = all
            .clone()
            .filter_map(|row| Some((row, is_copy(row)?)))
            .collect();
        let first: Vec<String> = { dropped.iter().take(TOLD) }
            .map(|(row, of)| {
                format!(
                    "{} (of {})",
                    self.lines[*row as usize], self.lines[*of as usize]
                )
            })
            .collect();
        let more = match dropped.len().saturating_sub(TOLD) {
            0 => String::new(),
            more => format!(" and {} more", thousands(more as u64)),
        };
        told.push(match dropped.len() {
            0 => format!("dedup: no copies among {}", counted(self.rows)),
            count => format!(
                "dedup: {} of {} left out as copies of earlier ones: lines {}{more}",
                count,
                counted(self.rows),
                first.join(", ")
            ),
        });
        if self.rows > ROWS {
            told.push(format!(
                "dedup: copies were looked for among the first {} rows",
                thousands(ROWS as u64)
            ));
        }
        all.filter(|row| is_copy(*row).is_none()).collect()
    }

    /// Every class as often as the most frequent one.
    fn balanced(
        &self,
        field: &str,
        train: Vec<u32>,
        seed: u64,
        told: &mut Vec<String>,
    ) -> Result<Vec<u32>, Reason> {
        let refuse = |why: String| Err(Reason::field("balance", why));
        if self
            .classes
            .iter()
            .any(|class| usize::from(*class) >= CLASSES)
        {
            return refuse(format!(
                "`{field}` has more than {CLASSES} values: it names no classes"
            ));
        }
        // In the order of their names, so that the order of rows does not matter.
        let names: Vec<(&str, u16)> = self
            .names
            .iter()
            .map(|(name, class)| (name.as_str(), *class))
            .collect();
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); names.len()];
        for row in &train {
            rows[usize::from(self.classes[*row as usize])].push(*row);
        }
        let most = rows.iter().map(Vec::len).max().unwrap_or(0);
        let present = rows.iter().filter(|rows| !rows.is_empty()).count();
        if most * present > MOST {
            return refuse(format!(
                "makes {} of {}, which is too many",
                counted(most * present),
                counted(train.len())
            ));
        }
        let mut chosen = Vec::with_capacity(most * present);
        let mut extra = Vec::new();
        let mut passes = vec![0; names.len()];
        let mut said = Vec::new();
        for (at, (name, class)) in names.iter().enumerate() {
            let of = &rows[usize::from(*class)];
            if of.is_empty() {
                continue;
            }
            passes[usize::from(*class)] = most / of.len();
            let mut drawn = of.clone();
            rng::shuffle(
                &mut drawn,
                &mut rng::stream(seed, Purpose::Balance, &[at as u64]),
            );
            extra.extend(drawn.into_iter().take(most % of.len()));
            if said.len() < TOLD {
                let name: String = name.chars().take(40).filter(|c| !c.is_control()).collect();
                said.push(format!(
                    "`{name}` {} → {}",
                    thousands(of.len() as u64),
                    thousands(most as u64)
                ));
            }
        }
        // Pass by pass in the file's order: what is repeated does not stand side by side where rows are not shuffled.
        for pass in 0..passes.iter().copied().max().unwrap_or(0) {
            let again = train
                .iter()
                .filter(|row| pass < passes[usize::from(self.classes[**row as usize])]);
            chosen.extend(again.copied());
        }
        extra.sort_unstable();
        chosen.extend(extra);
        let more = match present.saturating_sub(said.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        told.push(format!(
            "balance: {} made of {} by `{field}`, {present} classes of {} each: {}{more}",
            counted(chosen.len()),
            counted(train.len()),
            thousands(most as u64),
            said.join(", ")
        ));
        Ok(chosen)
    }
}

/// Chooses among the rows of a file, in one pass over it.
///
/// # Errors
/// `BadRows` with the rows that have no class, and what [`Selector::select`] refuses.
pub fn select(
    path: &Path,
    unpacked: u64,
    recipe: &Recipe,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<Selection, Reason> {
    const FIELD: &str = "training_file";
    let unread = |fault: ReadFault| fault.refusal(FIELD);
    let mut reader = RowReader::open(path, unpacked).map_err(unread)?;
    let mut selector = Selector::new(recipe);
    let mut refused = Refused::default();
    loop {
        let lines = reader.block(BLOCK).map_err(unread)?;
        if lines.is_empty() {
            break;
        }
        if !go_on() {
            return Err(Reason::Draining);
        }
        let look = |line: &Line| -> Result<Candidate, BadRow> {
            let read = Labelled::read(line, recipe.balance.as_deref())?;
            Ok(selector.look(&read.row, read.label))
        };
        let looked = in_tiles(&lines, |rows| {
            lines[rows].iter().map(look).collect::<Vec<_>>()
        });
        for candidate in looked.into_iter().flat_map(|(candidates, _)| candidates) {
            if let Err(bad) = candidate.and_then(|candidate| selector.add(candidate)) {
                refused.add(bad);
            }
        }
    }
    refused.check(FIELD)?;
    selector.select(recipe)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::trainer::data::Record;
    use crate::trainer::recipe::{Wishes, resolve};

    fn recipe(balance: Option<&str>, dedup: bool, eval_split: f64) -> Recipe {
        let wishes = Wishes {
            balance: balance.map(str::to_owned),
            dedup: Some(dedup),
            eval_split: Some(eval_split),
            ..Wishes::default()
        };
        resolve(&wishes, None, 512).unwrap()
    }

    fn select(recipe: &Recipe, rows: &[(&str, Option<&str>)]) -> Result<Selection, Reason> {
        let mut selector = Selector::new(recipe);
        for (at, (text, label)) in rows.iter().enumerate() {
            let row = json!({"instruction": "Name the mood.", "input": text, "output": "x"});
            let label = label.map(|label| Ok(label.to_owned()));
            let row = Row {
                line: at + 1,
                record: Record::read(row).unwrap().0,
            };
            let candidate = selector.look(&row, label);
            selector
                .add(candidate)
                .map_err(|bad| Reason::field("row", bad.why))?;
        }
        selector.select(recipe)
    }

    const LETTERS: [&str; 7] = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta"];

    #[test]
    fn without_either_setting_rows_stand_as_they_do_in_the_file() {
        let rows = LETTERS.map(|text| (text, None));
        let chosen = select(&recipe(None, false, 0.0), &rows).unwrap();
        assert_eq!(chosen.train, [0, 1, 2, 3, 4, 5, 6]);
        assert!(chosen.held_out.is_empty() && chosen.told.is_empty());
        let chosen = select(&recipe(None, false, 2.0), &rows).unwrap();
        assert_eq!((chosen.train.len(), chosen.held_out.len()), (5, 2));
    }

    #[test]
    fn rarer_classes_are_repeated_until_all_are_equally_frequent() {
        let labels = ["a", "a", "a", "a", "a", "b", "b"];
        let rows: Vec<_> = LETTERS
            .iter()
            .zip(labels)
            .map(|(text, label)| (*text, Some(label)))
            .collect();
        let recipe = recipe(Some("kind"), false, 0.0);
        let chosen = select(&recipe, &rows).unwrap();
        assert_eq!(chosen.train.len(), 10);
        assert_eq!(chosen.train[..9], [0, 1, 2, 3, 4, 5, 6, 5, 6]);
        assert!(chosen.train[9] == 5 || chosen.train[9] == 6);
        assert_eq!(
            chosen.told,
            [
                "balance: 10 rows made of 7 rows by `kind`, 2 classes of 5 each: `a` 5 → 5, `b` 2 → 5"
            ]
        );
        assert_eq!(select(&recipe, &rows).unwrap(), chosen);
    }

    #[test]
    fn a_row_without_a_class_and_a_field_without_classes_are_refused() {
        let recipe = recipe(Some("kind"), false, 0.0);
        let why = select(&recipe, &[("alpha", Some("a")), ("beta", None)]).unwrap_err();
        assert!(why.to_string().contains("`kind` is missing"), "{why}");
        let names: Vec<String> = (0..1100).map(|at| format!("name {at}")).collect();
        let rows: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), Some(name.as_str())))
            .collect();
        let why = select(&recipe, &rows).unwrap_err();
        assert!(
            matches!(&why, Reason::BadField { field, .. } if field == "balance"),
            "{why}"
        );
    }

    #[test]
    fn copies_are_left_out_before_rows_are_held_out() {
        let rows: Vec<_> = LETTERS
            .iter()
            .chain(&LETTERS[..3])
            .map(|text| (*text, None))
            .collect();
        let chosen = select(&recipe(None, true, 0.0), &rows).unwrap();
        assert_eq!(chosen.train, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(
            chosen.told,
            [
                "dedup: 3 of 10 rows left out as copies of earlier ones: lines 8 (of 1), 9 (of 2), 10 (of 3)"
            ]
        );
        let chosen = select(&recipe(None, true, 2.0), &rows).unwrap();
        assert_eq!(chosen.train.len() + chosen.held_out.len(), 7);
    }
}
