//! The properties of a statement, as SQLite reports them: the actions passed to the authorizer during
//! `sqlite3_prepare`, and the results of `sqlite3_stmt_readonly` and similar functions afterwards. The SQL text is not
//! parsed.
//!
//! The same authorizer callback enforces the policy for clients: see [`AuthorizerRecorder`].

mod observed;

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::hooks::{AuthContext, Authorization};

use self::observed::Observed;
pub(crate) use self::observed::TableWrite;
use super::policy::sets_fixed;
use super::sqlite::statement::Statement;
use crate::model::TransactionKeyword;

/// The properties of an SQL statement.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StatementInfo {
    /// The statement does not change the database.
    pub(crate) readonly: bool,
    /// The keyword, if the statement begins or ends a transaction or savepoint; otherwise `None`.
    pub(crate) transaction: Option<TransactionKeyword>,
    /// The statement itself inserts, updates or deletes rows. DDL and the effects of triggers do not count.
    pub(crate) changes_rows: bool,
    /// The statement itself inserts rows. The effects of triggers do not count.
    pub(crate) inserts: bool,
    /// The statement, or a trigger that it fires, calls `last_insert_rowid()`.
    pub(crate) reads_last_insert_rowid: bool,
    /// The statement changes the state of the connection: a setting, an attached file, a temporary table.
    pub(crate) changes_connection: bool,
    /// The statement sets `PRAGMA auto_vacuum`, which takes effect when the connection runs VACUUM.
    pub(crate) sets_auto_vacuum: bool,
    /// The statement (VACUUM) can run only outside a transaction.
    pub(crate) outside_transaction: bool,
    /// The statement's effect depends on the order in which this connection loaded the schema (ANALYZE, `PRAGMA
    /// optimize`).
    pub(crate) depends_on_load_order: bool,
    /// The statement writes to the schema.
    pub(crate) changes_schema: bool,
    /// The statement is an ALTER TABLE. SQLite may give it result columns, which are not the client's.
    pub(crate) alters_table: bool,
    /// The statement processes the whole content of a table (CREATE INDEX, REINDEX, ANALYZE, ALTER TABLE), so the
    /// number of its virtual-machine steps is not limited. VACUUM is [`StatementInfo::outside_transaction`].
    pub(crate) works_on_whole_tables: bool,
    /// The weight of the functions that the statement calls: [`PASS`](super::sqlite::program::PASS) for each call, more
    /// for slow functions.
    pub(crate) work: u32,
    /// The statement only inserts values, and calls no functions and fires no triggers.
    pub(crate) inserts_only: bool,
    /// The statement's bytecode can be listed ([`weight`](super::sqlite::program::weight)) without side effects.
    /// `false` for PRAGMAs, for example, because they act while they are prepared.
    pub(crate) can_be_listed: bool,
    /// The statement, or a trigger that it fires, calls `changes()`.
    pub(crate) reads_changes: bool,
    /// The maximum size of a value for which the statement's functions take at most some seconds, in bytes; `None` if
    /// the functions need no such limit.
    pub(crate) value_bytes_max: Option<i32>,
    /// The value that the statement sets, if it is a client's `PRAGMA foreign_keys` with a value; otherwise `None`.
    pub(crate) foreign_keys: Option<bool>,
    /// The statement lists the objects of the schema.
    pub(crate) lists_schema: bool,
    /// The statement is `PRAGMA database_list`.
    pub(crate) lists_databases: bool,
    /// The statement reads a value that differs between the nodes of a cluster.
    pub(crate) reads_node_local: bool,
    /// The statement writes to the tables with the statistics of ANALYZE. SQLite loads statistics together with the
    /// schema, so a connection that was opened later would plan statements differently.
    pub(crate) changes_statistics: bool,
    /// The statement is a CREATE TABLE … AS SELECT.
    pub(crate) creates_table_as: bool,
    /// The statement lists the columns of a table or view (`pragma_table_info`, `pragma_table_xinfo`).
    pub(crate) lists_columns: bool,
    /// The statement creates a virtual table that changes its shadow tables when a transaction is committed (FTS3,
    /// FTS4).
    pub(crate) creates_merging_table: bool,
}

/// The author of a statement, on whom the policy depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Author {
    /// A client. The policy for clients applies to the statement.
    #[default]
    Client,
    /// The engine, or the owner of the database. Everything is allowed.
    Owner,
    /// The owner's configuration files. Their statements cannot change the settings that the engine relies on: see
    /// [`super::policy::FIXED_PRAGMAS`].
    Configuration,
}

/// Records the actions that SQLite passes to the authorizer of one connection, and enforces the policy for clients.
#[derive(Debug, Clone, Default)]
pub(crate) struct AuthorizerRecorder {
    observed: Arc<Mutex<Observed>>,
}

