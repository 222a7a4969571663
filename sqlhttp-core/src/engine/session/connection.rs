//! One configured connection, with the statements it has prepared.
//!
//! A session remembers nothing of its clients: a batch that marks the connection (a PRAGMA, a temporary table, an
//! attached file) makes the session dirty, and a dirty session is replaced by a fresh one.

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::control::TransactionControl;
use super::statement_cache::StatementCache;
use crate::engine::connection_config::{ConnectionConfig, Role};
use crate::engine::error::sql_error;
use crate::engine::options::Writes;
use crate::engine::pragmas::{self, configure};
use crate::engine::replicated::progress::{self, Progress};
use crate::engine::sqlite::functions::{self, ChangeBaseline};
use crate::engine::sqlite::statement::Statement;
use crate::engine::sqlite::triggers::Triggers;
use crate::engine::sqlite::{heap, probe, steps};
use crate::engine::statement_info::{Author, AuthorizerRecorder};
use crate::engine::watch::{Limits, STEPS_PER_CALL, Watch};
use crate::model::SqlError;

/// One configured connection.
#[derive(Debug)]
pub(crate) struct Session {
    // Statements first: they must be finalized before their connection closes.
    pub(super) cache: StatementCache,
    pub(super) control: TransactionControl,
    /// Writes the progress in the log, once it has been used.
    pub(super) write_progress: Option<Statement>,
    pub(super) connection: Connection,
    /// `None` where nothing can be written.
    pub(super) triggers: Option<Triggers>,
    pub(super) recorder: AuthorizerRecorder,
    pub(crate) watch: Watch,
    pub(super) baseline: ChangeBaseline,
    pub(super) generation: u64,
    pub(super) role: Role,
    /// It runs on callers' own threads.
    pub(super) inline: bool,
    /// It applies a log, and all nodes must do the same.
    pub(super) replicated: bool,
    /// Whether foreign keys are enforced now, and at the beginning of each batch.
    pub(super) foreign_keys: bool,
    pub(super) initial_foreign_keys: bool,
    /// The longest value on any thread but a caller's own.
    pub(super) value_bytes_max: u64,
    pub(super) value_bytes_max_name: &'static str,
    pub(super) memory_bytes_max: u64,
    pub(super) memory_bytes_max_name: &'static str,
    /// A batch has left something behind in the connection.
    pub(super) dirty: bool,
    /// The open transaction has changed the schema.
    pub(super) schema_changed: bool,
}

