//! What the pages say of the project is there: their links, the anchors these name, and the tests.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Files below `folder` that end so.
fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
}

fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    files(&root().join("docs"), ".md", &mut pages);
    let top = fs::read_dir(root()).unwrap();
    let top = top.map(|entry| entry.unwrap().path());
    pages.extend(top.filter(|path| path.extension().is_some_and(|end| end == "md")));
    pages
}

/// Lines outside of blocks of code.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    page.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    })
}

/// As forges make anchors of headings.
fn anchors(page: &str) -> HashSet<String> {
    let mut seen = HashSet::new();
    for line in prose(page).filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter_map(|letter| match letter {
            ' ' => Some('-'),
            '-' | '_' => Some(letter),
            letter => letter.is_alphanumeric().then_some(letter),
        });
        let anchor: String = kept.collect();
        let more = (1..).map(|number| format!("{anchor}-{number}"));
        let mut names = std::iter::once(anchor.clone()).chain(more);
        let free = names.find(|name| !seen.contains(name));
        seen.extend(free);
    }
    seen
}

#[test]
fn links_lead_to_pages_and_headings_that_are_there() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let mut broken = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for line in prose(&text) {
            for target in link.captures_iter(line).map(|found| found[1].to_owned()) {
                if target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
                let there = match path {
                    "" => page.clone(),
                    path => page.parent().unwrap().join(path),
                };
                let is_page = there.extension().is_some_and(|end| end == "md");
                let holds = there.exists()
                    && (anchor.is_empty()
                        || !is_page
                        || anchors(&fs::read_to_string(&there).unwrap()).contains(anchor));
                if !holds {
                    broken.push(format!("{}: {target}", page.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn tests_that_the_docs_name_exist() {
    let mut sources = Vec::new();
    for folder in ["src", "tests"] {
        files(&root().join(folder), ".rs", &mut sources);
    }
    let test = Regex::new(r"(?m)^\s*(?:async )?fn ([a-z0-9_]+)\(\)").unwrap();
    let mut known = HashSet::new();
    for source in sources {
        let text = fs::read_to_string(source).unwrap();
        known.extend(test.captures_iter(&text).map(|found| found[1].to_owned()));
    }
    let page = fs::read_to_string(root().join("docs/reliability.md")).unwrap();
    let named = Regex::new("`([a-z0-9]+(?:_[a-z0-9]+){3,})`").unwrap();
    let named: Vec<String> = named
        .captures_iter(&page)
        .map(|found| found[1].to_owned())
        .collect();
    assert!(named.len() > 30, "{}", named.len());
    let missing: Vec<&String> = named.iter().filter(|name| !known.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
