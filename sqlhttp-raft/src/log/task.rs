//! The task that takes the place of the log thread in a simulation.

use std::sync::Arc;

use super::queue::LogShared;
use super::writer::LogHandle;
use crate::sim::Machine;

/// Writes the queued operations, as the log thread does. The machine determines how long a write and its sync take:
/// the operations that are queued meanwhile are written together.
pub(super) async fn run(shared: Arc<LogShared>, handle: Arc<LogHandle>, machine: Arc<Machine>) {
    // Segments may be left from before the log was closed.
    let mut removal_due = true;
    loop {
        shared.arrived_in_simulation.notified().await;
        tokio::time::sleep(machine.sync_time()).await;
        handle.run_now(&mut removal_due);
    }
}
