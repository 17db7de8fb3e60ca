//! Files that tests read and send.

use std::path::{Path, PathBuf};

use adapterd::gateway::Files;

pub fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(path)
}

/// An adapter folder's files, by name.
pub fn folder(path: &Path) -> Files {
    let entries = std::fs::read_dir(path).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                std::fs::read(entry.path()).unwrap().into(),
            )
        })
        .collect()
}

/// The golden adapters that fit [`BASE`].
pub fn adapter(name: &str) -> Files {
    folder(&golden(&format!("adapters/llama-{name}")))
}

/// An archive of `files`, each name with `within` before it.
pub fn tarball(files: &Files, within: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, format!("{within}{name}"), &content[..])
            .unwrap();
    }
    archive.into_inner().unwrap()
}
