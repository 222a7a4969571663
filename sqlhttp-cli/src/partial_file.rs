//! A file that appears when it is complete.

use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::shell::ShellError;

/// A file that is written under another name, in the same directory. It is removed if it is dropped before
/// [`PartialFile::commit`]. A target that is not a regular file, such as a pipe or
/// `/dev/stdout`, is written directly.
pub(crate) struct PartialFile {
    path: PathBuf,
    target: Target,
}

enum Target {
    Direct(File),
    Temporary {
        file: NamedTempFile,
        /// The permissions of the file that is replaced.
        permissions: Option<Permissions>,
    },
}

impl PartialFile {
    /// Creates the file with the other name. A symbolic link is followed.
    ///
    /// # Errors
    /// The file cannot be created.
    pub(crate) fn create(path: &Path) -> Result<PartialFile, ShellError> {
        PartialFile::open(path).map_err(at(path))
    }

    fn open(path: &Path) -> io::Result<PartialFile> {
        let replaced = match std::fs::metadata(path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if replaced.as_ref().is_some_and(|metadata| !metadata.is_file()) {
            let file = File::options().write(true).open(path)?;
            return Ok(PartialFile { path: path.to_owned(), target: Target::Direct(file) });
        }
        let path = if replaced.is_some() { std::fs::canonicalize(path)? } else { path.to_owned() };
        let mut builder = tempfile::Builder::new();
        let mut name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_owned();
        name.push(".");
        builder.prefix(&name).suffix(".partial");
        #[cfg(unix)]
        let builder = {
            use std::os::unix::fs::PermissionsExt as _;
            // The mask of the process applies, as for any other file that is created.
            builder.permissions(Permissions::from_mode(0o666))
        };
        // The error of tempfile contains the name of the temporary file, which says nothing to the user.
        std::fs::metadata(directory_of(&path))?;
        let file = builder.tempfile_in(directory_of(&path)).map_err(|error| io::Error::from(error.kind()))?;
        let permissions = replaced.map(|metadata| metadata.permissions());
        Ok(PartialFile { path, target: Target::Temporary { file, permissions } })
    }

    /// The name of the file until it is complete; `None` if it is written directly.
    pub(crate) fn partial(&self) -> Option<&Path> {
        match &self.target {
            Target::Direct(_) => None,
            Target::Temporary { file, .. } => Some(file.path()),
        }
    }

    /// The file as a writer. Its errors do not contain the name of the file.
    pub(crate) fn writer(&mut self) -> &mut File {
        match &mut self.target {
            Target::Direct(file) => file,
            Target::Temporary { file, .. } => file.as_file_mut(),
        }
    }

    /// Writes bytes at the end of the file.
    ///
    /// # Errors
    /// The bytes cannot be written, for example because the disk is full.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), ShellError> {
        self.writer().write_all(bytes).map_err(at(&self.path))
    }

    /// Gives the file its name, after its content is on the disk. Replaces a file that has this name, and keeps its
    /// permissions.
    ///
    /// # Errors
    /// The content cannot be written, or the file cannot be renamed.
    pub(crate) fn commit(self) -> Result<(), ShellError> {
        let PartialFile { path, target } = self;
        let Target::Temporary { file, permissions } = target else { return Ok(()) };
        let renamed = || {
            if let Some(permissions) = permissions {
                file.as_file().set_permissions(permissions)?;
            }
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            sync_directory_of(&path)
        };
        renamed().map_err(at(&path))
    }
}

/// Returns the path with a suffix.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Gives a file its name, after its content is on the disk. Replaces a file that has this name.
///
/// # Errors
/// The content cannot be written, or the file cannot be renamed.
pub(crate) fn publish(partial: &Path, path: &Path) -> io::Result<()> {
    File::open(partial)?.sync_all()?;
    std::fs::rename(partial, path)?;
    sync_directory_of(path)
}

/// Writes the directory that contains a file. A new name is durable when its directory is written.
fn sync_directory_of(path: &Path) -> io::Result<()> {
    // Windows has no such operation.
    if cfg!(unix) { File::open(directory_of(path))?.sync_all() } else { Ok(()) }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns a function that adds the name of a file to an error.
pub(crate) fn at(file: &Path) -> impl Fn(io::Error) -> ShellError + use<> {
    let file = file.to_owned();
    move |source| ShellError::File { file: file.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn two_writers_of_a_file_do_not_disturb_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(with_suffix(&path, ".partial"), "of the user").unwrap();
        let [mut a, mut b, c] = [(); 3].map(|()| PartialFile::create(&path).unwrap());
        a.write(b"a").unwrap();
        b.write(b"bb").unwrap();
        drop(c);
        a.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"a");
        b.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"bb");
        assert_eq!(names(directory.path()), ["file", "file.partial"]);
    }

    #[test]
    #[cfg(unix)]
    fn links_and_permissions_are_kept_and_pipes_are_written() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let [file, link] = ["file", "link"].map(|name| directory.path().join(name));
        std::fs::write(&file, "old").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let mut partial = PartialFile::create(&link).unwrap();
        partial.write(b"new").unwrap();
        partial.commit().unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let mut direct = PartialFile::create(Path::new("/dev/null")).unwrap();
        direct.write(b"nothing").unwrap();
        assert_eq!(direct.partial(), None);
        direct.commit().unwrap();
        assert!(!Path::new("/dev/null").is_file());
        assert_eq!(names(directory.path()), ["file", "link"]);
    }
}
