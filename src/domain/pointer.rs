//! Git LFS pointers: a few lines of text that stand where a large file belongs, in a repository cloned without `git lfs`.

/// How a pointer begins; the second is the name of the format's first drafts.
const BEGINNINGS: [&str; 2] = [
    "version https://git-lfs.github.com/spec/",
    "version https://hawser.github.com/spec/",
];

/// Why a file with these bytes cannot be read and what to do, where it is a Git LFS pointer. The beginning is enough.
pub fn lfs_pointer(bytes: &[u8]) -> Option<&'static str> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let bytes = bytes.trim_ascii_start();
    BEGINNINGS
        .iter()
        .any(|beginning| bytes.starts_with(beginning.as_bytes()))
        .then_some(
            "is a Git LFS pointer, not the file it stands for; run `git lfs pull` in the repository it came with",
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_told_by_its_first_line_and_nothing_else_is_one() {
        for pointer in [
            "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
            "version https://git-lfs.github.com/spec/v1\r\noid sha256:00\r\nsize 12\r\n",
            "\u{feff}version https://git-lfs.github.com/spec/v1\n",
            "\nversion https://git-lfs.github.com/spec/v2\next-0-x sha256:00\n",
            "version https://hawser.github.com/spec/v1\noid sha256:00\n",
        ] {
            let why = lfs_pointer(pointer.as_bytes()).unwrap();
            assert!(why.contains("Git LFS") && why.contains("git lfs pull"));
        }
        for other in [
            "",
            "version",
            "{\"version\": \"https://git-lfs.github.com/spec/v1\"}",
            "see version https://git-lfs.github.com/spec/v1",
        ] {
            assert_eq!(lfs_pointer(other.as_bytes()), None, "{other}");
        }
    }
}
