//! The engine's own statements for transaction control.

use std::ffi::CStr;

use rusqlite::Connection;

use crate::engine::sqlite::probe;
use crate::engine::sqlite::statement::Statement;
use crate::model::SqlError;

/// The engine's own statements for transaction control, prepared once.
#[derive(Debug)]
pub(super) struct TransactionControl {
    pub(super) begin: Statement,
    pub(super) begin_immediate: Statement,
    pub(super) commit: Statement,
    pub(super) rollback: Statement,
    pub(super) savepoint: [Statement; 2],
    pub(super) release: [Statement; 2],
    pub(super) rollback_to: [Statement; 2],
}

/// A savepoint that the engine sets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Savepoint {
    /// A savepoint around a batch in a group, which shares the transaction with other batches.
    Member = 0,
    /// A savepoint around a step of a batch.
    Step = 1,
}

impl TransactionControl {
    pub(super) fn prepare(connection: &Connection) -> Result<TransactionControl, SqlError> {
        let one = |sql: &CStr| {
            let prepared = Statement::prepare(connection, sql, true)?;
            prepared.statement.ok_or_else(|| probe::error_of_code(rusqlite::ffi::SQLITE_INTERNAL, None))
        };
        Ok(TransactionControl {
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

/// Runs one of the statements of [`TransactionControl`].
pub(super) fn run_control(statement: &mut Statement, connection: &Connection) -> Result<(), SqlError> {
    let result = statement.step().map(drop).map_err(|code| probe::last_error(connection, code));
    statement.reset();
    result
}
