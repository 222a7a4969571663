//! A file that appears when it is complete.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::shell::ShellError;

/// A file that is written under another name: `FILE.partial`. It is removed if it is dropped before
/// [`PartialFile::commit`].
pub(crate) struct PartialFile {
    path: PathBuf,
    partial: PathBuf,
    file: Option<File>,
}

impl PartialFile {
    /// Creates the file with the other name.
    ///
    /// # Errors
    /// The file cannot be created.
    pub(crate) fn create(path: &Path) -> Result<PartialFile, ShellError> {
        let partial = with_suffix(path, ".partial");
        let file = File::create(&partial).map_err(at(path))?;
        Ok(PartialFile { path: path.to_owned(), partial, file: Some(file) })
    }

    /// The name of the file until it is complete.
    pub(crate) fn partial(&self) -> &Path {
        &self.partial
    }

    /// The file as a writer. Its errors do not contain the name of the file.
    pub(crate) fn writer(&mut self) -> io::Result<&mut File> {
        self.file.as_mut().ok_or_else(|| io::Error::other("the file is complete"))
    }

    /// Writes bytes at the end of the file.
    ///
    /// # Errors
    /// The bytes cannot be written, for example because the disk is full.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), ShellError> {
        self.writer().and_then(|file| file.write_all(bytes)).map_err(at(&self.path))
    }

    /// Gives the file its name, after its content is on the disk. Replaces a file that has this name.
    ///
    /// # Errors
    /// The content cannot be written, or the file cannot be renamed.
    pub(crate) fn commit(mut self) -> Result<(), ShellError> {
        publish(&self.partial, &self.path).map_err(at(&self.path))?;
        self.file = None;
        Ok(())
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // The file may have been removed.
            let _ = std::fs::remove_file(&self.partial);
        }
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
    // The name is durable when the directory is written.
    #[cfg(unix)]
    {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

/// Returns a function that adds the name of a file to an error.
pub(crate) fn at(file: &Path) -> impl Fn(io::Error) -> ShellError + use<> {
    let file = file.to_owned();
    move |source| ShellError::File { file: file.clone(), source }
}
