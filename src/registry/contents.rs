//! Contents of adapters on disk, each under the hash of its files, and the packed copies of them.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use super::copies::Copies;
use super::{Files, Sizes};
use crate::adapter::peft::{
    self, ENCODER_FILE, FOLDER_FILES, PROVENANCE_FILE, Provenance, WEIGHTS_FILES,
};
use crate::domain::{Generation, Reason};
use crate::store::{Artefacts, Failpoints, Removed, Staged, disk_fault};

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Contents {
    artefacts: Artefacts,
    copies: Copies,
    sizes: Sizes,
}

impl Contents {
    pub fn open(dir: &Path, sizes: Sizes, failpoints: Arc<dyn Failpoints>) -> Result<Self, Reason> {
        let artefacts = Artefacts::new(dir.join("adapters"), dir.join("staging"), failpoints);
        let opened = artefacts.create().and_then(|()| Copies::open(dir));
        Ok(Self {
            artefacts,
            copies: opened.map_err(failed("creating the data directory"))?,
            sizes,
        })
    }

    pub fn copies(&self) -> &Copies {
        &self.copies
    }

    /// Writes the files aside, so that only a name is missing.
    pub fn stage(&self, files: &Files) -> Result<Staged, Reason> {
        let ours: Vec<_> = files
            .iter()
            .filter(|(name, _)| is_ours(name))
            .map(|(name, bytes)| (name.as_str(), &bytes[..]))
            .collect();
        let staged = self.artefacts.stage(&ours);
        staged.map_err(failed("staging an adapter"))
    }

    /// Gives a staged content its final name, or drops it where that content is there already.
    pub fn place(&self, generation: Generation, staged: Staged) -> Result<(), Reason> {
        if self.holds(generation) {
            if self.read(generation).is_ok() {
                return Ok(());
            }
            drop(self.discard(&[generation])?);
        }
        let placed = self.artefacts.place(&generation.to_string(), staged);
        placed.map_err(failed("naming a stored adapter"))
    }

    /// The files of a generation, whose content has been compared with its name.
    pub fn read(&self, generation: Generation) -> Result<Files, Reason> {
        let key = generation.to_string();
        let mut files = Files::new();
        for name in FOLDER_FILES {
            let read = self.artefacts.read(&key, name, self.sizes.of(name));
            if let Some(bytes) = or_absent(name, read)? {
                files.insert(name.to_owned(), bytes.into());
            }
        }
        // Bytes of the record of origin have no part in the name; they were well-formed when they were stored.
        let origin = files.get(PROVENANCE_FILE);
        let origin_is_damaged = origin.is_some_and(|bytes| Provenance::parse(bytes).is_err());
        if origin_is_damaged || peft::generation(&files) != generation {
            return Err(Reason::Storage(format!(
                "the stored files of generation {generation} are damaged; publish the adapter again"
            )));
        }
        Ok(files)
    }

    /// Changes with every change of a content's files, and tells that none is missing.
    pub fn stamp(&self, generation: Generation) -> Result<String, Reason> {
        let key = generation.to_string();
        let mut stamp = String::new();
        let mut has_weights = false;
        for name in FOLDER_FILES {
            let stamped = or_absent(name, self.artefacts.stamp(&key, name))?;
            has_weights |= stamped.is_some() && WEIGHTS_FILES.contains(&name);
            stamp += &stamped.unwrap_or_default();
            stamp.push(';');
        }
        match has_weights {
            true => Ok(stamp),
            false => Err(Reason::Storage(format!(
                "the weights of generation {generation} are missing; publish the adapter again"
            ))),
        }
    }

    /// Takes away generations that no name has; their files go when what is returned is dropped.
    pub fn discard(&self, generations: &[Generation]) -> Result<Removed, Reason> {
        let keys: Vec<String> = generations.iter().map(ToString::to_string).collect();
        let removed = self.artefacts.remove(keys.iter().map(String::as_str));
        // After the folders: a copy that is written meanwhile finds its folder gone, or is found here.
        for generation in generations {
            self.copies.discard(*generation);
        }
        removed.map_err(failed("removing a stored adapter"))
    }

    /// Removes what interrupted publications left, and contents that `is_known` knows nothing of. Returns how much that was.
    pub fn sweep(&self, is_known: impl Fn(Generation) -> bool) -> Result<usize, Reason> {
        let is_known = |key: &str| key.parse().is_ok_and(&is_known);
        let swept = self.artefacts.sweep(is_known).and_then(|removed| {
            self.copies.sweep(is_known)?;
            Ok(removed)
        });
        swept.map_err(failed("cleaning the data directory"))
    }

    pub fn holds(&self, generation: Generation) -> bool {
        self.artefacts.holds(&generation.to_string())
    }
}

/// Other files of an uploaded folder (a README, a tokenizer) are left out.
pub(super) fn is_ours(name: &str) -> bool {
    FOLDER_FILES.contains(&name)
}

fn may_be_absent(name: &str) -> bool {
    [PROVENANCE_FILE, ENCODER_FILE].contains(&name) || WEIGHTS_FILES.contains(&name)
}

fn failed(what: &str) -> impl Fn(io::Error) -> Reason {
    move |error| disk_fault(what, &error)
}

/// Weights have one of two names; the record of origin and what made a prefix may be missing.
fn or_absent<T>(name: &str, read: io::Result<T>) -> Result<Option<T>, Reason> {
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound && may_be_absent(name) => Ok(None),
        Err(error) => Err(disk_fault(
            &format!("reading {name} of a stored adapter"),
            &error,
        )),
        Ok(read) => Ok(Some(read)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::adapter::peft::WEIGHTS_FILE;
    use crate::adapter::testing::specimen;
    use crate::store::NoFailpoints;

    fn contents(dir: &Path) -> Contents {
        Contents::open(dir, Sizes { weights: 1 << 20 }, Arc::new(NoFailpoints)).unwrap()
    }

    #[test]
    fn a_content_is_found_again_under_its_hash_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (contents, files) = (contents(dir.path()), specimen(1, 1));
        let generation = peft::generation(&files);
        contents
            .place(generation, contents.stage(&files).unwrap())
            .unwrap();
        assert_eq!(contents.read(generation).unwrap(), files);
        let weights = dir
            .path()
            .join(format!("adapters/{generation}/{WEIGHTS_FILE}"));
        let mut bytes = fs::read(&weights).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&weights, bytes).unwrap();
        assert!(matches!(contents.read(generation), Err(Reason::Storage(_))));
        contents
            .place(generation, contents.stage(&files).unwrap())
            .unwrap();
        assert_eq!(
            contents.read(generation).unwrap(),
            files,
            "a damaged content is replaced by a good one"
        );
    }
}
