//! One configured connection, with the statements it has prepared.
//!
//! A session remembers nothing of its clients: a batch that marks the connection (a PRAGMA, a temporary table, an
//! attached file) makes the session dirty, and a dirty session is replaced by a fresh one.

use std::ffi::CStr;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;

use super::blueprint::{Blueprint, Role, configure};
use super::dump::VirtualTable;
use super::facts::{Author, Facts, Recorder};
use super::progress::{self, Progress};
use super::schema_view;
use super::script::is_white;
use super::sqlite::functions::{self, ChangeBaseline};
use super::sqlite::heap;
use super::sqlite::log_tail;
use super::sqlite::probe;
use super::sqlite::program;
use super::sqlite::statement::{Prepared as Found, Statement};
use super::sqlite::steps;
use super::sqlite::triggers::Triggers;
use super::statement_cache::StatementCache;
use super::watch::{Limits, STEPS_PER_CALL, Watch};
use super::{Writes, run};
use crate::model::{Column, Columns, Error, Failure, SqlError, ValueRef};

/// Statements longer than this are not kept, bytes.
const CACHED_SQL_LEN_MAX: usize = 64 << 10;
/// The longest value on a caller's own thread, bytes. A function that looks at every byte of it takes microseconds.
const INLINE_VALUE_BYTES_MAX: i32 = 64 << 10;
/// The longest pattern of LIKE and GLOB there, bytes. Matching takes pattern times text in the worst case.
const INLINE_PATTERN_BYTES_MAX: i32 = 64;
/// The longest patterns of LIKE and GLOB elsewhere, and the longest values that each may meet, bytes. The product of the two
/// is the same everywhere: matching takes about three seconds in the worst case.
pub(crate) const PATTERN_LIMITS: [(i32, i32); 4] = [(16, i32::MAX), (64, 16 << 20), (256, 4 << 20), (4096, 256 << 10)];

/// A statement that takes no more memory contains little work, bytes.
const LIGHT_STATEMENT_BYTES_MAX: i32 = 3 << 10;
/// The longest text of an INSERT of literals whose bytecode is not listed, bytes.
const SHORT_INSERT_BYTES_MAX: usize = 4 << 10;
/// The weight of such an INSERT, which leaves it values of a megabyte: much more than its text.
const SHORT_INSERT_WEIGHT: u32 = 64 * run::FREE_WEIGHT;
/// The weight of a statement that changes rows and cannot be listed. Its values have a megabyte at most.
const UNLISTED_WEIGHT: u32 = 64 * run::FREE_WEIGHT;

/// One configured connection.
#[derive(Debug)]
pub(crate) struct Session {
    // Statements first: they must be finalized before their connection closes.
    cache: StatementCache,
    control: Control,
    /// Writes the progress in the log, once it has been used.
    write_progress: Option<Statement>,
    connection: Connection,
    /// `None` where nothing can be written.
    triggers: Option<Triggers>,
    recorder: Recorder,
    pub(crate) watch: Watch,
    baseline: ChangeBaseline,
    generation: u64,
    role: Role,
    /// It runs on callers' own threads.
    inline: bool,
    /// It applies a log, and all nodes must do the same.
    replicated: bool,
    /// Whether foreign keys are enforced now, and at the beginning of each batch.
    foreign_keys: bool,
    foreign_keys_at_first: bool,
    /// The longest value on any thread but a caller's own.
    value_bytes_max: u64,
    value_bytes_max_name: &'static str,
    memory_bytes_max: u64,
    memory_bytes_max_name: &'static str,
    /// A batch has left something behind in the connection.
    dirty: bool,
    /// The open transaction has changed the schema.
    schema_changed: bool,
}

/// The statements with which the engine itself controls transactions.
#[derive(Debug)]
struct Control {
    begin: Statement,
    begin_immediate: Statement,
    commit: Statement,
    rollback: Statement,
    savepoint: [Statement; 2],
    release: [Statement; 2],
    rollback_to: [Statement; 2],
}

/// A savepoint of the engine's.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Level {
    /// Around one member of a group.
    Member = 0,
    /// Around one step of a member.
    Step = 1,
}

