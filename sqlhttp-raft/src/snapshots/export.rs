//! The copy of the database that a leader sends to its followers.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlhttp_core::{Database, Error, Progress};
use tokio::time::Instant;

use super::EXPORT_PREFIX;
use crate::identity::random_u128;
use crate::runtime::engine;
use crate::verify::DifferenceMark;

/// The time for which a copy is kept after its last use. A follower that is started again within this time continues
/// its transfer.
const KEPT_FOR: Duration = Duration::from_secs(300);

/// A copy of the database. The file is removed when the last reference is dropped.
#[derive(Debug)]
pub(crate) struct Export {
    /// A random number that identifies the copy, so that an interrupted transfer continues only with the same one.
    pub(crate) id: u128,
    pub(crate) file: PathBuf,
    pub(crate) bytes: u64,
    /// The position of the copy in the Raft log, and the membership at that position.
    pub(crate) progress: Progress,
}

impl Drop for Export {
    fn drop(&mut self) {
        // Best effort: a file that cannot be removed now is removed at the next start.
        let _ = std::fs::remove_file(&self.file);
    }
}

/// Sets the index of the copy that is being made to `u64::MAX` when it is dropped.
struct EndOnDrop<'a>(&'a AtomicU64);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(u64::MAX, Ordering::Relaxed);
    }
}

/// Creates copies of the database, and keeps the last one while followers may need it.
pub(crate) struct Exports {
    database: Database,
    difference: Arc<DifferenceMark>,
    directory: PathBuf,
    /// Held while a copy is made, so that followers share it.
    making: tokio::sync::Mutex<()>,
    /// The index that the database had when the copy that is being made was begun; `u64::MAX` if none is being made.
    making_from: AtomicU64,
    last: Mutex<Option<Kept>>,
}

struct Kept {
    export: Arc<Export>,
    used_at: Instant,
}

impl Exports {
    pub(crate) fn new(database: Database, directory: &Path, difference: Arc<DifferenceMark>) -> Exports {
        Exports {
            database,
            difference,
            directory: directory.to_owned(),
            making: Default::default(),
            making_from: AtomicU64::new(u64::MAX),
            last: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Kept>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the last copy if it contains the entries up to `index_min`; otherwise makes a new copy.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: a load of a database file is open, whose parts a copy would not contain; or the content
    /// of this node differs from that of the majority. The errors of [`Database::export`]; [`Error::Io`] if the length
    /// of the copy cannot be read.
    pub(crate) async fn get(&self, index_min: u64) -> Result<Arc<Export>, Error> {
        let _making = self.making.lock().await;
        if let Some(reason) = self.difference.reason() {
            return Err(Error::Unavailable(reason));
        }
        if let Some(kept) = self.lock().as_mut().filter(|kept| kept.export.progress.index >= index_min) {
            kept.used_at = Instant::now();
            return Ok(kept.export.clone());
        }
        refuse_while_loading(&self.database.progress())?;
        self.lock().take();
        let id = random_u128();
        let file = self.directory.join(format!("{EXPORT_PREFIX}{id:032x}.sqlite"));
        self.making_from.store(self.database.progress().index, Ordering::Relaxed);
        let _made = EndOnDrop(&self.making_from);
        let progress = engine(self.database.export(file.clone())).await?;
        let progress = if mutated!(SnapshotAhead) { position_before(&file, progress)? } else { progress };
        let mut export = Export { id, file, bytes: 0, progress };
        refuse_while_loading(&export.progress)?;
        let length = std::fs::metadata(&export.file).map(|metadata| metadata.len());
        export.bytes = length.map_err(|source| crate::node::io_error("measure", &export.file, source))?;
        let export = Arc::new(export);
        *self.lock() = Some(Kept { export: export.clone(), used_at: Instant::now() });
        Ok(export)
    }

    /// Returns the copy that is being kept for followers.
    pub(crate) fn kept(&self) -> Option<Arc<Export>> {
        self.lock().as_ref().map(|kept| kept.export.clone())
    }

    /// The index up to which entries may be purged from the Raft log: a follower that has received the copy that is
    /// kept or being made needs the entries after it.
    pub(crate) fn purgeable_index(&self) -> u64 {
        let kept = self.kept().map_or(u64::MAX, |export| export.progress.index);
        kept.min(self.making_from.load(Ordering::Relaxed))
    }

    /// Forgets the copy, because its content is no longer that of the database at its index.
    pub(crate) fn invalidate(&self) {
        self.lock().take();
    }

    /// Forgets this copy, because it cannot be read. The next follower that needs a snapshot receives another one.
    pub(crate) fn forget(&self, export: &Arc<Export>) {
        self.lock().take_if(|kept| Arc::ptr_eq(&kept.export, export));
    }

    /// Removes the copy if no follower has used it for some time, or if the entries after it have been purged up to
    /// `purged_index`.
    pub(crate) fn clean_up(&self, purged_index: u64) {
        let mut last = self.lock();
        let Some(kept) = last.as_mut() else { return };
        if Arc::strong_count(&kept.export) > 1 {
            kept.used_at = Instant::now();
        } else if kept.used_at.elapsed() > KEPT_FOR || kept.export.progress.index < purged_index {
            last.take();
        }
    }
}

/// Makes a copy name the position before its own.
#[cfg(feature = "sim")]
fn position_before(file: &Path, progress: Progress) -> Result<Progress, Error> {
    let index = progress.index.saturating_sub(1);
    let (command_index, write_index) = (progress.command_index.min(index), progress.write_index.min(index));
    let before = Progress { index, command_index, write_index, ..progress };
    Database::make_snapshot(file, &before)?;
    Ok(before)
}

#[cfg(not(feature = "sim"))]
fn position_before(_file: &Path, progress: Progress) -> Result<Progress, Error> {
    Ok(progress)
}

/// Returns an error if a load of a database file is open at this position.
fn refuse_while_loading(progress: &Progress) -> Result<(), Error> {
    match progress.load_index {
        0 => Ok(()),
        _ => Err(Error::Unavailable("a database file is being loaded".into())),
    }
}
