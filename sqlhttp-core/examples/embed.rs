//! Embeds the engine: opens a database file, writes from several threads, and reads.
//!
//! `cargo run -p sqlhttp-core --example embed`

use sqlhttp_core::{Batch, Database, Options, Step, StepOutcome};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("sqlhttp-embed-{}.db", std::process::id()));
    let db = Database::open(path.as_path(), Options::default())?;
    db.execute_blocking(Batch::one(Step::execute("CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT)", ())))?;

    // Writes that arrive at the same time share one transaction and one fsync. A write is durable when its call
    // returns.
    std::thread::scope(|scope| {
        for name in ["Ada", "Grace", "Edsger"] {
            let insert = Batch::one(Step::execute("INSERT INTO users(name) VALUES (:name)", [(":name", name)]));
            scope.spawn(|| db.execute_blocking(insert));
        }
    });

    let query = Step::query("SELECT id, name FROM users WHERE id <= ? ORDER BY name", [10]);
    let outcome = db.execute_blocking(Batch::one(query))?;
    if let Some(StepOutcome::Rows(rows)) = outcome.steps.first() {
        for row in rows.iter() {
            let values: Vec<_> = row.values().map(|value| value.to_value()).collect();
            println!("{values:?}");
        }
    }
    drop(db);
    Ok(std::fs::remove_file(path)?)
}
