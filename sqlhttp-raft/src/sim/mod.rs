//! A deterministic simulation of a cluster: the real nodes on simulated machines, on one thread, driven by one seed.
//!
//! Each machine has a Tokio runtime with a paused clock. The scheduler (`cluster`) gives every machine one simulated
//! millisecond after another, so the order of all events depends only on the seed. The code of a node finds its machine
//! with `machine()`: where a node uses a clock, a random number, a thread, a socket or a disk, it uses that of the
//! machine instead.
//!
//! | module | contents |
//! |---|---|
//! | `machine`, `network` | the simulated machines and their network |
//! | `runtime`, `watch` | the runtime of openraft; its channels, without Tokio's random order of wake-ups |
//! | `cluster` | the nodes, their crashes and restarts, and the scheduler |
//! | `power`, `cluster::power_cuts` | power cuts at each operation on the disks of a machine |
//! | `cluster::scenarios` | simulations without random faults, of faults that the code has had |
//! | `faults` | chooses faults |
//! | `clients`, `history` | clients, and what they have seen |
//! | `invariants` | what must always be true |
//! | `mutation` | faults that are put into the code to show that the invariants detect them |
//! | `panics` | notices the panics of tasks |
//! | `random`, `trace` | random numbers; the trace of a run |

mod clients;
mod cluster;
mod faults;
mod history;
mod invariants;
mod machine;
mod mutation;
mod network;
mod panics;
mod power;
mod random;
mod runtime;
mod trace;
pub(crate) mod watch;

pub use cluster::power_cuts::{CutReport, Effect, PowerCut, Scenario, run_with_power_cut};
pub use cluster::{Counts, Report, run};
pub(crate) use machine::{Machine, block_on, machine};
pub use mutation::Mutation;
pub(crate) use mutation::is_mutated;
pub(crate) use network::{SimulatedListener, SimulatedStream};
pub use power::DiskStep;
pub(crate) use runtime::RaftRuntime;
