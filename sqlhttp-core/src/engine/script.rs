//! Splits an SQL text into statements. SQLite decides where a statement ends.

use std::ffi::{CStr, CString};

use super::dump::{self, DumpStatement, SchemaRow};
use super::session::{Prepared, Session};
use super::sqlite::probe;
use super::statement_info::Author;
use crate::model::Failure;

/// An SQL text and the position in it.
///
/// SQLite copies a text up to its end on each call unless the text ends in a NUL. The NUL is therefore added once,
/// here; otherwise the cost of a text would grow with the square of its length.
pub(crate) struct Script {
    text: CString,
    at: usize,
    /// The whole text, if it is a single statement from the statement cache.
    cached: Option<Box<Prepared>>,
    author: Author,
    /// `PRAGMA writable_schema=ON` has been read, so rows for the schema may follow.
    writable_schema: bool,
}

impl Script {
    /// Starts at the beginning of a text.
    ///
    /// # Errors
    /// The text contains a NUL, where SQLite would see its end.
    pub(crate) fn new(session: &mut Session, sql: &str, author: Author) -> Result<Script, Failure> {
        let cached = if author == Author::Client { session.take_cached(sql) } else { None };
        let text = if cached.is_some() { CString::default() } else { terminated(sql)? };
        Ok(Script { text, at: 0, cached, author, writable_schema: false })
    }

    /// Prepares the next statement; returns `None` at the end. Skips white space, comments and empty statements.
    ///
    /// # Errors
    /// SQLite cannot prepare the statement, or the policy forbids it. The rest of the text must not be read then.
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

    /// Reads the next statement if it is one that occurs only in dumps. A dump sets the PRAGMA directly before the
    /// first row, and resets it after the last; elsewhere these statements are subject to the policy.
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

    /// The text that has not been read yet.
    pub(crate) fn rest(&self) -> &CStr {
        // Never beyond its NUL.
        &self.text.as_c_str()[self.at.min(self.text.count_bytes())..]
    }

    /// The number of bytes read.
    pub(crate) fn taken(&self) -> usize {
        self.at
    }
}

/// Prepares the statement that creates the virtual table of a row, as if the client had sent it, so that the policy
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
