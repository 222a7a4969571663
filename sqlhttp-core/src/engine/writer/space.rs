//! Frees disk space after a write that failed because the disk was full.

use std::path::Path;

use super::thread::Writer;

/// The free disk space, in bytes, that is enough for any ordinary statement. On a small disk, a quarter of the disk
/// size is enough.
#[cfg(unix)]
const FREE_BYTES_MIN: u64 = 32 << 20;

impl Writer<'_> {
    /// Frees the disk space that a rolled-back transaction still occupies. (A transaction larger than the page cache
    /// writes to the write-ahead log before it commits.)
    ///
    /// First the write-ahead log is truncated after its last commit; then it is checkpointed. The checkpoint may need
    /// the freed space, because the database file may grow.
    pub(in crate::engine) fn free_space(&mut self) {
        if self.shared.config.file().is_none() {
            return;
        }
        match self.session.cut_log_tail(&self.shared.config) {
            Ok(bytes) => tracing::debug!(bytes, "the write-ahead log was truncated after its last commit"),
            Err(error) => tracing::debug!(%error, "the write-ahead log was not truncated"),
        }
        if let Err(error) = self.session.checkpoint_now(&self.shared.config) {
            tracing::debug!(%error, "the write-ahead log was not checkpointed");
        }
    }
}

#[cfg(not(unix))]
pub(in crate::engine) fn has_space(_file: &Path) -> bool {
    false
}

/// Returns whether the disk of `file` and the disk of temporary files both have enough free space for any ordinary
/// statement.
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
