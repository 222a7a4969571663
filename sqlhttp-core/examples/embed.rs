//! Embeds the engine: opens a database file, writes from several threads, and reads.
//!
//! `cargo run -p sqlhttp-core --example embed`

use sqlhttp_core::{Database, Options};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("sqlhttp-embed-{}.db", std::process::id()));
    let db = Database::open(path.as_path(), Options::default())?;
    db.blocking().execute("CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT)", ())?;

    // Writes that arrive at the same time share one transaction and one fsync. A write is durable when its call
    // returns.
    std::thread::scope(|scope| {
        let insert = |name| db.blocking().execute("INSERT INTO users(name) VALUES (:name)", [("name", name)]);
        let inserts = ["Ada", "Grace", "Edsger"].map(|name| scope.spawn(move || insert(name)));
        inserts.into_iter().try_for_each(|insert| insert.join().map_or(Ok(()), |inserted| inserted.map(drop)))
    })?;

    let users: Vec<(i64, String)> =
        db.blocking().query_all("SELECT id, name FROM users WHERE id <= ? ORDER BY name", [10])?;
    for (id, name) in users {
        println!("{id}: {name}");
    }
    drop(db);
    Ok(std::fs::remove_file(path)?)
}
