//! The ready-made adapters of the embedded base: offered once, then the user's own.

use std::path::Path;

use bytes::Bytes;

use crate::adapter::peft;
use crate::domain::{AdapterName, Reason};
use crate::registry::{Files, Registry};
use crate::store::{create_folder, disk_fault, publish_file};

macro_rules! bundled {
    ($name:literal) => {
        (
            $name,
            [
                (
                    "adapter_config.json",
                    include_bytes!(concat!("../../adapters/", $name, "/adapter_config.json"))
                        .as_slice(),
                ),
                (
                    "adapter_model.safetensors",
                    include_bytes!(concat!(
                        "../../adapters/",
                        $name,
                        "/adapter_model.safetensors"
                    )),
                ),
                (
                    "adapterd.json",
                    include_bytes!(concat!("../../adapters/", $name, "/adapterd.json")),
                ),
            ],
        )
    };
}

/// A folder's files by name.
type Contents = [(&'static str, &'static [u8]); 3];

fn all() -> [(&'static str, Contents); 2] {
    [bundled!("legal"), bundled!("medical")]
}

/// Publishes each adapter this data directory has not been offered yet. One that the user removed or replaced
/// stays as the user left it; a newer one in a newer binary replaces only its own predecessor.
pub async fn offer(registry: &Registry, data_dir: &Path) -> Result<(), Reason> {
    let failed = |error| disk_fault("noting which ready-made adapters were offered", &error);
    let marks = data_dir.join("bundled");
    create_folder(&marks).map_err(failed)?;
    for (name, contents) in all() {
        // Empty in a tree whose adapters have not been made yet.
        if contents.iter().any(|(_, bytes)| bytes.is_empty()) {
            continue;
        }
        let files: Files = contents
            .into_iter()
            .map(|(file, bytes)| (file.to_owned(), Bytes::from_static(bytes)))
            .collect();
        let generation = peft::generation(&files);
        let mark = name;
        let offered = std::fs::read_to_string(marks.join(mark)).unwrap_or_default();
        if offered.trim() == generation.to_string() {
            continue;
        }
        let name: AdapterName = name.parse().map_err(|e| Reason::Internal(format!("{e}")))?;
        let expected = offered.trim().parse().ok();
        match registry
            .publish(&name, files, Some(expected), "bundled")
            .await
        {
            Ok(_) => tracing::info!(adapter = %name, %generation, "ready-made adapter published"),
            Err(Reason::GenerationMismatch { .. } | Reason::AdapterExists(_)) => {
                tracing::info!(adapter = %name, "kept the adapter of this name that is here already");
            }
            Err(other) => return Err(other),
        }
        publish_file(&marks, mark, generation.to_string().as_bytes()).map_err(failed)?;
    }
    Ok(())
}