/// A prepared statement and what is known of it.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) statement: Statement,
    pub(crate) facts: Facts,
    /// The names of its parameters, with prefixes; `None` for `?`.
    pub(crate) parameters: Box<[Option<Box<str>>]>,
    columns: Option<(i32, Arc<Columns>)>,
    /// How often SQLite had prepared it again when its weight was determined, and its weight.
    weight: Option<(i32, u32)>,
    /// It inserts only literals of its own text, and the text is short.
    inserts_literals: bool,
    /// Its text, if it is to be kept.
    key: Option<Arc<str>>,
    /// It creates a virtual table whose shadow tables a dump creates and fills. It is not run.
    pub(crate) dumped: Option<VirtualTable>,
}

/// How the weight of a statement is determined.
enum Listing {
    /// Its functions alone count.
    None,
    Fixed(u32),
    Bytecode,
}

/// What stands at the beginning of a text.
pub(crate) struct Next {
    /// The statement; `None` if there is only white space or a comment.
    pub(crate) prepared: Option<Box<Prepared>>,
    /// How many bytes it takes.
    pub(crate) consumed: usize,
}

impl Session {
    pub(crate) fn open(blueprint: &Blueprint, role: Role) -> Result<Session, SqlError> {
        let generation = blueprint.generation();
        let mut connection = blueprint.connect(role)?;
        let recorder = Recorder::new(blueprint.options.allow_attach);
        let watch = Watch::default();
        let baseline = ChangeBaseline::default();
        recorder.begin(Author::Owner);
        install_hooks(&mut connection, &recorder, &watch, &baseline).map_err(sql_error)?;
        let triggers = watch_triggers(&connection, role, &watch).map_err(sql_error)?;
        configure(&connection, blueprint, role).map_err(sql_error)?;
        let control = Control::prepare(&connection)?;
        let foreign_keys = connection.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY).map_err(sql_error)?;
        blueprint.add_slot(watch.attach(connection.get_interrupt_handle()));
        let cache = StatementCache::new(blueprint.options.statement_cache_len);
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
            replicated: blueprint.options.writes == Writes::Log,
            foreign_keys,
            foreign_keys_at_first: foreign_keys,
            value_bytes_max: blueprint.options.value_bytes_max,
            value_bytes_max_name: blueprint.options.value_bytes_max_name,
            memory_bytes_max: blueprint.options.memory_bytes_max,
            memory_bytes_max_name: blueprint.options.memory_bytes_max_name,
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
    pub(crate) fn is_stale(&self, blueprint: &Blueprint) -> bool {
        self.dirty || self.generation != blueprint.generation()
    }

