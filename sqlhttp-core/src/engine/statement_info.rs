//! The properties of a statement, as SQLite reports them: the actions passed to the authorizer during
//! `sqlite3_prepare`, and the results of `sqlite3_stmt_readonly` and similar functions afterwards. The SQL text is not
//! parsed.
//!
//! The same authorizer callback enforces the policy for clients: see [`AuthorizerRecorder`].

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization, TransactionOperation};

use super::policy::{
    IGNORED_PRAGMAS, QUADRATIC_FUNCTIONS, REFUSED_FUNCTIONS, REFUSED_PRAGMAS, REFUSED_TABLES, is_attach, is_detach,
    is_node_local_function, is_node_local_table, is_one_of, is_schema, is_stateless, is_statistics, merges_at_commit,
    pragma_boolean, sets_fixed, table_of,
};
use super::replicated::progress;
use super::schema_view;
use super::sqlite::program;
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
    /// The weight of the functions that the statement calls: [`program::PASS`] for each call, more for slow functions.
    pub(crate) work: u32,
    /// The statement only inserts values, and calls no functions and fires no triggers.
    pub(crate) inserts_only: bool,
    /// The statement's bytecode can be listed ([`program::weight`]) without side effects. `false` for PRAGMAs, for
    /// example, because they act while they are prepared.
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

