//! A text of SQL, taken statement by statement. SQLite alone tells where a statement ends.

use std::ffi::{CStr, CString};

use super::dump::{self, DumpStatement, SchemaRow};
use super::session::{Prepared, Session};
use super::sqlite::probe;
use super::statement_info::Author;
use crate::model::Failure;

/// A text, and how far it has been taken.
///
/// SQLite copies a text that does not end in a NUL each time, up to its end; so one with many statements gets its NUL
/// once, here, or its cost would grow with the square of its length.
pub(crate) struct Script {
    text: CString,
    at: usize,
    /// All of the text is this one statement, which was prepared before.
    cached: Option<Box<Prepared>>,
    author: Author,
    /// `PRAGMA writable_schema=ON` has been taken, so that rows for the schema may follow.
    writable_schema: bool,
}

impl Script {
    /// A text to be taken from its beginning.
    ///
    /// # Errors
    /// A NUL in it, where SQLite would see its end.
    pub(crate) fn new(session: &mut Session, sql: &str, author: Author) -> Result<Script, Failure> {
        let cached = if author == Author::Client { session.take_cached(sql) } else { None };
        let text = if cached.is_some() { CString::default() } else { terminated(sql)? };
        Ok(Script { text, at: 0, cached, author, writable_schema: false })
    }

    /// Prepares the next statement; `None` at the end. Blanks, comments and lonely semicolons are passed over.
    ///
    /// # Errors
    /// What SQLite has against the statement, or the policy. The text is not taken any further then.
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

    /// Takes the next statement if it is one of those that only dumps contain. A dump sets the PRAGMA right before the first
    /// row, and resets it after the last; anywhere else these statements are left to the policy.
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

    /// What has not been taken yet.
    pub(crate) fn rest(&self) -> &CStr {
        // Never beyond its NUL.
        &self.text.as_c_str()[self.at.min(self.text.count_bytes())..]
    }

    /// How many bytes have been taken.
    pub(crate) fn taken(&self) -> usize {
        self.at
    }
}

/// Prepares the statement that creates the virtual table of a row, as if the client had sent it, so that the policy holds.
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
