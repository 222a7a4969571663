//! How the process asks the system for memory and for files.

/// Has the system give memory in pages of the usual size. In huge ones, which it may choose by itself for a program with
/// several threads' heaps, a server that does little takes twice the memory.
pub fn prefer_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "memory may come in huge pages");
    }
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
