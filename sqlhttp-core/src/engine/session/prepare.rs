//! Prepares statements, applies the policy for clients to them, and determines their weight (the work that SQLite
//! cannot interrupt).

use std::ffi::CStr;
use std::sync::Arc;

use super::connection::Session;
use super::prepared::Prepared;
use crate::engine::connection_config::Role;
use crate::engine::replicated::progress;
use crate::engine::schema_view::{self, RootPages};
use crate::engine::sqlite::program;
use crate::engine::sqlite::statement::{Prepared as Compiled, Statement};
use crate::engine::sqlite::triggers::Triggers;
use crate::engine::statement_info::{Author, StatementInfo};
use crate::engine::text::is_white;
use crate::engine::work_limits::UNLIMITED_VALUES_WEIGHT;
use crate::model::{Failure, ValueRef};

/// The maximum length of a statement that is cached, in bytes.
const CACHED_SQL_LEN_MAX: usize = 64 << 10;
/// The maximum memory of a prepared statement that counts as light, in bytes. Such a statement does so little work that
/// its bytecode need not be listed.
const LIGHT_STATEMENT_BYTES_MAX: i32 = 3 << 10;
/// The maximum length of an INSERT of literals whose bytecode is not listed, in bytes.
const SHORT_INSERT_BYTES_MAX: usize = 4 << 10;
/// The weight of an INSERT of literals whose bytecode is not listed. With this weight values of one megabyte are
/// allowed, much more than the statement's text can contain.
const SHORT_INSERT_WEIGHT: u32 = 64 * UNLIMITED_VALUES_WEIGHT;
/// The weight of a statement that changes rows and whose bytecode cannot be listed. With this weight values of one
/// megabyte are allowed.
const UNLISTED_WEIGHT: u32 = 64 * UNLIMITED_VALUES_WEIGHT;

/// How the weight of a statement is determined: see [`program`].
enum WeightSource {
    /// The weight is the sum of the weights of the functions that the statement calls.
    Functions,
    Fixed(u32),
    Bytecode,
}

/// The first statement of an SQL text.
pub(crate) struct FirstStatement {
    /// The prepared statement; `None` if there is only white space or a comment.
    pub(crate) prepared: Option<Box<Prepared>>,
    /// The length of the statement in bytes, including white space and comments before it.
    pub(crate) consumed: usize,
}

impl Session {
    /// Prepares the first statement of an SQL text, and applies the policy for its author.
    pub(crate) fn prepare(&mut self, sql: &CStr, author: Author) -> Result<FirstStatement, Failure> {
        let (compiled, lists_nothing) = match self.compile_without_engine_table(sql, author) {
            Some(compiled) => (compiled, true),
            None => (self.compile(sql, author)?, false),
        };
        let Some(statement) = compiled.statement else {
            // SQLite always consumes something before the end of an SQL text. The condition only guarantees that a loop
            // over the text ends.
            let consumed = if compiled.consumed == 0 { sql.count_bytes() } else { compiled.consumed };
            return Ok(FirstStatement { prepared: None, consumed });
        };
        let mut info = self.recorder.info(&statement);
        info.lists_schema &= !lists_nothing;
        // Otherwise the effect of a later VACUUM would depend on whether this node has been restarted meanwhile.
        info.changes_connection |= info.sets_auto_vacuum && self.replicated;
        if author == Author::Client {
            self.check_policy(&info, &sql.to_bytes()[..compiled.consumed])?;
        }
        // Many PRAGMAs act while they are prepared. So the session is dirty even if this statement will not run.
        self.dirty |= info.needs_exclusive_run() && author == Author::Client;
        self.merges_at_commit |= info.creates_merging_table;
        let changed_tables =
            self.changed_tables(&info, &sql.to_bytes()[..compiled.consumed], statement.reprepare_count());
        let is_last = is_white(&sql[compiled.consumed..]);
        let len = sql.count_bytes();
        // SQLite runs an EXPLAIN without checking whether the connection has loaded the schema again since then. A
        // cached one could show an old plan, and read tables that no longer exist in memory.
        let may_be_cached = author == Author::Client && !info.needs_exclusive_run() && !statement.is_explain();
        let keep = is_last && may_be_cached && len <= CACHED_SQL_LEN_MAX;
        let parameters = (1..=statement.parameter_count()).map(|index| statement.parameter_name(index)).collect();
        let inserts_literals =
            info.inserts_only && statement.parameter_count() == 0 && compiled.consumed <= SHORT_INSERT_BYTES_MAX;
        let key = if keep { sql.to_str().ok().map(Arc::from) } else { None };
        let consumed = if is_last { len } else { compiled.consumed };
        let prepared = Prepared {
            statement,
            info,
            parameters,
            columns: None,
            weight: None,
            inserts_literals,
            key,
            restored_table: None,
            changed_tables,
        };
        Ok(FirstStatement { prepared: Some(Box::new(prepared)), consumed })
    }

