//! A session: a configured SQLite connection, with the statements it has prepared.
//!
//! A session keeps no state for its clients. A batch that changes the state of the connection (a PRAGMA, a temporary
//! table, an attached file) makes the session dirty, and a dirty session is replaced before its next use.

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::changes::CollectedChanges;
use super::control::TransactionControl;
use super::statement_cache::StatementCache;
use crate::engine::connection_config::{ConnectionConfig, Role};
use crate::engine::connection_gate::OpenConnection;
use crate::engine::custom;
use crate::engine::error::sql_error;
use crate::engine::options::Writes;
use crate::engine::pragmas::{self, configure};
use crate::engine::replicated::progress::{self, Progress};
use crate::engine::rowids::Rowids;
use crate::engine::sqlite::functions::{self, ChangeBaseline};
use crate::engine::sqlite::row_hook::RowHook;
use crate::engine::sqlite::statement::Statement;
use crate::engine::sqlite::triggers::Triggers;
use crate::engine::sqlite::{heap, probe, steps};
use crate::engine::statement_info::{Author, AuthorizerRecorder};
use crate::engine::watch::{Limits, STEPS_PER_CALL, Watch};
use crate::model::SqlError;

/// A configured SQLite connection.
#[derive(Debug)]
pub(crate) struct Session {
    // The fields with statements come first: statements must be finalized before their connection closes.
    pub(super) cache: StatementCache,
    pub(super) control: TransactionControl,
    /// The statement that writes the position in the log to the engine's table. Prepared on first use.
    pub(super) write_progress: Option<Statement>,
    pub(super) connection: Connection,
    /// Dropped after the connection.
    _open: OpenConnection,
    /// Counts trigger programs, and can forbid triggers to fire; `None` on connections that cannot write.
    pub(super) triggers: Option<Triggers>,
    /// Checks the rowids that the connection inserts; `None` unless it writes to a database that applies a log.
    pub(super) rowids: Option<Rowids>,
    /// Reports the rows that the connection writes to `rowids` and `changes`. Must be dropped after the connection.
    _row_hook: Option<RowHook>,
    /// Collects the changes of the open transaction; `None` if nobody receives them.
    pub(super) changes: Option<CollectedChanges>,
    pub(super) recorder: AuthorizerRecorder,
    pub(crate) watch: Watch,
    pub(super) baseline: ChangeBaseline,
    pub(super) generation: u64,
    pub(super) role: Role,
    /// Whether the low limits for runs on callers' threads are set.
    pub(super) inline: bool,
    /// Whether the database applies a log ([`Writes::Log`]), so that all nodes must compute the same results.
    pub(super) replicated: bool,
    /// Whether foreign keys are enforced now. The next field says whether they are at the beginning of each batch.
    pub(super) foreign_keys: bool,
    pub(super) initial_foreign_keys: bool,
    /// The maximum size of a value on all threads but callers' threads, in bytes.
    pub(super) value_bytes_max: u64,
    pub(super) value_bytes_max_name: &'static str,
    pub(super) memory_bytes_max: u64,
    pub(super) memory_bytes_max_name: &'static str,
    /// Whether a batch has changed the state of the connection, so that the session must be replaced.
    pub(super) dirty: bool,
    /// Whether the open transaction has changed the schema.
    pub(super) schema_changed: bool,
    /// Whether the database may contain virtual tables that change their shadow tables when a transaction is committed.
    /// Always `false` unless the connection writes to a database that applies a log.
    pub(super) merges_at_commit: bool,
}

