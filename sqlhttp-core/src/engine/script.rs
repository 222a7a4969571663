//! Splits an SQL text into statements. SQLite finds the end of each statement when it prepares it.

use std::ffi::{CStr, CString};

use super::dump::{self, DumpStatement, SchemaRow};
use super::session::{Prepared, Session};
use super::sqlite::probe;
use super::statement_info::Author;
use crate::model::Failure;

/// An SQL text, and the position up to which its statements have been read.
///
/// On each call SQLite copies an SQL text up to its end, unless the text ends in a NUL. Therefore the NUL is added
/// once, when the script is created. Otherwise the time for a script would grow with the square of its length.
pub(crate) struct Script {
    text: CString,
    at: usize,
    /// The prepared statement, if the whole SQL text is a single statement and was in the statement cache.
    cached: Option<Box<Prepared>>,
    author: Author,
    /// Whether `PRAGMA writable_schema=ON` of a dump has been read, so that rows for the schema may follow.
    writable_schema: bool,
}

impl Script {
    /// Starts at the beginning of an SQL text.
    ///
    /// # Errors
    /// The SQL text contains a NUL, which SQLite would treat as its end.
    pub(crate) fn new(session: &mut Session, sql: &str, author: Author) -> Result<Script, Failure> {
        let cached = if author == Author::Client { session.take_cached(sql) } else { None };
        let text = if cached.is_some() { CString::default() } else { terminated(sql)? };
        Ok(Script { text, at: 0, cached, author, writable_schema: false })
    }

    /// Prepares the next statement. Returns `None` at the end of the SQL text. Skips white space, comments and empty
    /// statements.
    ///
    /// # Errors
    /// SQLite cannot prepare the statement, or the policy forbids it. After an error this must not be called again.
    pub(crate) fn next(&mut self, session: &mut Session) -> Result<Option<Box<Prepared>>, Failure> {
        if self.cached.is_some() {
            return Ok(self.cached.take());
        }
        while !self.rest().is_empty() {
            match self.dump_statement() {
                Some(DumpStatement::WritableSchema(on)) => {
                    self.writable_schema = on;
                    continue;
                }
                Some(DumpStatement::Row(row)) => return virtual_table(session, row).map(Some),
                None => {}
            }
            let next = session.prepare(self.rest(), self.author)?;
            self.at += next.consumed;
            if next.prepared.is_some() {
                return Ok(next.prepared);
            }
        }
        Ok(None)
    }

    /// Reads the next statement if it occurs only in dumps. A dump sets `PRAGMA writable_schema` directly before the
    /// first row for the schema, and resets it after the last. In any other place the policy applies to these
    /// statements, and `None` is returned.
    fn dump_statement(&mut self) -> Option<DumpStatement> {
        if self.author != Author::Client {
            return None;
        }
        let (dump_statement, len) = dump::read(self.rest().to_bytes())?;
        let belongs_to_dump = match dump_statement {
            DumpStatement::WritableSchema(true) => {
                let next = self.rest().to_bytes().get(len..).and_then(dump::read);
                self.writable_schema || matches!(next, Some((DumpStatement::Row(_), _)))
            }
            DumpStatement::WritableSchema(false) | DumpStatement::Row(_) => self.writable_schema,
        };
        if !belongs_to_dump {
            return None;
        }
        self.at += len;
        Some(dump_statement)
    }

    /// The part of the SQL text that has not been read yet.
    pub(crate) fn rest(&self) -> &CStr {
        // `min` keeps the index within the text, so that the slice always includes the NUL.
        &self.text.as_c_str()[self.at.min(self.text.count_bytes())..]
    }

    /// The number of bytes of the SQL text that have been read.
    pub(crate) fn taken(&self) -> usize {
        self.at
    }
}

/// Prepares the `CREATE VIRTUAL TABLE` statement of a row of a dump as if the client had sent it, so that the policy
/// applies.
fn virtual_table(session: &mut Session, row: SchemaRow) -> Result<Box<Prepared>, Failure> {
    let table = row.virtual_table()?;
    let sql = terminated(&table.sql)?;
    let next = session.prepare(&sql, Author::Client)?;
    match next.prepared {
        Some(prepared) if next.consumed == sql.count_bytes() => Ok(prepared.for_dump(table)),
        _ => Err(Failure::NotAllowed(format!("more than one statement for {} in sqlite_schema", table.name))),
    }
}

fn terminated(sql: &str) -> Result<CString, Failure> {
    CString::new(sql).map_err(|_| {
        let message = "unrecognized token: \"\\0\"";
        Failure::Sql(probe::error_of_code(rusqlite::ffi::SQLITE_ERROR, Some(message)))
    })
}
