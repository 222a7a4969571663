//! The kinds of faults.

/// A fault that can be caused and ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, and a later start.
    KillLeader,
    KillAny,
    KillMajority,
    KillAll,
    /// SIGSTOP, and SIGCONT later.
    PauseLeader,
    PauseAny,
    PauseMajority,
    /// Each node reaches only those of its own half.
    Halves,
    /// The leader reaches no other node, and no other node reaches it.
    IsolateLeader,
    /// All packets to or from one node are dropped, often the leader.
    OneWay,
    /// Each node reaches only its two neighbours in a ring, so that each sees a majority of five, but another one.
    Ring,
    /// A third of the packets between nodes is dropped.
    Loss,
    /// Bytes between nodes are delayed by up to 300 ms, or by up to 1.5 s, each direction by another time.
    Delay,
    /// Bytes between nodes pass at 8 to 64 kB per second.
    Bandwidth,
    /// All connections between nodes are closed, several times.
    Resets,
    /// Connections from one node to another stay open, but no bytes pass.
    Blocked,
    /// Each fsync takes up to 400 ms longer, on one node or on all.
    SlowSync,
    /// Each fsync of one node fails, and its process ends.
    FailedSync,
    /// The clock of a node jumps by up to two days, forward or back.
    ClockJump,
    /// SIGTERM and a start, of one node after the other.
    Restart,
    /// A node is killed and joins again with an empty disk.
    Wipe,
    /// A member is removed and joins again, sometimes with an empty disk.
    Remove,
    /// The leadership is transferred to a random node.
    Transfer,
    /// The log is purged while a node is down, so that it needs a snapshot.
    Snapshot,
    /// A database file replaces the content.
    Load,
    /// A database file replaces the content while the leader is killed.
    LoadAndKill,
}

impl Fault {
    /// Whether a node has restarted, joined or restored its content after the fault.
    pub fn restores(self) -> bool {
        use Fault::*;
        match self {
            KillLeader | KillAny | KillMajority | KillAll | FailedSync | Restart | Wipe | Remove | Snapshot | Load
            | LoadAndKill => true,
            PauseLeader | PauseAny | PauseMajority | Halves | IsolateLeader | OneWay | Ring | Loss | Delay
            | Bandwidth | Resets | Blocked | SlowSync | ClockJump | Transfer => false,
        }
    }
}
