//! Adapter folders as tar archives.

use std::io::Cursor;
use std::path::Component;

use bytes::Bytes;

use super::unpack::Coding;
use crate::domain::Reason;
use crate::gateway::Files;

/// A PEFT folder holds three files that matter; more than this is something else.
const MAX_ENTRIES: usize = 64;
/// Headers and files take whole ones.
const BLOCK: u64 = 512;

/// So many bytes tell what compressed an archive.
pub(super) const MAGIC_BYTES: usize = 6;
/// What other programs write, by how it begins.
const OTHERS: &[(&[u8], &str)] = &[
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"PK\x03\x04", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
];

/// How an archive that begins so is compressed, whatever its content type says.
///
/// # Errors
/// Where it is compressed by something that is not read.
pub(super) fn packing(head: &[u8]) -> Result<Option<Coding>, Reason> {
    if head.starts_with(b"\x1f\x8b") {
        return Ok(Some(Coding::Gzip));
    }
    match OTHERS.iter().find(|(magic, _)| head.starts_with(magic)) {
        None => Ok(None),
        Some((_, name)) => Err(Reason::BadBody(format!(
            "the body is {name}; send a tar archive, plain or compressed with gzip (`tar czf`)"
        ))),
    }
}

/// What an adapter cannot be without. The refusal of a compressed archive also names the files it has, since its sender
/// cannot see what it was unpacked to.
///
/// # Errors
/// Where a file is missing.
pub(super) fn check_unpacked(files: &Files) -> Result<(), Reason> {
    const WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter.safetensors"];
    let has = |name: &str| files.contains_key(name);
    let missing = match (has("adapter_config.json"), WEIGHTS.into_iter().any(has)) {
        (false, _) => Some("adapter_config.json"),
        (true, false) => Some(WEIGHTS[0]),
        (true, true) => None,
    };
    match missing {
        None => Ok(()),
        Some(name) => {
            let found: Vec<_> = files.keys().take(8).map(String::as_str).collect();
            Err(Reason::BadBody(format!(
                "the archive, unpacked with gzip, has no `{name}`; it holds {}",
                found.join(", ")
            )))
        }
    }
}

/// The regular files of an archive, at its top or all in one directory. They stay where they lie in it.
pub(super) fn unpack(bytes: &Bytes) -> Result<Files, Reason> {
    let broken =
        |why: String| Reason::BadBody(format!("the body is not a usable tar archive: {why}"));
    let mut archive = tar::Archive::new(Cursor::new(bytes));
    let (mut files, mut folder, mut seen) = (Files::new(), None, 0);
    for entry in archive
        .entries_with_seek()
        .map_err(|fault| broken(fault.to_string()))?
    {
        let entry = entry.map_err(|fault| broken(fault.to_string()))?;
        seen += 1;
        if seen > MAX_ENTRIES {
            return Err(broken(format!("it has more than {MAX_ENTRIES} entries")));
        }
        let (start, size) = (entry.raw_file_position(), entry.size());
        // Files come in whole blocks; a reader that seeks over what is missing does not notice.
        let padded = size.checked_next_multiple_of(BLOCK);
        let end = padded.and_then(|padded| start.checked_add(padded));
        if end.is_none_or(|end| end > bytes.len() as u64) {
            return Err(broken("it is cut off".to_owned()));
        }
        let path = entry
            .path()
            .map_err(|fault| broken(fault.to_string()))?
            .into_owned();
        let shown = path.display().to_string();
        let mut parts = Vec::new();
        for part in path.components() {
            match part {
                Component::CurDir => {}
                Component::Normal(name) => parts.push(
                    name.to_str()
                        .map(str::to_owned)
                        .ok_or_else(|| broken("a name is not UTF-8".to_owned()))?,
                ),
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return Err(broken(format!("`{shown}` leaves the archive")));
                }
            }
        }
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            continue;
        }
        if !kind.is_file() {
            return Err(broken(format!("`{shown}` is not a regular file")));
        }
        let (place, name) = match parts.as_slice() {
            [name] => (None, name.clone()),
            [place, name] => (Some(place.clone()), name.clone()),
            _ => return Err(broken(format!("`{shown}` is deeper than one directory"))),
        };
        // What archivers of some systems add of their own.
        if name.starts_with('.') {
            continue;
        }
        if *folder.get_or_insert_with(|| place.clone()) != place {
            return Err(broken("its files are not all in one directory".to_owned()));
        }
        let content = bytes.slice(start as usize..(start + size) as usize);
        if files.insert(name, content).is_some() {
            return Err(broken(format!("`{shown}` appears twice")));
        }
    }
    if files.is_empty() {
        return Err(broken("it holds no files".to_owned()));
    }
    Ok(files)
}

