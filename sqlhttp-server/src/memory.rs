//! How the process asks the system for memory.

/// Has the system give memory in pages of the usual size. In huge ones, which it may choose by itself for a program with
/// several threads' heaps, a server that does little takes twice the memory.
pub fn prefer_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "memory may come in huge pages");
    }
}
