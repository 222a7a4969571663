//! Applies the operations of a load of a database file ([`crate::loads`]).
//!
//! The database records which load is open, in the transaction that applies the operation
//! ([`sqlhttp_core::Progress::load_index`]). This module writes the parts of the file to a file beside the database
//! ([`Staging`]). When the load is committed, that file becomes the database, like a snapshot of another node. If that
//! is not possible, the database copies its content. Whether an operation has an effect depends only on the entries
//! before it, so it is the same on every node.
//!
//! After a restart the file does not exist. Entries that have been applied before are not applied again, so the file is
//! written again from the Raft log when the load is committed. The log therefore keeps all entries of an open load
//! (`maintain`).

use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::TryStreamExt as _;
use openraft::entry::EntryPayload;
use openraft::storage::{EntryResponder, RaftLogReader as _};
use sqlhttp_core::{Database, Error, LogEntry, LogWork, Outcome, Progress, SqlError};

use super::staging::Staging;
use super::{INSTALL_RETRY_AFTER, StateMachine, install_file, run_blocking};
use crate::command::Operation;
use crate::log::can_pass;
use crate::observer::Event;
use crate::snapshots::{InstallRecord, LOADED_PREFIX};
use crate::types::{Entry, EntryOutcomes, TypeConfig, index_of};

/// SQLite's result code of an operation for a load that is not open.
pub(crate) const NOT_OPEN: i32 = 4;
/// SQLite's result code of an operation for a file that is not complete.
const INCOMPLETE: i32 = 11;

/// The load that is open after the last entry that has been prepared for the database. Clones share it.
#[derive(Clone)]
pub(super) struct OpenLoad(Arc<Mutex<State>>);

struct State {
    /// The index of the entry that began the load; 0 if no load is open.
    load: u64,
    /// `None` if the load was begun before the start of this process.
    staging: Option<Staging>,
}