/// The files at the top of an archive; the same files make the same bytes.
pub(super) fn pack(files: &Files) -> Result<Vec<u8>, Reason> {
    let failed =
        |fault: std::io::Error| Reason::Internal(format!("cannot write an archive: {fault}"));
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        archive
            .append_data(&mut header, name, &content[..])
            .map_err(failed)?;
    }
    archive.into_inner().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        Files::from([
            ("a.json".to_owned(), Bytes::from_static(b"{}")),
            ("b.safetensors".to_owned(), vec![0; 5000].into()),
        ])
    }

    fn archive(entries: &[(&str, tar::EntryType)]) -> Bytes {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, kind) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            header.set_entry_type(*kind);
            // Written raw: the builder itself would refuse the paths under test.
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            if *kind == tar::EntryType::Symlink {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            archive.append(&header, std::io::empty()).unwrap();
        }
        archive.into_inner().unwrap().into()
    }

    #[test]
    fn how_an_archive_is_compressed_is_told_by_how_it_begins() {
        assert_eq!(packing(b"\x1f\x8b\x08\0\0\0"), Ok(Some(Coding::Gzip)));
        for plain in [
            &b""[..],
            b"a",
            b"adapter_config.json\0",
            b"./",
            b"\x1f",
            b"PK",
        ] {
            assert_eq!(packing(plain), Ok(None), "{plain:?}");
        }
        for (magic, name) in OTHERS {
            assert!(magic.len() <= MAGIC_BYTES);
            let told = packing(&[magic, &b"rest"[..]].concat());
            assert!(
                matches!(&told, Err(Reason::BadBody(why)) if why.contains(name) && why.contains("tar czf")),
                "{told:?}"
            );
        }
    }

    #[test]
    fn what_is_packed_unpacks_the_same() {
        assert_eq!(unpack(&pack(&files()).unwrap().into()).unwrap(), files());
    }

    #[test]
    fn files_are_parts_of_the_body_wherever_they_begin_in_it() {
        let (long, content) = (format!("{}.json", "n".repeat(150)), b"{\"r\": 8}");
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        // A name this long has an entry of its own before the file's.
        archive
            .append_data(&mut header, &long, &content[..])
            .unwrap();
        let body = Bytes::from(archive.into_inner().unwrap());
        let found = unpack(&body).unwrap();
        assert_eq!(found[&long], content[..]);
        assert!(body.as_ptr_range().contains(&found[&long].as_ptr()));
    }

    #[test]
    fn what_archivers_add_is_left_out_but_must_be_there() {
        let mut body = pack(&files()).unwrap();
        body.truncate(body.len() - 2 * 512);
        let mut header = tar::Header::new_gnu();
        header.set_path("._a").unwrap();
        header.set_size(4096);
        header.set_cksum();
        body.extend_from_slice(header.as_bytes());
        assert!(matches!(
            unpack(&body.clone().into()),
            Err(Reason::BadBody(_))
        ));
        body.extend_from_slice(&[0; 4096]);
        assert_eq!(unpack(&body.into()).unwrap(), files());
    }

    #[test]
    fn files_may_lie_in_one_directory() {
        use tar::EntryType::{Directory, Regular};
        let found = unpack(&archive(&[
            ("./legal/", Directory),
            ("./legal/a.json", Regular),
            ("./legal/._a", Regular),
        ]));
        assert_eq!(found.unwrap().into_keys().collect::<Vec<_>>(), ["a.json"]);
    }

    #[test]
    fn odd_entries_are_refused() {
        use tar::EntryType::{Fifo, GNUSparse, Link, Regular, Symlink};
        for entries in [
            &[("../a.json", Regular)][..],
            &[("/etc/a.json", Regular)],
            &[("a.json", Symlink)],
            &[("a.json", Link)],
            &[("a.json", Fifo)],
            &[("a.json", GNUSparse)],
            &[("x/y/a.json", Regular)],
            &[("x/a.json", Regular), ("y/b.json", Regular)],
            &[("a.json", Regular), ("./a.json", Regular)],
            &[],
        ] {
            assert!(
                matches!(unpack(&archive(entries)), Err(Reason::BadBody(_))),
                "{entries:?}"
            );
        }
        let whole = pack(&files()).unwrap();
        // In the last file, and in what fills its last block.
        for length in [3000, 3 * 512 + 5000 + 1] {
            let cut = Bytes::copy_from_slice(&whole[..length]);
            assert!(matches!(unpack(&cut), Err(Reason::BadBody(_))), "{length}");
        }
        assert!(matches!(
            unpack(&Bytes::from_static(b"not a tar")),
            Err(Reason::BadBody(_))
        ));
    }
}
