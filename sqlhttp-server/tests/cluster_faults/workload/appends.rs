//! Inserts of unique serials. No constraint keeps a serial from being inserted twice, so that a write that is applied
//! twice is visible.

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::json;

use super::Client;
use crate::connection::Reply;
use crate::history::Outcome;
use crate::run::{Load, Run};

/// An insert of one serial, or of a pair.
#[derive(Debug, Clone, Copy)]
struct Insert {
    serial: u64,
    /// Whether `serial + 1` was inserted in the same transaction.
    pair: bool,
    outcome: Outcome,
    call: u64,
    returned: u64,
}

/// Whether a serial must be in the table at the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Present,
    Absent,
    Either,
}

/// The inserts of a run.
#[derive(Debug, Default)]
pub struct Appends {
    inserts: Mutex<Vec<Insert>>,
}

impl Appends {
    /// Inserts serials, with up to `pad_max` bytes of text, until the run ends.
    pub fn work(&self, client: &mut Client<'_>, number: u64, pad_max: u64) {
        let mut serial = number * 1_000_000_000;
        client.repeat(|client| {
            serial += 2;
            let call = client.run.history.now();
            let kind = client.random.below(4);
            let pad = text(client, pad_max);
            let sql = "INSERT INTO log(serial, pad) VALUES(?, ?)";
            let (target, statements) = match kind {
                0 => ("/db/execute?transaction", json!([[sql, serial, pad], [sql, serial + 1, pad]])),
                1 => ("/db/execute?queue&wait", json!([[sql, serial, pad]])),
                2 => ("/db/request?x", json!([[sql, serial, pad], "SELECT max(serial) FROM log"])),
                _ => ("/db/execute?x", json!([[sql, serial, pad]])),
            };
            let outcome = match client.send("insert", target, &statements) {
                Reply::Results(_) => Outcome::Written,
                Reply::NoEffect(_) => Outcome::Failed,
                Reply::Unknown(_) => Outcome::Unknown,
            };
            client.run.others.add(outcome);
            let insert = Insert { serial, pair: kind == 0, outcome, call, returned: client.run.history.now() };
            self.inserts.lock().expect("the inserts").push(insert);
        });
    }

    /// Compares the table on a node with the outcomes of the inserts.
    pub fn check(&self, client: &mut Client<'_>, level: &str) {
        let target = format!("/db/query?level={level}");
        let rows =
            match client.send("final read", &target, &json!(["SELECT serial, count(*) FROM log GROUP BY serial"])) {
                Reply::Results(results) => results[0]["values"].as_array().cloned().unwrap_or_default(),
                Reply::NoEffect(why) | Reply::Unknown(why) => {
                    return client.run.violation(format!("the serials cannot be read after the faults: {why}"));
                }
            };
        let found: HashMap<u64, u64> =
            rows.iter().filter_map(|row| Some((row[0].as_u64()?, row[1].as_u64()?))).collect();
        let loads = client.run.loads.lock().expect("the loads").clone();
        for insert in self.inserts.lock().expect("the inserts").iter() {
            check_insert(client.run, insert, &found, expected(insert, &loads));
        }
    }
}

/// Random text of up to `max` bytes; null if that is 0.
fn text(client: &mut Client<'_>, max: u64) -> Option<String> {
    let words = (max > 0).then(|| client.random.below(max) / 16)?;
    Some((0..words).map(|_| format!("{:016x}", client.random.next())).collect())
}

/// Whether the serial of an insert must be found after these loads, each of which replaces the table by an empty one.
fn expected(insert: &Insert, loads: &[Load]) -> Expected {
    let removed_by = |load: &Load| load.returned.is_some() && load.call > insert.returned;
    // The insert may be before or after such a load, or the load may have had no effect.
    let undecided_by = |load: &Load| load.returned.is_none_or(|returned| returned > insert.call);
    match insert.outcome {
        Outcome::Failed => Expected::Absent,
        Outcome::Unknown => Expected::Either,
        _ if loads.iter().any(removed_by) => Expected::Absent,
        _ if loads.iter().any(undecided_by) => Expected::Either,
        _ => Expected::Present,
    }
}

fn check_insert(run: &Run, insert: &Insert, found: &HashMap<u64, u64>, expected: Expected) {
    if let Some(violation) = violation(insert, found, expected) {
        run.violation(format!("{violation}: {insert:?}"));
    }
}

/// The promise that the rows of an insert break.
fn violation(insert: &Insert, found: &HashMap<u64, u64>, expected: Expected) -> Option<&'static str> {
    let count = |serial: u64| found.get(&serial).copied().unwrap_or(0);
    let rows = count(insert.serial);
    if insert.pair && count(insert.serial + 1) != rows {
        return Some("one of two serials of a transaction is missing");
    }
    match (rows, expected) {
        (0, Expected::Present) => Some("an acknowledged insert is lost"),
        (1, Expected::Absent) => Some("an insert without effect, or before a load, is present"),
        (2.., _) => Some("an insert was applied twice"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(outcome: Outcome, pair: bool) -> Insert {
        Insert { serial: 8, pair, outcome, call: 100, returned: 200 }
    }

    /// The violation if the serials 8 and 9 are found this often.
    fn verdict(insert: &Insert, rows: (u64, u64), loads: &[Load]) -> Option<&'static str> {
        let found = HashMap::from([(8, rows.0), (9, rows.1)]);
        violation(insert, &found, expected(insert, loads))
    }

    #[test]
    fn lost_doubled_and_partial_inserts_are_violations() {
        let acknowledged = insert(Outcome::Written, false);
        assert_eq!(verdict(&acknowledged, (1, 0), &[]), None);
        assert!(verdict(&acknowledged, (0, 0), &[]).unwrap().contains("lost"));
        assert!(verdict(&acknowledged, (2, 0), &[]).unwrap().contains("twice"));
        let failed = insert(Outcome::Failed, false);
        assert_eq!(verdict(&failed, (0, 0), &[]), None);
        assert!(verdict(&failed, (1, 0), &[]).unwrap().contains("without effect"));
        let unknown = insert(Outcome::Unknown, true);
        assert_eq!((verdict(&unknown, (0, 0), &[]), verdict(&unknown, (1, 1), &[])), (None, None));
        assert!(verdict(&unknown, (2, 2), &[]).unwrap().contains("twice"));
        assert!(verdict(&unknown, (1, 0), &[]).unwrap().contains("transaction"));
    }

    #[test]
    fn a_load_removes_the_inserts_before_it() {
        let acknowledged = insert(Outcome::Written, false);
        let load = |call, returned| [Load { call, returned }];
        assert_eq!(verdict(&acknowledged, (0, 0), &load(300, Some(400))), None);
        assert!(verdict(&acknowledged, (1, 0), &load(300, Some(400))).unwrap().contains("before a load"));
        assert!(verdict(&acknowledged, (0, 0), &load(10, Some(90))).unwrap().contains("lost"));
        for undecided in [load(150, Some(400)), load(10, Some(150)), load(300, None)] {
            assert_eq!(verdict(&acknowledged, (0, 0), &undecided), None);
            assert_eq!(verdict(&acknowledged, (1, 0), &undecided), None);
        }
    }
}
