//! The combinations of faults and workload, each with its published seed.

use super::fault::Fault::{self, *};
use super::nodes::Formation;
use super::workload::Work;

/// A combination of faults and workload.
#[derive(Debug, Clone, Copy)]
pub struct Combination {
    pub name: &'static str,
    pub nodes: usize,
    /// Whether the nodes reach each other through the proxy.
    pub proxied: bool,
    pub formation: Formation,
    pub faults: &'static [Fault],
    /// Whether two faults may happen at the same time.
    pub overlap: bool,
    pub work: Work,
    pub seed: u64,
    /// Whether it belongs to the short form.
    pub short: bool,
}

const fn of(name: &'static str, nodes: usize, faults: &'static [Fault], work: Work, seed: u64) -> Combination {
    Combination {
        name,
        nodes,
        proxied: false,
        formation: Formation::Together,
        faults,
        overlap: false,
        work,
        seed,
        short: false,
    }
}

impl Combination {
    const fn proxied(mut self) -> Combination {
        self.proxied = true;
        self
    }

    const fn booted(mut self) -> Combination {
        self.formation = Formation::Boot;
        self
    }

    const fn overlapping(mut self) -> Combination {
        self.overlap = true;
        self
    }

    const fn short(mut self) -> Combination {
        self.short = true;
        self
    }
}

use Work::{All, Appends, LargeAppends, Registers};

/// All combinations.
pub const COMBINATIONS: [Combination; 32] = [
    of("no_fault", 3, &[], All, 1201),
    of("killed_leader", 3, &[KillLeader], Registers, 1202).short(),
    of("killed_nodes", 5, &[KillAny, KillMajority], Appends, 1203),
    of("all_killed", 3, &[KillAll], All, 1204),
    of("stopped_leader", 3, &[PauseLeader], Registers, 1205),
    of("stopped_nodes", 5, &[PauseAny, PauseMajority], All, 1206),
    of("halves", 5, &[Halves], Registers, 1207),
    of("isolated_leader", 3, &[IsolateLeader], Registers, 1208).short(),
    of("isolated_leader_appends", 3, &[IsolateLeader], Appends, 1209),
    of("one_way", 3, &[OneWay], Registers, 1210),
    of("one_way_of_five", 5, &[OneWay, Halves], All, 1211).short(),
    of("lost_packets", 3, &[Loss], All, 1227),
    of("ring", 5, &[Ring], Registers, 1212),
    of("delay", 3, &[Delay], Registers, 1213).proxied(),
    of("low_bandwidth", 3, &[Bandwidth], Appends, 1214).proxied(),
    of("low_bandwidth_large", 3, &[Bandwidth], LargeAppends, 1228).proxied(),
    of("broken_connections", 3, &[Resets, Blocked, Delay], All, 1215).proxied().short(),
    of("slow_fsync", 3, &[SlowSync, KillAny], Registers, 1216),
    of("failed_fsync", 3, &[FailedSync], All, 1217),
    of("clock_jumps", 3, &[ClockJump, SlowSync, KillLeader], All, 1218).short(),
    of("restarts", 3, &[Restart], All, 1219),
    of("wiped_disks", 3, &[Wipe], All, 1220).short(),
    of("membership", 5, &[Remove, KillAny], Registers, 1221),
    of("transfers", 3, &[Transfer, OneWay], Registers, 1222),
    of("snapshots", 3, &[Snapshot], All, 1223).short(),
    of("snapshots_large", 3, &[Snapshot, SlowSync, KillAny], LargeAppends, 1229),
    of("loads", 3, &[Load, LoadAndKill], All, 1224),
    of("cut_off_loads", 3, &[Load, LoadAndKill, IsolateLeader, OneWay], All, 1230).overlapping(),
    of("cut_off_members", 5, &[Remove, Wipe, Halves, IsolateLeader, Transfer], All, 1231).overlapping(),
    of("cut_off_snapshots", 5, &[Snapshot, Halves, IsolateLeader, PauseAny, KillAll], All, 1232).overlapping(),
    of("boot_and_joins", 3, &[KillAny, Load], All, 1225).booted(),
    of(
        "everything",
        5,
        &[
            KillLeader,
            KillAny,
            PauseLeader,
            Halves,
            OneWay,
            IsolateLeader,
            SlowSync,
            ClockJump,
            Restart,
            Wipe,
            Remove,
            Transfer,
            Snapshot,
            Load,
        ],
        All,
        1226,
    )
    .overlapping(),
];

#[test]
fn each_combination_has_a_name_and_a_seed_of_its_own() {
    let names: std::collections::BTreeSet<_> = COMBINATIONS.iter().map(|one| one.name).collect();
    let seeds: std::collections::BTreeSet<_> = COMBINATIONS.iter().map(|one| one.seed).collect();
    assert_eq!((names.len(), seeds.len()), (COMBINATIONS.len(), COMBINATIONS.len()));
}