impl OpenLoad {
    /// Returns the state of a database at which the load that the entry at `load` began is open; 0 for none.
    pub(super) fn new(load: u64) -> OpenLoad {
        OpenLoad(Arc::new(Mutex::new(State { load, staging: None })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the open load. Removes the file of the last one. Blocks.
    fn set(&self, load: u64, staging: Option<Staging>) {
        let last = std::mem::replace(&mut *self.lock(), State { load, staging });
        drop(last);
    }
}

impl StateMachine {
    /// Records that no load is open: the content of the database has been replaced.
    pub(super) async fn forget_load(&self) -> io::Result<()> {
        let open = self.load.clone();
        run_blocking(move || {
            open.set(0, None);
            Ok(())
        })
        .await
    }

    /// Returns why the file of the load that the entry at `load` began cannot be written on this node; `None` if it can
    /// be written, or if the load is not open.
    pub(crate) fn load_error(&self, load: u64) -> Option<io::Error> {
        let state = self.load.lock();
        let error = state.staging.as_ref().filter(|staging| staging.load() == load)?.error()?;
        Some(io::Error::new(error.kind(), error.to_string()))
    }

    /// Converts an operation of a load, which is number `number` of the entry at `index`, to the form that the database
    /// applies.
    pub(super) async fn load_work(&self, index: u64, number: usize, operation: &Operation) -> io::Result<LogWork> {
        let open = self.load.lock().load;
        match operation {
            Operation::LoadBegin { bytes } => {
                let (state, directory, bytes) = (self.load.clone(), self.directory.clone(), *bytes);
                run_blocking(move || {
                    state.set(0, None);
                    state.set(index, Some(Staging::begin(&directory, index, bytes)));
                    Ok(())
                })
                .await?;
                Ok(LogWork::Load { load_index: index, refusal: None })
            }
            Operation::LoadChunk { load, offset, bytes } if *load == open => {
                let Some(mut staging) = self.load.lock().staging.take() else {
                    return Ok(LogWork::Load { load_index: open, refusal: None });
                };
                let (offset, bytes) = (*offset, bytes.clone());
                let appended = run_blocking(move || Ok((staging.append(offset, &bytes), staging))).await;
                let (taken, staging) = appended?;
                self.load.lock().staging = Some(staging);
                Ok(LogWork::Load { load_index: open, refusal: (!taken).then(incomplete) })
            }
            Operation::LoadCommit { load, checksum } if *load == open => {
                let staging = self.load.lock().staging.take();
                let file = self.finish_load(staging, (open, index, number), *checksum).await?;
                self.forget_load().await?;
                Ok(match file {
                    Some(file) => LogWork::Replace(file),
                    None => LogWork::Load { load_index: 0, refusal: Some(incomplete()) },
                })
            }
            Operation::LoadAbort { load } if *load == open => {
                self.forget_load().await?;
                Ok(LogWork::Load { load_index: 0, refusal: None })
            }
            _ => Ok(LogWork::Load { load_index: open, refusal: Some(not_open()) }),
        }
    }

    /// Returns whether an entry commits a load, and the operator does not want this node to skip it.
    pub(super) fn commits_load(&self, entry: &Entry) -> bool {
        let EntryPayload::Normal(command) = &entry.payload else { return false };
        let commits = matches!(command.operations(), [Operation::LoadCommit { .. }]);
        commits && !self.skips.names(index_of(&entry.log_id))
    }

    /// Applies an entry that commits a load. All entries before it must have been applied.
    pub(super) async fn apply_load_commit(&self, commit: EntryResponder<TypeConfig>) -> io::Result<()> {
        let (entry, responder) = commit;
        if self.database.progress().index >= index_of(&entry.log_id) {
            return self.apply_entries(vec![(entry, responder)]).await;
        }
        let mut converted = self.to_log_entry(&entry).await?;
        if let [LogWork::Replace(file)] = &mut converted.work[..] {
            *file = rename_loaded(file.clone(), converted.index).await?;
            let file = file.clone();
            if self.become_database(&file, &converted).await? {
                let outcomes = match self.reply_callback(&entry) {
                    Some(mut callback) => {
                        callback(Outcome::default());
                        Vec::new()
                    }
                    None => vec![Outcome::default()],
                };
                if let Some(responder) = responder {
                    responder.send(EntryOutcomes { outcomes });
                }
                return Ok(());
            }
        }
        self.apply_converted(vec![(entry, responder)], vec![converted]).await
    }

    /// Makes the file of a load the file of the database, at the position after the entry that commits the load. If the
    /// process ends before this is complete, the next start completes it. Returns `false` if that is not possible now:
    /// another process has opened the database, or the disk is full.
    async fn become_database(&self, file: &Path, commit: &LogEntry) -> io::Result<bool> {
        let unix_ms = commit.conditions.map_or(0, |conditions| conditions.unix_ms);
        let before = self.database.progress();
        let progress = Progress {
            term: commit.term,
            index: commit.index,
            operations: 0,
            steps: 0,
            command_index: commit.index,
            write_index: commit.index,
            unix_ms: before.unix_ms.max(unix_ms),
            load_index: 0,
            ..before
        };
        let record = InstallRecord::new(file, commit.term, commit.index);
        let (snapshot, directory) = (file.to_owned(), self.directory.clone());
        let prepared = run_blocking(move || {
            Database::make_snapshot(&snapshot, &progress).map_err(io::Error::other)?;
            record.write(&directory)
        });
        let installed = match prepared.await {
            Ok(()) => install_file(&self.database, file).await,
            Err(error) => Err(Error::Unavailable(error.to_string().into())),
        };
        if let Err(error @ (Error::Poisoned(_) | Error::Closed)) = installed {
            // The record remains: the file may have become the database.
            return Err(io::Error::other(error));
        }
        let directory = self.directory.clone();
        run_blocking(move || InstallRecord::remove(&directory)).await?;
        Ok(installed.is_ok())
    }

    /// Returns the complete file of a load; `None` if its parts are not the file that the leader has read. Waits while
    /// the disk is full.
    async fn finish_load(
        &self,
        staging: Option<Staging>,
        (load, index, number): (u64, u64, usize),
        checksum: u32,
    ) -> io::Result<Option<PathBuf>> {
        let mut staged = staging;
        loop {
            let staging = match staged.take() {
                Some(staging) => staging,
                None => match self.stage_again(load, index, number).await? {
                    Some(staging) => staging,
                    None => {
                        let why = format!("the Raft log does not contain entry {load}, which began a load");
                        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                    }
                },
            };
            if !staging.is_complete(checksum) {
                return Ok(None);
            }
            match run_blocking(move || staging.finish()).await {
                Ok(file) => return Ok(Some(file)),
                Err(error) if self.log.is_closing() || !can_pass(&error) => return Err(error),
                Err(error) => self.observer.event(&Event::LoadDelayed { error: &error }),
            }
            tokio::time::sleep(INSTALL_RETRY_AFTER).await;
        }
    }

    /// Writes the file of a load from the entries of the Raft log, up to operation `number` of the entry at `index`.
    /// Returns `None` if the log does not contain the entry that began the load.
    async fn stage_again(&self, load: u64, index: u64, number: usize) -> io::Result<Option<Staging>> {
        let mut log = self.log.clone();
        // openraft counts indexes from 0.
        let mut entries = pin!(log.entries_stream(load.saturating_sub(1)..index).await);
        let mut staged: Option<Staging> = None;
        while let Some(entry) = entries.try_next().await? {
            let at = index_of(&entry.log_id);
            let EntryPayload::Normal(command) = &entry.payload else { continue };
            if self.skips.names(at) {
                continue;
            }
            let count = if at == index { number } else { usize::MAX };
            for operation in command.operations().iter().take(count) {
                match operation {
                    Operation::LoadBegin { bytes } if at == load => {
                        let (directory, bytes) = (self.directory.clone(), *bytes);
                        drop(staged.take());
                        staged = Some(run_blocking(move || Ok(Staging::begin(&directory, load, bytes))).await?);
                    }
                    Operation::LoadChunk { load: of, offset, bytes } if *of == load => {
                        let Some(mut staging) = staged.take() else { continue };
                        let (offset, bytes) = (*offset, bytes.clone());
                        let append = move || {
                            staging.append(offset, &bytes);
                            Ok(staging)
                        };
                        staged = Some(run_blocking(append).await?);
                    }
                    _ => {}
                }
            }
        }
        Ok(staged)
    }
}

/// Gives the file of a load a name under which a start finds it if it has begun to become the database.
async fn rename_loaded(file: PathBuf, index: u64) -> io::Result<PathBuf> {
    let renamed = file.with_file_name(format!("{LOADED_PREFIX}{index}"));
    run_blocking(move || std::fs::rename(&file, &renamed).map(|()| renamed)).await
}

fn not_open() -> SqlError {
    refusal(NOT_OPEN, "the load of the database file has been ended")
}

fn incomplete() -> SqlError {
    refusal(INCOMPLETE, "the parts of the database file are not complete")
}

fn refusal(code: i32, message: &str) -> SqlError {
    SqlError { code, generic: message.to_owned(), message: message.to_owned(), offset: None }
}
