//! What the pages say of the project is there: their links, the anchors these name, and the tests. Pages find each other,
//! and those in another language say the same commands.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Files below `folder` that end so.
pub fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
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

/// Blocks of code, each with the line that opens it.
fn blocks(page: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut in_code = false;
    for line in page.lines() {
        let fence = line.starts_with("```");
        if fence && !in_code {
            found.push(String::new());
        }
        if let (true, Some(block)) = (fence || in_code, found.last_mut()) {
            block.push_str(line);
            block.push('\n');
        }
        in_code ^= fence;
    }
    found
}

/// Commands that the text names, and pages that it leads to, whatever their language.
fn named(page: &str) -> BTreeSet<String> {
    let command = Regex::new(r"`((?:adapterd|cargo|python3) [^`]+)`").unwrap();
    let link = Regex::new(r"\]\(([^)#\s]+)").unwrap();
    let mut found = BTreeSet::new();
    for line in prose(page) {
        found.extend(command.captures_iter(line).map(|one| one[1].to_owned()));
        let targets = link.captures_iter(line);
        found.extend(targets.map(|one| one[1].replace(".zh-CN", "")));
    }
    found
}

#[test]
fn a_page_in_chinese_has_the_commands_and_links_of_the_english_one() {
    let mut seen = 0;
    for page in pages() {
        let path = page.to_string_lossy().into_owned();
        if !path.ends_with(".zh-CN.md") {
            continue;
        }
        seen += 1;
        let chinese = fs::read_to_string(&page).unwrap();
        let english = fs::read_to_string(path.replace(".zh-CN", "")).unwrap();
        assert_eq!(blocks(&chinese), blocks(&english), "{path}");
        assert_eq!(named(&chinese), named(&english), "{path}");
        let headings = |page: &str| prose(page).filter(|line| line.starts_with('#')).count();
        assert_eq!(headings(&chinese), headings(&english), "{path}");
    }
    assert!(seen >= 2, "{seen}");
}

#[test]
fn the_start_page_leads_to_every_page() {
    let docs = root().join("docs");
    let start = named(&fs::read_to_string(docs.join("README.md")).unwrap());
    let mut pages = Vec::new();
    files(&docs, ".md", &mut pages);
    let missing: Vec<String> = pages
        .iter()
        .map(|page| page.strip_prefix(&docs).unwrap().display().to_string())
        .filter(|page| !page.starts_with("README") && !start.contains(page))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_readme_says_first_how_to_run_and_to_test() {
    let page = fs::read_to_string(root().join("README.md")).unwrap();
    let headings: Vec<&str> = prose(&page)
        .filter(|line| line.starts_with("## "))
        .collect();
    assert_eq!(headings[..2], ["## Run", "## Test"]);
    for heading in ["## Run", "## Test"] {
        let section = page.split_once(&format!("\n{heading}\n")).unwrap().1;
        let section = section.split("\n## ").next().unwrap();
        let found = blocks(section);
        let [block] = found.as_slice() else {
            panic!("{heading} has {} blocks", found.len());
        };
        let lines: Vec<&str> = block.lines().collect();
        assert!(lines.len() == 3 && lines[0] == "```sh", "{block}");
    }
}

#[test]
fn the_index_of_decisions_lists_all_of_them_and_nothing_else() {
    let page = fs::read_to_string(root().join("docs/decisions.md")).unwrap();
    let (index, decisions) = page.split_once("## Decisions, oldest first").unwrap();
    let link = Regex::new(r"\]\(#([^)]+)\)").unwrap();
    let listed: HashSet<String> = link
        .captures_iter(index)
        .map(|one| one[1].to_owned())
        .collect();
    assert_eq!(listed, anchors(decisions));
}

#[test]
fn every_how_to_has_commands_that_are_run() {
    let mut pages = Vec::new();
    files(&root().join("docs/howto"), ".md", &mut pages);
    assert!(pages.len() > 5, "{}", pages.len());
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        let marks = text.matches("<!-- run -->").count();
        let marked = text.matches("\n<!-- run -->\n```sh\n").count();
        assert!(marks > 0 && marks == marked, "{}", page.display());
    }
}
