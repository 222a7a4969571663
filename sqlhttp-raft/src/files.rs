//! The small files of a node: `node.json`, `raft/install.json` and `raft/differs.json`.

use std::io::{self, ErrorKind};
use std::path::Path;

use crate::log::disk;

/// Returns the contents of a file; `None` if it does not exist.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn read(file: &Path) -> io::Result<Option<Vec<u8>>> {
    match disk::current().read(file) {
        Ok(contents) => Ok(Some(contents)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces the contents of a file. When this function returns, the new contents are durable; a crash before that
/// leaves either the old contents or the new ones.
///
/// # Errors
/// A file operation failed.
pub(crate) fn write_durably(file: &Path, contents: &[u8]) -> io::Result<()> {
    let disk = disk::current();
    let temporary = file.with_extension("tmp");
    let written = disk.create(&temporary)?;
    written.write_all_at(contents, 0)?;
    if mutated!(UnsyncedFile) {
        return disk.rename(&temporary, file);
    }
    written.sync()?;
    disk.rename(&temporary, file)?;
    disk.sync_directory(directory_of(file))
}

/// Removes a file durably. Does nothing if it does not exist.
///
/// # Errors
/// A file operation failed.
pub(crate) fn remove_durably(file: &Path) -> io::Result<()> {
    let disk = disk::current();
    match disk.remove(file) {
        Ok(()) => disk.sync_directory(directory_of(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Creates a directory and the directories that contain it, unless they exist. Those that it creates are durable on
/// return.
///
/// # Errors
/// A file operation failed.
pub(crate) fn create_directories(directory: &Path) -> io::Result<()> {
    disk::current().create_directories(directory)
}

/// Syncs the directory that contains `file`, so that the creation, the renaming or the removal of the file is durable.
///
/// # Errors
/// A file operation failed.
pub(crate) fn sync_directory_of(file: &Path) -> io::Result<()> {
    disk::current().sync_directory(directory_of(file))
}

fn directory_of(file: &Path) -> &Path {
    // The parent of a relative path with one component is empty.
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("a").join("b");
        create_directories(&below).unwrap();
        create_directories(&below).unwrap();
        let file = below.join("c.json");
        assert_eq!(read(&file).unwrap(), None);
        write_durably(&file, b"a long text").unwrap();
        write_durably(&file, b"short").unwrap();
        assert_eq!(read(&file).unwrap(), Some(b"short".to_vec()));
        assert_eq!(std::fs::read_dir(&below).unwrap().count(), 1);
        remove_durably(&file).unwrap();
        remove_durably(&file).unwrap();
        assert_eq!(read(&file).unwrap(), None);
        std::fs::write(below.join("d"), "").unwrap();
        assert!(create_directories(&below.join("d")).is_err(), "a file has this name");
    }
}
