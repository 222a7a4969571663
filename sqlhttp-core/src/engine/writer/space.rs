//! Space on the disk, after a write that found none.

use std::path::Path;

use super::thread::Writer;

/// This much free space on the disk is enough for any other statement, bytes; on a small disk a quarter of it.
#[cfg(unix)]
const FREE_BYTES_MIN: u64 = 32 << 20;

impl Writer<'_> {
    /// Frees the space that the rolled-back transaction has taken. (A transaction larger than the cache writes to the
    /// write-ahead log before it commits.)
    ///
    /// The log is cut before the checkpoint, which may need the space in the database file.
    pub(in crate::engine) fn free_space(&mut self) {
        if self.shared.config.file().is_none() {
            return;
        }
        match self.session.cut_log_tail(&self.shared.config) {
            Ok(bytes) => tracing::debug!(bytes, "the write-ahead log is cut behind its last commit"),
            Err(error) => tracing::debug!(%error, "the write-ahead log keeps its size"),
        }
        if let Err(error) = self.session.checkpoint_now(&self.shared.config) {
            tracing::debug!(%error, "the write-ahead log is not moved into the database file");
        }
    }
}

#[cfg(not(unix))]
pub(in crate::engine) fn has_space(_file: &Path) -> bool {
    false
}

/// Whether the disk of a file, and that of temporary files, have enough space for any ordinary statement.
#[cfg(unix)]
pub(in crate::engine) fn has_space(file: &Path) -> bool {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    [directory, &std::env::temp_dir()].into_iter().all(|directory| {
        rustix::fs::statvfs(directory).is_ok_and(|stat| {
            let enough = FREE_BYTES_MIN.min(stat.f_blocks.saturating_mul(stat.f_frsize) / 4);
            stat.f_bavail.saturating_mul(stat.f_frsize) >= enough
        })
    })
}
