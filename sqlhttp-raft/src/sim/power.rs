//! The power of a simulated machine: numbers the operations that change the disks of the machine, and fails at a chosen
//! one.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlhttp_core::{DiskChange, Loss, Power, PowerSupply};

use super::network::Network;
use crate::log::describe;
use crate::log::simulated::Loss as LogLoss;

/// An operation that changes a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskStep {
    /// The kind of the operation: see [`DiskChange::kind`].
    pub kind: &'static str,
    /// The path of the file or the directory, relative to the directory of the node.
    pub file: String,
    /// The kinds of the frames that a write to the Raft log contains, or that a sync makes durable: `append`, `vote`,
    /// `purge`, `truncate`, `committed` and `end`.
    pub frames: Vec<&'static str>,
}

impl fmt::Display for DiskStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.file)?;
        if self.frames.is_empty() { Ok(()) } else { write!(f, " ({})", self.frames.join(" ")) }
    }
}

/// A power cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct NextCut {
    /// The number of operations before the one at which the power fails, since the last power cut.
    pub(super) after: u64,
    /// Whether the operation takes place in part.
    pub(super) is_torn: bool,
    /// The effect on the disk of the log.
    pub(super) log: LogLoss,
    /// The effect on the disk of the database.
    pub(super) database: Loss,
}

/// A power cut that has happened.
pub(super) struct Failed {
    /// The operation at which the power has failed.
    pub(super) step: String,
    pub(super) log: LogLoss,
    pub(super) database: Loss,
}

/// The power of a machine. Its disks are connected to it.
pub(super) struct MachinePower {
    machine: usize,
    network: Arc<Network>,
    /// The directory of the node, which is not a part of the recorded paths.
    directory: String,
    is_off: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_recording: bool,
    steps: Vec<DiskStep>,
    /// The power cuts that have not ended.
    cuts: VecDeque<NextCut>,
    /// The kinds of the frames in each file that are not synced.
    unsynced: BTreeMap<String, Vec<&'static str>>,
}

impl MachinePower {
    pub(super) fn new(machine: usize, network: Arc<Network>, directory: &str) -> MachinePower {
        let directory = directory.to_owned();
        MachinePower { machine, network, directory, is_off: AtomicBool::new(false), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to record operations. The power fails at the operations of `cuts`.
    pub(super) fn begin(&self, cuts: VecDeque<NextCut>) {
        let mut state = self.state();
        state.is_recording = true;
        state.cuts = cuts;
    }

    /// Ends the recording. The power does not fail any more.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.is_recording = false;
        let current = usize::from(self.is_off());
        state.cuts.truncate(current);
    }

    /// The operations that have been recorded.
    pub(super) fn steps(&self) -> Vec<DiskStep> {
        self.state().steps.clone()
    }

    fn is_off(&self) -> bool {
        self.is_off.load(Ordering::Acquire)
    }

    /// Returns the current power cut; `None` if the machine has power.
    pub(super) fn failed(&self) -> Option<Failed> {
        let state = self.state();
        let NextCut { log, database, .. } = *state.cuts.front().filter(|_| self.is_off())?;
        Some(Failed { step: state.steps.last().map(DiskStep::to_string).unwrap_or_default(), log, database })
    }

    /// Restores the power.
    pub(super) fn restore(&self) {
        let mut state = self.state();
        state.unsynced.clear();
        state.cuts.pop_front();
        self.is_off.store(false, Ordering::Release);
    }
}

impl fmt::Debug for MachinePower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MachinePower").field("machine", &self.machine).finish_non_exhaustive()
    }
}

impl PowerSupply for MachinePower {
    fn at(&self, change: &DiskChange<'_>) -> Power {
        if self.is_off() {
            return Power::Off;
        }
        let mut state = self.state();
        if !state.is_recording {
            return Power::On;
        }
        let file = match change.file.strip_prefix(&self.directory) {
            Some("") => ".",
            Some(below) => below.trim_start_matches('/'),
            // The disk of the database has one directory.
            None if change.kind == "sync directory" => ".",
            None => change.file,
        };
        state.record(change, file);
        let Some(cut) = state.cuts.front_mut() else { return Power::On };
        if cut.after > 0 {
            cut.after -= 1;
            return Power::On;
        }
        let is_torn = cut.is_torn;
        self.is_off.store(true, Ordering::Release);
        // The process sends nothing from this moment on.
        self.network.crash(self.machine, true);
        if is_torn { Power::Fails } else { Power::Off }
    }
}

impl State {
    fn record(&mut self, change: &DiskChange<'_>, file: &str) {
        let frames = match change.kind {
            "write" => {
                let frames = describe::frames(change.file, change.offset, change.bytes);
                let unsynced = self.unsynced.entry(file.to_owned()).or_default();
                frames.iter().for_each(|frame| {
                    if !unsynced.contains(frame) {
                        unsynced.push(frame)
                    }
                });
                frames
            }
            "sync" => self.unsynced.remove(file).unwrap_or_default(),
            _ => Vec::new(),
        };
        self.steps.push(DiskStep { kind: change.kind, file: file.to_owned(), frames });
    }
}
