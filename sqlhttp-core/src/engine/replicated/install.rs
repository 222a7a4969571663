//! Replaces the file of an open database by a snapshot ([`super::snapshot`]), on the writer thread.
//!
//! A snapshot may be large, so its pages are not copied through the write-ahead log: the snapshot is renamed to the
//! name of the database ([`super::swap`]). No connection may be open at that moment:
//!
//! 1. No new connections are opened ([`ConnectionGate`]); reads wait.
//! 2. Running reads, copies and checks get [`GRACE`] to end. After that they are interrupted.
//! 3. The writer checkpoints the old content and closes its connection, which is the last one. The old content is a
//!    single file now, so it stays usable if one of the next steps fails.
//! 4. The files are swapped.
//! 5. The writer opens the new content and records the identity of this database's log in it.
//!
//! [`ConnectionGate`]: crate::engine::connection_gate::ConnectionGate

use std::path::Path;
use std::time::{Duration, Instant};

use super::progress::Progress;
use super::snapshot;
use super::swap::{FileSystem, OsFileSystem, Swap};
use crate::engine::changes::Change;
use crate::engine::error::{engine_error, io_error};
use crate::engine::options::Writes;
use crate::engine::session::Session;
use crate::engine::sessions::Sessions;
use crate::engine::shared::SharedState;
use crate::engine::sqlite::probe;
use crate::model::{Error, SqlError};

/// The time that running reads get to end before they are interrupted.
const GRACE: Duration = Duration::from_secs(1);
/// The maximum time to wait until all connections are closed. A connection that is not closed by then hangs in an
/// operation that cannot be interrupted, such as a system call on a network file system.
const CLOSE_MAX: Duration = Duration::from_secs(30);
/// The interval at which connections that are still open are interrupted again. An interrupt has no effect on a
/// connection that is between two statements.
const EVICT_EVERY: Duration = Duration::from_millis(5);

/// The result of a step of an installation.
type Step<T> = Result<T, Failed>;

/// An installation that has failed.
struct Failed {
    /// The writer's connection to the old content; `None` if the database is poisoned.
    session: Option<Box<Session>>,
    error: Error,
}

/// Replaces the content of the database by a snapshot. Returns the writer's connection, and the position of the new
/// content. If the installation failed, the connection is that to the old content, or `None` if the database is
/// poisoned because neither content can be used.
pub(crate) fn run(
    session: Session,
    shared: &SharedState,
    sessions: &Sessions,
    file: &Path,
) -> (Option<Session>, Result<Progress, Error>) {
    let installed = match begin(shared, file) {
        Ok((database, files)) => install(session, shared, sessions, (&*files, database, file)),
        Err(error) => Err(Failed { session: Some(Box::new(session)), error }),
    };
    match installed {
        Ok((session, progress)) => (Some(session), Ok(progress)),
        Err(Failed { session, error }) => (session.map(|session| *session), Err(error)),
    }
}

/// Checks whether the database and the snapshot permit an installation. Returns the path of the database, and the
/// operations of its file system.
fn begin<'s>(shared: &'s SharedState, file: &Path) -> Result<(&'s Path, Box<dyn FileSystem>), Error> {
    let options = &shared.config.options;
    let unsupported = |why: &str| Err(Error::Unsupported(why.to_owned()));
    if options.writes != Writes::Log {
        return unsupported("this database applies no log");
    }
    let Some(database) = shared.config.file() else { return unsupported("this database is not a file") };
    let Some(files) = file_system(options.vfs.as_deref()) else {
        return unsupported("this database is not in the file system");
    };
    if shared.interrupted.is_set() {
        return Err(Error::Closed);
    }
    let foreign = snapshot::position(file, options.vfs.as_deref())?.log;
    if ![0, shared.progress().log].contains(&foreign) {
        return unsupported("the snapshot still belongs to the log of another node");
    }
    Ok((database, files))
}

fn file_system(vfs: Option<&str>) -> Option<Box<dyn FileSystem>> {
    match vfs {
        None => Some(Box::new(OsFileSystem)),
        #[cfg(feature = "fault-injection")]
        Some(vfs) => crate::engine::sqlite::faulty::file_system(vfs),
        #[cfg(not(feature = "fault-injection"))]
        Some(_) => None,
    }
}

