//! Completions and manual pages, as shells and files have them.

use std::collections::BTreeSet;
use std::process::Command;

use crate::command_line::{outcome, program};

/// Each shell that this machine has reads its script; bash, which machines have, also completes by it.
#[tokio::test]
async fn shells_read_their_completions_and_bash_completes_a_command() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = outcome(program(&["completions", shell])).await;
        assert_eq!(code, 0);
        assert!(script.contains("rollback"), "{shell}");
        let place = folder.path().join(shell);
        std::fs::write(&place, script).unwrap();
        let read = Command::new(shell).arg("-n").arg(&place).output();
        if let Ok(read) = read {
            assert!(read.status.success(), "{shell}: {read:?}");
        }
    }
    const ASK: &str = r#"source "$1"; COMP_WORDS=(adapterd adapter rol); COMP_CWORD=2; _adapterd adapterd rol adapter; echo "${COMPREPLY[@]}""#;
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", ASK, "bash"]);
    if let Ok(told) = bash.arg(folder.path().join("bash")).output() {
        assert_eq!(String::from_utf8_lossy(&told.stdout).trim(), "rollback");
    }
}

#[tokio::test]
async fn manual_pages_are_written_and_a_folder_that_cannot_be_made_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("man1");
    let (code, said, _) = outcome(program(&["man", "--dir", dir.to_str().unwrap()])).await;
    assert_eq!((code, said.as_str()), (0, ""));
    let there: BTreeSet<String> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for page in ["adapterd.1", "adapterd-train.1", "adapterd-adapter-list.1"] {
        assert!(there.contains(page), "{page} of {there:?}");
    }
    let (code, page, _) = outcome(program(&["man"])).await;
    let written = std::fs::read_to_string(dir.join("adapterd.1")).unwrap();
    assert_eq!((code, page), (0, written));
    let below = dir.join("adapterd.1").join("more");
    let (code, _, said) = outcome(program(&["man", "--dir", below.to_str().unwrap()])).await;
    assert_eq!(code, 1);
    assert!(said.contains("adapterd.1/more"), "{said}");
}