    /// Returns the properties of the cached statement with exactly this SQL text; `None` if it is not cached.
    pub(crate) fn cached_info(&self, sql: &str) -> Option<&StatementInfo> {
        self.cache.info(sql)
    }

    /// Takes the client's statement with this SQL text out of the cache; returns `None` if it is not cached. The text
    /// contains no other statement.
    pub(crate) fn take_cached(&mut self, sql: &str) -> Option<Box<Prepared>> {
        let cached = self.cache.take(sql)?;
        // SQLite may prepare the statement again while it runs, and then the policy for clients must apply.
        self.recorder.begin(Author::Client);
        Some(cached)
    }

    /// Resets a statement after use, and puts it back into the cache if it is to be cached.
    pub(crate) fn put_back(&mut self, mut prepared: Box<Prepared>) {
        prepared.statement.reset();
        if self.replicates() && prepared.info.changes_schema {
            return;
        }
        if let Some(key) = prepared.key.clone() {
            self.cache.insert(key, prepared);
        }
    }

    /// Prepares the first statement of an SQL text. If the result may depend on changes of the schema that this
    /// connection has not loaded yet, reads the schema again and repeats.
    fn compile(&self, sql: &CStr, author: Author) -> Result<Compiled, Failure> {
        let compiled = self.compile_in_loaded_schema(sql, author);
        let may_depend_on_new_schema = match &compiled {
            Err(Failure::Sql(error)) => error.code == rusqlite::ffi::SQLITE_ERROR,
            Err(_) => false,
            // REINDEX and ANALYZE do nothing if the loaded schema is empty. Such a statement is read-only and reports
            // no actions.
            Ok(compiled) => compiled
                .statement
                .as_ref()
                .is_some_and(|statement| statement.readonly() && !self.recorder.saw_actions()),
        };
        if may_depend_on_new_schema && self.reload_schema() {
            return self.compile_in_loaded_schema(sql, author);
        }
        compiled
    }

    /// Prepares the first statement of an SQL text, with the schema that the connection has loaded.
    ///
    /// The first statement that uses a virtual table on a connection connects it, and the table then prepares and runs
    /// statements of its own. Their actions would be recorded as those of the client's statement, so this is prepared
    /// again.
    fn compile_in_loaded_schema(&self, sql: &CStr, author: Author) -> Result<Compiled, Failure> {
        self.triggers.iter().for_each(Triggers::forget_statements);
        let compiled = self.compile_once(sql, author)?;
        if self.triggers.as_ref().is_some_and(Triggers::statement_began) {
            return self.compile_once(sql, author);
        }
        Ok(compiled)
    }

    fn compile_once(&self, sql: &CStr, author: Author) -> Result<Compiled, Failure> {
        self.recorder.begin(author);
        Statement::prepare(&self.connection, sql, true).map_err(|error| {
            self.recorder.refused().map_or_else(|| Failure::Sql(self.with_limit(error)), Failure::NotAllowed)
        })
    }

    /// Reads the schema again if another connection has changed it. SQLite does so itself before it reports most
    /// errors, but not when ALTER TABLE does not find a column, nor when REINDEX finds no index. Returns whether the
    /// schema was read. Does nothing on the writer's connection, whose schema is always up to date.
    fn reload_schema(&self) -> bool {
        if self.role != Role::Reader {
            return false;
        }
        self.recorder.begin(Author::Owner);
        // SQLite compares the version of the schema when a statement runs, not when it is prepared.
        self.connection.query_row("SELECT count(*) FROM (SELECT 1 FROM sqlite_schema LIMIT 1)", [], |_| Ok(())).is_ok()
    }

    /// Prepares the first statement of an SQL text so that the engine's table is hidden from it. Returns `None` if the
    /// statement does not read the schema, or cannot be rewritten.
    fn compile_without_engine_table(&self, sql: &CStr, author: Author) -> Option<Compiled> {
        if !self.replicated || author != Author::Client {
            return None;
        }
        let compiled = self.compile_rewritten(sql, author, RootPages::Real)?;
        let writes = compiled.statement.as_ref().is_some_and(|statement| !statement.readonly());
        if !writes || !self.recorder.reads_root_page() {
            return Some(compiled);
        }
        // The statement reads all columns of the schema, or the root pages alone. The original text is refused.
        let first = &sql.to_bytes()[..compiled.consumed];
        let is_named = contains_ignoring_case(first, schema_view::ROOT_PAGE.as_bytes());
        if is_named { None } else { self.compile_rewritten(sql, author, RootPages::Null) }
    }

