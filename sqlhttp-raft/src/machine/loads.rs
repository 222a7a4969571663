//! Applies the operations of a load of a database file ([`crate::loads`]).
//!
//! The database records which load is open, in the transaction that applies the operation
//! ([`sqlhttp_core::Progress::load_index`]). This module writes the parts of the file to a file beside the database
//! ([`Staging`]), and passes that file to the database when the load is committed. Whether an operation has an effect
//! depends only on the entries before it, so it is the same on every node.
//!
//! After a restart the file does not exist. Entries that have been applied before are not applied again, so the file is
//! written again from the Raft log when the load is committed. The log therefore keeps all entries of an open load
//! (`maintain`).

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::TryStreamExt as _;
use openraft::entry::EntryPayload;
use openraft::storage::RaftLogReader as _;
use sqlhttp_core::{LogWork, SqlError};

use super::staging::Staging;
use super::{INSTALL_RETRY_AFTER, StateMachine, run_blocking};
use crate::command::Operation;
use crate::log::can_pass;
use crate::observer::Event;
use crate::types::index_of;

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
            if self.skip.as_ref().is_some_and(|skip| skip.index == at) {
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

fn not_open() -> SqlError {
    refusal(NOT_OPEN, "the load of the database file has been ended")
}

fn incomplete() -> SqlError {
    refusal(INCOMPLETE, "the parts of the database file are not complete")
}

fn refusal(code: i32, message: &str) -> SqlError {
    SqlError { code, generic: message.to_owned(), message: message.to_owned(), offset: None }
}
