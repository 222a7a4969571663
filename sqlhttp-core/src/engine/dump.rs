//! Recognises the statements with which a dump of the `sqlite3` shell restores virtual tables.
//!
//! A dump contains a virtual table as a row for `sqlite_schema` and the rows of its shadow tables. These statements
//! stand between `PRAGMA writable_schema=ON` and `OFF`. They are recognised by their SQL text, because SQLite refuses
//! them to clients. A statement that does not have exactly the form of a dump is passed to SQLite unchanged.

use crate::model::Failure;

/// A statement that occurs only in dumps of the `sqlite3` shell.
#[derive(Debug, PartialEq)]
pub(crate) enum DumpStatement {
    /// `PRAGMA writable_schema`: `true` for ON, `false` for OFF and RESET.
    WritableSchema(bool),
    /// `INSERT INTO sqlite_schema`, with the values of the inserted row.
    Row(SchemaRow),
}

/// The values of a row of `sqlite_schema`.
#[derive(Debug, PartialEq)]
pub(crate) struct SchemaRow {
    kind: String,
    name: String,
    table: String,
    root_page: String,
    sql: String,
}

/// A virtual table that a dump restores.
#[derive(Debug, PartialEq)]
pub(crate) struct VirtualTable {
    pub(crate) name: String,
    /// The `CREATE VIRTUAL TABLE` statement.
    pub(crate) sql: String,
    module: String,
}

/// The virtual table modules that keep their content in shadow tables, which a dump contains. Tables of all other
/// modules are created by running their `CREATE VIRTUAL TABLE`, because some modules do not allow that a row of the
/// schema declares them.
const WITH_SHADOW_TABLES: &[&str] = &["fts3", "fts4", "fts5", "geopoly", "rtree", "rtree_i32"];

/// The suffixes of the names of shadow tables. A shadow table's name is the name of its virtual table, an underscore
/// and a suffix.
const SHADOW_SUFFIXES: &[&str] =
    &["config", "content", "data", "docsize", "idx", "node", "parent", "rowid", "segdir", "segments", "stat"];

/// Parses the statement at the beginning of an SQL text. Returns the statement with its length in bytes, or `None` if
/// it is not a dump statement.
pub(crate) fn read(text: &[u8]) -> Option<(DumpStatement, usize)> {
    let mut tokens = Tokens { rest: text };
    let dump_statement = match tokens.keyword()? {
        word if word.eq_ignore_ascii_case(b"PRAGMA") => pragma(&mut tokens)?,
        word if word.eq_ignore_ascii_case(b"INSERT") => insert(&mut tokens)?,
        _ => return None,
    };
    (tokens.symbol(b';').is_some() || tokens.is_at_end()).then(|| (dump_statement, text.len() - tokens.rest.len()))
}

fn pragma(tokens: &mut Tokens<'_>) -> Option<DumpStatement> {
    tokens.exactly(b"writable_schema")?;
    tokens.symbol(b'=')?;
    let value = tokens.keyword()?;
    if value.eq_ignore_ascii_case(b"ON") {
        return Some(DumpStatement::WritableSchema(true));
    }
    let off = value.eq_ignore_ascii_case(b"OFF") || value.eq_ignore_ascii_case(b"RESET");
    off.then_some(DumpStatement::WritableSchema(false))
}

fn insert(tokens: &mut Tokens<'_>) -> Option<DumpStatement> {
    tokens.exactly(b"INTO")?;
    let table = tokens.keyword()?;
    if !table.eq_ignore_ascii_case(b"sqlite_schema") && !table.eq_ignore_ascii_case(b"sqlite_master") {
        return None;
    }
    for (mark, column) in
        [b'(', b',', b',', b',', b','].into_iter().zip(["type", "name", "tbl_name", "rootpage", "sql"])
    {
        tokens.symbol(mark)?;
        tokens.exactly(column.as_bytes())?;
    }
    tokens.symbol(b')')?;
    tokens.exactly(b"VALUES")?;
    tokens.symbol(b'(')?;
    let kind = tokens.literal_before(b',')?;
    let name = tokens.literal_before(b',')?;
    let table = tokens.literal_before(b',')?;
    let root_page = std::str::from_utf8(tokens.keyword()?).ok()?.to_owned();
    tokens.symbol(b',')?;
    let sql = tokens.literal_before(b')')?;
    Some(DumpStatement::Row(SchemaRow { kind, name, table, root_page, sql }))
}

