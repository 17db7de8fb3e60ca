//! A folder of an adapter on its way to the daemon.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use futures::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::cli::Failure;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// In AdapterHub's layout.
pub const HUB_WEIGHTS: &str = "adapter.safetensors";
const ORIGIN: &str = "adapterd.json";
const ENCODER: &str = "prefix_encoder.safetensors";

/// The adapter's files: names, and bytes of each.
pub fn check(dir: &Path) -> Result<Vec<(&'static str, u64)>, Failure> {
    let wrong = |why: String| Failure::Usage(format!("{}: {why}", dir.display()));
    if !std::fs::metadata(dir)
        .map_err(|error| wrong(error.to_string()))?
        .is_dir()
    {
        return Err(wrong("is not a folder".into()));
    }
    let has = |name: &str| dir.join(name).is_file();
    let layouts = format!(
        "a PEFT folder has {CONFIG} and {WEIGHTS}, one of AdapterHub's {CONFIG} and {HUB_WEIGHTS}"
    );
    if !has(CONFIG) {
        return Err(wrong(format!("has no {CONFIG}; {layouts}")));
    }
    if !has(WEIGHTS) && !has(HUB_WEIGHTS) {
        let pickled = [
            ("adapter_model.bin", WEIGHTS, "with safetensors"),
            (
                "pytorch_adapter.bin",
                HUB_WEIGHTS,
                "with `use_safetensors=True`",
            ),
        ];
        let found = pickled.into_iter().find(|(name, ..)| has(name));
        return Err(wrong(match found {
            Some((name, taken, how)) => format!(
                "{name} holds pickled weights; only {taken} is taken: save the adapter {how}"
            ),
            None => format!("has no {WEIGHTS}; {layouts}"),
        }));
    }
    [CONFIG, WEIGHTS, HUB_WEIGHTS, ORIGIN, ENCODER]
        .into_iter()
        .filter(|name| has(name))
        .map(|name| Ok((name, std::fs::metadata(dir.join(name))?.len())))
        .collect()
}

/// Bytes of a tar of these files: a block before each, whole blocks for each, and two at the end.
pub fn archived(files: &[(&str, u64)]) -> u64 {
    const BLOCK: u64 = 512;
    let blocks = files.iter().map(|(_, bytes)| 1 + bytes.div_ceil(BLOCK));
    BLOCK * (blocks.sum::<u64>() + 2)
}

/// Bytes of a part on its way.
const PART: usize = 256 << 10;

/// The adapter's files as a tar, read as the daemon takes it: never all in memory. Links are followed: a model hub's cache
/// consists of them.
pub fn pack(
    dir: &Path,
    files: Vec<(&'static str, u64)>,
) -> impl Stream<Item = io::Result<Vec<u8>>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(1);
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || {
        let write = || {
            let parts = BufWriter::with_capacity(PART, Parts(&sender));
            let mut archive = tar::Builder::new(parts);
            for (name, bytes) in files {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes);
                header.set_mode(0o644);
                let file = File::open(dir.join(name))?;
                if file.metadata()?.len() != bytes {
                    let why = format!("{name} has changed while it was sent");
                    return Err(io::Error::other(why));
                }
                archive.append_data(&mut header, name, file.take(bytes))?;
            }
            archive.into_inner()?.flush()
        };
        if let Err(error) = write() {
            // Ends the request, so that half an archive is never taken for all of it.
            let _ = sender.blocking_send(Err(error));
        }
    });
    ReceiverStream::new(receiver)
}

/// Sends what is written to it.
struct Parts<'a>(&'a mpsc::Sender<io::Result<Vec<u8>>>);

impl Write for Parts<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(bytes.to_vec()));
        sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    /// What is sent, which has the announced size.
    async fn packed(dir: &Path) -> Vec<u8> {
        let files = check(dir).unwrap();
        let size = archived(&files);
        let parts: Vec<_> = pack(dir, files).try_collect().await.unwrap();
        let packed = parts.concat();
        assert_eq!(packed.len() as u64, size);
        packed
    }

    fn refusal(dir: &Path) -> String {
        match check(dir) {
            Err(Failure::Usage(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_folder_of_links_is_packed_with_what_they_lead_to_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (blobs, folder) = (dir.path().join("blobs"), dir.path().join("snapshot"));
        for made in [&blobs, &folder] {
            std::fs::create_dir(made).unwrap();
        }
        for name in [CONFIG, WEIGHTS, "README.md"] {
            std::fs::write(blobs.join(name), name).unwrap();
            std::os::unix::fs::symlink(blobs.join(name), folder.join(name)).unwrap();
        }
        let packed = packed(&folder).await;
        let mut archive = tar::Archive::new(packed.as_slice());
        let found: Vec<(String, String)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.path().unwrap().display().to_string();
                (name, std::io::read_to_string(entry).unwrap())
            })
            .collect();
        assert_eq!(
            found,
            [CONFIG, WEIGHTS].map(|name| (name.into(), name.into()))
        );
    }

    #[tokio::test]
    async fn a_file_with_a_hole_is_sent_whole() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(CONFIG), "{}").unwrap();
        let weights = File::create(dir.path().join(WEIGHTS)).unwrap();
        weights.set_len(1 << 20).unwrap();
        let packed = packed(dir.path()).await;
        let mut archive = tar::Archive::new(packed.as_slice());
        let entry = archive.entries().unwrap().nth(1).unwrap().unwrap();
        assert!(entry.header().entry_type().is_file());
        assert_eq!(entry.size(), 1 << 20);
    }

    #[tokio::test]
    async fn a_file_that_goes_away_or_changes_meanwhile_is_an_error_and_no_other_archive() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(CONFIG), "{}").unwrap();
        for files in [vec![(CONFIG, 2), (WEIGHTS, 2)], vec![(CONFIG, 1)]] {
            let sent = pack(dir.path(), files).try_collect();
            assert!(sent.await.map(|parts: Vec<_>| parts.len()).is_err());
        }
    }

    #[test]
    fn what_is_no_adapter_folder_is_told_before_anything_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        assert!(refusal(&dir.path().join("absent")).contains("absent"));
        assert!(refusal(dir.path()).contains("has no adapter_config.json"));
        std::fs::write(dir.path().join(CONFIG), "{}").unwrap();
        assert!(refusal(dir.path()).contains("has no adapter_model.safetensors"));
        for pickled in ["pytorch_adapter.bin", "adapter_model.bin"] {
            std::fs::write(dir.path().join(pickled), "PK").unwrap();
            assert!(refusal(dir.path()).contains(&format!("{pickled} holds pickled")));
        }
        std::fs::write(dir.path().join(HUB_WEIGHTS), "w").unwrap();
        let names: Vec<_> = check(dir.path()).unwrap();
        assert_eq!(names, [(CONFIG, 2), (HUB_WEIGHTS, 1)]);
        assert!(refusal(&dir.path().join(CONFIG)).contains("is not a folder"));
    }
}
