//! The record of the actions of a statement, and the policy for clients.

use rusqlite::hooks::{AuthAction, AuthContext, TransactionOperation};

use super::{Author, StatementInfo};
use crate::engine::policy::{
    IGNORED_PRAGMAS, QUADRATIC_FUNCTIONS, REFUSED_FUNCTIONS, REFUSED_PRAGMAS, REFUSED_TABLES, is_attach, is_detach,
    is_node_local_function, is_node_local_table, is_one_of, is_schema, is_stateless, is_statistics, merges_at_commit,
    pragma_boolean, table_of,
};
use crate::engine::replicated::progress;
use crate::engine::schema_view;
use crate::engine::sqlite::program;
use crate::model::TransactionKeyword;

/// A record of the actions that SQLite has passed to the authorizer since the last call of
/// [`super::AuthorizerRecorder::begin`].
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) author: Author,
    pub(super) allow_attach: bool,
    /// A statement is running that can run only outside a transaction: VACUUM, which attaches a file without a name.
    pub(super) outside_transaction: bool,
    pub(super) info: StatementInfo,
    pub(super) any_action: bool,
    /// The record contains an action other than an INSERT of the statement itself.
    pub(super) more_than_inserts: bool,
    pub(super) pragma: bool,
    /// The statement rebuilds existing indexes. Their bytecode was listed when they were created.
    pub(super) reindexes: bool,
    pub(super) refused: Option<String>,
    /// The first table or function that made [`StatementInfo::reads_node_local`] true; `None` if none did.
    pub(super) node_local: Option<String>,
    /// The statement reads the root pages of tables. If it drops one, SQLite itself may do so.
    pub(super) reads_root_page: bool,
    pub(super) drops: bool,
    pub(super) creates_table: bool,
    pub(super) selects: bool,
    /// A statement is being prepared. (While a statement runs, virtual tables prepare statements of their own.)
    pub(super) preparing: bool,
    /// The names of tables that clients must not change or create: shadow tables of existing virtual tables, while
    /// SQLite allows writes to shadow tables.
    pub(super) protected: Vec<String>,
    /// The tables that the statement writes; `None` if they are not recorded.
    pub(super) writes: Option<Vec<TableWrite>>,
}

/// A table that a statement writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableWrite {
    pub(crate) table: String,
    /// The column that the statement updates; `None` if it inserts or deletes rows.
    pub(crate) column: Option<String>,
}

impl Observed {
    pub(super) fn note(&mut self, context: &AuthContext<'_>) {
        let reads = matches!(context.action, AuthAction::Read { .. } | AuthAction::Select);
        self.info.changes_connection |= context.database_name == Some("temp") && !reads;
        self.note_tables(&context.action);
        if context.database_name == Some("main") {
            self.note_write(&context.action);
        }
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
                info.sets_auto_vacuum |= pragma_value.is_some() && pragma_name.eq_ignore_ascii_case("auto_vacuum");
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

    fn note_write(&mut self, action: &AuthAction<'_>) {
        let Some(writes) = &mut self.writes else { return };
        let (table, column) = match action {
            AuthAction::Insert { table_name } | AuthAction::Delete { table_name } => (table_name, None),
            AuthAction::Update { table_name, column_name } => (table_name, Some((*column_name).to_owned())),
            _ => return,
        };
        writes.push(TableWrite { table: (*table).to_owned(), column });
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
    pub(super) fn node_local(&self) -> Option<String> {
        let root_page = || format!("the column {} of the schema", schema_view::ROOT_PAGE);
        self.node_local.clone().or_else(|| (self.reads_root_page && !self.drops).then(root_page))
    }

    /// Returns whether SQLite is to ignore this action: the statement is valid, but it runs without the action.
    pub(super) fn is_ignored(&self, action: &AuthAction<'_>) -> bool {
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
    pub(super) fn refusal(&self, action: &AuthAction<'_>) -> Option<String> {
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
