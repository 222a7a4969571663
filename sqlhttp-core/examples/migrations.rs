//! Migrations of the schema: a database of an older version of the program is brought to the newest version, a
//! migration that fails changes nothing, and a database of a newer version is refused.
//!
//! `cargo run -p sqlhttp-core --example migrations`

use sqlhttp_core::{Database, Error, Executor as _, Options};

/// The migrations of the program. New ones are added at the end.
const MIGRATIONS: [&str; 3] = [
    "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
    "ALTER TABLE users ADD COLUMN email TEXT; UPDATE users SET email = lower(name) || '@example.org'",
    "CREATE UNIQUE INDEX users_email ON users(email)",
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let db = Database::open_in_memory(Options::default())?;

    let first = db.migrate(&MIGRATIONS[..1]).await?;
    println!("the first version: {} -> {}", first.from, first.to);
    db.execute("INSERT INTO users(name) VALUES ('Ada'), ('Grace'), ('ADA')", ()).await?;

    // Two users get the same address, so the third migration fails, and the second one has no effect either.
    if let Err(failed) = db.migrate(&MIGRATIONS).await {
        println!("the migration fails: {failed}");
    }
    println!("columns: {}", columns(&db).await?);

    db.execute("DELETE FROM users WHERE name = 'ADA'", ()).await?;
    let newest = db.migrate(&MIGRATIONS).await?;
    println!("the newest version: {} -> {}", newest.from, newest.to);
    println!("columns: {}", columns(&db).await?);
    println!("again: {:?}", db.migrate(&MIGRATIONS).await?);
    if let Err(refused) = db.migrate(&MIGRATIONS[..2]).await {
        println!("an older program is refused: {refused}");
    }
    Ok(())
}

async fn columns(db: &Database) -> Result<String, Error> {
    db.query_one("SELECT group_concat(name, ', ') FROM pragma_table_info('users')", ()).await
}
