//! Data about this process from `/proc/self/status`. On systems other than Linux, all values are 0.

/// Returns the size of a memory page, in bytes; 0 on systems other than Unix.
pub(crate) fn page_bytes() -> usize {
    #[cfg(unix)]
    return rustix::param::page_size();
    #[cfg(not(unix))]
    return 0;
}

/// Returns the number of threads of this process.
pub(crate) fn threads() -> u64 {
    figure(&read_status(), "Threads")
}

/// Returns the resident memory and the size of the address space of this process, in bytes.
pub(crate) fn memory_bytes() -> (u64, u64) {
    let text = read_status();
    (figure(&text, "VmRSS").saturating_mul(1024), figure(&text, "VmSize").saturating_mul(1024))
}

fn read_status() -> String {
    std::fs::read_to_string("/proc/self/status").unwrap_or_default()
}

/// Returns the number after `name:` in the content of `/proc/self/status`; 0 if there is none. The numbers of sizes are
/// in KiB.
fn figure(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures() {
        let text = "Name:\tx\nVmRSSx:\t1 kB\nVmRSS:\t    1692 kB\nThreads:\t12\n";
        assert_eq!(figure(text, "VmRSS"), 1692);
        assert_eq!(figure(text, "Threads"), 12);
        assert_eq!(figure(text, "Name"), 0);
        assert_eq!(figure(text, "VmSize"), 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process() {
        assert!(page_bytes().is_power_of_two());
        assert!(threads() >= 1);
        let (resident, all) = memory_bytes();
        assert!(resident > 0 && resident <= all);
    }
}
