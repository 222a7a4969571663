//! The policy for clients: which PRAGMAs, tables and actions SQLite's authorizer refuses, ignores or treats specially.
//! [`super::statement_info::AuthorizerRecorder`] enforces it.

use rusqlite::hooks::AuthAction;

/// PRAGMAs that make the database unsafe or affect more than a client's request. They are refused if they set a value.
/// Those with `true` are refused in any case.
pub(super) const REFUSED_PRAGMAS: &[(&str, bool)] = &[
    // Otherwise the content of an index would depend on the connection that wrote to it.
    ("case_sensitive_like", false),
    ("data_store_directory", true),
    ("journal_mode", false),
    ("locking_mode", false),
    // Otherwise a full database could not be distinguished from a full disk.
    ("max_page_count", false),
    ("page_size", false),
    ("query_only", false),
    ("schema_version", false),
    ("synchronous", false),
    ("temp_store_directory", true),
    ("wal_checkpoint", true),
    ("writable_schema", false),
];

/// PRAGMAs that clients send when they connect, but whose values the engine controls. A statement that sets one
/// succeeds and has no effect.
pub(super) const IGNORED_PRAGMAS: &[&str] = &[
    "busy_timeout",
    "cache_spill",
    "checkpoint_fullfsync",
    "fullfsync",
    "hard_heap_limit",
    "journal_size_limit",
    "mmap_size",
    "soft_heap_limit",
    "threads",
    "trusted_schema",
    "wal_autocheckpoint",
];

/// Functions whose time grows with the square of the length of their arguments. SQLite cannot interrupt them. Each has
/// a maximum length, in bytes, for which it takes about two seconds.
pub(super) const QUADRATIC_FUNCTIONS: &[(&str, i32)] =
    &[("json_patch", 256 << 10), ("jsonb_patch", 256 << 10), ("snippet", 32 << 10)];

/// Virtual tables that show the statements of other clients. Clients must not read them.
pub(super) const REFUSED_TABLES: &[&str] = &["bytecode", "sqlite_stmt", "tables_used"];

/// Functions that return or store addresses in the memory of the process. Clients must not call them.
pub(super) const REFUSED_FUNCTIONS: &[&str] = &["fts3_tokenizer"];

/// The functions whose results depend on the build of SQLite or on the connection. `fts5_locale()` begins its result
/// with bytes that SQLite chooses at random for each connection.
const NODE_LOCAL_FUNCTIONS: &[&str] = &[
    "fts5_locale",
    "fts5_source_id",
    "sqlite_compileoption_get",
    "sqlite_compileoption_used",
    "sqlite_offset",
    "sqlite_source_id",
    "sqlite_version",
];

/// The table-valued PRAGMA functions whose rows are the same on every node of a cluster. `pragma_foreign_key_check` is
/// not one of them: it visits the tables in the order in which the connection has loaded them.
const REPLICATED_PRAGMA_TABLES: &[&str] = &[
    "pragma_application_id",
    "pragma_encoding",
    "pragma_foreign_key_list",
    "pragma_index_info",
    "pragma_index_list",
    "pragma_index_xinfo",
    "pragma_table_info",
    "pragma_table_xinfo",
    "pragma_user_version",
];

/// PRAGMAs that do not change the state of the connection when they have an argument: the argument selects what is
/// reported, or the PRAGMA changes the database itself.
const STATELESS_PRAGMAS: &[&str] = &[
    "application_id",
    "auto_vacuum",
    "collation_list",
    "compile_options",
    "database_list",
    "foreign_key_check",
    "foreign_key_list",
    "freelist_count",
    "function_list",
    "incremental_vacuum",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "module_list",
    "page_count",
    "pragma_list",
    "quick_check",
    "shrink_memory",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
    "wal_checkpoint",
];

/// PRAGMAs without effect in a configuration file. [`super::options::Options`] define the locking and journal mode of
/// the database file. Connections with different modes would lock each other out.
pub(super) const FIXED_PRAGMAS: &[&str] = &["journal_mode", "locking_mode"];

