//! Notifications about committed changes.

use std::sync::Arc;

use super::Database;
use crate::engine::changes::{Change, Changes, CommitHook};
use crate::engine::connection_config::ConnectionConfig;
use crate::model::Error;

impl Database {
    /// Returns a stream of the rows that change, in the order of the commits. It reports each write that is submitted
    /// after this call, when it is durable.
    ///
    /// SQLite does not report every row. If a statement may have changed rows that are not reported, the stream also
    /// contains [`Change::Table`] for each table that the statement writes. This concerns tables without rowids, a
    /// DELETE without WHERE, a statement or schema that contains the word REPLACE, an UPDATE of a primary key,
    /// statements that fail after they have changed rows, and transactions that change more than 65,536 rows.
    /// [`Change::Everything`] stands for changes of the schema, VACUUM, and the scripts of the owner
    /// ([`Database::run_script`]). Such a change may be reported although nothing has changed.
    ///
    /// A write to a virtual table, such as a full-text index, is reported as [`Change::Table`] of that table. The
    /// stream may also report rows of the tables in which it stores its content. It does not report temporary tables,
    /// attached files and writes of other processes.
    ///
    /// ```
    /// use sqlhttp_core::{Change, Database, Error, Executor as _, Options};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let db = Database::open_in_memory(Options::default())?;
    /// db.execute("CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT)", ()).await?;
    /// let mut changes = db.changes()?;
    /// db.execute("INSERT INTO users VALUES (7, 'Ada')", ()).await?;
    /// match changes.next().await {
    ///     Some(Change::Row { table, rowid, .. }) => assert_eq!((&*table, rowid), ("users", 7)),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok::<(), Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::ReadOnly`]: the database is open for reading only.
    pub fn changes(&self) -> Result<Changes, Error> {
        self.listen(|config| config.listeners.add_stream(|| config.retire_writer()))
    }

    /// Calls `hook` after each commit that has changed something with the changes of the transaction, which may contain
    /// several calls of the program (a group). The changes are those of [`Database::changes`]. The writer thread calls
    /// the hook before the writes return, so it must be quick, and it must not use the database. A panic of the hook is
    /// logged.
    ///
    /// The hook cannot prevent the commit: a transaction closure, a trigger or a constraint can.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]: the database is open for reading only.
    pub fn on_commit(&self, hook: impl Fn(&[Change]) + Send + Sync + 'static) -> Result<CommitHook, Error> {
        self.listen(|config| config.listeners.add_hook(Arc::new(hook), || config.retire_writer()))
    }

    /// Adds a listener. If it is the first one, the writer opens a new connection, with the hook that collects changes.
    fn listen<T>(&self, add: impl FnOnce(&ConnectionConfig) -> T) -> Result<T, Error> {
        let config = &self.inner.shared.config;
        if config.options.read_only {
            return Err(Error::ReadOnly);
        }
        Ok(add(config))
    }
}