/// A record of the actions that SQLite has passed to the authorizer since the last [`AuthorizerRecorder::begin`].
#[derive(Debug, Default)]
struct Observed {
    author: Author,
    allow_attach: bool,
    /// A statement is running that can run only outside a transaction: VACUUM, which attaches a file without a name.
    outside_transaction: bool,
    info: StatementInfo,
    any_action: bool,
    /// The record contains an action other than an INSERT of the statement itself.
    more_than_inserts: bool,
    pragma: bool,
    /// The statement rebuilds existing indexes. Their bytecode was listed when they were created.
    reindexes: bool,
    refused: Option<String>,
    /// The first table or function that made [`StatementInfo::reads_node_local`] true; `None` if none did.
    node_local: Option<String>,
    /// The statement reads the root pages of tables. If it drops one, SQLite itself may do so.
    reads_root_page: bool,
    drops: bool,
    creates_table: bool,
    selects: bool,
    /// A statement is being prepared. (While a statement runs, virtual tables prepare statements of their own.)
    preparing: bool,
    /// The names of tables that clients must not change or create: shadow tables of existing virtual tables, while
    /// SQLite allows writes to shadow tables.
    protected: Vec<String>,
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
            *observed = Observed {
                author,
                allow_attach,
                outside_transaction,
                protected,
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

impl Observed {
    fn note(&mut self, context: &AuthContext<'_>) {
        let reads = matches!(context.action, AuthAction::Read { .. } | AuthAction::Select);
        self.info.changes_connection |= context.database_name == Some("temp") && !reads;
        self.note_tables(&context.action);
        let inserts = matches!(context.action, AuthAction::Insert { .. }) && context.accessor.is_none();
        self.more_than_inserts |= !inserts;
        self.pragma |= matches!(context.action, AuthAction::Pragma { .. });
        self.selects |= matches!(context.action, AuthAction::Select);
        self.creates_table |=
            matches!(context.action, AuthAction::CreateTable { .. } | AuthAction::CreateTempTable { .. });
        let info = &mut self.info;
        match context.action {
            AuthAction::Transaction { operation } => info.transaction = Some(transaction_keyword(operation)),
            AuthAction::Savepoint { operation, .. } => info.transaction = Some(savepoint_keyword(operation)),
            AuthAction::Insert { table_name } if context.accessor.is_none() && !is_schema(table_name) => {
                info.inserts = true;
                info.changes_rows = true;
            }
            AuthAction::Update { table_name, .. } | AuthAction::Delete { table_name }
                if context.accessor.is_none() && !is_schema(table_name) =>
            {
                info.changes_rows = true;
            }
            AuthAction::Function { function_name } => {
                if is_node_local_function(function_name) {
                    self.node_local.get_or_insert_with(|| format!("{}()", function_name.to_ascii_lowercase()));
                }
                info.reads_last_insert_rowid |= function_name.eq_ignore_ascii_case("last_insert_rowid");
                info.reads_changes |= function_name.eq_ignore_ascii_case("changes");
                info.work = info.work.saturating_add(program::weight_of_function(function_name));
                let quadratic = QUADRATIC_FUNCTIONS.iter().find(|(name, _)| name.eq_ignore_ascii_case(function_name));
                if let Some((_, most)) = quadratic {
                    info.value_bytes_max = Some(info.value_bytes_max.map_or(*most, |other| other.min(*most)));
                }
            }
            _ if is_attach(&context.action) || is_detach(&context.action) => info.changes_connection = true,
            AuthAction::CreateTempIndex { .. }
            | AuthAction::CreateTempTable { .. }
            | AuthAction::CreateTempTrigger { .. }
            | AuthAction::CreateTempView { .. } => info.changes_connection = true,
            AuthAction::Analyze { .. } => (info.depends_on_load_order, info.works_on_whole_tables) = (true, true),
            AuthAction::Pragma { pragma_name, .. } if pragma_name.eq_ignore_ascii_case("optimize") => {
                (info.depends_on_load_order, info.works_on_whole_tables) = (true, true);
            }
            AuthAction::Pragma { pragma_name, pragma_value: Some(value) }
                if pragma_name.eq_ignore_ascii_case("foreign_keys") && self.author == Author::Client =>
            {
                info.foreign_keys = Some(pragma_boolean(value));
            }
            AuthAction::Pragma { pragma_name, pragma_value } => {
                info.lists_schema |= pragma_name.eq_ignore_ascii_case("table_list");
                info.lists_databases |= pragma_name.eq_ignore_ascii_case("database_list");
                let ignored = self.author == Author::Client && is_one_of(pragma_name, IGNORED_PRAGMAS);
                info.changes_connection |= pragma_value.is_some() && !ignored && !is_stateless(pragma_name);
            }
            AuthAction::AlterTable { .. } => (info.alters_table, info.works_on_whole_tables) = (true, true),
            AuthAction::CreateIndex { .. } => info.works_on_whole_tables = true,
            AuthAction::CreateVtable { module_name, .. } => info.creates_merging_table |= merges_at_commit(module_name),
            AuthAction::Reindex { .. } => {
                // CREATE INDEX reports that it creates the index before it fills it.
                self.reindexes |= !info.works_on_whole_tables;
                info.works_on_whole_tables = true;
            }
            _ => {}
        }
    }

    /// Records whether an action refers to a schema table, to statistics, or to a table whose rows differ between
    /// nodes.
    fn note_tables(&mut self, action: &AuthAction<'_>) {
        let info = &mut self.info;
        match action {
            AuthAction::Read { table_name, column_name } => {
                let is_main = matches!(*table_name, "sqlite_master" | "sqlite_schema");
                let is_root_page = is_main && column_name.eq_ignore_ascii_case(schema_view::ROOT_PAGE);
                self.reads_root_page |= is_root_page;
                info.lists_schema |= is_schema(table_name) || table_name.eq_ignore_ascii_case("pragma_table_list");
                info.lists_columns |= is_one_of(table_name, &["pragma_table_info", "pragma_table_xinfo"]);
                if is_node_local_table(table_name) {
                    self.node_local.get_or_insert_with(|| (*table_name).to_owned());
                }
            }
            AuthAction::Insert { table_name }
            | AuthAction::Update { table_name, .. }
            | AuthAction::Delete { table_name } => {
                info.changes_schema |= is_schema(table_name);
                info.changes_statistics |= is_statistics(table_name);
            }
            AuthAction::DropTable { table_name } => {
                self.drops = true;
                info.changes_statistics |= is_statistics(table_name);
            }
            AuthAction::DropIndex { .. } | AuthAction::DropVtable { .. } => self.drops = true,
            _ => {}
        }
    }

    /// The first table, column or function of the statement whose values differ between nodes.
    fn node_local(&self) -> Option<String> {
        let root_page = || format!("the column {} of the schema", schema_view::ROOT_PAGE);
        self.node_local.clone().or_else(|| (self.reads_root_page && !self.drops).then(root_page))
    }

    /// Returns whether SQLite is to ignore this action: the statement is valid, but it runs without the action.
    fn is_ignored(&self, action: &AuthAction<'_>) -> bool {
        match action {
            // The engine's table is not dropped, but that is no error, so that tools that drop all tables continue with
            // the next one.
            AuthAction::DropTable { table_name } => table_name.eq_ignore_ascii_case(progress::TABLE),
            // The engine itself changes `foreign_keys` when the statement runs.
            AuthAction::Pragma { pragma_name, pragma_value: Some(_) } => {
                pragma_name.eq_ignore_ascii_case("foreign_keys") || is_one_of(pragma_name, IGNORED_PRAGMAS)
            }
            // Clients must not see the path of the file.
            AuthAction::Read { table_name, column_name } => {
                table_name.eq_ignore_ascii_case("pragma_database_list") && column_name.eq_ignore_ascii_case("file")
            }
            _ => false,
        }
    }

    /// Returns the name of an action if clients must not perform it; `None` if they may.
    fn refusal(&self, action: &AuthAction<'_>) -> Option<String> {
        match action {
            AuthAction::Attach { filename: "" } if self.outside_transaction => None,
            // Except VACUUM, which copies all tables.
            action
                if !self.outside_transaction
                    && table_of(action).is_some_and(|table| table.eq_ignore_ascii_case(progress::TABLE)) =>
            {
                Some(format!("access to {}", progress::TABLE))
            }
            AuthAction::Read { table_name, .. } if is_one_of(table_name, REFUSED_TABLES) => {
                Some(format!("access to {table_name}"))
            }
            AuthAction::Read { .. } => None,
            AuthAction::Function { function_name } if is_one_of(function_name, REFUSED_FUNCTIONS) => {
                Some(format!("{}()", function_name.to_ascii_lowercase()))
            }
            action if self.preparing && self.is_protected(action) => {
                Some(format!("access to {}", table_of(action).unwrap_or_default()))
            }
            action if is_attach(action) && self.outside_transaction => Some("VACUUM INTO".into()),
            action if is_attach(action) && !self.allow_attach => Some("ATTACH".into()),
            action if is_detach(action) && !self.allow_attach && !self.outside_transaction => Some("DETACH".into()),
            AuthAction::Pragma { pragma_name, pragma_value } => {
                let name = pragma_name.to_ascii_lowercase();
                let sets = pragma_value.is_some();
                let refused = REFUSED_PRAGMAS.iter().any(|(known, always)| *known == name && (sets || *always));
                refused.then(|| format!("PRAGMA {name}"))
            }
            _ => None,
        }
    }
}

impl Observed {
    fn is_protected(&self, action: &AuthAction<'_>) -> bool {
        let protected = |table: &str| self.protected.iter().any(|name| name.eq_ignore_ascii_case(table));
        !self.protected.is_empty() && table_of(action).is_some_and(protected)
    }
}

fn transaction_keyword(operation: TransactionOperation) -> TransactionKeyword {
    match operation {
        TransactionOperation::Begin => TransactionKeyword::Begin,
        TransactionOperation::Rollback => TransactionKeyword::Rollback,
        // SQLite reports COMMIT as an operation for which rusqlite has no variant.
        _ => TransactionKeyword::Commit,
    }
}

fn savepoint_keyword(operation: TransactionOperation) -> TransactionKeyword {
    match operation {
        TransactionOperation::Begin => TransactionKeyword::Savepoint,
        TransactionOperation::Rollback => TransactionKeyword::Rollback,
        _ => TransactionKeyword::Release,
    }
}
