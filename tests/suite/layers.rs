//! The rules a compiler does not check: which layer may import which, how long a file may grow,
//! and where `unsafe` may live.

use std::fs;
use std::path::{Path, PathBuf};

/// Each layer with those it may import, beside itself. Written out, so that a change of the order is a visible change here.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("text", &["domain"]),
    ("device", &["text", "domain"]),
    ("kernels", &["device", "text", "domain"]),
    ("adapter", &["kernels", "device", "text", "domain"]),
    ("store", &["kernels", "device", "text", "domain"]),
    ("model", &["adapter", "kernels", "device", "text", "domain"]),
    (
        "registry",
        &["adapter", "store", "kernels", "device", "text", "domain"],
    ),
    (
        "scheduler",
        &[
            "model", "registry", "adapter", "kernels", "device", "text", "domain",
        ],
    ),
    (
        "trainer",
        &[
            "model", "registry", "adapter", "store", "kernels", "device", "text", "domain",
        ],
    ),
    (
        "factory",
        &[
            "trainer", "model", "adapter", "store", "kernels", "device", "text", "domain",
        ],
    ),
    (
        "gateway",
        &[
            "scheduler",
            "trainer",
            "model",
            "registry",
            "adapter",
            "store",
            "kernels",
            "device",
            "text",
            "domain",
        ],
    ),
    ("pb", &[]),
    ("api", &["gateway", "domain", "pb"]),
    ("cli", &["domain", "pb"]),
    (
        "app",
        &[
            "api",
            "cli",
            "gateway",
            "scheduler",
            "trainer",
            "factory",
            "model",
            "registry",
            "adapter",
            "store",
            "kernels",
            "device",
            "text",
            "domain",
            "pb",
        ],
    ),
];

const LONGEST_FILE: usize = 450;

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            match entry.path() {
                path if path.is_dir() => walk(&path, found),
                path if path.extension().is_some_and(|e| e == "rs") => found.push(path),
                _ => {}
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            (
                path.strip_prefix(&root).unwrap().to_owned(),
                fs::read_to_string(&path).unwrap(),
            )
        })
        .collect()
}

fn layer_of(path: &Path) -> String {
    let first = path
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Code without line comments, so that docs may speak of any layer.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.split("//").next().unwrap_or("")))
}

/// The layers a line reaches for: `crate::x` and each `x` of `crate::{x::…, y::…}`.
fn imports(line: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => {
                let mut depth = 0;
                let mut start = 0;
                for (i, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => {
                            found.push(name(group[start..i].trim()));
                            break;
                        }
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            found.push(name(group[start..i].trim()));
                            start = i + 1;
                        }
                        _ => {}
                    }
                }
            }
            None => found.push(name(rest)),
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// Modules between a file and the crate: 1 for `registry/mod.rs`, 2 for `registry/lease.rs`.
fn depth(path: &Path) -> usize {
    let steps = path.components().count();
    if path.ends_with("mod.rs") {
        steps - 1
    } else {
        steps
    }
}

/// The same code with `super::super::x` written as `crate::x`, where it climbs that far.
fn rooted(code: &str, depth: usize) -> String {
    code.replace(&"super::".repeat(depth), "crate::")
}

#[test]
fn every_layer_imports_only_what_lies_below_it() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let layer = layer_of(&path);
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == layer) else {
            assert!(
                matches!(layer.as_str(), "lib" | "main"),
                "{layer} has no place in the order"
            );
            continue;
        };
        let joined: String = code(&text)
            .map(|(_, line)| line.trim())
            .collect::<Vec<_>>()
            .join(" ");
        for import in imports(&rooted(&joined, depth(&path))) {
            let known = MAY_IMPORT.iter().any(|(name, _)| *name == import);
            if known && import != layer && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{} imports {import}", path.display()));
            }
        }
    }
    wrong.dedup();
    assert!(
        wrong.is_empty(),
        "against the layer order:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_import_reader_sees_groups_and_paths() {
    assert_eq!(imports("use crate::domain::Reason;"), ["domain"]);
    assert_eq!(
        imports("use crate::{api::http, domain::{Ask, Reason}, pb};"),
        ["api", "domain", "pb"]
    );
    assert_eq!(
        imports("fn f(x: crate::model::Base) -> crate::text::Tokenizer"),
        ["model", "text"]
    );
    let door = Path::new("registry/mod.rs");
    assert_eq!(
        imports(&rooted("use super::scheduler::Ask;", depth(door))),
        ["scheduler"]
    );
    let inside = depth(Path::new("registry/lease.rs"));
    assert!(imports(&rooted("use super::{fault, names};", inside)).is_empty());
    assert_eq!(
        imports(&rooted("use super::super::{api, domain};", inside)),
        ["api", "domain"]
    );
}

#[test]
fn files_stay_readable_in_one_sitting() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|(path, text)| (text.lines().count(), path))
        .filter(|(lines, _)| *lines > LONGEST_FILE)
        .collect();
    assert!(long.is_empty(), "split these by meaning: {long:?}");
}

#[test]
fn only_the_store_speaks_sql() {
    for (path, text) in sources() {
        let speaks = code(&text).any(|(_, line)| line.contains("sqlx"));
        let at_home = path.starts_with("store");
        assert!(
            at_home || !speaks,
            "{}: sqlx outside the store",
            path.display()
        );
    }
}

#[test]
fn unsafe_lives_in_the_kernels_and_the_weight_mapper_and_gives_its_reason() {
    for (path, text) in sources() {
        let uses_unsafe = |line: &str| {
            // `unsafe-inline` is a word of a page's policy.
            line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-')
                .any(|word| word == "unsafe")
        };
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in code(&text).filter(|(_, line)| uses_unsafe(line)) {
            let at_home = path.starts_with("kernels") || path.starts_with("model/weights");
            assert!(
                at_home,
                "{}:{number}: unsafe outside its home",
                path.display()
            );
            let is_block = line.contains("unsafe {") || line.contains("unsafe impl");
            let above = &lines[number.saturating_sub(8)..number];
            let reasoned = above
                .iter()
                .any(|l| l.contains("SAFETY") || l.contains("# Safety"));
            assert!(
                !is_block || reasoned,
                "{}:{number}: no SAFETY reason",
                path.display()
            );
        }
    }
}