impl StatementInfo {
    /// Returns whether the statement must not share its transaction and its connection with other batches.
    pub(crate) fn needs_exclusive_run(&self) -> bool {
        self.changes_connection || self.depends_on_load_order || self.changes_statistics
    }
}

impl AuthorizerRecorder {
    pub(crate) fn new(allow_attach: bool) -> Self {
        let recorder = AuthorizerRecorder::default();
        recorder.with(|observed| observed.allow_attach = allow_attach);
        recorder
    }

    fn with<T>(&self, f: impl FnOnce(&mut Observed) -> T) -> T {
        // A poisoned lock is ignored: the record is plain data, so a panic of another thread leaves it consistent.
        f(&mut self.observed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records from now on which tables and columns a statement writes.
    pub(crate) fn record_writes(&self) {
        self.with(|observed| observed.writes = Some(Vec::new()));
    }

    /// Returns the tables that the statement writes, also by its triggers, with the columns that it updates.
    pub(crate) fn take_writes(&self) -> Vec<TableWrite> {
        self.with(|observed| observed.writes.as_mut().map(std::mem::take).unwrap_or_default())
    }

    /// Clears the record of actions. Must be called before a statement is prepared.
    pub(crate) fn begin(&self, author: Author) {
        self.with(|observed| {
            // Cached statements are not prepared again, so usually there is nothing to clear.
            if !observed.any_action {
                (observed.author, observed.preparing) = (author, true);
                return;
            }
            let (allow_attach, outside_transaction) = (observed.allow_attach, observed.outside_transaction);
            let protected = std::mem::take(&mut observed.protected);
            let writes = observed.writes.take().map(|_| Vec::new());
            *observed = Observed {
                author,
                allow_attach,
                outside_transaction,
                protected,
                writes,
                preparing: true,
                ..Observed::default()
            };
        });
    }

    /// Clears the record of actions before a statement of a client runs that has been prepared already. SQLite may
    /// prepare it again.
    pub(crate) fn resume(&self) {
        self.begin(Author::Client);
        self.with(|observed| observed.preparing = false);
    }

    /// Forbids clients to change or create these tables. The list replaces that of the previous call.
    pub(crate) fn protect(&self, tables: Vec<String>) {
        self.with(|observed| observed.protected = tables);
    }

    /// Sets whether a statement (VACUUM) is running that can run only outside a transaction.
    pub(crate) fn set_outside_transaction(&self, runs: bool) {
        self.with(|observed| observed.outside_transaction = runs);
    }

    /// Returns the name of the action that the policy refused while the statement was prepared; `None` if it refused
    /// none.
    pub(crate) fn refused(&self) -> Option<String> {
        self.with(|observed| observed.refused.take())
    }

    /// Returns whether SQLite has reported any action while the statement was prepared.
    pub(crate) fn saw_actions(&self) -> bool {
        self.with(|observed| observed.any_action)
    }

    /// Returns the first table or function of the statement whose values differ between the nodes of a cluster; `None`
    /// if there is none.
    pub(crate) fn node_local(&self) -> Option<String> {
        self.with(|observed| observed.node_local())
    }

    /// Returns whether the statement reads the root pages of tables.
    pub(crate) fn reads_root_page(&self) -> bool {
        self.with(|observed| observed.reads_root_page)
    }

    /// Returns the properties of the statement that was just prepared.
    pub(crate) fn info(&self, statement: &Statement) -> StatementInfo {
        let (mut info, any_action) = self.with(|observed| {
            observed.preparing = false;
            let node_local = observed.node_local();
            let info = &mut observed.info;
            info.inserts_only = info.inserts && !observed.more_than_inserts;
            info.creates_table_as = observed.creates_table && observed.selects;
            info.reads_node_local = node_local.is_some();
            info.can_be_listed =
                !observed.pragma && !observed.reindexes && !info.alters_table && !info.depends_on_load_order;
            (*info, observed.any_action)
        });
        let explain = statement.is_explain();
        info.readonly = explain || statement.readonly();
        // VACUUM is the only statement that writes and reports no action.
        info.outside_transaction = !info.readonly && !any_action;
        info.can_be_listed &= !explain && !info.outside_transaction && info.transaction.is_none();
        if explain {
            info.transaction = None;
            info.foreign_keys = None;
        }
        info
    }

    /// The authorizer callback: records an action, and decides whether the statement may perform it.
    pub(crate) fn authorize(&self, context: AuthContext<'_>) -> Authorization {
        self.with(|observed| {
            observed.any_action = true;
            if observed.author == Author::Configuration && sets_fixed(&context.action) {
                return Authorization::Ignore;
            }
            observed.note(&context);
            if observed.author != Author::Client {
                return Authorization::Allow;
            }
            if observed.is_ignored(&context.action) {
                return Authorization::Ignore;
            }
            match observed.refusal(&context.action) {
                Some(what) => {
                    observed.refused = Some(what);
                    Authorization::Deny
                }
                None => Authorization::Allow,
            }
        })
    }
}
