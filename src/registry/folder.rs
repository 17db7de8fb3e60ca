//! Reading a folder a request names. Only what lies beneath the adapter root exists here: paths are resolved against
//! an open directory, component by component, so that no link and no swap between check and use leads outside.

use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};

use super::{Files, Sizes};
use crate::adapter::peft::{self, FOLDER_FILES, WEIGHTS_FILES};
use crate::domain::Reason;
use crate::kernels::pool;
use crate::store::{SLICE, disk_fault};

/// The adapter files of `path`, which is relative to `root`, or absolute and beneath it.
pub(super) fn read(root: &Path, path: &str, sizes: Sizes) -> Result<Files, Reason> {
    let relative = beneath(root, path)?;
    let root =
        Dir::open_ambient_dir(root, ambient_authority()).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Reason::PathNotFound(path.to_owned()),
            _ => disk_fault("opening the adapter root", &error),
        })?;
    let folder = root
        .open_dir(&relative)
        .map_err(|error| refusal(path, &error))?;
    let mut files = Files::new();
    for name in FOLDER_FILES {
        if let Some(bytes) = read_file(&folder, path, name, sizes.of(name))? {
            files.insert(name.to_owned(), bytes.into());
        }
    }
    let has_weights = WEIGHTS_FILES.iter().any(|name| files.contains_key(*name));
    let mut pickled = peft::PICKLED.iter();
    let is_there = |name: &str| folder.symlink_metadata(name).is_ok();
    if !has_weights && let Some((name, why)) = pickled.find(|(name, _)| is_there(name)) {
        return Err(Reason::adapter(*name, *why));
    }
    Ok(files)
}

/// `path` as steps down from the root; `..` is refused even where it would stay inside.
fn beneath(root: &Path, path: &str) -> Result<PathBuf, Reason> {
    let forbidden = || Reason::PathForbidden(path.to_owned());
    let given = Path::new(path);
    let relative = if given.is_absolute() {
        let real = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        given
            .strip_prefix(root)
            .or_else(|_| given.strip_prefix(&real))
            .map_err(|_| forbidden())?
    } else {
        given
    };
    let steps = relative.components().map(|component| match component {
        Component::Normal(name) => Ok(Some(name)),
        Component::CurDir => Ok(None),
        Component::ParentDir | Component::RootDir | Component::Prefix(_) => Err(forbidden()),
    });
    let steps: Vec<_> = steps.collect::<Result<_, _>>()?;
    let relative: PathBuf = steps.into_iter().flatten().collect();
    if relative.as_os_str().is_empty() || path.contains('\0') {
        return Err(forbidden());
    }
    Ok(relative)
}

/// `None` where there is no such file.
fn read_file(folder: &Dir, path: &str, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Reason> {
    let mut options = OpenOptions::new();
    // A pipe or device must not make the open itself wait.
    options
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = match folder.open_with(name, &options) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        // The open of a socket, or of a pipe without a writer.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Err(not_regular(name)),
        Err(error) => return Err(refusal(&format!("{path}/{name}"), &error)),
    };
    // Asked of the open file: what the name pointed to a moment ago does not matter.
    let metadata = file.metadata().map_err(|error| disk_fault(name, &error))?;
    if !metadata.is_file() {
        return Err(not_regular(name));
    }
    let too_large = || Reason::adapter(name, format!("is larger than {limit} bytes"));
    if metadata.len() > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    let mut file = file.take(limit + 1);
    let mut next = |bytes: &mut Vec<u8>| (&mut file).take(SLICE as u64).read_to_end(bytes);
    while next(&mut bytes).map_err(|error| disk_fault(name, &error))? > 0 {
        pool::give_way();
    }
    if bytes.len() as u64 > limit {
        Err(too_large())
    } else {
        Ok(Some(bytes))
    }
}

fn not_regular(name: &str) -> Reason {
    Reason::adapter(name, "is not a regular file")
}

