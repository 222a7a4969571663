//! A client of a cluster: writes rows, reads them into Rust types, and handles a violated constraint.
//!
//! `cargo run -p sqlhttp-rqlite --features hyper --example client -- localhost:4001`

use sqlhttp_core::{Error, Executor, Step, params};
use sqlhttp_rqlite::client::{Client, Host, HyperTransport};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut hosts =
        std::env::args().skip(1).map(|host| host.parse::<Host>()).collect::<Result<Vec<_>, _>>()?.into_iter();
    let first = hosts.next().ok_or("usage: client HOST:PORT [HOST:PORT ...]")?;
    // The only line that changes: `Database::open("users.db", Options::default())?` is an embedded database,
    // `sqlhttp_ws4sqlite::client::Client::new(transport, first, hosts, "users")` a database of sqlhttp-standalone.
    let db = Client::new(HyperTransport::with_system_roots()?, first, hosts);
    Ok(users(&db).await?)
}

/// Runs on every kind of database.
pub(crate) async fn users(db: &impl Executor) -> Result<(), Error> {
    db.execute("CREATE TABLE IF NOT EXISTS users(id INTEGER PRIMARY KEY, name TEXT UNIQUE, age INTEGER)", ()).await?;
    db.execute("DELETE FROM users", ()).await?;
    let insert = "INSERT INTO users(name, age) VALUES (?, ?)";
    let steps = [("Ada", 36), ("Grace", 85)].map(|(name, age)| Step::execute(insert, params![name, age]));
    db.batch(steps.into()).await?;

    match db.execute(insert, params!["Ada", None::<u8>]).await {
        Err(error) if error.is_unique() => println!("refused: {error}"),
        other => println!("{} rows inserted", other?.rows),
    }
    let age: Option<u8> = db.query_one("SELECT age FROM users WHERE name = :name", [("name", "Ada")]).await?;
    println!("Ada is {age:?}");

    let mut rows = db.query_stream::<(i64, String)>("SELECT id, name FROM users ORDER BY name", ()).await?;
    while let Some(row) = rows.next().await {
        let (id, name) = row?;
        println!("{id}: {name}");
    }
    Ok(())
}
