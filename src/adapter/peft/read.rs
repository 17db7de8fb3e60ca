//! A folder's files to an adapter, or the one reason why not.

use super::{
    CONFIG_FILE, ConfigFile, ENCODER_FILE, Files, HUB_WEIGHTS_FILE, PICKLED, PROVENANCE_FILE,
    Provenance, Tensors, WEIGHTS_FILE, WEIGHTS_FILES, generation, is_of_hub,
};
use crate::adapter::catalogue::{Folder, kind_of};
use crate::adapter::{Adapter, AdapterFault, Fit};
use crate::domain::Generation;

/// Checks every key, tensor and number against the base; a fault names the first that does not fit.
pub fn read(files: &Files, fit: &Fit<'_>) -> Result<Adapter, AdapterFault> {
    read_named(files, fit, || generation(files))
}

/// As [`read`], for files whose generation is known: to hash them takes as long as to read them.
pub fn read_known(
    files: &Files,
    generation: Generation,
    fit: &Fit<'_>,
) -> Result<Adapter, AdapterFault> {
    read_named(files, fit, || generation)
}

fn read_named(
    files: &Files,
    fit: &Fit<'_>,
    name: impl FnOnce() -> Generation,
) -> Result<Adapter, AdapterFault> {
    if !WEIGHTS_FILES.iter().any(|name| files.contains_key(*name)) {
        let mut pickled = PICKLED.iter();
        return Err(match pickled.find(|(name, _)| files.contains_key(*name)) {
            Some((name, why)) => AdapterFault::new(*name, *why),
            None => AdapterFault::new(WEIGHTS_FILE, "is missing"),
        });
    }
    let config = files
        .get(CONFIG_FILE)
        .ok_or_else(|| AdapterFault::new(CONFIG_FILE, "is missing"))?;
    let config = ConfigFile::parse(CONFIG_FILE, config)?;
    if let Some(provenance) = files.get(PROVENANCE_FILE) {
        Provenance::parse(provenance)?.check_base(&fit.base_digest)?;
    }
    let kind = kind_of(&config)?;
    let (weights_file, other) = match is_of_hub(&config) {
        true => (HUB_WEIGHTS_FILE, WEIGHTS_FILE),
        false => (WEIGHTS_FILE, HUB_WEIGHTS_FILE),
    };
    if files.contains_key(other) {
        let why = format!(
            "is not read beside this configuration, whose weights are in {weights_file}: take it out"
        );
        return Err(AdapterFault::new(other, why));
    }
    let weights = files
        .get(weights_file)
        .ok_or_else(|| AdapterFault::new(weights_file, "is missing"))?;
    let encoder = files.get(ENCODER_FILE);
    let encoder = encoder.map(|bytes| Tensors::parse(ENCODER_FILE, bytes));
    let folder = Folder {
        config,
        weights: Tensors::parse(weights_file, weights)?,
        encoder: encoder.transpose()?,
    };
    let parts = kind.read(&folder, fit)?;
    Ok(Adapter::new(name(), kind.name(), parts))
}