    /// Sets the limits for runs on a caller's own thread, or those for any other thread.
    pub(crate) fn set_inline(&mut self, inline: bool) -> Result<(), SqlError> {
        if self.inline == inline {
            return Ok(());
        }
        let most = i32::try_from(self.value_bytes_max).unwrap_or(i32::MAX);
        let (value, pattern) = if inline {
            (most.min(INLINE_VALUE_BYTES_MAX), INLINE_PATTERN_BYTES_MAX)
        } else {
            (most, PATTERN_LIMITS[0].0)
        };
        self.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, value).map_err(sql_error)?;
        self.connection.set_limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, pattern).map_err(sql_error)?;
        self.inline = inline;
        Ok(())
    }

    /// Limits the values of one statement further, until this is called with `None`. (On a caller's own thread the limits
    /// are low in any case.)
    pub(crate) fn limit_values(&self, bytes_max: Option<i32>) {
        if !self.inline {
            let most = i32::try_from(self.value_bytes_max).unwrap_or(i32::MAX);
            self.limit(Limit::SQLITE_LIMIT_LENGTH, bytes_max.map_or(most, |bytes_max| most.min(bytes_max)));
        }
    }

    /// Allows patterns of LIKE and GLOB of one length, and limits the values to the length that goes with it: one of
    /// [`PATTERN_LIMITS`].
    pub(crate) fn limit_patterns(&self, (pattern, value): (i32, i32)) {
        self.limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, pattern);
        self.limit_values(Some(value));
    }

    fn limit(&self, limit: Limit, value: i32) {
        if let Err(error) = self.connection.set_limit(limit, value) {
            tracing::error!(%error, "a limit of SQLite cannot be set");
        }
    }

    /// Whether it runs on callers' own threads, under low limits.
    pub(crate) fn is_inline(&self) -> bool {
        self.inline
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
        if let Err(error) = self.enforce_foreign_keys(self.foreign_keys_at_first) {
            // The session is replaced rather than used with the setting of another batch.
            tracing::error!(%error, "foreign keys keep the setting of the batch before");
            self.dirty = true;
        }
    }

    /// Runs the following batches under these conditions.
    pub(crate) fn set_conditions(&mut self, foreign_keys: bool, value_bytes_max: u64) -> Result<(), SqlError> {
        self.foreign_keys_at_first = foreign_keys;
        if self.value_bytes_max != value_bytes_max {
            let most = i32::try_from(value_bytes_max).unwrap_or(i32::MAX);
            self.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, most).map_err(sql_error)?;
            self.value_bytes_max = value_bytes_max;
        }
        Ok(())
    }

    /// Whether foreign keys are enforced at the beginning of each batch.
    pub(crate) fn foreign_keys_at_first(&self) -> bool {
        self.foreign_keys_at_first
    }

    /// Enforces foreign keys for the rest of the batch, or does not. Unlike the PRAGMA, this works inside a transaction.
    pub(crate) fn enforce_foreign_keys(&mut self, on: bool) -> Result<(), SqlError> {
        if self.foreign_keys != on {
            self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, on).map_err(sql_error)?;
            self.foreign_keys = on;
        }
        Ok(())
    }

    /// Whether a row lists the table in which the engine keeps its progress. Clients must not see it, because tools take
    /// every table they see for the user's.
    pub(crate) fn is_hidden<'v>(&self, mut values: impl Iterator<Item = ValueRef<'v>>) -> bool {
        self.replicated
            && values.any(|value| match value {
                ValueRef::Text(text) => text == progress::TABLE.as_bytes() || text == progress::CREATE.as_bytes(),
                _ => false,
            })
    }

    /// Takes a statement of a client's out of the cache. Its text is all of this one.
    pub(crate) fn take_kept(&mut self, sql: &str) -> Option<Box<Prepared>> {
        let kept = self.cache.take(sql)?;
        // SQLite may prepare it again, and the policy for clients must hold then.
        self.recorder.begin(Author::Client);
        Some(kept)
    }

    fn find(&self, sql: &CStr, author: Author) -> Result<Found, Failure> {
        let found = self.find_in_known_schema(sql, author);
        let may_depend_on_new_schema = match &found {
            Err(Failure::Sql(error)) => error.code == rusqlite::ffi::SQLITE_ERROR,
            Err(_) => false,
            // REINDEX and ANALYZE have nothing to do in an empty schema.
            Ok(found) => {
                found.statement.as_ref().is_some_and(|statement| statement.readonly() && !self.recorder.saw_actions())
            }
        };
        if may_depend_on_new_schema && self.renew_schema() {
            return self.find_in_known_schema(sql, author);
        }
        found
    }

    fn find_in_known_schema(&self, sql: &CStr, author: Author) -> Result<Found, Failure> {
        self.recorder.begin(author);
        Statement::prepare(&self.connection, sql, true).map_err(|error| {
            self.recorder.refused().map_or_else(|| Failure::Sql(self.with_limit(error)), Failure::NotAllowed)
        })
    }

    /// Reads the schema again if another connection has changed it. SQLite itself does so before it reports most errors, but
    /// not when ALTER TABLE does not find a column, nor when REINDEX finds no index. Returns whether the schema is up to date; the writer's always is.
    fn renew_schema(&self) -> bool {
        if self.role != Role::Reader {
            return false;
        }
        self.recorder.begin(Author::Owner);
        // SQLite compares the version of the schema when a statement runs, not when it is prepared.
        self.connection.query_row("SELECT count(*) FROM (SELECT 1 FROM sqlite_schema LIMIT 1)", [], |_| Ok(())).is_ok()
    }

    /// The first statement of a text, if it reads the schema and can be prepared so that it does not see the engine's table.
    fn find_without_engine_table(&self, sql: &CStr, author: Author) -> Option<Found> {
        if !self.replicated || author != Author::Client {
            return None;
        }
        let rewritten = schema_view::rewrite(sql.to_bytes())?;
        // The client's error message refers to the text as the client has sent it.
        let found = self.find(&rewritten.sql, author).ok().filter(|found| found.statement.is_some())?;
        Some(Found { consumed: found.consumed.checked_sub(rewritten.added)?, ..found })
    }

    /// Prepares the first statement of a text.
    pub(crate) fn prepare(&mut self, sql: &CStr, author: Author) -> Result<Next, Failure> {
        let (found, lists_nothing) = match self.find_without_engine_table(sql, author) {
            Some(found) => (found, true),
            None => (self.find(sql, author)?, false),
        };
        let Some(statement) = found.statement else {
            // Nothing before the end is no statement and yet takes no text, but a loop over a text must end.
            let consumed = if found.consumed == 0 { sql.count_bytes() } else { found.consumed };
            return Ok(Next { prepared: None, consumed });
        };
        let mut facts = self.recorder.facts(&statement);
        facts.lists_schema &= !lists_nothing;
        if author == Author::Client {
            self.check_policy(&facts, &sql.to_bytes()[..found.consumed])?;
        }
        // Many PRAGMAs act while they are prepared, so it does not matter whether this one will run.
        self.dirty |= facts.is_for_itself() && author == Author::Client;
        let alone = is_white(&sql[found.consumed..]);
        let len = sql.count_bytes();
        let keep = alone && author == Author::Client && !facts.is_for_itself() && len <= CACHED_SQL_LEN_MAX;
        let parameters = (1..=statement.parameter_count()).map(|index| statement.parameter_name(index)).collect();
        let inserts_literals =
            facts.inserts_only && statement.parameter_count() == 0 && found.consumed <= SHORT_INSERT_BYTES_MAX;
        let key = if keep { sql.to_str().ok().map(Arc::from) } else { None };
        let consumed = if alone { len } else { found.consumed };
        let prepared =
            Prepared { statement, facts, parameters, columns: None, weight: None, inserts_literals, key, dumped: None };
        Ok(Next { prepared: Some(Box::new(prepared)), consumed })
    }

    /// Refuses what the authorizer cannot see: a schema that refers to the engine's table, and a write whose effect would
    /// differ between nodes.
    fn check_policy(&self, facts: &Facts, sql: &[u8]) -> Result<(), Failure> {
        if facts.changes_schema && !facts.readonly && contains_ignoring_case(sql, progress::TABLE.as_bytes()) {
            return Err(Failure::NotAllowed(format!("a reference to {}", progress::TABLE)));
        }
        // ALTER TABLE reads such tables itself, to check the rows.
        if self.replicated && facts.reads_local && !facts.readonly && !facts.alters {
            let table = self.recorder.local().unwrap_or_default();
            return Err(Failure::NotAllowed(format!("{table} in a statement that writes")));
        }
        Ok(())
    }

    /// Whether a statement that SQLite has prepared again while it ran, because the schema had changed, still keeps to the
    /// policy.
    ///
    /// # Errors
    /// It does not. The caller undoes what it did.
    pub(crate) fn check_again(&self, facts: &Facts) -> Result<(), Failure> {
        let reads_local = self.recorder.local().is_some();
        self.check_policy(&Facts { reads_local, ..*facts }, b"")
    }

    /// How much work the statement may do without a look at the interrupt flag ([`program`]).
    ///
    /// # Errors
    /// SQLite has no memory to list the statement's bytecode, or was interrupted.
    pub(crate) fn weight_of(&self, prepared: &mut Prepared) -> Result<u32, Failure> {
        let version = prepared.statement.reprepare_count();
        // How SQLite evaluates LIKE and GLOB depends on the pattern that is bound, so the bytecode of such a statement can change.
        let may_change = self.replicates() && prepared.facts.work >= program::PATTERN;
        if let Some((known, weight)) = prepared.weight
            && known == version
            && !may_change
        {
            return Ok(weight);
        }
        let weight = match self.listing_of(prepared) {
            Listing::None => prepared.facts.work,
            Listing::Fixed(weight) => weight,
            Listing::Bytecode => {
                // SQLite may prepare it again to list it.
                self.recorder.begin(Author::Client);
                let listed = program::weight(&mut prepared.statement);
                listed.map_err(|code| self.failure(self.true_code(code)))?
            }
        };
        prepared.weight = Some((prepared.statement.reprepare_count(), weight));
        Ok(weight)
    }

    /// How the weight of a statement is determined. Where results are replicated, every node has to come to the same weight,
    /// so the memory that a statement takes, which differs between builds, does not count.
    fn listing_of(&self, prepared: &Prepared) -> Listing {
        let facts = &prepared.facts;
        if !facts.can_be_listed {
            Listing::None
        } else if facts.changes_rows && facts.asks_changes {
            // To list it would make `changes()` 0.
            Listing::Fixed(UNLISTED_WEIGHT)
        } else if self.replicates() && prepared.inserts_literals {
            Listing::Fixed(SHORT_INSERT_WEIGHT)
        } else if !self.replicates() && prepared.statement.memory_used() <= LIGHT_STATEMENT_BYTES_MAX {
            Listing::None
        } else {
            Listing::Bytecode
        }
    }

    /// Whether other nodes, or a replay, have to come to the same results.
    fn replicates(&self) -> bool {
        self.replicated && self.role == Role::Writer
    }

    /// To be called after a statement that changes the schema or the statistics of ANALYZE. Drops the kept statements, because
    /// their weights belong to the schema before.
    pub(crate) fn note_schema_change(&mut self) {
        if self.replicates() {
            self.cache.clear();
            self.schema_changed = true;
        }
    }

    fn forget_undone_schema(&mut self) {
        if self.schema_changed {
            self.cache.clear();
        }
    }

    /// The facts of the kept statement with exactly this text.
    pub(crate) fn kept(&self, sql: &str) -> Option<&Facts> {
        self.cache.facts(sql)
    }

    /// Gives a statement back after use.
    pub(crate) fn put_back(&mut self, mut prepared: Box<Prepared>) {
        prepared.statement.reset();
        if self.replicates() && prepared.facts.changes_schema {
            return;
        }
        if let Some(key) = prepared.key.clone() {
            self.cache.keep(key, prepared);
        }
    }

    /// Refuses clients to change or create these tables, until this is called again.
    pub(crate) fn protect(&self, tables: Vec<String>) {
        self.recorder.protect(tables);
    }

    /// What the connection's last call failed with.
    pub(crate) fn error(&self, code: i32) -> SqlError {
        self.with_limit(probe::last_error(&self.connection, code))
    }

    /// Adds the limit that a statement has met.
    fn with_limit(&self, mut error: SqlError) -> SqlError {
        if error.primary_code() == rusqlite::ffi::SQLITE_TOOBIG {
            let most = self.connection.limit(Limit::SQLITE_LIMIT_LENGTH).unwrap_or_default();
            error.message = format!("{}: the limit is {most} bytes ({})", error.generic, self.value_bytes_max_name);
        }
        if error.primary_code() == rusqlite::ffi::SQLITE_NOMEM
            && let Some(refused) = heap::refused()
        {
            error = self.without_memory(error, refused);
        }
        error
    }

    /// Whether a statement has failed because it needs more memory than one may have.
    pub(crate) fn is_own_memory_limit(&self, error: &SqlError) -> bool {
        error.primary_code() == rusqlite::ffi::SQLITE_NOMEM && error.message == self.own_memory_limit()
    }

    fn own_memory_limit(&self) -> String {
        let (most, name) = (self.memory_bytes_max, self.memory_bytes_max_name);
        format!("out of memory: the limit of a statement is {most} bytes ({name})")
    }

    fn without_memory(&self, error: SqlError, refused: heap::Refused) -> SqlError {
        let message = match refused {
            heap::Refused::Run => self.own_memory_limit(),
            heap::Refused::Process => "out of memory: the statements that run now use too much together".to_owned(),
            heap::Refused::Stop => return probe::error_of_code(rusqlite::ffi::SQLITE_INTERRUPT, None),
        };
        SqlError { message, ..error }
    }

    /// The code with which a call of SQLite failed, or that of an interrupt if it failed because the run has to end: it got no
    /// memory, or its triggers were not allowed to fire.
    pub(crate) fn true_code(&self, code: i32) -> i32 {
        let stopped = match code & 0xff {
            rusqlite::ffi::SQLITE_NOMEM => heap::refused() == Some(heap::Refused::Stop),
            rusqlite::ffi::SQLITE_ERROR => self.triggers_are_stopped(),
            _ => false,
        };
        if stopped { rusqlite::ffi::SQLITE_INTERRUPT } else { code }
    }

    /// Allows triggers to fire after a statement that had to end.
    pub(crate) fn allow_triggers(&mut self) {
        let allowed = self.triggers.as_ref().map_or(Ok(()), |triggers| triggers.allow(&self.connection));
        if let Err(error) = allowed {
            tracing::error!(%error, "triggers cannot be allowed again");
            self.dirty = true;
        }
    }

    fn triggers_are_stopped(&self) -> bool {
        self.triggers.as_ref().is_some_and(Triggers::are_stopped)
    }

    /// The longest row of a result, bytes.
    pub(crate) fn row_bytes_max(&self) -> usize {
        usize::try_from(self.value_bytes_max).unwrap_or(usize::MAX)
    }

    /// The failure of a statement whose row is longer than that.
    pub(crate) fn row_too_long(&self) -> Failure {
        let mut error = probe::error_of_code(rusqlite::ffi::SQLITE_TOOBIG, None);
        let most = self.value_bytes_max;
        error.message = format!("{}: the limit is {most} bytes ({})", error.generic, self.value_bytes_max_name);
        Failure::Sql(error)
    }

    /// The failure of a statement whose row SQLite could not give for want of memory.
    pub(crate) fn no_memory_for_row(&self) -> Failure {
        Failure::Sql(self.with_limit(probe::error_of_code(rusqlite::ffi::SQLITE_NOMEM, None)))
    }

    /// Why a step failed: SQLite's words, or what the policy refused while it ran.
    pub(crate) fn failure(&self, code: i32) -> Failure {
        if self.triggers_are_stopped() {
            return Failure::Sql(probe::error_of_code(rusqlite::ffi::SQLITE_INTERRUPT, None));
        }
        let refused = if code & 0xff == rusqlite::ffi::SQLITE_AUTH { self.recorder.refused() } else { None };
        refused.map_or_else(|| Failure::Sql(self.error(code)), Failure::NotAllowed)
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

    /// Whether no transaction is open.
    pub(crate) fn is_autocommit(&self) -> bool {
        self.connection.is_autocommit()
    }

    /// The failure that COMMIT would report now: a deferred foreign key is violated.
    pub(crate) fn open_constraint(&self) -> Option<Failure> {
        probe::deferred_foreign_keys_open(&self.connection).then(|| {
            let code = rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY;
            Failure::Sql(probe::error_of_code(code, Some("FOREIGN KEY constraint failed")))
        })
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
        self.as_owner(|connection| connection.execute_batch("PRAGMA writable_schema=RESET"))
    }

    /// Finalizes the statements that are kept.
    pub(crate) fn forget_statements(&mut self) {
        self.cache.clear();
    }

    /// The connection itself, for backups.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn begin(&mut self) -> Result<(), SqlError> {
        run_control(&mut self.control.begin, &self.connection)
    }

    pub(crate) fn begin_immediate(&mut self) -> Result<(), SqlError> {
        run_control(&mut self.control.begin_immediate, &self.connection)
    }

    pub(crate) fn commit(&mut self) -> Result<(), SqlError> {
        run_control(&mut self.control.commit, &self.connection)?;
        self.schema_changed = false;
        Ok(())
    }

    /// Ends the transaction, if one is open. (An error that ends it by itself has done the work already.)
    pub(crate) fn rollback(&mut self) -> Result<(), SqlError> {
        self.forget_undone_schema();
        self.schema_changed = false;
        if self.is_autocommit() {
            return Ok(());
        }
        run_control(&mut self.control.rollback, &self.connection)
    }

    /// Cuts the write-ahead log behind its last commit. Returns the number of bytes that were cut off.
    pub(crate) fn cut_log_tail(&mut self, blueprint: &Blueprint) -> Result<i64, SqlError> {
        let mode = self.as_owner(|connection| connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)));
        if !mode.is_ok_and(|mode: String| mode == "wal") {
            return Ok(0);
        }
        // A lock of another process is no reason to wait: the tail does no harm.
        self.connection.busy_timeout(Duration::ZERO).map_err(sql_error)?;
        let begun = self.begin_immediate();
        self.connection.busy_timeout(blueprint.options.busy_timeout).map_err(sql_error)?;
        begun?;
        let cut = log_tail::cut(&self.connection);
        self.rollback().and(cut)
    }

    /// Moves the write-ahead log into the database and empties it, as far as that is possible without waiting for readers.
    pub(crate) fn checkpoint_now(&mut self, blueprint: &Blueprint) -> Result<(), SqlError> {
        self.as_owner(|connection| {
            connection.busy_timeout(Duration::ZERO)?;
            let done = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            connection.busy_timeout(blueprint.options.busy_timeout)?;
            done
        })
    }

    pub(crate) fn savepoint(&mut self, level: Level) -> Result<(), SqlError> {
        run_control(&mut self.control.savepoint[level as usize], &self.connection)
    }

    pub(crate) fn release(&mut self, level: Level) -> Result<(), SqlError> {
        run_control(&mut self.control.release[level as usize], &self.connection)
    }

    /// Undoes everything since the savepoint, and ends it.
    pub(crate) fn undo(&mut self, level: Level) -> Result<(), SqlError> {
        self.forget_undone_schema();
        run_control(&mut self.control.rollback_to[level as usize], &self.connection)?;
        self.release(level)
    }
}

