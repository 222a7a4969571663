//! How the process asks the system for memory and for files.

/// Has the system give memory in pages of the usual size. In huge ones, which it may choose by itself for a program with
/// several threads' heaps, a server that does little takes twice the memory.
pub fn prefer_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "memory may come in huge pages");
    }
}

/// How many files a server needs for other things than connections: listeners, threads, log, copies, and connections that
/// are being refused.
const FILES_RESERVED: u64 = 96;

/// How many more it needs for each database: the file and its write-ahead log for each of its connections.
const FILES_PER_DATABASE: u64 = 16;

/// How many connections may be open if this many files may be. At least half of them are.
pub(crate) fn connections_within(files: u64, databases: usize) -> usize {
    let others = FILES_RESERVED.saturating_add(FILES_PER_DATABASE.saturating_mul(databases as u64));
    usize::try_from(files.saturating_sub(others).max(files / 2)).unwrap_or(usize::MAX)
}

/// How many files this process may have open, if that is limited.
pub(crate) fn files_max() -> Option<u64> {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    None
}

/// Lets the process have as many files and connections open as the system allows it, instead of the few that a shell gives.
pub fn allow_many_files() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
            tracing::debug!(%error, "few files may be open at once");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::connections_within;

    #[test]
    fn databases_keep_files() {
        assert_eq!(connections_within(1 << 20, 2), (1 << 20) - 96 - 32);
        assert_eq!(connections_within(1024, 1), 912);
        assert_eq!((connections_within(100, 1), connections_within(0, 1)), (50, 0));
    }
}
