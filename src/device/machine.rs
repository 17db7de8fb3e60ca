//! The memory of this process and of the machine it runs on: what is left of it, within the limits of its control groups.

use std::path::{Path, PathBuf};

/// Bytes that could still be taken; `None` where the system does not say.
pub fn available() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = of_memory("MemAvailable");
    let own = read("/proc/self/cgroup").unwrap_or_default();
    let groups = groups(&own, Path::new("/sys/fs/cgroup"));
    let left = groups.iter().filter_map(|folder| left_in(folder));
    left.chain(machine).min()
}

/// Bytes that this process holds and that the system cannot take back by itself, as it can pages of files that are only
/// mapped; `None` where the system does not say.
pub fn held() -> Option<u64> {
    let account = std::fs::read_to_string("/proc/self/status").ok()?;
    let anonymous = bytes_of("RssAnon", &account);
    let shared = bytes_of("RssShmem", &account).unwrap_or(0);
    anonymous
        .map(|bytes| bytes + shared)
        .or_else(|| bytes_of("VmRSS", &account))
}

/// Bytes that this process may hold: of its control groups and the machine, what the tightest has.
pub fn allowed() -> Option<u64> {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let groups = groups(&own, Path::new("/sys/fs/cgroup"));
    let limits = groups.iter().filter_map(|folder| limit_of(folder));
    limits.chain(of_memory("MemTotal")).min()
}

/// An entry of the system's account of this process, such as `VmRSS`, in bytes; `None` where it does not say.
pub fn of_process(entry: &str) -> Option<u64> {
    bytes_of(entry, &std::fs::read_to_string("/proc/self/status").ok()?)
}

/// An entry of its account of the machine's memory, such as `MemTotal`, likewise.
pub fn of_memory(entry: &str) -> Option<u64> {
    bytes_of(entry, &std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn bytes_of(entry: &str, account: &str) -> Option<u64> {
    let number = |line: &str| -> Option<u64> {
        let kib = line.strip_prefix(entry)?.strip_prefix(':')?.trim();
        kib.strip_suffix("kB")?.trim().parse().ok()
    };
    account.lines().find_map(number).map(|kib| kib * 1024)
}

/// The folders of a process's control groups and of those around them. `own` is its `/proc/self/cgroup`.
fn groups(own: &str, root: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        // One tree for all controllers, or one of each.
        let root = match controllers {
            "" => root.to_owned(),
            all if all.split(',').any(|name| name == "memory") => root.join("memory"),
            _ => continue,
        };
        let inner = root.join(path.trim_start_matches('/'));
        // Within a container the group's own folder may be the root.
        folders.extend(
            inner
                .ancestors()
                .take_while(|at| at.starts_with(&root))
                .map(Path::to_owned),
        );
    }
    folders
}

/// The number in the first of these files that is there.
fn number_in(folder: &Path, names: [&str; 2]) -> Option<u64> {
    let mut texts = names
        .into_iter()
        .filter_map(|name| std::fs::read_to_string(folder.join(name)).ok());
    texts.next()?.trim().parse().ok()
}

/// A control group's limit, where it has one.
fn limit_of(folder: &Path) -> Option<u64> {
    number_in(folder, ["memory.max", "memory.limit_in_bytes"])
}

/// What is left within a control group's limit, where it has one.
fn left_in(folder: &Path) -> Option<u64> {
    let limit = limit_of(folder)?;
    let used = number_in(folder, ["memory.current", "memory.usage_in_bytes"])?;
    // Pages of files that nobody uses are given up when they are needed.
    let stat = std::fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let idle = stat.lines().find_map(|line| {
        let line = line.strip_prefix("total_").unwrap_or(line);
        line.strip_prefix("inactive_file ")?.parse::<u64>().ok()
    });
    let used = used.saturating_sub(idle.unwrap_or(0));
    Some(limit.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_in_bytes() {
        let text = "MemTotal:       24683000 kB\nMemFree: 1 kB\nMemAvailable:   23700000 kB\n";
        assert_eq!(bytes_of("MemAvailable", text), Some(23_700_000 * 1024));
        assert_eq!(bytes_of("MemAvailable", "MemTotal: 1 kB"), None);
    }

    #[test]
    fn memory_is_read_from_the_systems_account_of_a_process() {
        let status = "Name:\tadapterd\nVmHWM:\t    9999 kB\nVmRSS:\t    2048 kB\n";
        assert_eq!(bytes_of("VmRSS", status), Some(2 << 20));
        assert_eq!(bytes_of("VmRSS", "Name:\tadapterd\n"), None);
    }

    #[test]
    fn the_tightest_group_around_a_process_counts() {
        let root = tempfile::tempdir().unwrap();
        let put = |folder: &str, name: &str, text: &str| {
            let folder = root.path().join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(name), text).unwrap();
        };
        put("a", "memory.max", "1000\n");
        put("a", "memory.current", "700\n");
        put("a", "memory.stat", "anon 500\ninactive_file 150\n");
        put("a/b", "memory.max", "max\n");
        put("a/b", "memory.current", "600\n");
        let folders = groups("0::/a/b\n", root.path());
        let left: Vec<_> = folders.iter().map(|folder| left_in(folder)).collect();
        assert_eq!(left, [None, Some(450), None]);
        put("memory/c", "memory.limit_in_bytes", "2000");
        put("memory/c", "memory.usage_in_bytes", "1900");
        put("memory/c", "memory.stat", "total_inactive_file 40\n");
        let folders = groups("3:cpu:/x\n4:memory:/c\n", root.path());
        assert_eq!(left_in(&folders[0]), Some(140));
        assert!(groups("nonsense", root.path()).is_empty());
    }
}
