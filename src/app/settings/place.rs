//! Where state is kept when no setting says so: adapters and jobs outlive the process, so never in a directory that the
//! system empties.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

const NAME: &str = "adapterd";
/// Below a home, by the XDG specification.
const BELOW_HOME: &str = ".local/state";
const SYSTEM: &str = "/var/lib/adapterd";
/// Stands in the password file for accounts without a home.
const NO_HOME: &str = "/nonexistent";

/// A directory for state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Absolute.
    pub dir: PathBuf,
    /// What chose it, for people.
    pub why: String,
}

/// What the environment says about it; an empty variable is as good as none.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    xdg_state_home: Option<OsString>,
    home: Option<OsString>,
    state_directory: Option<OsString>,
}

impl Hints {
    /// Keeps a variable if it is one of the three.
    pub fn hear(&mut self, name: &OsStr, value: &OsStr) {
        let kept = match name.to_str() {
            Some("XDG_STATE_HOME") => &mut self.xdg_state_home,
            Some("HOME") => &mut self.home,
            Some("STATE_DIRECTORY") => &mut self.state_directory,
            _ => return,
        };
        *kept = Some(value.to_owned()).filter(|value| !value.is_empty());
    }
}

/// What is asked of the machine.
pub trait Machine {
    /// The home that the password file names for this account.
    fn account_home(&self) -> Option<PathBuf>;
    /// Whether `dir` can be made, or written if it is there.
    fn can_write(&self, dir: &Path) -> bool;
    fn is_there(&self, dir: &Path) -> bool;
}

/// The first of these that can be used: `$XDG_STATE_HOME`, `$HOME`, `$STATE_DIRECTORY` (what systemd made for its unit),
/// the account's home, the system's place. An error says why each could not.
pub fn find(hints: &Hints, machine: &dyn Machine) -> Result<Place, String> {
    let mut passed = Passed::default();
    if let Some(dir) = passed.absolute("XDG_STATE_HOME", hints.xdg_state_home.as_deref()) {
        // An explicit choice: where it cannot be written, the start fails instead of choosing another.
        return Ok(passed.place(dir.join(NAME), "$XDG_STATE_HOME"));
    }
    let home = passed.absolute("HOME", hints.home.as_deref());
    if let Some(dir) = home.and_then(|home| passed.below("HOME", home, machine)) {
        return Ok(passed.place(dir, "$HOME"));
    }
    if hints.home.is_none() {
        passed.over("HOME is not set".to_owned());
    }
    let first = hints.state_directory.as_deref().map(first_of_list);
    if let Some(dir) = passed.absolute("STATE_DIRECTORY", first.as_deref()) {
        return Ok(passed.place(dir.to_owned(), "$STATE_DIRECTORY"));
    }
    let account = machine.account_home();
    match account.as_deref() {
        Some(account) if home == Some(account) => {}
        Some(account) => {
            if let Some(dir) = passed.below("the account's home", account, machine) {
                return Ok(passed.place(dir, "the account's home"));
            }
        }
        None => passed.over("the account has no home".to_owned()),
    }
    match machine.can_write(Path::new(SYSTEM)) {
        true => Ok(passed.place(SYSTEM.into(), "the system's place")),
        false => {
            passed.over(format!("{SYSTEM} cannot be written"));
            Err(format!(
                "there is no place to keep state ({}); name one with --data-dir",
                passed.0.join(", ")
            ))
        }
    }
}

/// systemd separates several directories by colons.
fn first_of_list(value: &OsStr) -> OsString {
    match value.to_str() {
        Some(text) => text
            .split(':')
            .find(|dir| !dir.is_empty())
            .unwrap_or(text)
            .into(),
        None => value.to_owned(),
    }
}

/// What could not be used, and why.
#[derive(Default)]
struct Passed(Vec<String>);

impl Passed {
    fn over(&mut self, why: String) {
        self.0.push(why);
    }

    fn place(&self, dir: PathBuf, by: &str) -> Place {
        let why = match self.0.is_empty() {
            true => by.to_owned(),
            false => format!("{by}; {}", self.0.join(", ")),
        };
        Place { dir, why }
    }

    /// Relative directories are not used: what they mean would depend on where the daemon was started.
    fn absolute<'a>(&mut self, name: &str, value: Option<&'a OsStr>) -> Option<&'a Path> {
        let dir = Path::new(value?);
        if dir.is_absolute() {
            return Some(dir);
        }
        self.over(format!("{name} `{}` is not absolute", dir.display()));
        None
    }

    fn below(&mut self, name: &str, home: &Path, machine: &dyn Machine) -> Option<PathBuf> {
        let dir = home.join(BELOW_HOME).join(NAME);
        let is_home = home.parent().is_some() && home != Path::new(NO_HOME);
        // State that exists is not left behind for another place because its owner or mode changed.
        if is_home && (machine.is_there(&dir) || machine.can_write(&dir)) {
            return Some(dir);
        }
        let what = if is_home {
            "cannot be written"
        } else {
            "is no home"
        };
        self.over(format!("{name} `{}` {what}", home.display()));
        None
    }
}

/// The machine that this process runs on.
pub struct Here;

impl Machine for Here {
    fn account_home(&self) -> Option<PathBuf> {
        use uzers::os::unix::UserExt;
        let account = uzers::get_user_by_uid(uzers::get_effective_uid())?;
        let home = account.home_dir().to_owned();
        home.is_absolute().then_some(home)
    }

