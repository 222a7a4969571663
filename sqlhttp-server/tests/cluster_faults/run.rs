//! The state that the clients and the faults of one run share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};

use super::fault::Fault;
use super::history::{Counts, History};

/// A replacement of the database by the file of the run.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub call: u64,
    /// `None` if the outcome is unknown.
    pub returned: Option<u64>,
}

/// The state of one run.
#[derive(Debug)]
pub struct Run {
    pub nodes: usize,
    pub seed: u64,
    pub history: History,
    /// The outcomes of the inserts and transfers, which are not in the history.
    pub others: Counts,
    /// Each operation holds it for reading. No operation is under way while it is held for writing.
    pub gate: RwLock<()>,
    pub stop: AtomicBool,
    pub loads: Mutex<Vec<Load>>,
    /// A database file with the initial content.
    pub file: Vec<u8>,
    processes: AtomicU64,
    violations: Mutex<Vec<String>>,
    errors: Mutex<BTreeMap<String, u64>>,
    faults: Mutex<Vec<Fault>>,
    comparisons: AtomicU64,
}

impl Run {
    pub fn new(nodes: usize, seed: u64, history: History, file: Vec<u8>) -> Run {
        Run {
            nodes,
            seed,
            history,
            others: Counts::default(),
            gate: RwLock::new(()),
            stop: AtomicBool::new(false),
            loads: Mutex::default(),
            file,
            processes: AtomicU64::new(0),
            violations: Mutex::default(),
            errors: Mutex::default(),
            faults: Mutex::default(),
            comparisons: AtomicU64::new(0),
        }
    }

    /// The number of a new process of the history.
    pub fn process(&self) -> u64 {
        self.processes.fetch_add(1, Ordering::Relaxed)
    }

    pub fn stops(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Notes a broken promise.
    pub fn violation(&self, what: String) {
        eprintln!("violation: {what}");
        self.violations.lock().expect("violations").push(what);
    }

    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().expect("violations").clone()
    }

    /// Counts an error message of an operation.
    pub fn note_error(&self, operation: &str, message: &str) {
        *self.errors.lock().expect("errors").entry(format!("{operation}: {message}")).or_default() += 1;
    }

    /// The error messages with their numbers.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().expect("errors").clone()
    }

    pub fn note_fault(&self, fault: Fault) {
        self.faults.lock().expect("faults").push(fault);
    }

    /// The faults so far.
    pub fn faults(&self) -> Vec<Fault> {
        self.faults.lock().expect("faults").clone()
    }

    pub fn note_comparison(&self) {
        self.comparisons.fetch_add(1, Ordering::Relaxed);
    }

    /// How often the contents of the nodes were compared and equal.
    pub fn comparisons(&self) -> u64 {
        self.comparisons.load(Ordering::Relaxed)
    }
}
