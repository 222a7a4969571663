//! Migrations of the schema.

use super::Database;
use crate::engine::transaction::Transaction;
use crate::model::{Deadline, Error};

/// The result of [`Database::migrate`]: the versions of the schema before and after the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migrated {
    /// The version before the call: the number of migrations that the database had.
    pub from: usize,
    /// The version after the call: the number of all migrations.
    pub to: usize,
}

impl Database {
    /// Runs the migrations that the database lacks, in one transaction: all of them take effect, or none.
    ///
    /// Each migration is an SQL text with one or several statements. The version of the schema is the number of
    /// migrations that have run; SQLite stores it in the file (<https://sqlite.org/pragma.html#pragma_user_version>).
    /// Therefore new migrations are added at the end of the list, and no migration is changed or removed once a program
    /// that contains it has been used.
    ///
    /// ```
    /// use sqlhttp_core::{Database, Error};
    ///
    /// const MIGRATIONS: [&str; 2] = [
    ///     "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
    ///     "ALTER TABLE users ADD COLUMN email TEXT; CREATE INDEX users_email ON users(email)",
    /// ];
    ///
    /// async fn open(db: &Database) -> Result<(), Error> {
    ///     let migrated = db.migrate(&MIGRATIONS).await?;
    ///     println!("schema version {} (was {})", migrated.to, migrated.from);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// See [`Error`]. [`Error::Failed`] names the migration that failed, as the index of its step.
    /// [`Error::Unsupported`]: the database has more migrations than the list, because a newer version of the program
    /// has written it; or it applies a log, as for [`Database::transaction`].
    pub async fn migrate<S: AsRef<str>>(&self, migrations: &[S]) -> Result<Migrated, Error> {
        let migrations: Vec<String> = migrations.iter().map(|sql| sql.as_ref().to_owned()).collect();
        self.transaction_until(Deadline::NEVER, move |transaction| migrate(transaction, &migrations)).await
    }
}

fn migrate(transaction: &mut Transaction<'_>, migrations: &[String]) -> Result<Migrated, Error> {
    let version: i64 = transaction.query_one("PRAGMA user_version", ())?;
    let (from, to) = (usize::try_from(version).unwrap_or(usize::MAX), migrations.len());
    if from > to {
        let why = format!("the database has the schema version {version}, and this program knows only {to}");
        return Err(Error::Unsupported(why));
    }
    for (index, sql) in migrations.iter().enumerate().skip(from) {
        transaction.execute(sql.as_str(), ()).map_err(|error| match error {
            Error::Failed { failure, .. } => Error::Failed { step: Some(index), failure },
            other => other,
        })?;
    }
    if from < to {
        transaction.execute(format!("PRAGMA user_version = {to}"), ())?;
    }
    Ok(Migrated { from, to })
}