/// Returns the table to which an action of the authorizer refers; `None` if there is none.
pub(super) fn table_of<'a>(action: &AuthAction<'a>) -> Option<&'a str> {
    match action {
        AuthAction::Read { table_name, .. }
        | AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::Delete { table_name }
        | AuthAction::AlterTable { table_name, .. }
        | AuthAction::CreateIndex { table_name, .. }
        | AuthAction::CreateTable { table_name }
        | AuthAction::CreateTrigger { table_name, .. }
        | AuthAction::CreateTempIndex { table_name, .. }
        | AuthAction::CreateTempTrigger { table_name, .. }
        | AuthAction::DropTable { table_name } => Some(table_name),
        _ => None,
    }
}

/// Returns whether `table` is a schema table, to which SQLite writes when DDL runs.
pub(super) fn is_schema(table: &str) -> bool {
    matches!(table, "sqlite_master" | "sqlite_schema" | "sqlite_temp_master" | "sqlite_temp_schema")
}

/// Returns whether an action of the authorizer is ATTACH. rusqlite decodes it as `Attach` only if the file's name is a
/// literal.
pub(super) fn is_attach(action: &AuthAction<'_>) -> bool {
    matches!(action, AuthAction::Attach { .. } | AuthAction::Unknown { code: rusqlite::ffi::SQLITE_ATTACH, .. })
}

pub(super) fn is_detach(action: &AuthAction<'_>) -> bool {
    matches!(action, AuthAction::Detach { .. } | AuthAction::Unknown { code: rusqlite::ffi::SQLITE_DETACH, .. })
}

/// Returns whether a PRAGMA sets one of [`FIXED_PRAGMAS`].
pub(super) fn sets_fixed(action: &AuthAction<'_>) -> bool {
    match action {
        AuthAction::Pragma { pragma_name, pragma_value: Some(_) } => {
            FIXED_PRAGMAS.iter().any(|known| known.eq_ignore_ascii_case(pragma_name))
        }
        _ => false,
    }
}

pub(super) fn is_stateless(pragma: &str) -> bool {
    is_one_of(pragma, STATELESS_PRAGMAS)
}

pub(super) fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Returns whether the rows of a table depend on the node of a cluster: its files, its connection or its build of
/// SQLite.
pub(super) fn is_node_local_table(table: &str) -> bool {
    let pragma = table.get(..7).is_some_and(|head| head.eq_ignore_ascii_case("pragma_"));
    pragma && !is_one_of(table, REPLICATED_PRAGMA_TABLES)
        || is_one_of(table, &["dbstat", "sqlite_dbpage"])
        || is_one_of(table, REFUSED_TABLES)
}

/// Returns whether the result of a function depends on the node of a cluster.
pub(super) fn is_node_local_function(function: &str) -> bool {
    is_one_of(function, NODE_LOCAL_FUNCTIONS)
}

/// Returns whether a table contains statistics of ANALYZE. SQLite reads it only when a connection loads the schema.
pub(super) fn is_statistics(table: &str) -> bool {
    is_one_of(table, &["sqlite_stat1", "sqlite_stat2", "sqlite_stat3", "sqlite_stat4"])
}

/// Returns whether virtual tables of a module change their shadow tables when a transaction is committed.
pub(super) fn merges_at_commit(module: &str) -> bool {
    is_one_of(module, &["fts3", "fts4"])
}

/// Parses the boolean value of a PRAGMA as SQLite does (`sqlite3GetBoolean`): an integer other than 0, ON, YES or TRUE.
pub(super) fn pragma_boolean(value: &str) -> bool {
    if value.starts_with(|first: char| first.is_ascii_digit()) {
        let digits = value.bytes().take_while(u8::is_ascii_digit);
        return digits.fold(0_u8, |any, digit| any | (digit - b'0')) != 0;
    }
    is_one_of(value, &["on", "yes", "true"])
}
