//! Small files of a node that a crash must leave whole: `node.json` and the records in `raft`.

use std::io;
use std::path::Path;

use crate::log::disk;

/// Reads a file.
///
/// # Errors
/// The file does not exist or cannot be read.
pub(crate) fn read(file: &Path) -> io::Result<Vec<u8>> {
    disk::current().read(file)
}

/// Replaces the contents of a file. When this function returns, the new contents are durable; a crash before that
/// leaves either the old contents or the new ones. Blocks.
///
/// # Errors
/// A file operation failed.
pub(crate) fn write_durably(file: &Path, contents: &[u8]) -> io::Result<()> {
    let (disk, temporary) = (disk::current(), file.with_extension("tmp"));
    let written = disk.create(&temporary)?;
    written.write_all_at(contents, 0)?;
    if mutated!(UnsyncedFile) {
        return disk.rename(&temporary, file);
    }
    written.sync()?;
    disk.rename(&temporary, file)?;
    sync_directory_of(file)
}

/// Removes a file durably, if it exists. Blocks.
///
/// # Errors
/// A file operation failed.
pub(crate) fn remove_durably(file: &Path) -> io::Result<()> {
    match disk::current().remove(file) {
        Ok(()) => sync_directory_of(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Syncs the directory that contains `file`, so that the creation, the renaming or the removal of the file is durable.
pub(crate) fn sync_directory_of(file: &Path) -> io::Result<()> {
    disk::current().sync_directory(file.parent().unwrap_or(Path::new(".")))
}