    fn can_write(&self, dir: &Path) -> bool {
        use rustix::fs::{Access, access};
        let there = dir.ancestors().find(|dir| dir.symlink_metadata().is_ok());
        there.is_some_and(|dir| {
            dir.is_dir() && access(dir, Access::WRITE_OK | Access::EXEC_OK).is_ok()
        })
    }

    fn is_there(&self, dir: &Path) -> bool {
        dir.is_dir()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine where some trees can be written.
    #[derive(Default)]
    struct Made {
        account: Option<&'static str>,
        writable: &'static [&'static str],
        there: &'static [&'static str],
    }

    impl Machine for Made {
        fn account_home(&self) -> Option<PathBuf> {
            self.account.map(PathBuf::from)
        }

        fn can_write(&self, dir: &Path) -> bool {
            self.writable.iter().any(|tree| dir.starts_with(tree))
        }

        fn is_there(&self, dir: &Path) -> bool {
            self.there.iter().any(|there| dir == Path::new(there))
        }
    }

    fn hints(variables: &[(&str, &str)]) -> Hints {
        let mut hints = Hints::default();
        for (name, value) in variables {
            hints.hear(OsStr::new(name), OsStr::new(value));
        }
        hints
    }

    fn found(variables: &[(&str, &str)], machine: &Made) -> Place {
        find(&hints(variables), machine).unwrap()
    }

    const USUAL: Made = Made {
        account: Some("/home/me"),
        writable: &["/home/me", "/srv/me", "/var/lib/adapterd"],
        there: &[],
    };

    #[test]
    fn the_first_place_that_can_be_used_is_taken() {
        let (xdg, home) = (("XDG_STATE_HOME", "/x"), ("HOME", "/srv/me"));
        let unit = ("STATE_DIRECTORY", "/var/lib/private/llm:/var/lib/other");
        for (variables, dir, why) in [
            (&[xdg, home, unit][..], "/x/adapterd", "$XDG_STATE_HOME"),
            (&[home, unit], "/srv/me/.local/state/adapterd", "$HOME"),
            (&[unit], "/var/lib/private/llm", "$STATE_DIRECTORY"),
            (&[], "/home/me/.local/state/adapterd", "the account's home"),
        ] {
            let place = found(variables, &USUAL);
            assert_eq!(place.dir, Path::new(dir));
            assert!(place.why.starts_with(why), "{}", place.why);
        }
        let homeless = Made {
            account: Some("/nonexistent"),
            ..USUAL
        };
        let place = found(&[], &homeless);
        assert_eq!(place.dir, Path::new(SYSTEM));
        assert_eq!(
            place.why,
            "the system's place; HOME is not set, the account's home `/nonexistent` is no home"
        );
    }

    #[test]
    fn an_empty_or_relative_value_and_a_home_that_is_none_are_passed_over_and_told() {
        for (name, value, told) in [
            ("XDG_STATE_HOME", "", ""),
            (
                "XDG_STATE_HOME",
                "state",
                "XDG_STATE_HOME `state` is not absolute",
            ),
            (
                "XDG_STATE_HOME",
                "~/x",
                "XDG_STATE_HOME `~/x` is not absolute",
            ),
            ("HOME", "", "HOME is not set"),
            ("HOME", "me", "HOME `me` is not absolute"),
            ("HOME", "/", "HOME `/` is no home"),
            ("HOME", "/nonexistent", "HOME `/nonexistent` is no home"),
            ("HOME", "/nonexistent/", "HOME `/nonexistent/` is no home"),
            ("HOME", "/root", "HOME `/root` cannot be written"),
            ("STATE_DIRECTORY", "", ""),
            (
                "STATE_DIRECTORY",
                "llm",
                "STATE_DIRECTORY `llm` is not absolute",
            ),
        ] {
            let place = found(&[(name, value)], &USUAL);
            assert_eq!(place.dir, Path::new("/home/me/.local/state/adapterd"));
            assert!(place.why.contains(told), "{name}={value}: {}", place.why);
        }
    }

    #[test]
    fn without_any_place_the_error_names_the_flag_and_never_the_temporary_directory() {
        for (variables, account) in [
            (&[][..], None),
            (&[("HOME", "/")][..], Some("/")),
            (&[("HOME", "/home/me")], Some("/home/me")),
            (
                &[("HOME", ""), ("XDG_STATE_HOME", "x")],
                Some("/nonexistent"),
            ),
        ] {
            let bare = Made {
                account,
                writable: &["/tmp", "/var/tmp"],
                there: &[],
            };
            let why = find(&hints(variables), &bare).unwrap_err();
            assert!(why.contains("--data-dir") && why.contains(SYSTEM), "{why}");
            assert!(!why.contains("/tmp"), "{why}");
        }
    }

    #[test]
    fn a_state_directory_that_is_there_is_kept_even_if_it_cannot_be_written() {
        let machine = Made {
            there: &["/home/me/.local/state/adapterd"],
            writable: &[SYSTEM],
            ..USUAL
        };
        let place = found(&[("HOME", "/home/me")], &machine);
        assert_eq!(place.dir, Path::new("/home/me/.local/state/adapterd"));
    }

    #[test]
    fn a_directory_can_be_written_where_the_nearest_that_is_there_can() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(Here.can_write(&dir.path().join("a/b/c")));
        assert!(Here.can_write(dir.path()));
        assert!(!Here.can_write(&file));
        assert!(!Here.can_write(&file.join("below")));
    }
}
