//! Reads a million rows as a stream, in memory that does not depend on their number.
//!
//! `cargo run -p sqlhttp-core --features derive --example streaming`

use sqlhttp_core::{Database, Error, Executor as _, FromRow, Options};

#[derive(FromRow)]
struct Measurement {
    id: u64,
    value: f64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let db = Database::open_in_memory(Options::default())?;
    db.execute("CREATE TABLE measurements(id INTEGER PRIMARY KEY, value REAL)", ()).await?;
    let fill = "INSERT INTO measurements(value)
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) SELECT i / 2.0 FROM n";
    db.execute(fill, [("count", 1_000_000)]).await?;

    // The stream is a `futures_core::Stream`, too, for example for the body of an HTTP response.
    let mut rows = db.query_stream::<Measurement>("SELECT id, value FROM measurements ORDER BY id", ()).await?;
    let (mut count, mut sum) = (0, 0.0);
    while let Some(row) = rows.next().await {
        let Measurement { id, value } = row?;
        count = count.max(id);
        sum += value;
    }
    println!("{count} rows, their sum is {sum}");

    // Dropping the stream ends the statement.
    let mut rows = db.query_stream::<u64>("SELECT id FROM measurements ORDER BY value DESC", ()).await?;
    println!("the largest value is that of {:?}", rows.next().await.transpose()?);
    Ok(())
}
