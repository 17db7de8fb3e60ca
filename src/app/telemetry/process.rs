//! What the system says of this process.

/// By the name that exporters of every language give it, as lines of the exposition; nothing where the system does not
/// say.
pub fn exposition() -> String {
    const NAME: &str = "process_resident_memory_bytes";
    resident_memory().map_or_else(String::new, |bytes| {
        format!("# HELP {NAME} Memory of the process\n# TYPE {NAME} gauge\n{NAME} {bytes}\n")
    })
}

fn resident_memory() -> Option<u64> {
    resident(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_systems_account() {
        let status = "Name:\tadapterd\nVmHWM:\t    9999 kB\nVmRSS:\t    2048 kB\n";
        assert_eq!(resident(status), Some(2 << 20));
        assert_eq!(resident("Name:\tadapterd\n"), None);
        #[cfg(target_os = "linux")]
        assert!(exposition().contains("\nprocess_resident_memory_bytes "));
    }
}
