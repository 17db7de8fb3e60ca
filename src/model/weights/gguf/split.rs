//! Models split over several files: `NAME-00001-of-00003.gguf` and so on, as llama.cpp writes them. The first has the
//! metadata; each has tensors of its own, and says which piece of how many it is.

use std::path::{Path, PathBuf};

use super::super::WeightError;
use super::super::blob::Blob;
use super::super::folder::refuse_foreign;
use super::file::{Container, Value};

/// What a piece says of itself.
const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";
/// Far more than any model has.
const MOST_PIECES: usize = 4096;

/// What only pieces say, and what is made of them does not.
pub fn is_of_pieces(key: &str) -> bool {
    [NUMBER, COUNT, TENSORS].contains(&key)
}

/// A file's place among its pieces, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// What all have in common.
    pub stem: String,
    /// From 1.
    pub number: usize,
    pub count: usize,
}

impl Named {
    /// Of `NAME-00002-of-00003.gguf`.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let (name, end) = name.rsplit_once('.')?;
        let digits = |text: &str| {
            let right = text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
            right.then(|| text.parse().ok()).flatten()
        };
        let (rest, count) = name.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let (number, count) = (digits(number)?, digits(count)?);
        let right = end.eq_ignore_ascii_case("gguf") && (1..=count).contains(&number);
        right.then(|| Self {
            stem: stem.to_owned(),
            number,
            count,
        })
    }

    /// The path of another piece beside `path`.
    fn beside(&self, path: &Path, number: usize) -> PathBuf {
        let end = path.extension().unwrap_or_default().to_string_lossy();
        let name = format!("{}-{number:05}-of-{:05}.{end}", self.stem, self.count);
        path.with_file_name(name)
    }
}

/// An opened model: its files, and a table of all their tensors with the first one's metadata.
pub fn open(path: &Path) -> Result<(Vec<Blob>, Container), WeightError> {
    let shown = shown(path);
    let (blob, file) = read(path)?;
    let count = number(&file, COUNT, &shown)?.unwrap_or(1);
    if count <= 1 {
        return Ok((vec![blob], file));
    }
    let named = Named::of(path).filter(|named| named.count == count);
    let Some(named) = named else {
        let why = format!(
            "is one of {count} pieces, and so has to be called NAME-00001-of-{count:05}.gguf"
        );
        return Err(WeightError::new(shown, why));
    };
    if count > MOST_PIECES {
        return Err(WeightError::new(shown, format!("has {count} pieces")));
    }
    let mut pieces = Vec::with_capacity(count);
    for number in 1..=count {
        let piece = match number == named.number {
            true => (blob.clone(), None),
            false => {
                let beside = named.beside(path, number);
                let (blob, file) = read(&beside).map_err(|fault| match beside.exists() {
                    true => fault,
                    false => {
                        let why = format!("is missing: it is piece {number} of {count} of a model");
                        WeightError::new(beside.display().to_string(), why)
                    }
                })?;
                (blob, Some(file))
            }
        };
        pieces.push(piece);
    }
    let mut own = Some(file);
    let (mut blobs, mut files) = (Vec::new(), Vec::new());
    for (blob, file) in pieces {
        blobs.push(blob);
        files.extend(file.or_else(|| own.take()));
    }
    let joined = join(files, |at| self::shown(&named.beside(path, at + 1)))?;
    Ok((blobs, joined))
}

/// One table of those of all pieces, which are in order; `shown` names one.
fn join(files: Vec<Container>, shown: impl Fn(usize) -> String) -> Result<Container, WeightError> {
    let count = files.len();
    let mut joined: Option<Container> = None;
    let mut wanted = None;
    for (at, file) in files.into_iter().enumerate() {
        let wrong = |why: String| WeightError::new(shown(at), why);
        let said = |key| number(&file, key, &shown(at));
        if said(COUNT)? != Some(count) {
            return Err(wrong(format!(
                "does not say that it is one of {count} pieces"
            )));
        }
        if said(NUMBER)? != Some(at) {
            return Err(wrong(format!("does not say that it is piece {}", at + 1)));
        }
        if let Some(tensors) = said(TENSORS)? {
            let before = *wanted.get_or_insert(tensors);
            if before != tensors {
                return Err(wrong(format!(
                    "says that the model has {tensors} tensors, where piece 1 says {before}"
                )));
            }
        }
        match &mut joined {
            None => joined = Some(file),
            Some(joined) => {
                for (name, mut info) in file.tensors {
                    info.piece = at;
                    if joined.tensors.insert(name.clone(), info).is_some() {
                        return Err(WeightError::new(
                            name,
                            format!("is there twice, again in {}", shown(at)),
                        ));
                    }
                }
            }
        }
    }
    let joined = joined.ok_or_else(|| WeightError::new("GGUF file", "has no pieces"))?;
    match wanted {
        Some(wanted) if wanted != joined.tensors.len() => Err(WeightError::new(
            shown(0),
            format!(
                "says that the model has {wanted} tensors; its {count} pieces have {}",
                joined.tensors.len()
            ),
        )),
        _ => Ok(joined),
    }
}

fn read(path: &Path) -> Result<(Blob, Container), WeightError> {
    let blob = Blob::open(path)?;
    let shown = shown(path);
    refuse_foreign(&shown, &blob)?;
    // Said of "the GGUF file" alone, a fault of one piece among many could not be found.
    let file = Container::parse(&blob).map_err(|fault| match Named::of(path) {
        Some(_) => WeightError::new(format!("{shown}: {}", fault.what), fault.why),
        None => fault,
    })?;
    Ok((blob, file))
}

fn number(file: &Container, key: &str, shown: &str) -> Result<Option<usize>, WeightError> {
    match file.metadata.get(key) {
        None => Ok(None),
        Some(Value::Int(n)) if usize::try_from(*n).is_ok() => Ok(usize::try_from(*n).ok()),
        Some(_) => {
            let what = format!("{shown}: GGUF metadata {key}");
            Err(WeightError::new(what, "is no number of pieces or tensors"))
        }
    }
}

fn shown(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
