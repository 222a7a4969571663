//! Reads, writes and compare-and-sets of registers. Each operation is a line of the history.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::{Value, json};

use super::Client;
use crate::connection::Reply;
use crate::history::{Op, Outcome};

/// The registers that are in use at the same time.
const SLOTS: usize = 4;
/// The operations on one register at the same time.
const CONCURRENT_MAX: usize = 4;
/// The operations on a register, and those of them with an unknown outcome, after which a new register takes its place.
/// The time of the check grows exponentially with the second number.
const OPERATIONS_MAX: usize = 400;
const UNKNOWN_MAX: usize = 6;

/// The endpoints and levels of reads.
const READS: [(&str, &str); 4] =
    [("query", "linearizable"), ("query", "strong"), ("request", "linearizable"), ("request", "strong")];

/// A register in use.
#[derive(Debug, Default)]
struct Slot {
    key: String,
    under_way: usize,
    operations: usize,
    unknown: usize,
    /// A value that was written or read recently, which a compare-and-set may expect.
    recent: Option<i64>,
}

#[derive(Debug, Default)]
struct State {
    slots: Vec<Slot>,
    keys: BTreeSet<String>,
}

impl State {
    /// Begins an operation on a random register. Returns the slot, the key and a value that the register may have.
    fn begin(&mut self, random: u64) -> Option<(usize, String, Option<i64>)> {
        self.slots.resize_with(SLOTS, Slot::default);
        let index = (random % SLOTS as u64) as usize;
        let slot = &mut self.slots[index];
        let worn = slot.operations >= OPERATIONS_MAX || slot.unknown >= UNKNOWN_MAX;
        if slot.under_way == 0 && worn || slot.key.is_empty() {
            *slot = Slot { key: format!("k{}", self.keys.len()), ..Slot::default() };
            self.keys.insert(slot.key.clone());
        } else if worn || slot.under_way >= CONCURRENT_MAX {
            return None;
        }
        slot.under_way += 1;
        slot.operations += 1;
        Some((index, slot.key.clone(), slot.recent))
    }

    fn end(&mut self, index: usize, op: Op, outcome: Outcome) {
        let slot = &mut self.slots[index];
        slot.under_way -= 1;
        match (op, outcome) {
            (Op::Write(value) | Op::Swap { new: value, .. }, Outcome::Written | Outcome::Swapped(true)) => {
                slot.recent = Some(value);
            }
            (_, Outcome::Read(value)) => slot.recent = value,
            (Op::Write(_) | Op::Swap { .. }, Outcome::Unknown) => slot.unknown += 1,
            _ => {}
        }
    }
}

/// The registers of a run.
#[derive(Debug, Default)]
pub struct Registers {
    state: Mutex<State>,
    /// The last value that was written; each is unique.
    last: AtomicI64,
}

impl Registers {
    /// Runs operations until the run ends.
    pub fn work(&self, client: &mut Client<'_>) {
        let mut process = client.run.process();
        client.repeat(|client| {
            let begun = self.state.lock().expect("the registers").begin(client.random.next());
            let Some((slot, key, recent)) = begun else {
                // Other clients use this register.
                std::thread::sleep(std::time::Duration::from_millis(2));
                return;
            };
            let op = self.choose(client, recent);
            let (endpoint, level) = *client.random.choose(&READS);
            let call = client.run.history.now();
            let outcome = perform(client, &key, op, &format!("/db/{endpoint}?level={level}"));
            client.run.history.record(process, &key, op, level, call, outcome);
            self.state.lock().expect("the registers").end(slot, op, outcome);
            if outcome == Outcome::Unknown {
                process = client.run.process();
            }
        });
    }

    fn choose(&self, client: &mut Client<'_>, recent: Option<i64>) -> Op {
        match (client.random.below(10), recent) {
            (0..=4, _) => Op::Read,
            (5..=7, Some(old)) => Op::Swap { old, new: self.unique() },
            _ => Op::Write(self.unique()),
        }
    }

    fn unique(&self) -> i64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Reads all registers on a node, and adds a read of each one to the history.
    pub fn read_all(&self, client: &mut Client<'_>, level: &str) {
        let (process, call) = (client.run.process(), client.run.history.now());
        let target = format!("/db/query?level={level}");
        let rows = match client.send("final read", &target, &json!(["SELECT k, v FROM registers"])) {
            Reply::Results(results) => results[0]["values"].as_array().cloned().unwrap_or_default(),
            Reply::NoEffect(why) | Reply::Unknown(why) => {
                return client.run.violation(format!("the registers cannot be read after the faults: {why}"));
            }
        };
        let values: HashMap<&str, Option<i64>> =
            rows.iter().filter_map(|row| Some((row[0].as_str()?, row[1].as_i64()))).collect();
        for key in &self.state.lock().expect("the registers").keys {
            let value = values.get(key.as_str()).copied().flatten();
            client.run.history.record(process, key, Op::Read, level, call, Outcome::Read(value));
        }
    }
}

/// Sends an operation, and returns its outcome. A read is sent to `reads`.
fn perform(client: &mut Client<'_>, key: &str, op: Op, reads: &str) -> Outcome {
    let (name, target, statement) = match op {
        Op::Read => ("read", reads, json!(["SELECT v FROM registers WHERE k = ?", key])),
        Op::Write(value) => {
            let sql = "INSERT INTO registers VALUES(?, ?) ON CONFLICT(k) DO UPDATE SET v = excluded.v";
            ("write", "/db/execute?x", json!([sql, key, value]))
        }
        Op::Swap { old, new } => {
            let sql = "UPDATE registers SET v = ? WHERE k = ? AND v = ?";
            ("cas", "/db/execute?x", json!([sql, new, key, old]))
        }
        Op::Reset => unreachable!("a load"),
    };
    match client.send(name, target, &json!([statement])) {
        Reply::Results(results) => outcome(op, &results[0]),
        // A read has no effect, so that its outcome is irrelevant without a response.
        Reply::NoEffect(_) => Outcome::Failed,
        Reply::Unknown(_) if op == Op::Read => Outcome::Failed,
        Reply::Unknown(_) => Outcome::Unknown,
    }
}

fn outcome(op: Op, result: &Value) -> Outcome {
    let rows = result["rows_affected"].as_u64();
    match op {
        Op::Read => Outcome::Read(result["values"][0][0].as_i64()),
        Op::Write(_) => {
            assert_eq!(rows, Some(1), "{result}");
            Outcome::Written
        }
        Op::Swap { .. } => Outcome::Swapped(rows.unwrap_or(0) == 1),
        Op::Reset => unreachable!("a load"),
    }
}
