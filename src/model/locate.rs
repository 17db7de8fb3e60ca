//! Where a model lies, by what a user calls it: a folder or file, the store of Ollama, a folder of LM Studio, a hub.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::base::Origin;
use super::weights::gguf::Named;
use crate::domain::{is_hub_id, is_plain};

/// Of a model in Ollama's store, by its name there.
const OLLAMA: &str = "ollama:";
/// The registry of names without one.
const REGISTRY: &str = "registry.ollama.ai";
/// Media types of a manifest's layers end so.
const MODEL: &str = ".image.model";
const ADAPTER: &str = ".image.adapter";
/// Manifests have a few hundred bytes.
const MANIFEST_BYTES: u64 = 1 << 20;

/// What the environment may say; tests have their own.
pub struct Surroundings {
    /// `OLLAMA_MODELS`: the store.
    pub ollama_models: Option<OsString>,
    pub home: Option<PathBuf>,
}

impl Surroundings {
    pub fn of_process() -> Self {
        Self {
            ollama_models: std::env::var_os("OLLAMA_MODELS"),
            home: std::env::home_dir(),
        }
    }

    /// Ollama's store.
    fn ollama(&self) -> Result<PathBuf, String> {
        let said = self.ollama_models.clone().filter(|dir| !dir.is_empty());
        let home = self.home.as_ref().filter(|dir| !dir.as_os_str().is_empty());
        let store = said.map(PathBuf::from);
        store
            .or_else(|| Some(home?.join(".ollama/models")))
            .ok_or_else(|| "there is no home directory; OLLAMA_MODELS names Ollama's store".into())
    }
}

/// The origin that `text` names, or why it names none.
pub fn locate(text: &str, surroundings: &Surroundings) -> Result<Origin, String> {
    if text == "embedded" {
        return Ok(Origin::Embedded);
    }
    if let Some(name) = text.strip_prefix(OLLAMA) {
        return named(name, &surroundings.ollama()?);
    }
    let path = PathBuf::from(text);
    if path.is_dir() {
        return folder(path);
    }
    if path.is_file() {
        return file(path);
    }
    match is_hub_id(text) {
        true => Ok(Origin::Hub(text.to_owned())),
        false => Err(format!(
            "`{text}` is no folder or file here, and no `OWNER/NAME` of a model hub"
        )),
    }
}

/// A folder of Hugging Face's, or one whose only model is a GGUF file or one set of pieces.
fn folder(dir: PathBuf) -> Result<Origin, String> {
    let wrong = |why: String| format!("`{}`: {why}", dir.display());
    let entries = std::fs::read_dir(&dir).map_err(|error| wrong(error.to_string()))?;
    let (mut models, mut has_safetensors) = (Vec::new(), false);
    for entry in entries {
        let path = entry.map_err(|error| wrong(error.to_string()))?.path();
        let ends = |end: &str| {
            path.extension()
                .is_some_and(|e| e.eq_ignore_ascii_case(end))
        };
        has_safetensors |= ends("safetensors");
        // Projectors of pictures lie beside the models they belong to.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_projector = name.to_ascii_lowercase().starts_with("mmproj");
        if ends("gguf") && !is_projector && path.is_file() {
            models.push(path);
        }
    }
    models.sort();
    if has_safetensors || models.is_empty() {
        return Ok(Origin::Folder(dir));
    }
    // Pieces of one model count once.
    models.dedup_by(|later, first| {
        let set = |path: &Path| Named::of(path).map(|named| (named.stem, named.count));
        set(later).is_some() && set(later) == set(first)
    });
    if models.len() > 1 {
        let names = models.iter().filter_map(|path| path.file_name());
        let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
        let why = format!("has several models; name one of {}", names.join(", "));
        return Err(wrong(why));
    }
    models
        .pop()
        .map(Origin::Gguf)
        .ok_or_else(|| wrong("has no model".into()))
}