    fn compile_rewritten(&self, sql: &CStr, author: Author, root_pages: RootPages) -> Option<Compiled> {
        let rewritten = schema_view::rewrite(sql.to_bytes(), root_pages)?;
        // On an error the original text is prepared, because the client's error message must refer to it.
        let compiled = self.compile(&rewritten.sql, author).ok().filter(|compiled| compiled.statement.is_some())?;
        Some(Compiled { consumed: compiled.consumed.checked_sub(rewritten.added)?, ..compiled })
    }

    /// Returns whether a row of a result lists the engine's table, which stores the position in the log. Clients must
    /// not see such rows, because tools treat every listed table as the user's.
    pub(crate) fn is_hidden<'v>(&self, mut values: impl Iterator<Item = ValueRef<'v>>) -> bool {
        self.replicated
            && values.any(|value| match value {
                ValueRef::Text(text) => text == progress::TABLE.as_bytes() || text == progress::CREATE.as_bytes(),
                _ => false,
            })
    }

    /// Refuses what the authorizer cannot detect: a change of the schema that refers to the engine's table, and a write
    /// whose effect would differ between the nodes of a cluster.
    fn check_policy(&self, info: &StatementInfo, sql: &[u8]) -> Result<(), Failure> {
        if info.changes_schema && !info.readonly && contains_ignoring_case(sql, progress::TABLE.as_bytes()) {
            return Err(Failure::NotAllowed(format!("a reference to {}", progress::TABLE)));
        }
        // ALTER TABLE and VACUUM are allowed: SQLite itself reads such tables then.
        let writes = !info.readonly && !info.alters_table && !info.outside_transaction;
        if self.replicated && info.reads_node_local && writes {
            let what = self.recorder.node_local().unwrap_or_default();
            return Err(Failure::NotAllowed(format!("{what} in a statement that writes")));
        }
        Ok(())
    }

    /// Applies the policy again to a statement that SQLite has prepared again while it ran, because the schema had
    /// changed.
    ///
    /// # Errors
    /// The policy forbids the statement. The caller must undo its effects.
    pub(super) fn recheck_policy(&self, info: &StatementInfo) -> Result<(), Failure> {
        let reads_node_local = self.recorder.node_local().is_some();
        self.check_policy(&StatementInfo { reads_node_local, ..*info }, b"")
    }

    /// Determines the weight of a statement: the work that it does between two checks of SQLite's interrupt flag
    /// ([`program`]).
    ///
    /// # Errors
    /// SQLite has no memory to list the statement's bytecode, or was interrupted.
    pub(crate) fn weight_of(&self, prepared: &mut Prepared) -> Result<u32, Failure> {
        let version = prepared.statement.reprepare_count();
        // SQLite evaluates LIKE and GLOB depending on the bound pattern, so the bytecode of such a statement can
        // change.
        let may_change = self.replicates() && prepared.info.work >= program::PATTERN;
        if let Some((known, weight)) = prepared.weight
            && known == version
            && !may_change
        {
            return Ok(weight);
        }
        let weight = match self.weight_source(prepared) {
            WeightSource::Functions => prepared.info.work,
            WeightSource::Fixed(weight) => weight,
            WeightSource::Bytecode => {
                // The statement is prepared again to list its bytecode.
                self.recorder.begin(Author::Client);
                let listed = program::weight(&self.connection, &prepared.statement);
                listed.map_err(|code| self.failure(self.true_code(code)))?
            }
        };
        prepared.weight = Some((prepared.statement.reprepare_count(), weight));
        Ok(weight)
    }

    /// Chooses how the weight of a statement is determined. If the database applies a log, every node must determine
    /// the same weight. So the memory of the prepared statement is then ignored, because it differs between builds.
    fn weight_source(&self, prepared: &Prepared) -> WeightSource {
        let info = &prepared.info;
        if !info.can_be_listed {
            WeightSource::Functions
        } else if info.changes_rows && info.reads_changes {
            // Listing the bytecode would set `changes()` to 0.
            WeightSource::Fixed(UNLISTED_WEIGHT)
        } else if self.replicates() && prepared.inserts_literals {
            WeightSource::Fixed(SHORT_INSERT_WEIGHT)
        } else if !self.replicates() && prepared.statement.memory_used() <= LIGHT_STATEMENT_BYTES_MAX {
            WeightSource::Functions
        } else {
            WeightSource::Bytecode
        }
    }

    /// Adds the change to those that the listeners receive. Clears the statement cache of a database that applies a
    /// log, because the weights of the statements belong to the old schema. Must be called after a statement that
    /// changes the schema or the statistics of ANALYZE.
    pub(crate) fn note_schema_change(&mut self) {
        self.note_changed_schema();
        if self.replicates() {
            self.cache.clear();
            self.schema_changed = true;
        }
    }
}

fn contains_ignoring_case(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window.eq_ignore_ascii_case(wanted))
}
