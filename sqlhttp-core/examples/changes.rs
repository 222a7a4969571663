//! A cache that notifications keep up to date: a task removes each user from the cache whose row has changed.
//!
//! `cargo run -p sqlhttp-core --example changes`

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sqlhttp_core::{Change, Changes, Database, Error, Executor as _, Options};

/// The names of users, by their rowids, and the number of changes of the table.
#[derive(Clone, Default)]
struct Cache(Arc<Mutex<(HashMap<i64, String>, u64)>>);

impl Cache {
    fn with<T>(&self, f: impl FnOnce(&mut (HashMap<i64, String>, u64)) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the name of a user, and whether it was in the cache.
    async fn name(&self, db: &Database, id: i64) -> Result<(String, bool), Error> {
        let (cached, changes_before) = self.with(|(names, changes)| (names.get(&id).cloned(), *changes));
        if let Some(name) = cached {
            return Ok((name, true));
        }
        let name: String = db.query_one("SELECT name FROM users WHERE id = ?", [id]).await?;
        self.with(|(names, changes)| {
            // Otherwise, the name may be out of date already.
            if *changes == changes_before {
                names.insert(id, name.clone());
            }
        });
        Ok((name, false))
    }

    /// Removes the names that a change concerns.
    fn remove(&self, change: &Change) {
        if change.table().is_some_and(|table| table != "users") {
            return;
        }
        self.with(|(names, changes)| {
            *changes += 1;
            match change {
                Change::Row { rowid, .. } => drop(names.remove(rowid)),
                _ => names.clear(),
            }
        });
    }
}

/// Follows the changes until the database is closed. Returns their number.
async fn follow(mut changes: Changes, cache: Cache, seen: tokio::sync::mpsc::Sender<()>) -> usize {
    let mut count = 0;
    while let Some(change) = changes.next().await {
        println!("  change: {change:?}");
        cache.remove(&change);
        count += 1;
        let _ = seen.send(()).await;
    }
    count
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let db = Database::open_in_memory(Options::default())?;
    db.execute("CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT)", ()).await?;
    let (cache, (send, mut seen)) = (Cache::default(), tokio::sync::mpsc::channel(1));
    let follower = tokio::spawn(follow(db.changes()?, cache.clone(), send));

    db.execute("INSERT INTO users VALUES (1, 'Ada'), (2, 'Grace')", ()).await?;
    // A notification arrives after the write, not before it returns.
    seen.recv().await;
    seen.recv().await;
    println!("read: {:?}", cache.name(&db, 1).await?);
    println!("read again: {:?}", cache.name(&db, 1).await?);
    db.execute("UPDATE users SET name = 'Ada Lovelace' WHERE id = 1", ()).await?;
    seen.recv().await;
    println!("read after the change: {:?}", cache.name(&db, 1).await?);

    db.close().await?;
    println!("{} changes", follower.await?);
    Ok(())
}
