//! Computes the total size of the files in a directory, for `/status`.

use std::path::Path;

/// The maximum number of directory entries that are read. A data directory may contain any number of files, and the
/// client waits for the response.
const ENTRIES_MAX: usize = 20_000;

/// Returns the total size of all files below a directory, in bytes. Symbolic links are not followed. Entries that
/// cannot be read, such as files that have just been removed, are not counted. Blocks the thread.
pub(crate) fn size(directory: &Path) -> u64 {
    let (mut bytes, mut seen) = (0_u64, 0);
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            seen += 1;
            if seen > ENTRIES_MAX {
                return bytes;
            }
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => waiting.push(entry.path()),
                Ok(metadata) => bytes = bytes.saturating_add(metadata.len()),
                Err(_) => {}
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_files_at_all_depths() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("a/b")).unwrap();
        std::fs::write(directory.path().join("one"), [0; 10]).unwrap();
        std::fs::write(directory.path().join("a/b/two"), [0; 200]).unwrap();
        assert_eq!(size(directory.path()), 210);
        assert_eq!(size(&directory.path().join("missing")), 0);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(directory.path(), directory.path().join("loop")).unwrap();
        std::fs::write(directory.path().join("one"), [0; 10]).unwrap();
        assert!(size(directory.path()) < 4096);
    }
}