impl SchemaRow {
    /// Returns the virtual table that the row declares.
    ///
    /// # Errors
    /// [`Failure::NotAllowed`] if the row declares anything but a virtual table of its own name.
    pub(crate) fn virtual_table(self) -> Result<VirtualTable, Failure> {
        let module = module(&self.sql, &self.name);
        let fits = self.kind == "table" && self.table == self.name && self.root_page == "0";
        match module {
            Some(module) if fits => Ok(VirtualTable { name: self.name, sql: self.sql, module }),
            _ => {
                let what =
                    format!("a row of sqlite_schema for {} that declares no virtual table of this name", self.name);
                Err(Failure::NotAllowed(what))
            }
        }
    }
}

impl VirtualTable {
    /// Returns whether the table's module is one of [`WITH_SHADOW_TABLES`].
    pub(crate) fn has_shadow_tables(&self) -> bool {
        WITH_SHADOW_TABLES.iter().any(|module| module.eq_ignore_ascii_case(&self.module))
    }
}

/// The possible names of the shadow tables of a virtual table.
pub(crate) fn shadow_tables_of(table: &str) -> impl Iterator<Item = String> {
    SHADOW_SUFFIXES.iter().map(move |suffix| format!("{table}_{suffix}"))
}

/// Returns the module named in `sql`, a `CREATE VIRTUAL TABLE` statement as SQLite stores it. `None` if `sql` is
/// another statement or creates a table of another name than `name`.
fn module(sql: &str, name: &str) -> Option<String> {
    let mut tokens = Tokens { rest: sql.as_bytes() };
    for word in ["CREATE", "VIRTUAL", "TABLE"] {
        tokens.exactly(word.as_bytes())?;
    }
    if tokens.name()? != name {
        return None;
    }
    tokens.exactly(b"USING")?;
    tokens.name()
}

/// A tokenizer of SQL text. White space and comments before each token are skipped.
struct Tokens<'t> {
    rest: &'t [u8],
}