impl Session {
    pub(crate) fn open(config: &ConnectionConfig, role: Role) -> Result<Session, SqlError> {
        let generation = config.generation();
        let mut connection = config.connect(role)?;
        let recorder = AuthorizerRecorder::new(config.options.allow_attach);
        let watch = Watch::default();
        let baseline = ChangeBaseline::default();
        recorder.begin(Author::Owner);
        install_hooks(&mut connection, &recorder, &watch, &baseline).map_err(sql_error)?;
        let triggers = watch_triggers(&connection, role, &watch).map_err(sql_error)?;
        configure(&connection, config, role).map_err(sql_error)?;
        let control = TransactionControl::prepare(&connection)?;
        let foreign_keys = connection.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY).map_err(sql_error)?;
        config.add_watched(watch.attach(connection.get_interrupt_handle()));
        let cache = StatementCache::new(config.options.statement_cache_len);
        let mut session = Session {
            cache,
            control,
            write_progress: None,
            connection,
            triggers,
            recorder,
            watch,
            baseline,
            generation,
            role,
            inline: true,
            replicated: config.options.writes == Writes::Log,
            foreign_keys,
            initial_foreign_keys: foreign_keys,
            value_bytes_max: config.options.value_bytes_max,
            value_bytes_max_name: config.options.value_bytes_max_name,
            memory_bytes_max: config.options.memory_bytes_max,
            memory_bytes_max_name: config.options.memory_bytes_max_name,
            dirty: false,
            schema_changed: false,
        };
        session.set_inline(false)?;
        if session.replicated && role == Role::Writer {
            steps::calibrate(&session.connection)?;
        }
        Ok(session)
    }

    /// What it is for.
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Whether it has to be replaced before anybody else uses it.
    pub(crate) fn is_stale(&self, config: &ConnectionConfig) -> bool {
        self.dirty || self.generation != config.generation()
    }

    /// Begins a run that ends when its limits are exceeded.
    pub(crate) fn begin_run(&self, limits: Limits) {
        self.watch.begin(limits);
        // A commit that finds no memory would end the writer.
        let stop = (self.role == Role::Reader).then(|| self.watch.stop_flag());
        heap::begin_run(usize::try_from(self.memory_bytes_max).unwrap_or(usize::MAX), stop);
    }

    /// Ends a run. SQLite's interrupt flag is cleared, so that it cannot stop what comes next.
    /// Returns how often the supervisor has met the run.
    pub(crate) fn end_run(&mut self) -> u32 {
        heap::end_run();
        let ended = self.watch.end();
        if ended.interrupted && self.is_autocommit() {
            // SQLite clears the flag when a statement begins to run and no other does.
            let cleared = self.begin().and_then(|()| self.rollback());
            self.dirty |= cleared.is_err();
        }
        ended.scans
    }

    /// Forgets what the previous batch did.
    pub(crate) fn begin_batch(&mut self) {
        self.recorder.begin(Author::Client);
        self.baseline.set(&self.connection);
        self.set_last_insert_rowid(0);
        if let Err(error) = self.enforce_foreign_keys(self.initial_foreign_keys) {
            // The session is replaced rather than used with the setting of another batch.
            tracing::error!(%error, "foreign keys keep the setting of the batch before");
            self.dirty = true;
        }
    }

    /// Whether other nodes, or a replay, have to come to the same results.
    pub(super) fn replicates(&self) -> bool {
        self.replicated && self.role == Role::Writer
    }

    /// Refuses clients to change or create these tables, until this is called again.
    pub(crate) fn protect(&self, tables: Vec<String>) {
        self.recorder.protect(tables);
    }

    /// Allows triggers to fire after a statement that had to end.
    pub(crate) fn allow_triggers(&mut self) {
        let allowed = self.triggers.as_ref().map_or(Ok(()), |triggers| triggers.allow(&self.connection));
        if let Err(error) = allowed {
            tracing::error!(%error, "triggers cannot be allowed again");
            self.dirty = true;
        }
    }

    /// A statement that runs only outside a transaction begins or ends to run.
    pub(crate) fn set_outside_transaction(&self, runs: bool) {
        self.recorder.set_outside_transaction(runs);
    }

    /// How many rows have been changed on this connection, triggers and foreign-key actions included.
    pub(crate) fn total_changes(&self) -> u64 {
        self.connection.total_changes()
    }

    /// How many rows the last INSERT, UPDATE or DELETE changed itself.
    pub(crate) fn last_changes(&self) -> u64 {
        self.connection.changes()
    }

    pub(crate) fn last_insert_rowid(&self) -> i64 {
        self.connection.last_insert_rowid()
    }

    pub(crate) fn set_last_insert_rowid(&self, rowid: i64) {
        probe::set_last_insert_rowid(&self.connection, rowid);
    }

    /// Lets the session be replaced before its next use.
    pub(crate) fn mark_dirty(&mut self) {
        self.dirty = true;
    }

    /// Whether a batch has left something behind in the connection.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Runs the engine's own SQL on the connection, not bound by the policy for clients.
    pub(crate) fn as_owner<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, SqlError> {
        self.as_owner_sql(|connection| work(connection).map_err(sql_error))
    }

    /// The same for work that tells SQLite's own errors.
    pub(crate) fn as_owner_sql<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        self.recorder.begin(Author::Owner);
        work(&mut self.connection)
    }

    /// Writes how far the database is in the log that it applies, as part of the transaction that is open.
    pub(crate) fn write_progress(&mut self, progress: &Progress) -> Result<(), SqlError> {
        self.recorder.begin(Author::Owner);
        let statement = match &mut self.write_progress {
            Some(statement) => statement,
            empty => empty.insert(progress::prepare_write(&self.connection)?),
        };
        progress::write_with(statement, &self.connection, progress)
    }

    /// Reads the schema anew before it is needed next. Then the order of its tables is that of the file, and not that in
    /// which this connection came to know them.
    pub(crate) fn forget_schema(&mut self) -> Result<(), SqlError> {
        self.as_owner(|connection| pragmas::forget_schema(connection))
    }

    /// Finalizes the statements that are kept.
    pub(crate) fn forget_statements(&mut self) {
        self.cache.clear();
    }

    /// The connection itself, for backups.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }
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

fn watch_triggers(connection: &Connection, role: Role, watch: &Watch) -> rusqlite::Result<Option<Triggers>> {
    if role != Role::Writer {
        return Ok(None);
    }
    let watch = watch.clone();
    Triggers::watch(connection, move || watch.count_program()).map(Some)
}
