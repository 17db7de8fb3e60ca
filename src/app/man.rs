//! `man`: manual pages, made from the command line's own definition.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap_mangen::Man;

use crate::cli::Failure;

#[derive(Debug, Clone, clap::Args)]
pub struct ManArgs {
    /// Write a page for the program and one for each command into this folder, which is made where there is none
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Without a folder, the program's own page goes to standard output.
pub fn run(args: &ManArgs, program: clap::Command) -> Result<(), Failure> {
    match &args.dir {
        Some(dir) => write(&pages(program)?, dir),
        None => {
            let page = page(built(program))?;
            Ok(std::io::stdout().write_all(&page)?)
        }
    }
}

fn write(pages: &[(String, Vec<u8>)], dir: &Path) -> Result<(), Failure> {
    let failed = |place: &Path, error| Failure::failed(format!("{}: {error}", place.display()));
    fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
    for (name, page) in pages {
        let place = dir.join(name);
        fs::write(&place, page).map_err(|error| failed(&place, error))?;
    }
    Ok(())
}

/// File names and pages of the program and of every command that its help shows.
fn pages(program: clap::Command) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    let mut left = vec![built(program)];
    while let Some(command) = left.pop() {
        let shown = command
            .get_subcommands()
            .filter(|inner| !inner.is_hide_set());
        left.extend(shown.cloned());
        found.push((format!("{}.1", title(&command)), page(command)?));
    }
    Ok(found)
}

/// With what commands have of those around them. `help` is left out: it would have a page for each command once more.
fn built(program: clap::Command) -> clap::Command {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    program
}

/// As `adapterd-adapter-list`.
fn title(command: &clap::Command) -> String {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned()
}

fn page(command: clap::Command) -> std::io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(ascii(&String::from_utf8_lossy(&page)).into_bytes())
}

/// troff reads bytes, and not every viewer tells it that these are UTF-8; its own names of characters hold everywhere.
fn ascii(page: &str) -> String {
    let mut written = String::with_capacity(page.len());
    for letter in page.chars() {
        match letter.is_ascii() {
            true => written.push(letter),
            false => written.push_str(&format!("\\[u{:04X}]", u32::from(letter))),
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::app::command::definition;

    /// Names of a command and of all below it, with what each is for, as `adapter list`.
    fn commands(of: &clap::Command, above: &str, found: &mut Vec<(String, String)>) {
        for command in of.get_subcommands().filter(|inner| !inner.is_hide_set()) {
            if command.get_name() == "help" {
                continue;
            }
            let name = format!("{above}{}", command.get_name());
            let about = command.get_about().map(ToString::to_string);
            found.push((name.clone(), about.unwrap_or_default()));
            commands(command, &format!("{name} "), found);
        }
    }

    fn all() -> Vec<(String, String)> {
        let mut found = Vec::new();
        commands(&definition(), "", &mut found);
        found
    }

    #[test]
    fn every_command_has_a_page_that_says_what_it_is_for() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("man1");
        let args = ManArgs {
            dir: Some(dir.clone()),
        };
        run(&args, definition()).unwrap();
        let mut wanted = BTreeSet::from(["adapterd.1".to_owned()]);
        for (name, about) in all() {
            let file = format!("adapterd-{}.1", name.replace(' ', "-"));
            let page = fs::read_to_string(dir.join(&file)).unwrap();
            assert!(page.contains(".TH "), "{file}");
            assert!(page.is_ascii(), "{file}");
            let first = about.split([' ', '-', '\'', '.']).next().unwrap();
            assert!(!first.is_empty() && page.contains(first), "{file}: {about}");
            wanted.insert(file);
        }
        let there = fs::read_dir(&dir).unwrap();
        let there: BTreeSet<String> = there
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(there, wanted);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let args = ManArgs {
            dir: Some(file.join("man1")),
        };
        let failure = run(&args, definition()).unwrap_err();
        assert!(failure.to_string().contains("man1"), "{failure}");
    }

    /// The page of commands. Where it differs from the program, the failure prints what belongs there.
    #[test]
    fn the_documented_commands_are_the_programs() {
        let mut table = "| Command | |\n|---|---|\n".to_owned();
        for (name, about) in all() {
            let about = about.replace('|', "\\|");
            table.push_str(&format!("| `adapterd {name}` | {about} |\n"));
        }
        let place = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/commands.md");
        let page = fs::read_to_string(place).unwrap_or_default();
        assert!(
            page.contains(&table),
            "docs/reference/commands.md should have:\n{table}"
        );
    }
}