impl Prepared {
    /// The statement stands for a row of a dump.
    pub(crate) fn of_dump(mut self: Box<Self>, table: VirtualTable) -> Box<Prepared> {
        self.dumped = table.has_shadow_tables().then_some(table);
        self.key = None;
        self
    }

    /// A statement of which nothing else is known.
    #[cfg(test)]
    pub(crate) fn bare(statement: Statement, facts: Facts) -> Prepared {
        Prepared {
            statement,
            facts,
            parameters: Box::default(),
            columns: None,
            weight: None,
            inserts_literals: false,
            key: None,
            dumped: None,
        }
    }

    /// The columns of its result. To be called after the first step, which may have prepared it again.
    pub(crate) fn columns(&mut self) -> Arc<Columns> {
        let version = self.statement.reprepare_count();
        match &self.columns {
            Some((known, columns)) if *known == version => columns.clone(),
            _ => {
                let columns: Arc<Columns> = (0..self.statement.column_count()).map(|i| self.column(i)).collect();
                self.columns = Some((version, columns.clone()));
                columns
            }
        }
    }

    fn column(&self, index: usize) -> Column {
        Column {
            name: self.statement.column_name(index).map(String::from).unwrap_or_default(),
            decl_type: self.statement.column_decl_type(index).map(String::from),
            table: self.statement.column_table(index).map(String::from),
        }
    }
}