impl Session {
    /// Opens and configures a connection.
    pub(crate) fn open(config: &ConnectionConfig, role: Role) -> Result<Session, SqlError> {
        let generation = config.generation(role);
        // Local variables are dropped in reverse order, so after an error the connection is dropped first.
        let (open, mut connection) = config.connect(role)?;
        let recorder = AuthorizerRecorder::new(config.options.allow_attach);
        let watch = Watch::default();
        let baseline = ChangeBaseline::default();
        recorder.begin(Author::Owner);
        custom::load_extensions(&connection, &config.options)?;
        install_hooks(&mut connection, &recorder, &watch, &baseline).map_err(sql_error)?;
        custom::register(&connection, &config.options)?;
        let triggers = watch_triggers(&connection, role, &watch).map_err(sql_error)?;
        configure(&connection, config, role).map_err(sql_error)?;
        let control = TransactionControl::prepare(&connection)?;
        let foreign_keys = connection.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY).map_err(sql_error)?;
        config.add_watched(watch.attach(connection.get_interrupt_handle()), role);
        let cache = StatementCache::new(config.options.statement_cache_len);
        let replicated = config.options.writes == Writes::Log;
        let rowids = (replicated && role == Role::Writer).then(|| config.rowids.clone());
        let collects = role == Role::Writer && config.listeners.are_collecting();
        let changes = collects.then(|| CollectedChanges::new(config.listeners.clone(), &recorder));
        let row_hook = watch_rows(&connection, rowids.as_ref(), changes.as_ref());
        let mut session = Session {
            cache,
            control,
            write_progress: None,
            connection,
            _open: open,
            triggers,
            _row_hook: row_hook,
            changes,
            rowids,
            recorder,
            watch,
            baseline,
            generation,
            role,
            inline: true,
            replicated,
            foreign_keys,
            initial_foreign_keys: foreign_keys,
            value_bytes_max: config.options.value_bytes_max,
            value_bytes_max_name: config.options.value_bytes_max_name,
            memory_bytes_max: config.options.memory_bytes_max,
            memory_bytes_max_name: config.options.memory_bytes_max_name,
            dirty: false,
            schema_changed: false,
            merges_at_commit: false,
        };
        session.set_inline(false)?;
        if let Some(rowids) = &session.rowids {
            steps::calibrate(&session.connection)?;
            rowids.search(&session.connection)?;
            session.merges_at_commit = has_merging_tables(&session.connection).map_err(sql_error)?;
        }
        Ok(session)
    }

    /// Returns what the session is used for.
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Returns whether the session must be replaced before its next use: a batch has changed the state of the
    /// connection, or the configuration of all connections has changed.
    pub(crate) fn is_stale(&self, config: &ConnectionConfig) -> bool {
        self.dirty || self.generation != config.generation(self.role)
    }

    /// Begins the run of a batch on this connection. If the run exceeds `limits`, SQLite is interrupted.
    pub(crate) fn begin_run(&self, limits: Limits) {
        self.watch.begin(limits);
        // Only readers are stopped by refusing memory: if a COMMIT got no memory, the writer would stop.
        let stop = (self.role == Role::Reader).then(|| self.watch.stop_flag());
        heap::begin_run(usize::try_from(self.memory_bytes_max).unwrap_or(usize::MAX), stop);
    }

    /// Ends the run of a batch, and clears SQLite's interrupt flag. Returns the number of supervisor scans during the
    /// run.
    pub(crate) fn end_run(&mut self) -> u32 {
        heap::end_run();
        let ended = self.watch.end();
        if ended.interrupted && self.is_autocommit() {
            // SQLite clears the interrupt flag when a statement begins to run while no other statement runs.
            let cleared = self.begin().and_then(|()| self.rollback());
            self.dirty |= cleared.is_err();
        }
        ended.scans
    }

    /// Resets the state of the connection that a batch sees: the authorizer's record, `changes()`,
    /// `last_insert_rowid()`, and whether foreign keys are enforced.
    pub(crate) fn begin_batch(&mut self) {
        self.recorder.begin(Author::Client);
        self.baseline.set(&self.connection);
        self.set_last_insert_rowid(0);
        if let Err(error) = self.enforce_foreign_keys(self.initial_foreign_keys) {
            // The session is then replaced, so that no batch runs with the setting of another one.
            tracing::error!(%error, "foreign keys keep the setting of the previous batch; the connection will be replaced");
            self.dirty = true;
        }
    }

    /// Returns whether this connection writes to a database that applies a log, so that other nodes, or a replay after
    /// a crash, must compute the same results.
    pub(super) fn replicates(&self) -> bool {
        self.replicated && self.role == Role::Writer
    }

    /// Forbids clients to change or create these tables. The list replaces that of the previous call.
    pub(crate) fn protect(&self, tables: Vec<String>) {
        self.recorder.protect(tables);
    }

    /// Allows triggers to fire again. They were forbidden to fire if that was the way to stop a statement.
    pub(crate) fn allow_triggers(&mut self) {
        let allowed = self.triggers.as_ref().map_or(Ok(()), |triggers| triggers.allow(&self.connection));
        if let Err(error) = allowed {
            tracing::error!(%error, "triggers cannot be allowed again; the connection will be replaced");
            self.dirty = true;
        }
    }

    /// Sets whether a statement (VACUUM) is running that can run only outside a transaction.
    pub(crate) fn set_outside_transaction(&self, runs: bool) {
        self.recorder.set_outside_transaction(runs);
    }

    /// Returns the number of rows that have been changed on this connection since it was opened, including those
    /// changed by triggers and foreign-key actions.
    pub(crate) fn total_changes(&self) -> u64 {
        self.connection.total_changes()
    }

    /// Returns the number of rows that the last INSERT, UPDATE or DELETE changed itself, not by triggers.
    pub(crate) fn last_changes(&self) -> u64 {
        self.connection.changes()
    }

    pub(crate) fn last_insert_rowid(&self) -> i64 {
        self.connection.last_insert_rowid()
    }

    pub(crate) fn set_last_insert_rowid(&self, rowid: i64) {
        probe::set_last_insert_rowid(&self.connection, rowid);
    }

    /// Causes the session to be replaced before its next use.
    pub(crate) fn mark_dirty(&mut self) {
        self.dirty = true;
    }

    /// Returns whether a batch has changed the state of the connection.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Runs the engine's own SQL on the connection, without the policy for clients.
    pub(crate) fn as_owner<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, SqlError> {
        self.as_owner_sql(|connection| work(connection).map_err(sql_error))
    }

    /// Like [`Session::as_owner`], for work that returns an [`SqlError`].
    pub(crate) fn as_owner_sql<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        self.recorder.begin(Author::Owner);
        work(&mut self.connection)
    }

    /// Writes the database's position in the log to the engine's table, as part of the open transaction.
    pub(crate) fn write_progress(&mut self, progress: &Progress) -> Result<(), SqlError> {
        self.recorder.begin(Author::Owner);
        let statement = match &mut self.write_progress {
            Some(statement) => statement,
            empty => empty.insert(progress::prepare_write(&self.connection)?),
        };
        progress::write_with(statement, &self.connection, progress)
    }

    /// Makes SQLite read the schema again before this connection uses it next. The tables are then loaded in the order
    /// of the file, instead of that in which this connection created or loaded them.
    pub(crate) fn forget_schema(&mut self) -> Result<(), SqlError> {
        self.as_owner(|connection| pragmas::forget_schema(connection))
    }

    /// Removes and finalizes the cached statements.
    pub(crate) fn forget_statements(&mut self) {
        self.cache.clear();
    }

    /// Returns the SQLite connection.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// Returns whether the database contains virtual tables that change their shadow tables when a transaction is committed
