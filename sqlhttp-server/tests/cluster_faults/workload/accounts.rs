//! Transfers between accounts, each in a transaction. The sum of all balances never changes, on any node and at any
//! level.

use serde_json::json;

use super::Client;
use crate::connection::Reply;
use crate::history::Outcome;

/// The sum of the balances in the initial content.
const SUM: i64 = 400;
const ACCOUNTS: u64 = 4;
const QUERY: &str = "SELECT sum(balance), count(*) FROM accounts";

/// Transfers amounts and reads the sum until the run ends.
pub fn work(client: &mut Client<'_>) {
    client.repeat(|client| {
        let outcome = if client.random.below(2) == 0 { transfer(client) } else { read(client) };
        client.run.others.add(outcome);
    });
}

fn transfer(client: &mut Client<'_>) -> Outcome {
    let (from, to) = (1 + client.random.below(ACCOUNTS), 1 + client.random.below(ACCOUNTS));
    let amount = client.random.below(20);
    let statements = json!([
        ["UPDATE accounts SET balance = balance - ? WHERE id = ?", amount, from],
        ["UPDATE accounts SET balance = balance + ? WHERE id = ?", amount, to],
    ]);
    match client.send("transfer", "/db/execute?transaction", &statements) {
        Reply::Results(_) => Outcome::Written,
        Reply::NoEffect(_) => Outcome::Failed,
        Reply::Unknown(_) => Outcome::Unknown,
    }
}

fn read(client: &mut Client<'_>) -> Outcome {
    let level = *client.random.choose(&["none", "weak", "linearizable", "strong"]);
    check(client, level)
}

/// Reads the sum on the node of this client, and notes a violation if it is wrong.
pub fn check(client: &mut Client<'_>, level: &str) -> Outcome {
    let Reply::Results(results) = client.send("sum", &format!("/db/query?level={level}"), &json!([QUERY])) else {
        return Outcome::Failed;
    };
    let row = &results[0]["values"][0];
    // A node that joins has no table at first; it reports an error then. A table without rows has not been filled yet.
    if row[1] != json!(0) && row[0] != json!(SUM) {
        client.run.violation(format!("the sum of the balances is {row} with level {level}"));
    }
    Outcome::Read(row[0].as_i64())
}