impl Control {
    fn prepare(connection: &Connection) -> Result<Control, SqlError> {
        let one = |sql: &CStr| {
            let prepared = Statement::prepare(connection, sql, true)?;
            prepared.statement.ok_or_else(|| probe::error_of_code(rusqlite::ffi::SQLITE_INTERNAL, None))
        };
        Ok(Control {
            begin: one(c"BEGIN")?,
            begin_immediate: one(c"BEGIN IMMEDIATE")?,
            commit: one(c"COMMIT")?,
            rollback: one(c"ROLLBACK")?,
            savepoint: [one(c"SAVEPOINT sqlhttp_member")?, one(c"SAVEPOINT sqlhttp_step")?],
            release: [one(c"RELEASE sqlhttp_member")?, one(c"RELEASE sqlhttp_step")?],
            rollback_to: [one(c"ROLLBACK TO sqlhttp_member")?, one(c"ROLLBACK TO sqlhttp_step")?],
        })
    }
}

fn contains_ignoring_case(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window.eq_ignore_ascii_case(wanted))
}

fn run_control(statement: &mut Statement, connection: &Connection) -> Result<(), SqlError> {
    let result = statement.step().map(drop).map_err(|code| probe::last_error(connection, code));
    statement.reset();
    result
}

fn install_hooks(
    connection: &mut Connection,
    recorder: &Recorder,
    watch: &Watch,
    baseline: &ChangeBaseline,
) -> rusqlite::Result<()> {
    let listener = recorder.clone();
    connection.authorizer(Some(move |context: rusqlite::hooks::AuthContext<'_>| listener.authorize(context)))?;
    let ticking = watch.clone();
    connection.progress_handler(STEPS_PER_CALL, Some(move || ticking.tick()))?;
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

/// SQLite's own words out of an error of rusqlite's.
pub(crate) fn sql_error(error: rusqlite::Error) -> SqlError {
    match error {
        rusqlite::Error::SqliteFailure(error, message) => probe::error_of_code(error.extended_code, message.as_deref()),
        other => probe::error_of_code(rusqlite::ffi::SQLITE_ERROR, Some(&other.to_string())),
    }
}

/// An error of the engine's own work, as opposed to a client's statement.
pub(crate) fn engine_error(action: &'static str, source: SqlError) -> Error {
    if source.primary_code() == rusqlite::ffi::SQLITE_BUSY {
        return Error::Busy(source);
    }
    Error::Sqlite { action, source }
}
