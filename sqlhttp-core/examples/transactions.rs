//! Transfers money between accounts, in three ways: with a closure that reads, decides and writes; with a batch whose
//! steps have conditions; and a report on one state of the database. The schema is made by migrations.
//!
//! `cargo run -p sqlhttp-core --example transactions`

use sqlhttp_core::{Database, Error, Executor as _, Options, Step, params};

const MIGRATIONS: [&str; 2] = [
    "CREATE TABLE accounts(id INTEGER PRIMARY KEY, owner TEXT NOT NULL, balance INTEGER NOT NULL)",
    "CREATE TABLE transfers(id INTEGER PRIMARY KEY, payer INTEGER, payee INTEGER, amount INTEGER)",
];

#[derive(Debug, thiserror::Error)]
enum TransferError {
    #[error("the balance of the payer is only {0}")]
    Short(i64),
    #[error("the payee has no account")]
    NoPayee,
    #[error(transparent)]
    Database(#[from] Error),
}

/// Transfers an amount. Returns the new balance of the payer.
async fn transfer(db: &Database, payer: i64, payee: i64, amount: u32) -> Result<i64, TransferError> {
    let amount = i64::from(amount);
    db.transaction(move |tx| {
        let balance: i64 = tx.query_one("SELECT balance FROM accounts WHERE id = ?", [payer])?;
        if balance < amount {
            return Err(TransferError::Short(balance));
        }
        tx.execute("UPDATE accounts SET balance = balance - ? WHERE id = ?", [amount, payer])?;
        if tx.execute("UPDATE accounts SET balance = balance + ? WHERE id = ?", [amount, payee])?.rows != 1 {
            return Err(TransferError::NoPayee);
        }
        tx.execute("INSERT INTO transfers(payer, payee, amount) VALUES (?, ?, ?)", [payer, payee, amount])?;
        Ok(balance - amount)
    })
    .await
}

/// The same without code beside the data: for clusters, and for more transfers per second, because batches of several
/// callers share an fsync.
async fn transfer_by_batch(db: &impl sqlhttp_core::Executor, payer: i64, payee: i64, amount: u32) -> Result<(), Error> {
    let amount = i64::from(amount);
    let take = "UPDATE accounts SET balance = balance - ?1 WHERE id = ?2 AND balance >= ?1";
    let give = "UPDATE accounts SET balance = balance + ?1 WHERE id = ?2";
    let steps = vec![
        Step::execute(take, [amount, payer]).expect_changed(1),
        Step::execute(give, [amount, payee]).expect_changed(1),
        Step::execute("INSERT INTO transfers(payer, payee, amount) VALUES (?, ?, ?)", [payer, payee, amount]),
    ];
    db.batch(steps).await.map(drop)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), TransferError> {
    let db = Database::open_in_memory(Options::default())?;
    let migrated = db.migrate(&MIGRATIONS).await?;
    println!("schema version {} (was {})", migrated.to, migrated.from);
    for (owner, balance) in [("Ada", 100), ("Grace", 0)] {
        db.execute("INSERT INTO accounts(owner, balance) VALUES (?, ?)", params![owner, balance]).await?;
    }

    println!("Ada has {} after a transfer of 30", transfer(&db, 1, 2, 30).await?);
    match transfer(&db, 1, 2, 200).await {
        Err(error) => println!("Ada cannot transfer 200: {error}"),
        Ok(balance) => println!("unexpected: {balance}"),
    }
    transfer_by_batch(&db, 1, 2, 20).await?;
    match transfer_by_batch(&db, 1, 2, 200).await {
        Err(error) => println!("Ada cannot transfer 200 by a batch: {error}"),
        Ok(()) => println!("unexpected"),
    }

    let (sum, transfers) = db
        .read(|tx| {
            let sum: i64 = tx.query_one("SELECT sum(balance) FROM accounts", ())?;
            let transfers: Vec<(i64, i64, i64)> = tx.query_all("SELECT payer, payee, amount FROM transfers", ())?;
            Ok::<_, Error>((sum, transfers))
        })
        .await?;
    println!("all accounts together have {sum}, after the transfers {transfers:?}");
    Ok(())
}
