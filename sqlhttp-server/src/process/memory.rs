//! The limits on the memory and on the open files of the process.

/// Disables transparent huge pages for the process. With them, the operating system may back the heaps of several
/// threads with huge pages, and an idle server then takes twice the memory.
pub fn disable_huge_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "cannot disable transparent huge pages");
    }
}

/// Installs the allocator that counts SQLite's memory. It limits all statements together to half of the memory that the
/// process may use; only allocations of 64 KiB and more are limited. `main` must call this function before it starts a
/// thread.
#[allow(unsafe_code)]
pub fn install_sqlite_allocator() {
    let bytes_max = memory_max().map_or(u64::MAX, |bytes| bytes / 2);
    // SAFETY: `main` calls this before it starts another thread.
    let installed = unsafe { sqlhttp_core::install_allocator(bytes_max) };
    if !installed {
        tracing::warn!("SQLite was initialised before: -max-statement-memory has no effect");
    }
}

/// Returns the memory that the process may use, in bytes: the memory of the machine, or the limit of the process's
/// control group if that is lower. `None` if neither can be read.
fn memory_max() -> Option<u64> {
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| parse_mem_total(&text));
    [group, machine].into_iter().flatten().min()
}

/// Returns the total memory of the machine, in bytes, as given in the content of `/proc/meminfo`. `None` if the content
/// cannot be parsed.
fn parse_mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The number of file descriptors that are reserved for purposes other than client connections and open databases:
/// listeners, threads, the Raft log, copies of databases, and connections that are being refused.
const FILES_RESERVED: u64 = 96;

/// The number of file descriptors that are reserved for each database. Each SQLite connection to it has the database
/// file and its write-ahead log open.
const FILES_PER_DATABASE: u64 = 16;

/// Returns how many client connections may be open if the process may have `files` open file descriptors. Descriptors
/// are first reserved for `databases` databases and for other purposes, but at least half of all descriptors remain for
/// connections.
pub(crate) fn connections_within(files: u64, databases: usize) -> usize {
    let others = FILES_RESERVED.saturating_add(FILES_PER_DATABASE.saturating_mul(databases as u64));
    usize::try_from(files.saturating_sub(others).max(files / 2)).unwrap_or(usize::MAX)
}

/// Returns the maximum number of open file descriptors of this process; `None` if it is unlimited.
pub(crate) fn open_files_max() -> Option<u64> {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    None
}

/// Raises the soft limit of open file descriptors (`RLIMIT_NOFILE`) to the hard limit. The soft limit in a shell is
/// often only 1024.
pub fn raise_open_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
            tracing::debug!(%error, "cannot raise the limit of open files");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{connections_within, parse_mem_total};

    #[test]
    fn the_memory_of_the_machine_is_parsed() {
        assert_eq!(parse_mem_total("MemTotal:       24589876 kB\nMemFree: 1 kB\n"), Some(24_589_876 * 1024));
        assert_eq!(parse_mem_total("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn file_descriptors_are_reserved_for_databases() {
        assert_eq!(connections_within(1 << 20, 2), (1 << 20) - 96 - 32);
        assert_eq!(connections_within(1024, 1), 912);
        assert_eq!((connections_within(100, 1), connections_within(0, 1)), (50, 0));
    }
}