fn install(
    session: Session,
    shared: &SharedState,
    sessions: &Sessions,
    (files, database, file): (&dyn FileSystem, &Path, &Path),
) -> Step<(Session, Progress)> {
    let swap = match Swap::new(files, database, file) {
        Ok(swap) => swap,
        Err(source) => {
            return Err(Failed { session: Some(Box::new(session)), error: io_error("install", file, source) });
        }
    };
    let _shut = shared.config.gate().shut();
    if let Err(error) = close_others(shared, sessions) {
        return Err(Failed { session: Some(Box::new(session)), error });
    }
    close_writer(session, shared, &swap)?;
    if let Err(source) = swap.clear().and_then(|()| rename(&swap)) {
        return reopen_old(shared, io_error("install", file, source));
    }
    // From here on the new content is in place.
    let opened = match settle(&swap) {
        Ok(()) => open_new(shared).map_err(|error| engine_error("open the snapshot", error)),
        Err(source) => Err(io_error("sync the directory of", file, source)),
    };
    opened.map_err(|error| poisoned(shared, &format!("a snapshot has replaced the database file, but {error}")))
}

/// Renames the snapshot. An error means that the rename has not happened.
fn rename(swap: &Swap<'_>) -> std::io::Result<()> {
    match swap.rename() {
        // A network file system may report an error although it has renamed the file.
        Err(error) if swap.is_pending().unwrap_or(true) => Err(error),
        _ => Ok(()),
    }
}

/// Makes the rename durable.
fn settle(swap: &Swap<'_>) -> std::io::Result<()> {
    if is_unsynced() { Ok(()) } else { swap.settle() }
}

/// Returns whether a simulation prevents the syncs of an installation.
fn is_unsynced() -> bool {
    #[cfg(feature = "fault-injection")]
    return crate::engine::simulation::is_mutated(crate::engine::simulation::Mutation::UnsyncedInstall);
    #[cfg(not(feature = "fault-injection"))]
    return false;
}

/// Closes all connections but the writer's.
fn close_others(shared: &SharedState, sessions: &Sessions) -> Result<(), Error> {
    let gate = shared.config.gate();
    shared.read_lock_holder.close();
    let begun = Instant::now();
    loop {
        // A session may have been put back after the previous round.
        sessions.clear();
        shared.pins.give_up();
        if gate.wait_for_others(EVICT_EVERY) {
            return Ok(());
        }
        if shared.interrupted.is_set() {
            return Err(Error::Closed);
        }
        if begun.elapsed() >= CLOSE_MAX {
            return Err(Error::Unavailable("a connection to the database could not be closed".into()));
        }
        if begun.elapsed() >= GRACE {
            gate.begin_eviction();
            shared.config.evict();
        }
    }
}

/// Checkpoints the old content and closes the writer's connection, which must be the last one.
fn close_writer(mut session: Session, shared: &SharedState, swap: &Swap<'_>) -> Step<()> {
    let in_use = || Error::Unavailable("another process has the database open".into());
    let error = match session.checkpoint_all() {
        Ok(true) => None,
        Ok(false) => Some(in_use()),
        Err(error) => Some(engine_error("checkpoint the old content", error)),
    };
    if let Some(error) = error {
        return Err(Failed { session: Some(Box::new(session)), error });
    }
    shared.files.clear();
    drop(session);
    // The last connection to a database removes the write-ahead log when it is closed.
    match swap.has_log() {
        Ok(false) => Ok(()),
        Ok(true) => reopen_old(shared, in_use()),
        Err(source) => reopen_old(shared, io_error("look for the write-ahead log of", swap.database(), source)),
    }
}

/// Opens the old content again after an error.
fn reopen_old<T>(shared: &SharedState, error: Error) -> Step<T> {
    match Session::open_for_writer(&shared.config) {
        Ok(session) => {
            shared.watch_files();
            Err(Failed { session: Some(Box::new(session)), error })
        }
        Err(again) => Err(poisoned(shared, &format!("{error}; the database cannot be opened again: {again}"))),
    }
}

/// Opens the new content, and durably records the identity of this database's log in it.
fn open_new(shared: &SharedState) -> Result<(Session, Progress), SqlError> {
    shared.config.rowids.forget();
    let mut session = Session::open_for_writer(&shared.config)?;
    let found = session.as_owner(|connection| super::progress::read(connection))?.unwrap_or_default();
    let progress = Progress { log: shared.progress().log, ..found };
    session.begin_immediate()?;
    session.write_progress(&progress)?;
    session.commit()?;
    if !is_unsynced() {
        probe::sync_journal(session.connection())?;
    }
    shared.set_progress(progress.clone());
    shared.chain.clear();
    shared.pin_requests.answer(progress.index, false);
    shared.watch_files();
    shared.config.listeners.publish(&[Change::Everything]);
    Ok((session, progress))
}

fn poisoned(shared: &SharedState, why: &str) -> Failed {
    shared.poison(why);
    Failed { session: None, error: Error::Poisoned(why.into()) }
}
