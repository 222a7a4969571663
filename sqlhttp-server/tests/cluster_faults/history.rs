//! The record of all operations on registers: a file with a JSON object for each. `checker/history.go` reads it.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

/// An operation on a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Reads the value.
    Read,
    /// Writes a value.
    Write(i64),
    /// Writes `new` if the value is `old`.
    Swap { old: i64, new: i64 },
    /// Removes the values of all registers.
    Reset,
}

/// The outcome of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A read has returned this value.
    Read(Option<i64>),
    /// The value was written.
    Written,
    /// Whether a compare-and-set has written its value.
    Swapped(bool),
    /// The operation has had no effect and never will.
    Failed,
    /// The operation may have had an effect, or may have one later.
    Unknown,
}

/// The number of operations by outcome.
#[derive(Debug, Default)]
pub struct Counts {
    pub ok: AtomicU64,
    pub failed: AtomicU64,
    pub unknown: AtomicU64,
}

impl Counts {
    pub fn add(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Failed => &self.failed,
            Outcome::Unknown => &self.unknown,
            _ => &self.ok,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The operations whose outcome is known to be a success, a failure, and unknown.
    pub fn get(&self) -> (u64, u64, u64) {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (of(&self.ok), of(&self.failed), of(&self.unknown))
    }
}

/// The history of one run.
#[derive(Debug)]
pub struct History {
    file: Mutex<BufWriter<File>>,
    start: Instant,
    pub counts: Counts,
}

impl History {
    /// Creates the file.
    pub fn create(file: &Path) -> History {
        let file = File::create(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        History { file: Mutex::new(BufWriter::new(file)), start: Instant::now(), counts: Counts::default() }
    }

    /// The nanoseconds since the history began.
    pub fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).expect("a short run")
    }

    /// Records an operation that was called at `call` and has just returned.
    pub fn record(&self, process: u64, key: &str, op: Op, level: &str, call: u64, outcome: Outcome) {
        self.counts.add(outcome);
        let mut line = json!({ "process": process, "key": key, "call": call, "return": self.now() });
        let mut set = |name: &str, value: Value| line[name] = value;
        match op {
            Op::Read => {
                set("op", json!("read"));
                set("level", json!(level));
            }
            Op::Write(value) => {
                set("op", json!("write"));
                set("value", json!(value));
            }
            Op::Swap { old, new } => {
                set("op", json!("cas"));
                set("old", json!(old));
                set("value", json!(new));
            }
            Op::Reset => set("op", json!("reset")),
        }
        match outcome {
            Outcome::Read(value) => set("output", json!(value)),
            Outcome::Swapped(swapped) => set("swapped", json!(swapped)),
            Outcome::Written | Outcome::Failed | Outcome::Unknown => {}
        }
        set(
            "result",
            json!(match outcome {
                Outcome::Failed => "fail",
                Outcome::Unknown => "unknown",
                _ => "ok",
            }),
        );
        writeln!(self.file.lock().expect("the history"), "{line}").expect("the history can be written");
    }

    /// Writes all lines to the file.
    pub fn flush(&self) {
        self.file.lock().expect("the history").flush().expect("the history can be written");
    }
}