/// (FTS3, FTS4), or objects whose SQL text looks as if they were such tables.
fn has_merging_tables(connection: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND rootpage = 0 \
               AND (sql LIKE '%fts3%' OR sql LIKE '%fts4%'))";
    connection.query_row(sql, [], |row| row.get(0))
}

fn install_hooks(
    connection: &mut Connection,
    recorder: &AuthorizerRecorder,
    watch: &Watch,
    baseline: &ChangeBaseline,
) -> rusqlite::Result<()> {
    let listener = recorder.clone();
    connection.authorizer(Some(move |context: rusqlite::hooks::AuthContext<'_>| listener.authorize(context)))?;
    let watching = watch.clone();
    connection.progress_handler(STEPS_PER_CALL, Some(move || watching.should_stop()))?;
    let working = watch.clone();
    functions::register(connection, baseline, move || working.count_work())
}

/// Passes the rows that a connection writes to `rowids` and `changes`.
fn watch_rows(connection: &Connection, rowids: Option<&Rowids>, changes: Option<&CollectedChanges>) -> Option<RowHook> {
    let (rowids, collector) = (rowids.cloned(), changes.map(CollectedChanges::collector));
    (rowids.is_some() || collector.is_some()).then(|| {
        RowHook::install(connection, move |row| {
            rowids.iter().for_each(|rowids| rowids.note(&row));
            collector.iter().for_each(|collector| collector.note_row(&row));
        })
    })
}

fn watch_triggers(connection: &Connection, role: Role, watch: &Watch) -> rusqlite::Result<Option<Triggers>> {
    if role != Role::Writer {
        return Ok(None);
    }
    let watch = watch.clone();
    Triggers::watch(connection, move || watch.count_program()).map(Some)
}
