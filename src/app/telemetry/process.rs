//! What the system says of this process.

use crate::device::machine;

/// By the name that exporters of every language give it, as lines of the exposition; nothing where the system does not
/// say.
pub fn exposition() -> String {
    const NAME: &str = "process_resident_memory_bytes";
    machine::of_process("VmRSS").map_or_else(String::new, |bytes| {
        format!("# HELP {NAME} Memory of the process\n# TYPE {NAME} gauge\n{NAME} {bytes}\n")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_where_the_system_says_it() {
        #[cfg(target_os = "linux")]
        assert!(exposition().contains("\nprocess_resident_memory_bytes "));
    }
}