/// cap-std answers "permission denied" to a step outside.
fn refusal(path: &str, error: &std::io::Error) -> Reason {
    match error.kind() {
        ErrorKind::PermissionDenied => Reason::PathForbidden(path.to_owned()),
        ErrorKind::NotFound
        | ErrorKind::NotADirectory
        | ErrorKind::InvalidInput
        | ErrorKind::InvalidFilename => Reason::PathNotFound(path.to_owned()),
        _ if error.raw_os_error() == Some(libc::ELOOP) => Reason::PathForbidden(path.to_owned()),
        _ => disk_fault(&format!("reading `{path}`"), error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::adapter::peft::{CONFIG_FILE, WEIGHTS_FILE};

    const SIZES: Sizes = Sizes { weights: 64 };

    /// `root/good`, with a secret beside the root.
    fn tree() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        for folder in [
            root.join("good"),
            root.join("nested/deep"),
            dir.path().join("secret"),
        ] {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(CONFIG_FILE), "{}").unwrap();
            std::fs::write(folder.join(WEIGHTS_FILE), "w").unwrap();
            std::fs::write(folder.join("README.md"), "r").unwrap();
        }
        (dir, root)
    }

    #[test]
    fn a_folder_beneath_the_root_is_read_by_relative_or_absolute_path() {
        let (_dir, root) = tree();
        let absolute = root.join("good");
        for path in [
            "good",
            "./good",
            "good/",
            "nested/deep",
            absolute.to_str().unwrap(),
        ] {
            let files = read(&root, path, SIZES).unwrap();
            assert_eq!(
                files.keys().collect::<Vec<_>>(),
                [CONFIG_FILE, WEIGHTS_FILE],
                "{path}"
            );
        }
    }

    #[test]
    fn paths_that_lead_outside_are_forbidden() {
        let (dir, root) = tree();
        symlink(dir.path().join("secret"), root.join("link")).unwrap();
        symlink("../secret", root.join("relative-link")).unwrap();
        std::fs::create_dir(root.join("mixed")).unwrap();
        symlink(
            "../../secret/adapter_config.json",
            root.join("mixed").join(CONFIG_FILE),
        )
        .unwrap();
        let secret = dir.path().join("secret");
        for path in [
            "../secret",
            "good/../../secret",
            "good/../good",
            "/etc",
            secret.to_str().unwrap(),
            "link",
            "relative-link",
            "mixed",
            "",
            ".",
            "/",
            "good\0",
        ] {
            let refused = read(&root, path, SIZES).unwrap_err();
            assert!(
                matches!(refused, Reason::PathForbidden(_)),
                "{path}: {refused:?}"
            );
        }
    }

    #[test]
    fn links_that_stay_inside_are_followed() {
        let (_dir, root) = tree();
        symlink("good", root.join("alias")).unwrap();
        assert!(read(&root, "alias", SIZES).is_ok());
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let (_dir, root) = tree();
        for path in ["absent", "good/absent", "good/adapter_config.json"] {
            let refused = read(&root, path, SIZES).unwrap_err();
            assert!(
                matches!(refused, Reason::PathNotFound(_)),
                "{path}: {refused:?}"
            );
        }
    }

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let (_dir, root) = tree();
        let weights = root.join("good").join(WEIGHTS_FILE);
        std::fs::write(&weights, vec![0; 65]).unwrap();
        let refused = |root: &Path| match read(root, "good", SIZES).unwrap_err() {
            Reason::AdapterInvalid { field, why } => (field, why),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(&root).0, WEIGHTS_FILE);
        std::fs::remove_file(&weights).unwrap();
        std::fs::create_dir(&weights).unwrap();
        assert!(refused(&root).1.contains("regular"));
        std::fs::remove_dir(&weights).unwrap();
        let path = std::ffi::CString::new(weights.to_str().unwrap()).unwrap();
        assert!(
            std::process::Command::new("mkfifo")
                .arg(path.to_str().unwrap())
                .status()
                .unwrap()
                .success()
        );
        assert!(refused(&root).1.contains("regular"));
    }

    #[test]
    fn pickled_weights_are_refused_by_name() {
        let (_dir, root) = tree();
        std::fs::rename(
            root.join("good").join(WEIGHTS_FILE),
            root.join("good/adapter_model.bin"),
        )
        .unwrap();
        let refused = read(&root, "good", SIZES).unwrap_err();
        assert!(
            matches!(&refused, Reason::AdapterInvalid { field, .. } if field == "adapter_model.bin"),
            "{refused:?}"
        );
    }
}
