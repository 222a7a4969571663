//! Whether there is room left on a disk.

use std::path::Path;

/// With less than this, in bytes, a disk counts as full. What makes a disk full leaves less of it.
#[cfg(unix)]
const ROOM_MIN: u64 = 16 << 20;

/// Whether there is room left on the disk that a file is on. If that cannot be found out: no.
#[cfg(unix)]
pub(crate) fn is_left_beside(file: &Path) -> bool {
    rustix::fs::statvfs(file).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= ROOM_MIN)
}

#[cfg(not(unix))]
pub(crate) fn is_left_beside(_file: &Path) -> bool {
    false
}