/// A GGUF file, told by how it begins where its name does not, or a manifest of Ollama's.
fn file(path: PathBuf) -> Result<Origin, String> {
    if path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("gguf"))
    {
        return Ok(Origin::Gguf(path));
    }
    let mut magic = Vec::with_capacity(4);
    let read = File::open(&path).and_then(|file| file.take(4).read_to_end(&mut magic));
    read.map_err(|error| format!("`{}`: {error}", path.display()))?;
    match magic.as_slice() {
        b"GGUF" => Ok(Origin::Gguf(path)),
        [b'{', ..] => of_manifest(&path),
        _ => Err(format!(
            "`{}` is a file, but not a `.gguf` one",
            path.display()
        )),
    }
}

/// `NAME[:TAG]`, `OWNER/NAME[:TAG]` or `HOST/OWNER/NAME[:TAG]` in Ollama's store.
fn named(name: &str, store: &Path) -> Result<Origin, String> {
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) => (path, tag),
        None => (name, "latest"),
    };
    let parts: Vec<&str> = path.split('/').collect();
    if !parts.iter().chain([&tag]).all(|part| is_plain(part)) {
        return Err(format!("`{OLLAMA}{name}` is no NAME[:TAG] of Ollama's"));
    }
    let whole = match parts[..] {
        [name] => [REGISTRY, "library", name],
        [owner, name] => [REGISTRY, owner, name],
        [host, owner, name] => [host, owner, name],
        _ => return Err(format!("`{OLLAMA}{name}` has too many parts")),
    };
    let manifest = whole
        .into_iter()
        .chain([tag])
        .fold(store.join("manifests"), |path, part| path.join(part));
    match manifest.is_file() {
        true => of_manifest(&manifest),
        false => Err(format!(
            "Ollama's store has no `{name}`: there is no {} (OLLAMA_MODELS names another store)",
            manifest.display()
        )),
    }
}

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
}

/// The model that a manifest in a store names.
fn of_manifest(path: &Path) -> Result<Origin, String> {
    let wrong = |why: String| format!("`{}`: {why}", path.display());
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(MANIFEST_BYTES).read_to_string(&mut text));
    read.map_err(|error| wrong(error.to_string()))?;
    let manifest: Manifest = serde_json::from_str(&text)
        .map_err(|_| wrong("is neither a GGUF file nor a manifest of Ollama's".into()))?;
    let ends = |end: &str| {
        let mut layers = manifest.layers.iter();
        layers.find(|layer| layer.media_type.ends_with(end))
    };
    if ends(ADAPTER).is_some() {
        return Err(wrong(
            "the model has an adapter of its own, which would be left out".into(),
        ));
    }
    let model = ends(MODEL).ok_or_else(|| wrong("names no model".into()))?;
    let hex = model
        .digest
        .strip_prefix("sha256:")
        .filter(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    let hex = hex.ok_or_else(|| wrong(format!("`{}` is no digest", model.digest)))?;
    let store = path.ancestors().find(|dir| dir.ends_with("manifests"));
    let store = store.and_then(Path::parent);
    let store = store.ok_or_else(|| wrong("does not lie in a store of Ollama's".into()))?;
    let blob = store.join("blobs").join(format!("sha256-{hex}"));
    if !blob.is_file() {
        let why = format!("its model is missing: there is no {}", blob.display());
        return Err(wrong(why));
    }
    Ok(Origin::Named {
        name: name_of(path),
        path: blob,
    })
}

/// What Ollama calls the model of a manifest: `NAME:TAG`, or `NAME` for the latest.
fn name_of(manifest: &Path) -> String {
    let mut parts = manifest.iter().rev().map(|part| part.to_string_lossy());
    let (tag, name) = (parts.next(), parts.next());
    match (name, tag) {
        (Some(name), Some(tag)) if tag != "latest" => format!("{name}:{tag}"),
        (Some(name), _) => name.into_owned(),
        (None, _) => "base".to_owned(),
    }
}

#[cfg(test)]
mod tests;