impl<'t> Tokens<'t> {
    fn skip_blanks(&mut self) {
        loop {
            let blanks = self.rest.iter().take_while(|byte| matches!(byte, b'\t'..=b'\r' | b' ')).count();
            let rest = &self.rest[blanks..];
            let comment = match rest {
                [b'-', b'-', ..] => memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1),
                [b'/', b'*', inner @ ..] => memchr::memmem::find(inner, b"*/").map_or(rest.len(), |at| at + 4),
                _ => 0,
            };
            self.rest = &rest[comment..];
            if comment == 0 {
                return;
            }
        }
    }

    fn is_at_end(&mut self) -> bool {
        self.skip_blanks();
        self.rest.is_empty()
    }

    fn symbol(&mut self, symbol: u8) -> Option<()> {
        self.skip_blanks();
        self.rest = self.rest.strip_prefix(&[symbol])?;
        Some(())
    }

    /// Reads a keyword, an unquoted identifier or an integer.
    fn keyword(&mut self) -> Option<&'t [u8]> {
        self.skip_blanks();
        let letter = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
        let (word, rest) = self.rest.split_at(self.rest.iter().take_while(letter).count());
        if word.is_empty() {
            return None;
        }
        self.rest = rest;
        Some(word)
    }

    fn exactly(&mut self, word: &[u8]) -> Option<()> {
        self.keyword()?.eq_ignore_ascii_case(word).then_some(())
    }

    /// Reads a string literal and the symbol that must follow it. Returns the content of the literal without the
    /// quotes.
    fn literal_before(&mut self, symbol: u8) -> Option<String> {
        self.skip_blanks();
        let text = self.quoted(b'\'')?;
        self.symbol(symbol)?;
        Some(text)
    }

    /// Reads an identifier, quoted in any of SQLite's ways or unquoted.
    fn name(&mut self) -> Option<String> {
        self.skip_blanks();
        match self.rest.first()? {
            quote @ (b'\'' | b'"' | b'`') => self.quoted(*quote),
            b'[' => {
                let end = memchr::memchr(b']', self.rest)?;
                let name = std::str::from_utf8(&self.rest[1..end]).ok()?.to_owned();
                self.rest = &self.rest[end + 1..];
                Some(name)
            }
            _ => self.keyword().and_then(|word| std::str::from_utf8(word).ok()).map(str::to_owned),
        }
    }

    /// Reads a string literal or a quoted identifier. Quotes inside it are doubled. Returns the content without the
    /// quotes.
    fn quoted(&mut self, quote: u8) -> Option<String> {
        let mut rest = self.rest.strip_prefix(&[quote])?;
        let mut text = Vec::new();
        loop {
            let end = memchr::memchr(quote, rest)?;
            text.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            match rest.strip_prefix(&[quote]) {
                Some(after) => {
                    text.push(quote);
                    rest = after;
                }
                None => break,
            }
        }
        self.rest = rest;
        String::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(text: &str) -> Option<Result<VirtualTable, Failure>> {
        match read(text.as_bytes())? {
            (DumpStatement::Row(row), len) => {
                assert_eq!(len, text.len(), "{text}");
                Some(row.virtual_table())
            }
            (DumpStatement::WritableSchema(_), _) => None,
        }
    }

    #[test]
    fn rows_of_dumps() {
        let table = |name: &str, module: &str, sql: &str| {
            Some(Ok(VirtualTable { name: name.into(), sql: sql.into(), module: module.into() }))
        };
        assert_eq!(
            declared(
                "\n/* c */INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES\
                 ('table','it''s','it''s',0,'CREATE VIRTUAL TABLE \"it''s\" USING fts5(a, content='''')');"
            ),
            table("it's", "fts5", "CREATE VIRTUAL TABLE \"it's\" USING fts5(a, content='')")
        );
        assert_eq!(
            declared(
                "insert into SQLITE_MASTER (type, name, tbl_name, rootpage, sql) values \
                 ('table', 'é', 'é', 0, 'CREATE VIRTUAL TABLE [é] USING rtree(id,a,b)')"
            ),
            table("é", "rtree", "CREATE VIRTUAL TABLE [é] USING rtree(id,a,b)")
        );
    }

    #[test]
    fn rows_that_declare_something_else() {
        let create = "CREATE VIRTUAL TABLE f USING fts5(t)";
        for (kind, name, table, page, sql) in [
            ("index", "f", "f", "0", create),
            ("table", "g", "g", "0", create),
            ("table", "f", "g", "0", create),
            ("table", "f", "f", "2", create),
            ("table", "f", "f", "0", "CREATE TABLE f(a)"),
            ("table", "f", "f", "0", "CREATE VIRTUAL TABLE IF NOT EXISTS f USING fts5(t)"),
            ("table", "f", "f", "0", "CREATE VIRTUAL TABLE temp.f USING fts5(t)"),
        ] {
            let text = format!(
                "INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES('{kind}','{name}','{table}',{page},'{sql}');"
            );
            assert!(matches!(declared(&text), Some(Err(Failure::NotAllowed(_)))), "{text}");
        }
    }

    #[test]
    fn other_statements_are_not_recognised() {
        for text in [
            "",
            "INSERT",
            "INSERT INTO t VALUES(1)",
            "INSERT OR IGNORE INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES('table','f','f',0,'')",
            "INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES('table','f','f',0,NULL)",
            "INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES('table','f','f',-1,'')",
            "INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES('table','f','f',0,''),('a','b','c',0,'')",
            "INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES('table','f','f',0,'",
            "INSERT INTO sqlite_schema VALUES('table','f','f',0,'')",
            "PRAGMA writable_schema",
            "PRAGMA writable_schema=7",
            "PRAGMA writable_schema(ON)",
        ] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_pragma() {
        assert_eq!(read(b"PRAGMA writable_schema=ON;\nx"), Some((DumpStatement::WritableSchema(true), 26)));
        assert_eq!(read(b"pragma Writable_Schema = reset"), Some((DumpStatement::WritableSchema(false), 30)));
    }
}
