//! Writes the rows of a table or a query to a file.

use std::io::{BufWriter, Write as _};

use sqlhttp_rqlite::Endpoint;
use sqlhttp_rqlite::client::{Part, StatementResult, Transport};

use super::NO_RESULT;
use super::import::rows;
use super::{Shell, ShellError, from_client};
use crate::command::Export;
use crate::partial_file::{PartialFile, at};
use crate::{progress, sql};

impl<T: Transport + Clone> Shell<T> {
    /// Writes rows to a file while they arrive. The file appears when it is complete.
    pub(super) async fn export(&mut self, export: &Export) -> Result<(), ShellError> {
        let bar = progress::rows(export.file.display().to_string());
        let query = query(&export.source);
        if is_several(&query) {
            return Err(ShellError::Invalid("only one query can be exported".to_owned()));
        }
        let mut results = self.stream(Endpoint::Query, &query).await?;
        let mut ended = false;
        let mut partial = PartialFile::create(&export.file)?;
        let written = at(&export.file);
        let mut out = BufWriter::new(partial.writer());
        let mut printer = export.mode.printer();
        while let Some(part) = results.next().await.map_err(from_client)? {
            match part {
                Part::Columns { names, .. } => printer.begin(&mut out, &names).map_err(&written)?,
                Part::Rows(rows) => {
                    bar.inc(rows.len() as u64);
                    rows.into_iter().try_for_each(|row| printer.row(&mut out, row)).map_err(&written)?;
                }
                Part::End(StatementResult::Failed(message)) => return Err(ShellError::Statement(message)),
                Part::End(_) => {
                    printer.end(&mut out).map_err(&written)?;
                    ended = true;
                }
            }
        }
        if !ended {
            return Err(ShellError::Invalid(NO_RESULT.to_owned()));
        }
        out.flush().map_err(&written)?;
        drop(out);
        partial.commit()?;
        self.write_for_people(&format!("{} exported to {}", rows(bar.position()), export.file.display()))
    }

    /// Writes a message, unless another program reads the results.
    pub(super) fn write_for_people(&mut self, message: &str) -> Result<(), ShellError> {
        if self.shows_messages() {
            writeln!(self.out, "{message}")?;
        }
        Ok(())
    }
}

/// Returns the query for the source of an export: a query, or the name of a table.
fn query(source: &str) -> String {
    let words = sql::words(source);
    let begins_query =
        |first: &sql::Token<'_>| ["SELECT", "WITH", "VALUES", "EXPLAIN", "PRAGMA"].iter().any(|word| first.is(word));
    match &words[..] {
        [name] => format!("SELECT * FROM {}", sql::quoted_name(&name.unquoted())),
        [first, ..] if begins_query(first) => source.to_owned(),
        _ => format!("SELECT * FROM {}", sql::quoted_name(source)),
    }
}

/// Whether a text contains more than one statement.
fn is_several(text: &str) -> bool {
    let words = sql::words(text);
    let end = words.iter().position(|word| word.kind == sql::Kind::Semicolon).unwrap_or(words.len());
    words[end..].iter().any(|word| word.kind != sql::Kind::Semicolon)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_query_or_the_name_of_a_table() {
        assert_eq!(query("values"), "SELECT * FROM \"values\"");
        assert_eq!(query("my table"), "SELECT * FROM \"my table\"");
        assert_eq!(query("select 1"), "select 1");
        assert!(is_several("select 1; select 2") && !is_several("select ';' ; -- end"));
        assert_eq!(query("/* all */ select 1"), "/* all */ select 1");
        for name in ["\"a\"\"b\"", "[a\"b]", "`a\"b`"] {
            assert_eq!(query(name), "SELECT * FROM \"a\"\"b\"");
        }
    }
}
